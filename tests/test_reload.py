"""How an edit takes the place of what was: whole, once it is whole itself, and never when it is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.errors import ConfigError
from proxy.model import Action, Destination, Override
from proxy.net.poller import make_poller
from proxy.reload import InUse
from proxy.services import Setup
from proxy.setup import SetupMaker

WHERE = Destination("a.example", 443)


class Configured:
    """A folder of files, and what is in use of them."""

    def __init__(self, folder: Path, *, config: str = "", flags: dict[str, object] | None = None) -> None:
        self._poller = make_poller(asyncio.get_running_loop())
        self.paths = Paths.locate({}, config=folder / "config.toml", state=folder / "state")
        self.paths.config_file.write_text(config)
        self.taken: list[Setup] = []
        loaded = load(self.paths.config_file, env={}, flags=flags or {})
        maker = SetupMaker(self._poller, self.paths)
        self.in_use = InUse(maker, self.paths, loaded, {}, flags=flags or {}, taken=self.taken.append)

    def close(self) -> None:
        self._poller.close()

    @property
    def rules(self) -> int:
        return len(self.in_use.setup.router.rules)


@pytest.fixture
async def configured(tmp_path: Path) -> AsyncIterator[Configured]:
    made = Configured(tmp_path)
    yield made
    made.close()


async def test_an_edit_is_taken_once_it_has_come_to_rest(configured: Configured) -> None:
    in_use, before = configured.in_use, configured.in_use.setup
    in_use.look()
    assert in_use.setup is before
    configured.paths.rules_file.write_text("DOMAIN,a.example,BLOCK\n")
    in_use.look()
    assert in_use.setup is before, "an editor may be in the midst of it"
    configured.paths.rules_file.write_text("DOMAIN,a.example,BLOCK\nMATCH,AUTO\n")
    in_use.look()
    assert in_use.setup is before, "and it was"
    in_use.look()
    assert configured.rules == 2
    assert configured.taken == [in_use.setup]
    after = in_use.setup
    in_use.look()
    in_use.look()
    assert in_use.setup is after, "once"


async def test_a_wrong_edit_changes_nothing_until_it_is_mended(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    in_use, before = configured.in_use, configured.in_use.setup
    configured.paths.rules_file.write_text("DOMAIN,a.example,NOWHERE\n")
    (problem,) = in_use.reload()
    assert problem.startswith("rules.txt:1: ")
    assert (in_use.setup, in_use.problem, configured.taken) == (before, problem, [])
    for _ in range(3):
        in_use.look()
    assert in_use.setup is before
    assert caplog.messages.count(problem) == 1, "it is told once, and not at each look"
    configured.paths.rules_file.write_text("DOMAIN,a.example,DIRECT\n")
    assert in_use.reload() == []
    assert (in_use.problem, configured.rules) == ("", 1)


async def test_what_site_set_says_outlives_an_edit(configured: Configured) -> None:
    in_use = configured.in_use
    in_use.override("a.example", Override(Action.BLOCK))
    assert in_use.setup.router.overrides == {"a.example": Override(Action.BLOCK)}
    configured.paths.rules_file.write_text("MATCH,AUTO\n")
    in_use.reload()
    assert in_use.setup.router.overrides == {"a.example": Override(Action.BLOCK)}
    in_use.override("a.example", None)
    in_use.override("never.example", None)
    assert in_use.setup.router.overrides == {}


async def test_the_port_that_was_had_is_our_own(tmp_path: Path) -> None:
    configured = Configured(tmp_path, flags={"listen.port": 0})
    ours = Destination("127.0.0.1", 9119)
    try:
        assert "Byway" not in (configured.in_use.setup.guard.refuse_host(ours) or "")
        configured.in_use.listens_on(9119)
        for _ in range(2):
            assert "Byway" in (configured.in_use.setup.guard.refuse_host(ours) or "")
            configured.in_use.reload()
    finally:
        configured.close()


async def test_what_listens_to_everybody_keeps_its_password(tmp_path: Path) -> None:
    """Of the address of the start: that of the edit is for the next one."""
    closed = '[listen]\naddress = "0.0.0.0"\nuser = "me"\npassword_cmd = "echo secret"\n'
    configured = Configured(tmp_path, config=closed)
    try:
        configured.paths.config_file.write_text("")
        (problem,) = configured.in_use.reload()
        assert "0.0.0.0 would serve everybody" in problem
    finally:
        configured.close()


async def test_what_an_edit_cannot_change_is_said(configured: Configured, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "proxy")
    configured.paths.config_file.write_text("[listen]\nport = 8120\n[detect]\nsyn_s = 2.5\n")
    assert configured.in_use.reload() == []
    assert [line.split(":")[0] for line in caplog.messages] == ["[listen] address and port", "[detect]"]


async def test_there_has_to_be_something_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("NONSENSE\n")
    with pytest.raises(ConfigError, match=r"rules\.txt:1: "):
        Configured(tmp_path)
