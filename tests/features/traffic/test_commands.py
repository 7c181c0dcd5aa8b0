"""`byway log`, once and as it goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from proxy.features.traffic.cells import HEADINGS
from proxy.features.traffic.filter import OUTCOMES
from proxy.model import Stage, Symptom
from proxy.model.document import document
from proxy.store import queries
from proxy.store.logged import LoggedConnection
from proxy.terminal.client import Client
from proxy.terminal.exit_codes import Misused
from proxy.terminal.options import moment
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome, rescued, works
from tests.support.rows import each_row
from tests.support.waiting import until

BLOG = "blog.example.net"


def test_the_oldest_comes_first(byway: Byway, running: Running) -> None:
    now = time.time()
    running.see(works("fine.example", at=now - 9), rescued(host=BLOG, at=now))
    ran = byway("log")
    assert ran.rows[0] == list(HEADINGS)
    assert [(row[2], row[6]) for row in ran.rows[1:]] == [("fine.example", "direct"), (BLOG, "tor")]
    assert datetime.fromisoformat(ran.rows[2][1]).timestamp() == int(now)  # ISO 8601, with its offset
    tried = "direct: connection reset after the TLS ClientHello, after 100 ms; tor: delivered, in 100 ms"
    assert ran.rows[2][10] == tried
    assert [row["host"] for row in byway("log", "--json").json["rows"]] == ["fine.example", BLOG]


def test_the_log_can_be_narrowed(byway: Byway, running: Running) -> None:
    now = time.time()
    running.see(works("fine.example", at=now - 7200), rescued(host=BLOG, at=now))
    for words in (
        ["--site", "example.net"],
        ["--since", "1h"],
        ["--route", "tor"],
        ["--outcome", "rescued"],
        ["-n", "1"],
        ["--filter", "example.net"],
        ["--filter", "route:tor outcome:rescued since:1h"],
        ["--filter", "outcome:rescued", "--since", "1h"],
        ["--filter", "rescued", "--network", HOME],
        ["--when", "1h"],
        ["--filter", f"network:{HOME}", "--when", "30m"],
    ):
        assert [row[2] for row in byway("log", *words).rows[1:]] == [BLOG]
    assert byway("log", "--outcome", "odd").code == 2
    assert byway("log", "--network", "cafe", "--when", "all").rows[1:] == []
    refused = byway("log", "--filter", "resul:failed")
    assert (refused.code, refused.err) == (2, 'byway: unknown key "resul"; did you mean result?\n')
    refused = byway("log", "--when", "yesterday 18-25")
    assert refused.code == 2
    assert "'yesterday 18-25' is not a period of time: use `yesterday 18-22`" in refused.err


def test_an_empty_log_says_so(byway: Byway, running: Running) -> None:
    ran = byway("log")
    assert ran.out == "\t".join(HEADINGS) + "\n"
    assert ran.err == "No connections are logged yet.\n"


def test_C10_what_strangers_sent_is_inert(byway: Byway, running: Running) -> None:
    nasty = outcome(failed(Symptom.GARBAGE, error="\x1b]0;owned\x07"), host="x\x1b[2J\t.example", at=time.time())
    running.see(nasty)
    ran = byway("log")
    assert "\x1b" not in ran.out
    assert len(ran.rows[1]) == len(HEADINGS)


def people(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")


def test_people_get_one_line_a_connection(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 11, 26, 12, 0, 5).timestamp()  # noqa: DTZ001  local is meant
    running.see(
        replace(works("fine.example", at=noon - 86_400), bytes_up=1000, bytes_down=20_000, duration=2.5),
        outcome(host="2001:db8::1", at=noon, error="blocked by rules.txt:1", port=8443),
        outcome(
            failed(Symptom.DROPPED), failed(Symptom.REFUSED, Stage.CONNECT, VPS), delivered(TOR), host=BLOG, at=noon + 1
        ),
    )
    people(monkeypatch)
    assert byway("log").out.splitlines() == [
        "2026-11-25",
        "  1 12:00:05 ✓ fine.example       direct  2.5 s 21.0 kB",
        "2026-11-26",
        "  2 12:00:05 ✗ [2001:db8::1]:8443 none                  blocked by rules.txt:1",
        "  3 12:00:06 ✓ blog.example.net   tor      0 ms    0 B  direct: dropped +1",
    ]


def test_the_attempts_are_shown_when_asked_for(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    people(monkeypatch)
    for words in (["--long"], ["-v"]):
        said = byway("log", *words).out
        assert "direct: connection reset after the TLS ClientHello, after 100 ms" in said
        assert "tor: delivered, in 100 ms" in said


def test_one_connection_by_its_number_or_its_host(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    running.see(rescued(host=BLOG, at=now - 1), works("fine.example", at=now))
    assert byway("log", "show", "1", "--json").json["host"] == BLOG
    assert byway("log", "show", BLOG, "--json").json["id"] == 1
    assert dict(byway("log", "show", "1").rows[:-2])["result"] == "delivered by tor"
    assert [row[1].partition(":")[0] for row in byway("log", "show", "1").rows if row[0] == "attempt"] == [
        "direct", "tor",
    ]  # fmt: skip
    people(monkeypatch)
    assert "✓ delivered by tor" in byway("log", "show", "1").out
    for unknown in ("99", "never.example"):
        ran = byway("log", "show", unknown)
        assert (ran.code, ran.err) == (2, f"byway: the log has no connection {unknown}\n")


@pytest.mark.parametrize("columns", [80, 120])
def test_every_line_fits_unless_a_name_does_not(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    now = time.time()
    many = [failed(symptom) for symptom in Symptom if symptom]
    running.see(
        outcome(*many, host="h" * 30 + ".example.org", at=now),
        outcome(*many[::-1], delivered(TOR), host="a.example", at=now),
        outcome(host="b.example", at=now, error="a sentence of more words than can stand in the rest of the line " * 3),
    )
    people(monkeypatch, columns)
    for words in ([], ["--long"]):
        assert max(map(len, byway("log", *words).out.splitlines())) <= columns


def test_what_was_not_tried_has_its_reason_at_80_columns(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence of an addon, and not the name of the site once more."""
    why = "addon quiet: it is night"
    refused = outcome(host="ads.example", at=time.time(), error=f"ads.example:443 was not tried: {why}")
    running.see(replace(refused, plan=replace(refused.plan, routes=(), why=why)))
    people(monkeypatch, 80)
    (_, line) = byway("log").out.splitlines()
    assert line.endswith(f"none                  {why}")


@pytest.mark.parametrize("as_json", [True, False])
async def test_follow_goes_on_until_interrupted(home: Home, running: Running, as_json: bool) -> None:
    running.see(works("before.example", at=time.time()))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", *home.flags, "log", "-f", *(["--json"] if as_json else [])),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        if not as_json:
            assert (await process.stdout.readline()).startswith(b"id\tat\t")
        assert b"before.example" in await process.stdout.readline()
        await until(lambda: running.world.followers == 1)
        running.see(rescued(host=BLOG, at=time.time()))
        line = await process.stdout.readline()
        assert BLOG.encode() in line
        if as_json:
            assert json.loads(line)["version"] == 2
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b""


def test_follow_begins_with_a_few_lines(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "follow", lambda *_, **__: iter(()))
    now = time.time()
    running.see(*(works(f"h{number:02}.example", at=now + number / 1000) for number in range(30)))
    ran = byway("log", "-f")
    assert [row[2] for row in ran.rows[1:]] == [f"h{number}.example" for number in range(20, 30)]
    assert "has ended" in ran.err


def test_what_ends_while_the_log_is_read_is_printed_once(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    both, later = works("both.example", at=now), works("later.example", at=now + 1)
    running.see(both)

    def follow(*_: object, **__: object) -> Iterator[dict[str, object]]:
        return iter([document(LoggedConnection.of(seen, HOME)) for seen in (both, later)])

    monkeypatch.setattr(Client, "follow", follow)
    assert [row[2] for row in byway("log", "-f").rows[1:]] == ["both.example", "later.example"]


NOW = 1_000_000.0


@each_row(
    ("text", "at"),
    [
        ("30s", NOW - 30),
        ("15m", NOW - 900),
        ("15 min", NOW - 900),
        ("1.5h", NOW - 5400),
        ("1D", NOW - 86_400),
        ("52w", 0.0),
        ("1970-01-02T00:00:00+00:00", 86_400.0),
    ],
)
def test_a_time_is_a_length_or_a_date(text: str, at: float) -> None:
    assert moment(text, now=NOW) == at


def test_a_date_is_local() -> None:
    assert moment("2008-10-07", now=NOW) == datetime(2008, 10, 7).timestamp()  # noqa: DTZ001  local is meant
    assert moment("2008-10-07T00:00:00Z", now=NOW) == datetime(2008, 10, 7, tzinfo=UTC).timestamp()


@each_row("text", ["", "h", "-1h", "1y", "tomorrow", "1h1m", "9" * 20 + "h", "0001-01-01x"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(Misused, match="is not a time: use a length"):
        moment(text, now=NOW)


def test_a_wrong_time_is_said_before_anything_is_asked(byway: Byway) -> None:
    assert byway("log", "--since", "tomorrow").code == 2


def test_the_words_of_outcome_are_those_of_the_store() -> None:
    assert set(OUTCOMES) == set(queries.OUTCOMES)
