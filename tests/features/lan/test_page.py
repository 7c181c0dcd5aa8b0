"""The page Phones: what it shows, and which of its forms need a fresh sign-in."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from proxy.control.answers.lan import GuestJson, LanJson, WaitingJson
from proxy.control.dashboard import sign_in
from proxy.features.lan import page
from proxy.features.lan.lan import LanRefused
from proxy.features.lan.page import CHOICES, LanView
from proxy.features.lan.qr import QrCode, qr_code
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import Browser

URL = "http://192.168.7.2:41234/"
ON = LanJson(
    is_on=True,
    network="home",
    interface="wlan0",
    address="192.168.7.2:41234",
    url=URL,
    ends_at=4e9,
    guests=(GuestJson("192.168.7.10", "02:00:00:00:00:10", 1.6e9, 2, 7, 100, 2000),),
    waiting=(WaitingJson("192.168.7.11", "02:00:00:00:00:11", 12.0),),
    expected=("192.168.7.12",),
)


@pytest.fixture
def world(features: Sequence[Feature]) -> Iterator[World]:
    world = World(features=features)
    yield world
    world.close()


class FakeLan:
    """Notes what the page asks for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def turn_on(self, for_s: float) -> None:
        self.asked.append(("on", for_s))

    def allow(self, address: str, hardware: str) -> None:
        self.asked.append(("allow", address, hardware))

    def deny(self, address: str, hardware: str) -> None:
        self.asked.append(("deny", address, hardware))

    def remove(self, address: str) -> None:
        raise LanRefused(f"{address} is not admitted")


@pytest.fixture
def lan(monkeypatch: pytest.MonkeyPatch) -> FakeLan:
    lan = FakeLan()
    monkeypatch.setattr(page, "lan_of", lambda _frame: lan)
    return lan


async def post(browser: Browser, path: str, **form: str) -> tuple[int, str]:
    return await browser.post(f"{browser.base}phones/{path}", {"token": await browser.token(), **form})


async def test_while_it_is_off_the_page_says_what_it_is(browser: Browser) -> None:
    text = await browser.text("phones")
    assert "Phones and televisions in your network can use Byway for a while." in text
    assert "2 hours" in text


async def test_it_is_turned_on_and_a_device_let_in_after_a_fresh_sign_in_alone(
    browser: Browser, lan: FakeLan, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {"address": "192.168.7.11", "hardware": "02:00:00:00:00:11"}
    await browser.token()
    monkeypatch.setattr(sign_in, "FRESH_S", -1.0)  # the code was redeemed long ago
    for path, form in (("on", {"for": "7200"}), ("answer", {**device, "answer": "allow"})):
        status, html = await post(browser, path, **form)
        assert status == 403
        assert "byway open" in html
    assert lan.asked == []
    await post(browser, "answer", **device, answer="deny")  # to refuse needs none
    assert lan.asked.pop() == ("deny", "192.168.7.11", "020000000011")
    monkeypatch.undo()
    monkeypatch.setattr(page, "lan_of", lambda _frame: lan)
    assert (await post(browser, "on", **{"for": "7200"}))[0] in (200, 303)
    assert (await post(browser, "answer", **device, answer="allow"))[0] in (200, 303)
    assert lan.asked == [("on", 7200.0), ("allow", "192.168.7.11", "020000000011")]


async def test_what_no_button_sends_is_refused(browser: Browser, lan: FakeLan) -> None:
    address = {"address": "192.168.7.11"}
    for path, form in (
        ("on", {}),
        ("on", {"for": "999999"}),
        ("answer", {**address, "answer": "own"}),
        ("answer", {**address, "answer": "allow"}),  # without the hardware address of the question
        ("answer", {**address, "answer": "remove"}),  # it is no guest
    ):
        assert (await post(browser, path, **form))[0] == 400, form
    assert lan.asked == []


async def test_the_page_shows_devices_and_the_code(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    view = LanView(ON, qr_code(URL), CHOICES, ())
    monkeypatch.setattr(page, "_view", lambda _visit, _errors: view)
    text = await browser.text("phones")
    for part in (URL, "192.168.7.10", "192.168.7.11", "02:00:00:00:00:11", "192.168.7.12", "Allow this device?"):
        assert part in text


# -- codes -------------------------------------------------------------------------------------------------------------


def made(text: str) -> QrCode:
    code = qr_code(text)
    assert code is not None
    return code


def test_a_code_is_drawn_with_its_margin_for_a_page_and_for_a_terminal() -> None:
    """Both show the same squares. Four light ones are around them; three corners have the pattern that readers look
    for."""
    code = made("http://192.168.255.255:65535/")
    dark = {(int(row), int(column)) for column, row in re.findall(r"M(\d+) (\d+)h1v1h-1z", code.path)}
    places = range(code.size)
    for top, left in ((4, 4), (4, code.size - 11), (code.size - 11, 4)):
        assert {(top + way, left) for way in range(7)} <= dark
        assert (top + 1, left + 1) not in dark
    assert all(4 <= row < code.size - 4 and 4 <= column < code.size - 4 for row, column in dark)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", code.text).splitlines()
    halves = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}
    shown = [[halves[each] for each in line] for line in lines if line]
    light = {(2 * at + half, column) for at, line in enumerate(shown) for column, pair in enumerate(line)
             for half in (0, 1) if pair[half]}  # fmt: skip
    assert {(row, column) for row in places for column in places} - light == dark


def test_without_segno_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert qr_code(URL) is None


async def test_without_a_code_the_address_is_there(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_view", lambda _visit, _errors: LanView(ON, None, CHOICES, ()))
    text = await browser.text("phones")
    assert URL in text
    assert "For a code to scan, install byway[qr] ." in text
