"""Byway beside other proxies, on this machine and in a network of its own: `make bench`.

    python -m tests.bench.run [--rounds 3] [--seconds 1.5] [--only NAME,NAME …] [--out bench-results]

Each round goes through the proxies in a shuffled order; each is started, measured and ended, while nothing else of ours
runs. The proxy has one core, load generator, origin and relays have another. Nothing leaves the machine: all of it runs
in a network namespace that has loopback alone. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path

from tests.bench import curves, report
from tests.bench.install import versions
from tests.bench.load import ORIGIN_PORT, Bench, Load, Mode, bench
from tests.bench.machine import DESCRIPTORS, Cores, NotStarted, Program, allow_descriptors, running
from tests.bench.metrics import IDLE, METRICS, Metric, Quantity, measured_in, written
from tests.bench.peers import KNOWN, PEERS, ROOT, Peer, Place, Setting, tls_relay
from tests.bench.svg import draw
from tests.lab.spaces import move_into_own

TLS_PORT, HTTP2_PORT = 8443, 8444
_FIRST_PORT = 9000
_WARMING = Load(Mode.GET, 4, warmup_s=0)
_WARMING_S = 0.2
_FILES = {
    "/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
    "/etc/hosts": f"127.0.0.1 localhost {KNOWN}\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}

Told = Callable[[str], None]


class Runner:
    """Starts one proxy after the other beside one origin, and measures it."""

    def __init__(self, here: Bench, folder: Path, ca: Path, *, seconds: float) -> None:
        self._bench = here
        self._folder = folder
        self._ca = ca
        self._seconds = seconds
        self._numbers = count()

    @contextmanager
    def _started(self, peer: Peer) -> Iterator[tuple[Program, Place, float]]:
        """A running proxy, where it is, and the seconds until it listened. Raises NotStarted."""
        number = next(self._numbers)
        port = _FIRST_PORT + 2 * number % 20_000  # a new one each time: nothing of an earlier one is in the way
        folder = self._folder / str(number)
        folder.mkdir()
        place = Place(folder, port, port + 1, ORIGIN_PORT, TLS_PORT, self._ca, HTTP2_PORT)
        command = peer.prepare(place)
        environment = {**_environment(), "HOME": str(folder)}
        core = self._bench.cores.proxy
        with running(list(command), core=core, folder=folder, environment=environment) as program:
            yield program, place, program.wait_listening(peer.ports(place))

    def measure(self, peer: Peer, metrics: Sequence[Metric], round_number: int) -> list[report.Row]:
        """One round of one proxy."""
        rows = []
        try:
            with self._started(peer) as (program, place, start_s):
                for kind in peer.speaks:  # what is loaded or made at the first use is there
                    self._bench.put(_WARMING, program, kind, peer.port(place, kind), _WARMING_S)
                for metric in metrics:
                    if (kind_asked := metric.kind(peer)) is None:
                        continue
                    port = peer.port(place, kind_asked)
                    measured = self._bench.put(metric.load, program, kind_asked, port, self._seconds)
                    numbers = dict(metric.numbers(measured)) if measured.result.whole or measured.result.bytes else {}
                    if metric is IDLE:
                        numbers[Quantity.START_S] = start_s
                    row = report.Row(
                        peer.name, metric.name, round_number, numbers, measured.wrong, measured.others_cores
                    )
                    rows.append(row)
        except NotStarted as error:
            rows += [
                report.Row(peer.name, metric.name, round_number, {}, f"not started: {error}") for metric in metrics
            ]
        return rows

    def point(self, case: curves.Case) -> curves.Point:
        """One point of a curve."""
        try:
            with self._started(case.peer) as (program, place, start_s):
                kind = case.peer.speaks[0]
                self._bench.put(_WARMING, program, kind, case.peer.port(place, kind), _WARMING_S)
                measured = self._bench.put(case.load, program, kind, case.peer.port(place, kind), self._seconds)
                return curves.point(case, measured, start_s)
        except NotStarted as error:
            return curves.Point(case.line, case.x, 0, 0, 0, f"not started: {error}")


def compare(
    runner: Runner, wanted: Mapping[Peer, Sequence[Metric]], rounds: int, told: Told = print
) -> list[report.Row]:
    """All rounds of all peers."""
    rows: list[report.Row] = []
    for number in range(rounds):
        for peer in random.sample(list(wanted), len(wanted)):
            found = runner.measure(peer, wanted[peer], number)
            rows += found
            shown = (f"{row.metric} {_first(row)}{' FAILED: ' + row.wrong if row.wrong else ''}" for row in found)
            told(f"round {number + 1}, {peer.name}: {'; '.join(shown)}")
    return rows


def _first(row: report.Row) -> str:
    return next((written(quantity, number) for quantity, number in row.numbers.items()), "–")


def chosen(only: Sequence[str]) -> tuple[dict[Peer, Sequence[Metric]], list[curves.Curve]]:
    """Peers with their metrics, and curves. Words name peers, tables' settings, metrics or curves; with none, all.
    Raises LookupError for any other word."""
    names = {peer.name for peer in PEERS} | set(Setting)
    metric_names, curve_names = {metric.name for metric in METRICS}, {curve.name for curve in curves.CURVES}
    if unknown := [word for word in only if word not in names | metric_names | curve_names]:
        known = ", ".join([*(peer.name for peer in PEERS), *Setting, *sorted(metric_names), *sorted(curve_names)])
        raise LookupError(f"{unknown[0]}: no peer, metric or curve is called so; there are {known}")
    of_peers, of_metrics = names.intersection(only), metric_names.intersection(only)
    wanted: dict[Peer, Sequence[Metric]] = {}
    for peer in PEERS:
        metrics = [m for m in measured_in(peer.setting) if m.kind(peer) and (not of_metrics or m.name in of_metrics)]
        if metrics and (not of_peers or {peer.name, str(peer.setting)} & of_peers):
            wanted[peer] = metrics
    if only and not (of_peers or of_metrics):
        wanted = {}
    return wanted, [curve for curve in curves.CURVES if not only or curve.name in only]


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        wanted, wanted_curves = chosen(asked.only)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    cores = Cores.of_this_machine()
    notes = [_machine(cores), f"peers: {versions()}", f"rounds: {asked.rounds}, of {asked.seconds:g} s for each number"]
    for peer in [peer for peer in wanted if peer.why_not()]:
        notes.append(f"{peer.name} is left out: {peer.why_not()}")
        del wanted[peer]
    notes.append("; ".join(f"{peer.name}: {peer.note}" for peer in wanted if peer.note))
    print("\n".join(notes), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended and tidied up
    try:
        move_into_own(_FILES)
    except OSError as error:
        print(f"This machine does not let us make a network of our own (unshare -Urnm): {error}", file=sys.stderr)
        return 1
    if (descriptors := allow_descriptors()) < DESCRIPTORS:
        notes.append(f"only {descriptors:,} descriptors for each program: some proxies need more for 5,000 tunnels")
    with tempfile.TemporaryDirectory(prefix="byway-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # squid becomes another user
        with bench(asked.build, folder, cores) as here:
            rows, points = _run(here, folder, asked, wanted, wanted_curves)
    if rows:
        others = [row.others_cores for row in rows]
        notes.append(f"other work took {statistics.median(others):.2f} cores (median), {max(others):.2f} at most")
        if statistics.median(others) > 0.1:
            notes.append("BUSY MACHINE: the figures are not to be kept")
    plotted = [curves.table(curve, points[curve.name]) for curve in wanted_curves]
    _write(asked.out, "".join([report.tables(rows, notes), *plotted]), rows, points)
    print((asked.out / "table.md").read_text())
    print(f"written: {', '.join(sorted(str(path) for path in asked.out.iterdir()))}")
    return 1 if any(row.wrong for row in rows if row.peer.startswith("byway")) else 0


def _run(
    here: Bench,
    folder: Path,
    asked: argparse.Namespace,
    wanted: Mapping[Peer, Sequence[Metric]],
    wanted_curves: Sequence[curves.Curve],
) -> tuple[list[report.Row], dict[str, list[curves.Point]]]:
    began = time.monotonic()

    def told(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    bare, http2, ca = tls_relay(folder, port=TLS_PORT, http2_port=HTTP2_PORT, origin_port=ORIGIN_PORT)
    points: dict[str, list[curves.Point]] = {}
    with ExitStack() as relays:
        for port, command in ((TLS_PORT, bare), (HTTP2_PORT, http2)):
            if command[0]:  # what needs one that is not installed is left out
                relay = relays.enter_context(running(list(command), core=here.cores.load, folder=folder))
                relay.wait_listening({port})
        runner = Runner(here, folder, ca, seconds=asked.seconds)
        rows = compare(runner, wanted, asked.rounds, told)
        for curve in wanted_curves:
            points[curve.name] = []
            for case in curves.shuffled(curve):
                found = runner.point(case)
                points[curve.name].append(found)
                told(
                    f"{curve.name}, {case.line}, {case.x:,}: "
                    + (found.wrong or f"{found.cpu_us:.1f} µs each {curve.each}, {found.memory_mib:.0f} MiB")
                )
    return rows, points


def _write(out: Path, table: str, rows: Sequence[report.Row], points: Mapping[str, Sequence[curves.Point]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(table)
    found = {"rows": list(map(asdict, rows)), "curves": {name: list(map(asdict, of)) for name, of in points.items()}}
    (out / "results.json").write_text(json.dumps(found, indent=1))
    for curve in curves.CURVES:
        if curve.name in points:
            for name, chart in curve.charts(points[curve.name]).items():
                (out / f"{name}.svg").write_text(draw(chart))


def _machine(cores: Cores) -> str:
    """What runs on what, and whether something else does as well."""
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    busy = os.getloadavg()[0]
    parts = [
        f"Byway {told.stdout.strip() or 'of unknown version'}",
        f"Python {platform.python_version()}",
        f"Linux {platform.release()}",
        f"{len(os.sched_getaffinity(0))} cores{f' ({model[1]})' if model else ''}, "
        + ("the proxy on one and the load on another" if cores.apart else "ONE CORE for the proxy and the load: "
           "compare CPU time, not rates"),
        f"load {busy:.1f} before the run{': BUSY MACHINE' if busy > 0.5 else ''}",
    ]  # fmt: skip
    return "; ".join(parts)


def _environment() -> dict[str, str]:
    """Ours without what would change a proxy."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BYWAY_") and not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each number")
    parser.add_argument("--only", type=_words, default=(), metavar="NAME,NAME", help="peers, metrics, curves")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-results")
    parser.add_argument("--build", type=Path, default=ROOT / ".bench", help="where the C programs are compiled into")
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
