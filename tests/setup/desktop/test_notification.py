"""A notification is transient, and its text is no option and no command of the program that shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.setup.desktop.notification import has_desktop, show_notification


@pytest.mark.parametrize(
    ("platform", "there", "begins", "transient"),
    [
        ("linux", {"gdbus", "notify-send"}, ["gdbus", "call", "--session"], "{'transient': <true>}"),
        ("linux", {"notify-send"}, ["notify-send", "--app-name=Byway"], "--hint=int:transient:1"),
        ("darwin", set(), ["osascript", "-e"], ""),
    ],
)
def test_each_desktop(platform: str, there: set[str], begins: list[str], transient: str) -> None:
    ran: list[list[str]] = []

    def run(*words: str) -> str:
        ran.append(list(words))
        return ""

    odd = '--icon=x "a\\b"'
    show_notification("Title", odd, run=run, which=lambda name: name if name in there else None, platform=platform)
    (words,) = ran
    assert words[: len(begins)] == begins
    if begins[0] == "gdbus":  # it would take for an option, or for something that GVariant writes, what it is given
        assert {'"Title"', r'"--icon=x \"a\\b\""'} <= set(words)
    else:
        assert words[-2:] == ["Title", odd]
        assert platform == "darwin" or words[-3] == "--"
    assert not transient or transient in words


def test_a_desktop_session_is_known_by_its_bus(tmp_path: Path) -> None:
    assert not has_desktop({}, "linux")
    assert not has_desktop({"DBUS_SESSION_BUS_ADDRESS": "disabled:", "XDG_RUNTIME_DIR": str(tmp_path)}, "linux")
    assert has_desktop({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus"}, "linux")
    assert not has_desktop({"XDG_RUNTIME_DIR": str(tmp_path)}, "linux")
    (tmp_path / "bus").touch()
    assert has_desktop({"XDG_RUNTIME_DIR": str(tmp_path)}, "linux")
    assert has_desktop({}, "darwin")
    assert not has_desktop({}, "win32")


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_without_a_program_nothing_is_shown(platform: str) -> None:
    def run(*words: str) -> str:
        raise AssertionError(words)

    show_notification("Title", "Text", run=run, which=lambda name: None, platform=platform)
