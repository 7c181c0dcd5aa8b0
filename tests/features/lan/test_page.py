"""The page Phones: what it shows, and which of its forms need a fresh sign-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from proxy.control.answers.lan import GuestJson, LanJson, WaitingJson
from proxy.control.dashboard import sign_in
from proxy.features.lan import page
from proxy.features.lan.lan import LanRefused
from proxy.features.lan.page import CHOICES, LanView
from proxy.features.lan.qr import as_svg_path, as_text, qr_code, svg_size
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
    view = LanView(ON, as_svg_path(qr_code(URL)), svg_size(), CHOICES, ())
    monkeypatch.setattr(page, "_view", lambda _visit, _errors: view)
    text = await browser.text("phones")
    for part in (URL, "192.168.7.10", "192.168.7.11", "02:00:00:00:00:11", "192.168.7.12", "Allow this device?"):
        assert part in text


# -- codes -------------------------------------------------------------------------------------------------------------


def test_a_code_is_the_one_that_others_make() -> None:
    """Of a text that fills it. Compared with segno 1.6.6: version 2, L, mask 0."""
    rows = ["".join("#" if dark else "." for dark in row) for row in qr_code("x" * 32)]
    assert rows == FULL.split()


def test_a_text_is_read_from_its_code() -> None:
    assert read(qr_code(URL)) == URL.encode()


def test_a_longer_text_is_refused_and_the_longest_address_fits() -> None:
    with pytest.raises(ValueError, match="32"):
        qr_code("x" * 33)
    assert read(qr_code("http://255.255.255.255:65535/")) == b"http://255.255.255.255:65535/"


def test_a_code_is_drawn_with_its_margin() -> None:
    squares = qr_code(URL)
    dark = sum(map(sum, squares))
    assert as_svg_path(squares).count("M") == dark
    lines = as_text(squares).splitlines()
    assert len(lines) == (svg_size() + 1) // 2
    assert sum({"█": 2, "▀": 1, "▄": 1}.get(each, 0) for line in lines for each in line) == dark


def read(squares: Sequence[Sequence[bool]]) -> bytes:
    """Returns the text of a code, without its error correction."""
    size, bits, goes_up = len(squares), "", True

    def is_fixed(row: int, column: int) -> bool:
        corner = (row < 9 and (column < 9 or column >= size - 8)) or (row >= size - 8 and column < 9)
        return corner or 6 in (row, column) or (abs(row - 18) <= 2 and abs(column - 18) <= 2)

    for right in (*range(size - 1, 6, -2), 5, 3, 1):
        for row in reversed(range(size)) if goes_up else range(size):
            for column in (right, right - 1):
                if not is_fixed(row, column):
                    bits += "1" if squares[row][column] != ((row + column) % 2 == 0) else "0"
        goes_up = not goes_up
    assert bits[:4] == "0100"
    length = int(bits[4:12], 2)
    return bytes(int(bits[at : at + 8], 2) for at in range(12, 12 + 8 * length, 8))


FULL = """
#######..#.#.#.#..#######
#.....#..#.#.#.#..#.....#
#.###.#.#.#.#.#.#.#.###.#
#.###.#...#.#.#.#.#.###.#
#.###.#..#.#.#.#..#.###.#
#.....#..#.#.#.#..#.....#
#######.#.#.#.#.#.#######
........##.#.#.#.........
###.######.#.#.#.##...#..
#.#.##..#.#.#.#.#.#..##.#
##...###..#.#.#.#...#.###
.#...#...#.#.#.#.#.##..#.
.#.#.###..##.#.#.###.#...
.#####.#....#.#.#.#..##.#
#.#..###.##.#.#.#...#.###
.#.##..#...#.#.#.#.##..#.
#..####.#..#.#.#######...
........#.#.#.#.#...###.#
#######.###.#.###.#.#.###
#.....#.####.#..#...#..#.
#.###.#.##.#.#..######..#
#.###.#..##.#.##....#####
#.###.#.##..#.#..#.##.#.#
#.....#.#..#.#..####...#.
#######.##.#.#.##.#..#.##
"""
