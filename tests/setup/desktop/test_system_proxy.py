"""Byway as the system proxy, and back: whatever interrupts it, and whoever else changes the setting."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.setup.desktop.programs import DesktopError
from proxy.setup.desktop.proxy_settings import DesktopName, Values
from proxy.setup.desktop.system_proxy import Restored, Saved, SystemProxy, given_back
from tests.support.desktops import Killed, MemorySettings


def values(mode: str = "none", url: str = "", host: str = "", local: str = "") -> Values:
    return {"mode": mode, "url": url, "host": host, "local": local}


BEFORE = values("manual", "http://corp.example/a.pac", "corp.example:3128", "*.corp.example")
PAC = "http://127.0.0.1:8119/proxy.pac"
HOST = "127.0.0.1:8119"
LENIENT = {**BEFORE, "mode": "auto", "url": PAC}
STRICT = {**BEFORE, "mode": "manual", "host": HOST, "local": "10.*"}
OTHERS = [BEFORE, values(), values("auto", "http://corp.example/a.pac"), values("none", host="corp.example:1")]


class Session:
    """A user's system proxy, and the file of Byway's."""

    def __init__(self, folder: Path, **places: Values) -> None:
        self.desktop = MemorySettings(**(places or {"here": BEFORE}))
        self.file = folder / "system-proxy.json"

    @property
    def proxy(self) -> SystemProxy:
        """As a new process has it: nothing but the file is remembered."""
        return SystemProxy(self.file, lambda name: self.desktop)

    def turn_on(self, *, strict: bool = False, port: int = 8119) -> str:
        return self.proxy.turn_on(DesktopName.GNOME, "127.0.0.1", port, strict=strict)

    def change(self, *, strict: bool) -> bool:
        return self.proxy.change("127.0.0.1", 8119, strict=strict)

    def somebody_sets(self, place: str = "here", **new: str) -> None:
        self.desktop.places[place] |= new

    @property
    def here(self) -> Values:
        return self.desktop.places["here"]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


@pytest.mark.parametrize(("strict", "url", "on"), [(False, PAC, LENIENT), (True, f"http://{HOST}", STRICT)])
def test_on_and_off(session: Session, strict: bool, url: str, on: Values) -> None:
    assert session.turn_on(strict=strict) == url
    assert session.here == on
    assert stat.S_IMODE(session.file.stat().st_mode) == 0o600
    assert session.proxy.restore() is Restored.RESTORED
    assert session.here == BEFORE
    assert not session.file.exists()
    assert session.proxy.restore() is Restored.NOTHING


def test_what_was_there_is_on_the_disk_before_anything_is_written(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            steps.append(step)
            return function(*given)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    monkeypatch.setattr(session.desktop, "write", noted("write", session.desktop.write))
    session.turn_on()
    assert steps == ["fsync", "replace", "fsync", "write", "write"]  # the content, the name, the folder; the setting


@pytest.mark.parametrize("before", OTHERS)
@pytest.mark.parametrize("writes", range(13))
def test_killed_after_any_write_it_is_restored(tmp_path: Path, writes: int, before: Values) -> None:
    """While it is turned on, made strict and made lenient again, in two places."""
    session = Session(tmp_path, here=before, there=before)
    session.desktop.writes_left = writes
    try:
        session.turn_on()
        session.change(strict=True)
        session.change(strict=False)
    except Killed:
        pass
    session.desktop.writes_left = 1000
    assert session.proxy.restore() is Restored.RESTORED
    assert session.desktop.places == {"here": before, "there": before}


@pytest.mark.parametrize("before", OTHERS)
@pytest.mark.parametrize("writes", range(9))
def test_killed_while_it_restores_it_goes_on_later(tmp_path: Path, writes: int, before: Values) -> None:
    session = Session(tmp_path, here=before, there=before)
    session.turn_on()
    session.change(strict=True)
    session.desktop.writes_left = writes
    try:
        session.proxy.restore()
    except Killed:
        session.desktop.writes_left = 1000
        session.proxy.restore()
    assert session.desktop.places == {"here": before, "there": before}
    assert not session.file.exists()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("newer", "after"),
    [
        (values("auto", "http://other.example/x.pac"), values("auto", "http://other.example/x.pac")),
        (values("auto", "http://127.0.0.1:9/proxy.pac"), values("auto", "http://127.0.0.1:9/proxy.pac")),
        (values("manual", host="other.example:1"), values("manual", host="other.example:1")),
        (values(), values()),
    ],
)
def test_a_newer_value_of_somebody_else_stays(session: Session, strict: bool, newer: Values, after: Values) -> None:
    session.turn_on(strict=strict)
    session.somebody_sets(**newer)
    assert session.proxy.restore() is Restored.KEPT_NEWER
    assert session.here == after
    assert not session.file.exists()


@pytest.mark.parametrize("strict", [False, True])
def test_turned_off_by_hand_it_stays_off(session: Session, strict: bool) -> None:
    session.turn_on(strict=strict)
    session.somebody_sets(mode="none")
    assert session.proxy.restore() is Restored.KEPT_NEWER
    assert session.here == {**BEFORE, "mode": "none"}


def test_a_manual_proxy_of_somebody_else_beside_our_url_stays(session: Session) -> None:
    session.turn_on()
    session.somebody_sets(mode="manual", host="other.example:1")
    assert session.proxy.restore() is Restored.KEPT_NEWER
    assert session.here == {**BEFORE, "mode": "manual", "host": "other.example:1"}


def test_turned_on_twice_it_still_knows_what_was_there(session: Session) -> None:
    session.turn_on()
    session.turn_on(strict=True)
    session.turn_on(port=9000)  # after a crash, and a start that could not restore it
    assert session.here["url"] == "http://127.0.0.1:9000/proxy.pac"
    assert session.proxy.restore() is Restored.RESTORED
    assert session.here == BEFORE


def test_killed_while_it_changes_the_port_it_is_restored(session: Session) -> None:
    session.turn_on()
    session.desktop.writes_left = 0
    with pytest.raises(Killed):
        session.turn_on(port=9000)
    session.desktop.writes_left = 1000
    assert session.proxy.restore() is Restored.RESTORED
    assert session.here == BEFORE


def test_turned_on_after_somebody_elses_change_that_one_comes_back(session: Session) -> None:
    newer = values("auto", "http://other.example/x.pac")
    session.turn_on()
    session.somebody_sets(**newer)
    session.turn_on()
    session.proxy.restore()
    assert session.here == newer


@pytest.mark.parametrize("strict", [False, True])
def test_without_its_file_its_own_value_is_not_taken_for_what_was_there(session: Session, strict: bool) -> None:
    session.turn_on(strict=strict)
    session.file.unlink()
    session.turn_on()
    session.proxy.restore()
    assert session.here["mode"] == "none"


def test_it_becomes_strict_only_where_it_is_still_byways(tmp_path: Path) -> None:
    session = Session(tmp_path, here=BEFORE, there=BEFORE)
    assert not session.change(strict=True)
    session.turn_on()
    session.somebody_sets("there", url="http://other.example/x.pac")
    there = session.desktop.places["there"]
    assert session.change(strict=True)
    assert session.here == {**STRICT, "url": PAC}
    assert session.desktop.places["there"] == there
    session.somebody_sets(mode="none")
    assert not session.change(strict=False)
    assert session.proxy.restore() is Restored.KEPT_NEWER
    assert session.desktop.places == {"here": {**BEFORE, "mode": "none"}, "there": there}


def test_a_service_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    session = Session(tmp_path, here=BEFORE, there=BEFORE)
    session.turn_on()
    del session.desktop.places["there"]
    assert session.proxy.restore() is Restored.RESTORED
    assert session.desktop.places == {"here": BEFORE}


def test_where_nothing_is_stored_there_is_nothing_to_restore(session: Session) -> None:
    """As gsettings does it where no session bus answers."""
    session.desktop.stores = False
    with pytest.raises(DesktopError, match="cannot be changed from here, so the system proxy was not set"):
        session.turn_on()
    assert not session.file.exists()
    assert session.proxy.restore() is Restored.NOTHING


def test_what_was_there_stays_on_the_disk_while_the_desktop_stores_nothing(session: Session) -> None:
    session.turn_on()
    session.desktop.stores = False
    with pytest.raises(DesktopError, match="did not store"):
        session.proxy.restore()
    with pytest.raises(DesktopError, match="did not store"):
        session.turn_on(strict=True)
    assert session.file.exists()
    session.desktop.stores = True
    assert session.proxy.restore() is Restored.RESTORED
    assert session.here == BEFORE


def test_what_was_stored_in_part_is_restored(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write = session.desktop.write

    def half(place: str, key: str, value: str) -> None:
        if key != "mode":
            write(place, key, value)

    monkeypatch.setattr(session.desktop, "write", half)
    with pytest.raises(DesktopError, match="did not store"):
        session.turn_on()
    assert session.here["url"] == PAC
    assert session.proxy.restore() is Restored.RESTORED
    assert session.here == BEFORE


def test_without_a_network_service_nothing_is_written(session: Session) -> None:
    session.desktop.places.clear()
    with pytest.raises(DesktopError, match="no network service"):
        session.turn_on()
    assert not session.file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "\xff", '{"desktop": "beos", "before": {}, "ours": []}',
        '{"desktop": "gnome", "before": {}, "ours": [{}]}', '{"desktop": "gnome", "before": {"": 1}, "ours": []}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(session: Session, text: str) -> None:
    session.file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DesktopError, match=r"system-proxy\.json is damaged"):
        session.proxy.restore()
    assert session.here == BEFORE


def test_a_file_that_cannot_be_read_is_named(session: Session) -> None:
    session.file.mkdir()
    with pytest.raises(DesktopError, match=r"system-proxy\.json cannot be read: is a folder, not a file"):
        session.proxy.restore()


def test_the_file_is_read_as_it_was_written() -> None:
    saved = Saved(DesktopName.MACOS, {"Wi-Fi ü": {"mode": "No", "url": "a'b"}}, ({"url": "x", "mode": "Yes"},))
    assert Saved.parse(saved.to_json()) == saved


@pytest.mark.parametrize(
    ("listen", "host"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.1", "192.0.2.1")],
)
def test_the_address_that_this_computer_uses(session: Session, listen: str, host: str) -> None:
    pac = session.proxy.turn_on(DesktopName.GNOME, listen, 8119, strict=False)
    assert pac == session.here["url"] == f"http://{host}:8119/proxy.pac"


def test_given_back_takes_nothing_that_is_somebody_elses() -> None:
    ours: list[Values] = [{"url": "ours", "mode": "auto"}]
    before = {"url": "", "mode": "none", "host": "h"}
    assert given_back({"url": "ours", "mode": "auto", "host": "new"}, before, ours) == {**before, "host": "new"}
    theirs = {"url": "theirs", "mode": "auto", "host": "h"}
    assert given_back(theirs, before, ours) == theirs
