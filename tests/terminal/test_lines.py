"""What `byway run` prints at a terminal of 80 columns has no line that breaks within a word."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from proxy.terminal.lines import fitted
from tests.support.byway import Byway

CONFIG = "".join(f'[[relay]]\nname = "relay-number-{n}"\nurl = "socks5h://127.0.0.1:{n}"\n' for n in range(1, 7))


@pytest.mark.uses("today")
@pytest.mark.parametrize("config", ["", CONFIG], ids=["no relay", "relays"])
async def test_no_line_of_a_run_is_wider_than_its_terminal(tmp_path: Path, config: str) -> None:
    byway = Byway(tmp_path, config=config)
    with byway.at_terminal("run", "--port", "0", columns=80) as terminal:
        await terminal.until("Browser:")
        byway.rules.write_text("DOMAIN-SUFFIX,a-name-of-some-length.example,RELAY:there-is-no-relay-of-this-name\n")
        await terminal.until("Keeping the previous")
        await byway.command("stop")
        await terminal.ends()
    assert "Ctrl-C stops it." in " ".join(terminal.printed.split())
    assert [line for line in terminal.lines if len(line) > 80 and " " in line.strip()] == []


def test_elsewhere_a_line_stays_a_line() -> None:
    line = "word " * 40
    assert fitted(line, io.StringIO()) == line
    assert fitted(line, None) == line
