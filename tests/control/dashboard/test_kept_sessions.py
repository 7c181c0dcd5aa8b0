"""Sessions outlive a restart of Byway, as hashes, and what ended one holds after it."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import math
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from proxy.config.paths import Paths
from proxy.control.dashboard.kept_sessions import KeptSessions
from proxy.control.dashboard.sign_in import CODE_S, IDLE_S, SAVE_S, SESSIONS_MAX, Session, SignIn
from proxy.model.feature import Feature
from proxy.store.forgetting import Forgotten, forget_files
from tests.support.control_world import World
from tests.support.dashboard import Browser, dashboard
from tests.support.rows import each_row


@dataclass
class Computer:
    """A computer with a file of sessions, and its clocks. Each run of Byway has a loop clock of its own."""

    file: Path
    wall: float = 1e9
    steady: float = 5000.0
    loop: float = 70.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
        self.loop += seconds

    def byway(self) -> SignIn:
        self.loop = self.loop * 2 + 13  # another zero
        return SignIn(
            KeptSessions(self.file, now=lambda: self.wall, steady=lambda: self.steady, loop_time=lambda: self.loop)
        )

    async def signed_in(self, byway: SignIn) -> tuple[str, Session]:
        code = byway.new_code("", self.loop).text
        redeemed = byway.redeem(code, self.loop)
        assert redeemed is not None
        assert redeemed.session is not None
        await byway.written()
        return code, redeemed.session


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path / "sessions.json")


def found(computer: Computer, byway: SignIn, session: Session) -> Session | None:
    return byway.session(session.secret, session.cookie, computer.loop)


async def test_a_session_and_its_form_token_outlive_a_restart(computer: Computer) -> None:
    _, session = await computer.signed_in(computer.byway())
    computer.passes(IDLE_S - 1)
    again = found(computer, computer.byway(), session)
    assert again is not None
    assert again is not session
    assert (again.path, again.form_token) == (session.path, session.form_token)
    assert not again.is_fresh(computer.loop)


async def test_the_file_has_hashes_alone_and_is_private(computer: Computer) -> None:
    code, session = await computer.signed_in(computer.byway())
    text = computer.file.read_text()
    assert stat.S_IMODE(computer.file.stat().st_mode) == 0o600
    assert session.id in text
    for secret in (session.secret, session.cookie, session.form_token, code, code.replace("-", "")):
        assert secret not in text
    (entry,) = json.loads(text)
    assert entry.keys() == {"version", "id", "used_at", "used_steady", "code"}


async def test_neither_the_stored_hash_nor_half_of_a_session_gives_access(computer: Computer) -> None:
    _, session = await computer.signed_in(computer.byway())
    byway = computer.byway()
    for secret, cookie in ((session.id, session.id), (session.secret, session.id), (session.secret, ""), ("", "")):
        assert byway.session(secret, cookie, computer.loop) is None
    assert found(computer, byway, session) is not None


async def test_12_hours_without_a_request_end_it(computer: Computer) -> None:
    _, session = await computer.signed_in(computer.byway())
    computer.passes(IDLE_S + 1)
    assert found(computer, computer.byway(), session) is None


async def test_a_use_is_stored_after_a_while_and_when_byway_ends(computer: Computer) -> None:
    byway = computer.byway()
    _, session = await computer.signed_in(byway)
    computer.passes(IDLE_S - 10)
    assert found(computer, byway, session) is session
    await byway.written()
    computer.passes(SAVE_S - 1)
    assert found(computer, byway, session) is session
    await byway.close()
    computer.passes(IDLE_S - 1)
    assert found(computer, computer.byway(), session) is not None


@each_row(
    ("wall", "steady", "is_there"),
    [(IDLE_S - 1, IDLE_S - 1, True), (-30.0, 60.0, True), (-3600.0, 60.0, False), (60.0, IDLE_S + 1, False),
     (IDLE_S + 1, 60.0, False), (3600.0, -4000.0, True), (IDLE_S + 1, -4000.0, False)],
)  # fmt: skip
def test_no_clock_that_is_set_extends_it(wall: float, steady: float, is_there: bool, tmp_path: Path) -> None:
    """Below 0: set back; the steady clock begins anew with a boot."""

    async def run() -> None:
        computer = Computer(tmp_path / f"{wall}{steady}.json")
        _, session = await computer.signed_in(computer.byway())
        computer.wall += wall
        computer.steady += steady
        assert (found(computer, computer.byway(), session) is not None) is is_there

    asyncio.run(run())


async def test_signing_out_holds_after_a_restart(computer: Computer) -> None:
    byway = computer.byway()
    _, session = await computer.signed_in(byway)
    _, other = await computer.signed_in(byway)
    byway.sign_out(session)
    await byway.written()
    byway = computer.byway()
    assert found(computer, byway, session) is None
    again = found(computer, byway, other)
    assert again is not None
    byway.sign_out(again)
    await byway.written()
    assert not computer.file.exists()


async def test_a_code_used_twice_ends_it_before_and_after_a_restart(computer: Computer) -> None:
    byway = computer.byway()
    code, session = await computer.signed_in(byway)
    assert byway.redeem(code, computer.loop) is None
    await byway.written()
    assert found(computer, computer.byway(), session) is None
    code, session = await computer.signed_in(byway)
    computer.passes(CODE_S - 1)
    byway = computer.byway()
    assert byway.redeem(code.lower(), computer.loop) is None
    assert found(computer, byway, session) is None
    await byway.written()
    assert found(computer, computer.byway(), session) is None


async def test_a_code_of_long_ago_ends_nothing(computer: Computer) -> None:
    byway = computer.byway()
    code, session = await computer.signed_in(byway)
    computer.passes(CODE_S + 1)
    await byway.close()
    assert json.loads(computer.file.read_text())[0]["code"] == ""
    byway = computer.byway()
    assert byway.redeem(code, computer.loop) is None
    assert found(computer, byway, session) is not None


async def test_at_most_so_many_are_kept(computer: Computer) -> None:
    byway = computer.byway()
    sessions = [(await computer.signed_in(byway))[1] for _ in range(SESSIONS_MAX + 1)]
    byway = computer.byway()
    assert [found(computer, byway, each) is not None for each in sessions] == [False] + [True] * SESSIONS_MAX


async def test_without_a_file_nothing_is_kept(computer: Computer, tmp_path: Path) -> None:
    byway = SignIn(KeptSessions(None, loop_time=lambda: 1.0))
    code = byway.redeem(byway.new_code("", 1.0).text, 1.0)
    assert code is not None
    await byway.close()
    assert os.listdir(tmp_path) == []


def _entry(**changes: object) -> str:
    entry = {"version": 1, "id": "0" * 64, "used_at": 1e9, "used_steady": 5000.0, "code": "", **changes}
    return json.dumps([entry])


@each_row(
    "text",
    ["", "{", "null", "[1]", "{}x", "\0\0", "[" * 100_000, _entry(version=2), _entry(version="1"), _entry(id="x"),
     _entry(id=7), _entry(used_at=math.nan), _entry(used_at=-1), _entry(used_steady=None), _entry(code="x"),
     '[{"version": 1}]'],
)  # fmt: skip
def test_of_a_damaged_file_one_sentence_is_left(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(text)
    file.chmod(0o600)
    handler = logging.handlers.BufferingHandler(100)
    log = logging.getLogger("proxy.store.saved_values")
    log.addHandler(handler)
    try:
        assert KeptSessions(file, loop_time=lambda: 1.0).load() == []
    finally:
        log.removeHandler(handler)
    assert [record.getMessage().partition(":")[0] for record in handler.buffer] == [
        "Browsers are signed out of the dashboard"
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes")
async def test_a_file_that_others_may_write_counts_as_damaged(
    computer: Computer, caplog: pytest.LogCaptureFixture
) -> None:
    _, session = await computer.signed_in(computer.byway())
    for mode in (0o620, 0o602, 0o666):
        computer.file.chmod(mode)
        assert found(computer, computer.byway(), session) is None
    assert len(caplog.records) == 3


async def test_a_file_of_another_user_counts_as_damaged(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, session = await computer.signed_in(computer.byway())
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert found(computer, computer.byway(), session) is None
    assert len(caplog.records) == 1


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    world = World(features=features, sessions_file=tmp_path / "sessions.json")
    yield world
    world.close()


async def test_a_form_of_an_open_tab_is_right_after_a_restart(world: World, tmp_path: Path) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as browser:
        assert (await browser.get(f"{browser.base}dashboard.css"))[0] == 200
        port, base = pages.port, browser.base
        cookies = [*browser.session.cookie_jar]
        jar.update_cookies({each.key: each for each in cookies}, URL(pages.url))
    token = Session("", "", cookies[0].value, 0.0, 0.0).form_token
    assert world.sessions_file is not None
    assert cookies[0].value not in world.sessions_file.read_text()
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        async with dashboard(world, tmp_path, port) as pages:
            browser = Browser(pages, session, base)
            assert (await browser.get(f"{base}dashboard.css"))[0] == 200
            assert (await browser.post(f"{base}sign-out", {"token": "0" * 32}))[0] == 403
            status, text = await browser.post(f"{base}sign-out", {"token": token})
            assert (status, "Signed out" in text) == (200, True)
        async with dashboard(world, tmp_path, port):
            assert (await browser.get(f"{base}dashboard.css"))[0] == 401


@pytest.mark.uses("settings")
async def test_to_forget_all_ends_every_session_and_less_ends_none(world: World, tmp_path: Path) -> None:
    assert world.sessions_file is not None
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as one, pages.signed_in() as other:
        token = Session("", "", next(each.value for each in one.session.cookie_jar), 0.0, 0.0).form_token
        assert (await one.post(f"{one.base}forget", {"token": token, "what": "host", "value": "example.org"}))[0] == 303
        assert (await other.get(f"{other.base}dashboard.css"))[0] == 200
        status, text = await one.post(f"{one.base}forget", {"token": token, "what": "all"})
        assert (status, "Signed out" in text, "byway open" in text) == (200, True, True)
        for browser in (one, other):
            assert (await browser.get(f"{browser.base}dashboard.css"))[0] == 401
        assert not world.sessions_file.exists()
        async with pages.signed_in(), pages.api.post("/v1/forget", json={"all": True}) as answer:
            assert answer.status == 200
            assert not world.sessions_file.exists()


def test_to_forget_all_deletes_the_file_of_a_byway_that_does_not_run(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    paths.sessions_file.write_text("[]")
    assert "sign-ins to the dashboard" not in forget_files(paths, Forgotten(host="example.org"))
    assert paths.sessions_file.exists()
    assert "sign-ins to the dashboard" in forget_files(paths, Forgotten())
    assert not paths.sessions_file.exists()
