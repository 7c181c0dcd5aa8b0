"""`byway log`, once and as it goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from proxy.cli.client import Client
from proxy.cli.exits import Misused
from proxy.cli.log import HEADINGS, moment
from proxy.control import documents
from proxy.model import Symptom
from tests.cli.conftest import Byway, Home, Running
from tests.support.outcomes import HOME, failed, outcome, rescued, works
from tests.support.waiting import until

BLOG = "blog.example.net"


def test_the_oldest_comes_first(byway: Byway, running: Running) -> None:
    now = time.time()
    running.see(works("fine.example", at=now - 9), rescued(host=BLOG, at=now))
    ran = byway("log")
    assert ran.rows[0] == list(HEADINGS)
    assert [(row[1], row[5]) for row in ran.rows[1:]] == [("fine.example", "direct"), (BLOG, "tor")]
    assert ran.rows[2][9] == "direct reset at first_byte after 100 ms; tor delivered after 100 ms"
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
    ):
        assert [row[1] for row in byway("log", *words).rows[1:]] == [BLOG]
    assert byway("log", "--outcome", "odd").code == 2


def test_an_empty_log_says_so(byway: Byway, running: Running) -> None:
    ran = byway("log")
    assert ran.out == "\t".join(HEADINGS) + "\n"
    assert "nothing of the kind" in ran.err


def test_C10_what_strangers_sent_is_inert(byway: Byway, running: Running) -> None:
    nasty = outcome(failed(Symptom.GARBAGE, error="\x1b]0;owned\x07"), host="x\x1b[2J\t.example", at=time.time())
    running.see(nasty)
    ran = byway("log")
    assert "\x1b" not in ran.out
    assert len(ran.rows[1]) == len(HEADINGS)


def test_people_get_less(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(
        works("fine.example", at=time.time()), outcome(host="2001:db8::1", at=time.time(), error="refused: by rule")
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    said = byway("log").out
    assert "fine.example:443" in said
    assert "direct delivered after 100 ms; 0 B up" in said
    assert "[2001:db8::1]:443" in said
    assert "refused: by rule" in said


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
            assert (await process.stdout.readline()).startswith(b"at\t")
        assert b"before.example" in await process.stdout.readline()
        await until(lambda: running.world.followers == 1)
        running.see(rescued(host=BLOG, at=time.time()))
        line = await process.stdout.readline()
        assert BLOG.encode() in line
        if as_json:
            assert json.loads(line)["version"] == 1
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b""


def test_follow_begins_with_a_few_lines(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "follow", lambda *_, **__: iter(()))
    now = time.time()
    running.see(*(works(f"h{number:02}.example", at=now + number / 1000) for number in range(30)))
    ran = byway("log", "-f")
    assert [row[1] for row in ran.rows[1:]] == [f"h{number}.example" for number in range(20, 30)]
    assert "has ended" in ran.err


def test_what_ends_while_the_log_is_read_is_printed_once(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    both, later = works("both.example", at=now), works("later.example", at=now + 1)
    running.see(both)

    def follow(*_: object, **__: object) -> Iterator[dict[str, object]]:
        return iter([documents.outcome(both, HOME), documents.outcome(later, HOME)])

    monkeypatch.setattr(Client, "follow", follow)
    assert [row[1] for row in byway("log", "-f").rows[1:]] == ["both.example", "later.example"]


NOW = 1_000_000.0


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("text", ["", "h", "-1h", "1y", "yesterday", "1h1m", "9" * 20 + "h", "0001-01-01x"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(Misused, match="neither a length of time"):
        moment(text, now=NOW)


def test_a_wrong_time_is_said_before_anything_is_asked(byway: Byway) -> None:
    assert byway("log", "--since", "yesterday").code == 2
