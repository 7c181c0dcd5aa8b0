"""What the shell completes, with a running Byway, from the files, and when nothing can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import rescued

BLOG = "blog.example.net"
Completed = Callable[[str], list[str]]


def asked(home: Home, line: str) -> dict[str, str]:
    """The environment in which bash asks for the last word of `byway FLAGS LINE`."""
    words = ["byway", *home.flags, *line.split(" ")]
    return {
        "_BYWAY_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


@pytest.fixture
def completed(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """What bash is offered."""

    def complete(line: str) -> list[str]:
        with monkeypatch.context() as environment:
            for name, value in asked(home, line).items():
                environment.setenv(name, value)
            ran = byway()
        assert ran.err == ""
        return ran.out.split()

    return complete


@pytest.fixture
def relays(home: Home) -> None:
    home.config.write_text('[[relay]]\nname = "filed"\nurl = "socks5h://127.0.0.1:9050"\n')
    (home.config.parent / "addons").mkdir()
    (home.config.parent / "addons" / "mine.py").write_text("")


@pytest.mark.uses("relays", "sites", "traffic")
@pytest.mark.usefixtures("relays")
def test_from_the_running_byway(byway: Byway, completed: Completed, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    byway("site", "set", "example.org", "relay:tor")
    assert completed("site show ") == ["example.org", BLOG, "example.net"]
    assert completed("site forget b") == [BLOG]
    assert completed("site set x.org relay:") == ["relay:tor", "relay:vps"]
    assert completed("relay test ") == ["tor", "vps"]
    assert completed("log --route ") == ["direct", "tor", "vps"]
    assert completed("log --site ") == ["example.org", BLOG, "example.net"]
    assert completed("why b") == [BLOG]


@pytest.mark.uses("relays", "sites")
@pytest.mark.usefixtures("relays")
def test_from_the_files(home: Home, completed: Completed) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy"],
        env={**os.environ, **asked(home, "site set x.org relay:")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["relay:filed"], "")
    assert completed("relay test ") == ["filed"]
    assert "mine" in completed("addons enable ")
    assert "notify" in completed("addons enable n")


@pytest.mark.uses("relays", "sites", "today", "traffic")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("site set x.org ", ["auto", "direct", "relay", "prefer-relay", "block"]),
        ("report --format ", ["ooni", "json", "csv", "har", "md"]),
        ("report --redact f", ["full"]),
        ("log --outcome r", ["relay", "rescued"]),
        ("addons docs pl", ["plan"]),
        ("addons new x --kind ins", ["inspect"]),
        ("sta", ["status"]),
        ("config set log.", ["log.hosts", "log.keep_days", "log.never"]),
        ("relay test ", []),
        ("site show ", []),
    ],
)
def test_words_and_nothing_where_nothing_is_known(completed: Completed, line: str, found: list[str]) -> None:
    assert completed(line) == found


@pytest.mark.uses("relays", "sites")
def test_nobody_who_types_is_told_of_an_error(home: Home, completed: Completed) -> None:
    home.config.write_text("nonsense")
    home.state.rmdir()
    assert completed("relay test ") == []
    assert completed("site show ") == []
