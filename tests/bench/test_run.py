"""That the harness runs, measures everybody and leaves nothing behind. Its figures are not asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import curves, report
from tests.bench.metrics import METRICS, TABLES, Quantity, measured_in
from tests.bench.peers import PEERS, Setting
from tests.bench.run import chosen
from tests.bench.svg import draw

pytestmark = pytest.mark.slow

_PEERS = (
    "byway", "microsocks", "tinyproxy", "byway via SOCKS5", "byway via HTTPS", "OpenSSL copy",
    "byway by HTTP/2", "byway by HTTP/1.1",
)  # fmt: skip
_METRICS = ("idle", "connect", "socks5", "first-visit", "keep-alive", "bulk-1")


@pytest.mark.namespaces
@pytest.mark.needs("cc", "haproxy", "microsocks", "tinyproxy", "stunnel")
def test_each_number_of_each_proxy_is_measured(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "tests.bench.run", "--rounds", "1", "--seconds", "0.1"),
        *("--only", ",".join((*_PEERS, *_METRICS)), "--out", str(tmp_path / "out"), "--build", str(tmp_path)),
    ]
    environment = {**os.environ, "BENCH_VENV": str(tmp_path / "nothing"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.stderr == ""
    found = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    numbers = {(row["peer"], row["metric"]): row["numbers"] for row in found}
    wrong = {(row["peer"], row["metric"]): row["wrong"] for row in found}
    wanted, _ = chosen((*_PEERS, *_METRICS))
    assert set(numbers) == {(peer.name, metric.name) for peer, metrics in wanted.items() for metric in metrics}
    for peer, metrics in wanted.items():
        for metric in metrics:
            assert "differ" not in wrong[peer.name, metric.name]
            assert set(numbers[peer.name, metric.name]) == set(metric.columns), (peer.name, metric.name)
    assert "| byway |" in (tmp_path / "out" / "table.md").read_text()
    assert not list(tmp_path.glob("byway-bench-*"))


def test_words_choose_peers_settings_metrics_and_curves() -> None:
    everything, all_curves = chosen(())
    assert set(everything) == set(PEERS)
    assert all_curves == list(curves.CURVES)
    some, none = chosen(("byway", "connect"))
    assert [(peer.name, [metric.name for metric in metrics]) for peer, metrics in some.items()] == [
        ("byway", ["connect"])
    ]
    assert not none
    assert {peer.setting for peer in chosen(("log",))[0]} == {Setting.LOG}
    assert chosen(("rules",)) == ({}, [curve for curve in curves.CURVES if curve.name == "rules"])
    with pytest.raises(LookupError, match="squidd"):
        chosen(("squidd",))


def test_every_metric_is_in_a_table() -> None:
    assert {metric.name for setting in Setting for metric in measured_in(setting)} == {m.name for m in METRICS}
    assert {setting for setting, _ in TABLES.values()} == set(Setting)


def test_a_table_has_medians_spreads_and_what_failed() -> None:
    rows = [
        report.Row("byway", "connect", number, {Quantity.PER_S: rate, Quantity.CPU_US: 100})
        for number, rate in enumerate((900.0, 1000.0, 1100.0))
    ]
    rows += [report.Row("squid", "connect", 0, {}, "bytes differ (3)")]
    text = report.tables(rows, ["two cores"])
    assert "| byway | 1,000 ±10 % | 100 ±0 % | – | – | – | – |" not in text  # only what was measured has columns
    assert "| byway | 1,000 ±10 % | 100 ±0 % |" in text
    assert "| squid | failed | failed |" in text
    assert "- squid, connect 1: bytes differ (3)" in text


@pytest.mark.parametrize("curve", curves.CURVES, ids=lambda curve: curve.name)
def test_a_curve_has_a_line_for_each_proxy(curve: curves.Curve) -> None:
    cases = list(curve.cases())
    points = [curves.Point(case.line, case.x, 2.5 * case.x + 1, 30, 1) for case in cases]
    points[-1] = replace(points[-1], wrong="bytes differ (1)")
    charts = curve.charts(points)
    for chart in charts.values():
        assert {line.name for line in chart.lines} == {case.line for case in cases}
        ElementTree.fromstring(draw(chart))
    text = curves.table(curve, points)
    assert all(f"| {case.line} |" in text for case in cases)
    assert f"- {points[-1].line}, {points[-1].x:,}: bytes differ (1)" in text
