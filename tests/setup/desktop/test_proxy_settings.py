"""The setting of each desktop: what is written is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.setup.desktop.programs import DesktopError, RunProgram
from proxy.setup.desktop.proxy_settings import (
    MODE,
    ONLY_PLACE,
    DesktopName,
    Gnome,
    Kde,
    MacOs,
    ProxySettings,
    Values,
    Windows,
    settings_of,
    this_desktop,
)
from tests.support.desktops import calls, run_in, session_bus, stand_ins
from tests.support.rows import each_row

PAC = "http://127.0.0.1:8119/proxy.pac"
ODD = 'http://corp.example/it\'s "odd" ü.pac'


def _check(settings: ProxySettings, place: str = ONLY_PLACE) -> None:
    """Lenient, strict and back to what was there: each value is read as it was written, and no other changes."""
    before = settings.read()
    expected = dict(before[place])
    for values in (settings.by_pac(PAC), settings.by_address("127.0.0.1", 8119), before[place]):
        for key, value in values.items():
            if expected[key] != value:
                settings.write(place, key, value)
                assert settings.read()[place][key] == value or not value
                expected[key] = settings.read()[place][key]
                assert settings.read() == {**before, place: expected}
    assert set(settings.off) <= set(before[place])


@pytest.mark.needs("dbus-daemon", "gsettings")
async def test_gnome(tmp_path: Path) -> None:
    async with session_bus(tmp_path) as environment:
        gnome = Gnome(run_in(environment))
        _check(gnome)
        gnome.write(ONLY_PLACE, "autoconfig-url", ODD)
        assert gnome.read()[ONLY_PLACE]["autoconfig-url"] == ODD


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("org.gnome.system.proxy mode uint32 five", "gsettings printed no string: uint32 five"),
        ("org.gnome.system.proxy mode 'none'", "gsettings does not know autoconfig-url, ignore-hosts"),
    ],
)
def test_gnome_that_prints_something_else_is_refused(printed: str, said: str) -> None:
    with pytest.raises(DesktopError, match=said):
        Gnome(lambda *words: printed).read()


def test_kde_of_either_version_is_found() -> None:
    ran: list[str] = []

    def run(*words: str) -> str:
        ran.append(words[0])
        return "0\n"

    Kde(run, lambda program: None).read()
    Kde(run, lambda program: f"/usr/bin/{program}").read()
    assert set(ran[:5]) == {"kreadconfig5"}
    assert set(ran[5:]) == {"kreadconfig6"}


def _kde(run: RunProgram) -> Kde:
    return Kde(run, lambda program: program)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "place"), [(_kde, ONLY_PLACE), (MacOs, "USB 10/100 LAN"), (Windows, ONLY_PLACE)])
def test_others(tmp_path: Path, make: Callable[[RunProgram], ProxySettings], place: str) -> None:
    _check(make(run_in(stand_ins(tmp_path))), place)


def test_kde_tells_open_programs(tmp_path: Path) -> None:
    _kde(run_in(stand_ins(tmp_path))).write(ONLY_PLACE, MODE, "2")
    assert calls(tmp_path)[-1][0] == "dbus-send"


def test_macos_has_a_setting_for_each_enabled_service(tmp_path: Path) -> None:
    assert set(MacOs(run_in(stand_ins(tmp_path))).read()) == {"Wi-Fi", "USB 10/100 LAN"}


def test_windows_spells_prefixes_with_stars(tmp_path: Path) -> None:
    bypass = Windows().by_address("127.0.0.1", 8119)["ProxyOverride"].split(";")
    assert bypass[:4] == ["<local>", "localhost", "127.*", "[::1]"]
    assert {"10.*", "172.16.*", "172.31.*", "192.168.*"} <= set(bypass)
    assert {"*.local", "*.lan", "100.64.*", "100.127.*", "169.254.*"} <= set(bypass)
    assert not {"172.32.*", "100.63.*", "100.128.*", "*.internal"} & set(bypass)
    assert len(";".join(bypass)) < 2000, "what Windows reads of it"


@each_row("name", DesktopName)
def test_what_names_it_comes_first_and_the_mode_last(name: DesktopName) -> None:
    """Who is killed in between is found by what names it, and never leaves a mode without what it needs."""
    settings = settings_of(name)
    for values in (settings.by_pac(PAC), settings.by_address("127.0.0.1", 8119)):
        first, *others = values
        assert "127.0.0.1" in values[first]
        assert MODE not in others[:-1] or name is DesktopName.WINDOWS  # a URL is removed last there: it counts first


@each_row(
    ("platform", "env", "name"),
    [
        ("linux", {}, DesktopName.GNOME),
        ("linux", {"XDG_CURRENT_DESKTOP": "ubuntu:GNOME"}, DesktopName.GNOME),
        ("linux", {"XDG_CURRENT_DESKTOP": "KDE"}, DesktopName.KDE),
        ("linux", {"KDE_FULL_SESSION": "true"}, DesktopName.KDE),
        ("darwin", {}, DesktopName.MACOS),
        ("win32", {}, DesktopName.WINDOWS),
    ],
)
def test_the_desktop_of_this_session(platform: str, env: dict[str, str], name: DesktopName) -> None:
    assert this_desktop(env, platform) is name
    assert settings_of(name).name is name


@each_row(
    ("settings", "values", "proxy"),
    [
        (Gnome(), {MODE: "none", "http.host": "left.over", "http.port": "1"}, ""),
        (Gnome(), {MODE: "manual", "http.host": "corp.test", "http.port": "3128"}, "corp.test:3128"),
        (Gnome(), {MODE: "manual", "http.host": ""}, ""),
        (Gnome(), {MODE: "auto", "autoconfig-url": "http://corp.test/x.pac"}, "http://corp.test/x.pac"),
        (Gnome(), {MODE: "auto", "autoconfig-url": ""}, "the one that the network names (WPAD)"),
        (Kde(), {MODE: "0", "httpProxy": "http://corp.test 1"}, ""),
        (Kde(), {MODE: "", "httpProxy": ""}, ""),
        (Kde(), {MODE: "1", "httpProxy": "http://corp.test 3128"}, "http://corp.test:3128"),
        (Kde(), {MODE: "2", "Proxy Config Script": "http://corp.test/x"}, "http://corp.test/x"),
        (Kde(), {MODE: "3"}, "the one that the network names (WPAD)"),
        (MacOs(), {MODE: "No No No", "web": "corp.test:1"}, ""),
        (MacOs(), {MODE: "No Yes Yes", "url": "", "web": "corp.test:1", "secureweb": "corp.test:1"}, "corp.test:1"),
        (MacOs(), {MODE: "Yes No No", "url": "http://corp.test/x", "web": ""}, "http://corp.test/x"),
        (Windows(), {MODE: "0x0", "ProxyServer": "corp.test:1"}, ""),
        (Windows(), {MODE: "0x1", "ProxyServer": "corp.test:1"}, "corp.test:1"),
        (Windows(), {MODE: "0x0", "AutoConfigURL": "http://corp.test/x"}, "http://corp.test/x"),
    ],
)
def test_the_proxy_that_programs_use(settings: ProxySettings, values: Values, proxy: str) -> None:
    assert settings.in_use(values) == proxy
