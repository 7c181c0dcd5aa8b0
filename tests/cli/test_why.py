"""`byway why` tells what is known, and that nothing is."""

from __future__ import annotations

import sys
import time

import pytest

from tests.cli.conftest import Byway, Running
from tests.support.outcomes import rescued

BLOG = "blog.example.net"


def test_everything_known_is_told(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    ran = byway("why", f"https://{BLOG}/entry")
    facts = {row[0]: row[1] for row in ran.rows}
    assert facts["state"] == "likely blocked"
    assert facts["cause"] == "sni_reset"
    assert "tls_reset" in facts["evidence"]
    assert facts["went through"] == "tor"
    assert facts["plan"].startswith("tor → ")
    assert facts["by"].startswith("AUTO: likely blocked")
    assert facts["next re-test"].endswith((", in 2 min", ", in 3 min"))  # its moment has a jitter
    assert facts["network"]
    assert [row[1].partition(" ")[2] for row in ran.rows if row[0] == "attempt"]


def test_nothing_known_is_not_tested(byway: Byway, running: Running) -> None:
    ran = byway("why", "never.example")
    assert ["state", "not tested"] in ran.rows
    assert ran.code == 0


def test_a_person_gets_the_story(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = byway("why", BLOG).out
    assert said.startswith(f"◐ {BLOG} — likely blocked: ")
    assert "direct reset at first_byte after 100 ms" in said
    assert "tor delivered after 100 ms" in said
    assert "what to do" in said
    blocked = byway("why", "x.ads.example").out
    assert "(no route: it is refused)" in blocked


@pytest.mark.parametrize("site", ["a..b", "http://", "\x1b[2J"])
def test_what_is_no_site_is_wrong_usage(byway: Byway, running: Running, site: str) -> None:
    ran = byway("why", site)
    assert ran.code == 2
    assert "\x1b" not in ran.err
