"""How an edit takes the place of what was: whole, once it is whole itself, and never when it is wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.files import PIECE
from proxy.config.load import Loaded, load
from proxy.config.paths import Paths
from proxy.model import Action, Destination, Override
from proxy.model.errors import ConfigError
from proxy.net.poller import make_poller
from proxy.routing.rule import ANYWHERE
from proxy.session.setup import Setup
from proxy.setup import reload
from proxy.setup.checked import Checked, Parts, check
from proxy.setup.knowledge import SetupInUse
from proxy.setup.reload import ActiveSetup, OverrideEnds, steady_clock

WHERE = Destination("a.example", 443)


class Configured:
    """A folder of files, and what is in use of them."""

    def __init__(
        self, folder: Path, *, config: str = "", flags: dict[str, object] | None = None, port: int | None = None
    ) -> None:
        self._poller = make_poller(asyncio.get_running_loop())
        self.paths = Paths.locate({}, config=folder / "config.toml", state=folder / "state")
        self.paths.config_file.write_text(config)
        self.taken: list[Setup] = []
        loaded = load(self.paths.config_file, env={}, flags=flags or {})
        parts = Parts(self._poller, self.paths, loaded.settings.listen.port if port is None else port)
        on_replaced = self.taken.append
        self.in_use = ActiveSetup(SetupInUse(), parts, loaded, {}, flags=flags or {}, on_replaced=on_replaced)

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
    await in_use.poll()
    assert in_use.setup is before
    configured.paths.rules_file.write_text("DOMAIN,a.example,BLOCK\n")
    await in_use.poll()
    assert in_use.setup is before, "an editor may be in the midst of it"
    configured.paths.rules_file.write_text("DOMAIN,a.example,BLOCK\nMATCH,AUTO\n")
    await in_use.poll()
    assert in_use.setup is before, "and it was"
    await in_use.poll()
    assert configured.rules == 2
    assert configured.taken == [in_use.setup]
    after = in_use.setup
    await in_use.poll()
    await in_use.poll()
    assert in_use.setup is after, "once"


async def test_an_edit_of_a_file_that_a_list_includes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("include:other\n")
    (tmp_path / "other").write_text("full:a.example\n")
    configured = Configured(tmp_path, config='[[list]]\nname = "mine"\nsource = "mine"\n')
    before = configured.in_use.setup
    for _ in range(3):
        await configured.in_use.poll()
    assert configured.in_use.setup is before, "nothing was edited"
    (tmp_path / "other").write_text("full:a.example\ninclude:third\n")
    for _ in range(2):
        await configured.in_use.poll()
    assert len(configured.taken) == 1
    (tmp_path / "third").write_text("full:b.example\n")
    for _ in range(3):
        await configured.in_use.poll()
    assert len(configured.taken) == 2
    assert configured.in_use.setup.router.rules.is_listed("b.example")
    configured.close()


async def test_a_wrong_edit_changes_nothing_until_it_is_mended(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    in_use, before = configured.in_use, configured.in_use.setup
    configured.paths.rules_file.write_text("DOMAIN,a.example,NOWHERE\n")
    (problem,) = await in_use.reload()
    assert problem.startswith("rules.txt:1: ")
    assert (in_use.setup, in_use.problem, configured.taken) == (before, problem, [])
    for _ in range(3):
        await in_use.poll()
    assert in_use.setup is before
    assert caplog.messages.count(problem) == 1, "it is told once, and not at each look"
    configured.paths.rules_file.write_text("DOMAIN,a.example,DIRECT\n")
    assert await in_use.reload() == []
    assert (in_use.problem, configured.rules) == ("", 1)


async def test_rules_whose_folder_is_gone_stay_until_it_is_back(tmp_path: Path) -> None:
    """A disk that is unmounted, or a folder that is moved; rules.txt alone may be removed."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "rules.txt").write_text("DOMAIN,a.example,BLOCK\n")
    configured = Configured(folder)
    folder.rename(tmp_path / "elsewhere")
    (problem,) = await configured.in_use.reload()
    assert "config: the configuration's folder is gone" in problem
    assert configured.rules == 1
    (tmp_path / "elsewhere").rename(folder)
    assert await configured.in_use.reload() == []
    (folder / "rules.txt").unlink()
    assert await configured.in_use.reload() == []
    assert configured.rules == 0
    configured.close()


async def test_no_password_of_a_wrong_edit_is_told(configured: Configured, caplog: pytest.LogCaptureFixture) -> None:
    configured.paths.config_file.write_text('[safety]\nallow = ["http://me:correct-horse@relay.example/"]\n')
    problems = await configured.in_use.reload()
    for told in (problems[0], configured.in_use.problem, caplog.text):
        assert "me:***@relay.example" in told
        assert "correct-horse" not in told


async def test_what_site_set_says_outlives_an_edit(configured: Configured) -> None:
    in_use = configured.in_use
    in_use.override("a.example", Override(Action.BLOCK))
    assert in_use.setup.router.overrides == {"a.example": Override(Action.BLOCK)}
    configured.paths.rules_file.write_text("MATCH,AUTO\n")
    await in_use.reload()
    assert in_use.setup.router.overrides == {"a.example": Override(Action.BLOCK)}
    in_use.override("a.example", None)
    in_use.override("never.example", None)
    assert in_use.setup.router.overrides == {}


async def test_the_port_that_was_had_is_our_own(tmp_path: Path) -> None:
    configured = Configured(tmp_path, flags={"listen.port": 0}, port=9119)
    ours = Destination("127.0.0.1", 9119)
    try:
        for _ in range(2):
            assert "Byway" in (configured.in_use.setup.guard.refuse_host(ours) or "")
            await configured.in_use.reload()
    finally:
        configured.close()


async def test_what_listens_to_everybody_keeps_its_password(tmp_path: Path) -> None:
    """Of the address of the start: that of the edit is for the next one."""
    closed = '[listen]\naddress = "0.0.0.0"\nuser = "me"\npassword_cmd = "echo secret"\n'
    configured = Configured(tmp_path, config=closed)
    try:
        configured.paths.config_file.write_text("")
        (problem,) = await configured.in_use.reload()
        assert "0.0.0.0 lets everyone" in problem
    finally:
        configured.close()


async def test_what_an_edit_cannot_change_is_said(configured: Configured, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "proxy")
    configured.paths.config_file.write_text("[listen]\nport = 8120\n[detect]\nsyn_s = 2.5\n")
    assert await configured.in_use.reload() == []
    assert [line.split(":")[0] for line in caplog.messages] == ["[listen] address and port", "[detect]"]


async def test_there_has_to_be_something_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("NONSENSE\n")
    with pytest.raises(ConfigError, match=r"rules\.txt:1: "):
        Configured(tmp_path)


async def test_rules_that_another_user_could_change_are_not_taken(
    open_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured = Configured(open_folder)
    try:
        in_use, before, rules = configured.in_use, configured.in_use.setup, configured.paths.rules_file
        rules.write_text("MATCH,DIRECT\n")
        rules.chmod(0o666)
        (problem,) = await in_use.reload()
        assert problem == f"{rules}: not used: other users can write to it. Run: chmod go-w {rules}"
        assert (in_use.setup, in_use.problem) == (before, problem)
        assert "Keeping the previous configuration until this is fixed" in caplog.messages
        rules.chmod(0o644)  # what was said to mend it needs no edit besides
        for _ in range(2):
            await in_use.poll()
        assert (in_use.problem, configured.rules) == ("", 1)
        os.chmod(open_folder, 0o777)
        for _ in range(2):
            await in_use.poll()
        assert {problem.partition("Run: ")[2] for problem in in_use.problem.split("; ")} == {
            f"chmod go-w {open_folder}"
        }
        assert configured.rules == 1
    finally:
        configured.close()


async def test_files_are_read_beside_the_loop(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes reading slow must not stop connections."""
    threads = []

    def read(*arguments: Any, **more: Any) -> Loaded:
        threads.append(threading.current_thread())
        return load(*arguments, **more)

    monkeypatch.setattr(reload, "load", read)
    assert await configured.in_use.reload() == []
    assert threads
    assert threads[0] is not threading.main_thread()


async def test_the_reading_thread_pauses_so_that_connections_do_not_wait(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured.paths.config_file.write_text('[[list]]\nname = "large"\nsource = "large.txt"\n')
    listed = configured.paths.named("large.txt")
    listed.write_text("".join(f"site{n}.example\n" for n in range(10_000)))
    monkeypatch.setattr(reload, "PAUSE_S", 0.0123)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert await configured.in_use.reload() == []
    assert configured.in_use.setup.router.rules.is_listed("site9999.example")
    assert pauses.count(0.0123) >= listed.stat().st_size // PIECE


async def test_reading_that_does_not_end_is_given_up(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    before, release = configured.in_use.setup, threading.Event()

    def read(*arguments: Any, **more: Any) -> Loaded:
        release.wait(30)
        return load(*arguments, **more)

    monkeypatch.setattr(reload, "load", read)
    monkeypatch.setattr(reload, "READING_LIMIT_S", 0.05)
    try:
        assert await configured.in_use.reload() == ["reading the configuration took longer than 0.05 s"]
    finally:
        release.set()
    assert configured.in_use.setup is before


async def test_an_edit_during_the_reading_is_not_missed(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use, rules = configured.in_use, configured.paths.rules_file

    def read(parts: Parts, loaded: Loaded, *, pause_s: float) -> Checked:
        found = check(parts, loaded, pause_s=pause_s)
        if len(found.rules) == 0:
            rules.write_text("MATCH,AUTO\n")
        return found

    monkeypatch.setattr(reload, "check", read)
    assert await in_use.reload() == []
    for _ in range(2):
        await in_use.poll()
    assert configured.rules == 1


async def test_a_list_that_protects_nobody_any_more_is_not_taken(tmp_path: Path) -> None:
    """Its publisher changed the format, or a proxy in between sent a page."""
    (tmp_path / "gfw.txt").write_text("a.example\n")
    (tmp_path / "rules.txt").write_text("LIST,gfw,RELAY\n")
    configured = Configured(tmp_path, config='[[list]]\nname = "gfw"\nsource = "gfw.txt"\n')
    try:
        (tmp_path / "gfw.txt").write_text("<html>\n<p>Not found</p>\n</html>\n")
        (problem,) = await configured.in_use.reload()
        assert problem.startswith("rules.txt:1: this rule would cover almost no site: ")
        rule = configured.in_use.setup.router.rules.match(WHERE)
        assert rule is not None
        assert rule.action is Action.RELAY
    finally:
        configured.close()


@pytest.mark.parametrize("text", ["<html>\n<p>Not found</p>\n</html>\n", ""])
@pytest.mark.parametrize("rule", ["LIST,gfw,PREFER-RELAY\n", "LIST,gfw,AUTO\n", ""])
async def test_a_list_that_can_no_longer_be_read_stays_as_it_was(tmp_path: Path, rule: str, text: str) -> None:
    (tmp_path / "gfw.txt").write_text("a.example\n")
    (tmp_path / "rules.txt").write_text(rule)
    configured = Configured(tmp_path, config='[[list]]\nname = "gfw"\nsource = "gfw.txt"\n')

    def is_listed(host: str) -> bool:
        return configured.in_use.setup.router.rules.lists["gfw"].contains(host)

    try:
        (tmp_path / "gfw.txt").write_text(text)
        (problem,) = await configured.in_use.reload()
        assert problem.endswith("To use it as it is, set allow_empty = true in its [[list]]")
        assert is_listed("a.example")
        assert configured.in_use.problem == problem
        (tmp_path / "gfw.txt").write_text("b.example\n")
        assert await configured.in_use.reload() == []
        assert is_listed("b.example")
        assert not is_listed("a.example")
    finally:
        configured.close()


async def test_a_list_may_be_emptied_when_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "gfw.txt").write_text("a.example\n")
    configured = Configured(tmp_path, config='[[list]]\nname = "gfw"\nsource = "gfw.txt"\nallow_empty = true\n')
    try:
        (tmp_path / "gfw.txt").write_text("")
        assert await configured.in_use.reload() == []
        assert not configured.in_use.setup.router.rules.lists["gfw"].contains("a.example")
    finally:
        configured.close()


class SetClock:
    """A wall clock that can be set, and a steady one beside it."""

    def __init__(self) -> None:
        self._steady, self._offset = 5000.0, 1_700_000_000.0

    def now(self) -> float:
        return self._steady + self._offset

    def steady(self) -> float:
        return self._steady

    def set(self, *, by: float) -> None:
        self._offset += by

    def passes(self, seconds: float) -> None:
        self._steady += seconds


async def test_the_hosts_whose_override_has_ended(configured: Configured) -> None:
    in_use, clock = configured.in_use, SetClock()
    in_use._override_ends = OverrideEnds({}, clock.now, clock.steady)
    in_use.forget_caches()
    in_use.override("a.example", Override(Action.RELAY, until=clock.now() + 1000))
    in_use.override("b.example", Override(Action.BLOCK, until=clock.now() + 2000))
    in_use.override("c.example", Override(Action.BLOCK))

    def action(host: str) -> Action:
        return in_use.setup.router._reason(Destination(host, 443), host, ANYWHERE, clock.now()).action

    clock.set(by=86_400 * 400)
    assert (in_use.ended_overrides(), action("a.example")) == ([], Action.RELAY), "who sets the clock ends nothing"
    moved = in_use.moved_overrides()
    assert {host: round(override.until - clock.now()) for host, override in moved.items()} == {
        "a.example": 1000, "b.example": 2000,
    }  # fmt: skip
    for host, override in moved.items():
        in_use.override(host, override)
    assert in_use.moved_overrides() == {}
    clock.set(by=-86_400 * 800)
    clock.passes(999)
    assert (in_use.ended_overrides(), action("a.example")) == ([], Action.RELAY)
    clock.passes(1)
    assert (in_use.ended_overrides(), action("a.example")) == (["a.example"], Action.AUTO)
    in_use.override("a.example", None)
    clock.passes(2000)
    assert in_use.ended_overrides() == ["b.example"]
    assert action("c.example") is Action.BLOCK


HOUR = 3600.0


def test_an_override_of_a_start_ends_after_what_is_left_of_it() -> None:
    clock = SetClock()
    overrides = {
        "a.example": Override(Action.RELAY, until=clock.now() + HOUR),
        "b.example": Override(Action.RELAY),
        "c.example": Override(Action.RELAY, until=clock.now() - 1),
    }
    ends = OverrideEnds(overrides, clock.now, clock.steady)
    assert ends.ended() == ["c.example"]
    assert [ends.has_ended(host) for host in (*overrides, "d.example")] == [False, False, True, False]
    ends.set("c.example", None)
    clock.set(by=-2 * HOUR)
    clock.passes(HOUR)
    assert ends.ended() == ["a.example"], "a clock that is set back makes it no longer"


def test_a_clock_that_is_corrected_a_little_has_not_jumped() -> None:
    clock = SetClock()
    override = Override(Action.BLOCK, until=clock.now() + HOUR)
    ends = OverrideEnds({"a.example": override}, clock.now, clock.steady)
    for seconds in (2, -20):
        clock.set(by=seconds)
        assert ends.moved({"a.example": override}) == {}
    clock.set(by=-HOUR)
    assert ends.moved({"a.example": override}) == {"a.example": Override(Action.BLOCK, until=clock.now() + HOUR)}
    assert OverrideEnds({}, clock.now, clock.steady).moved({}) == {}


def test_the_steady_clock_goes_on() -> None:
    first = steady_clock()
    assert steady_clock() >= first
    assert abs(steady_clock() - first) < time.time()
