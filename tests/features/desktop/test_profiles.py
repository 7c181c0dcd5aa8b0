"""The profile of a ready browser, as files and as a command; tests/e2e/test_browser.py holds them to real browsers."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from proxy.features.desktop.browsers import Browser, BrowserKind, Packaging
from proxy.features.desktop.profiles import launch, make_profile, open_profiles, profile_folder
from proxy.model import Destination
from proxy.wire import home_network
from tests.support.rows import each_row

PROXY = Destination("::1", 8119)
CHROMIUM = Browser(BrowserKind.CHROMIUM, "/usr/bin/chromium")
FIREFOX = Browser(BrowserKind.FIREFOX, "/usr/bin/firefox")
SNAP = Browser(BrowserKind.CHROMIUM, "/snap/bin/chromium", Packaging.SNAP, "chromium")
FLATPAK = Browser(BrowserKind.FIREFOX, "/usr/bin/flatpak", Packaging.FLATPAK, "org.mozilla.firefox")
URL = "https://example.org/a?b=c&d"


def test_a_profile_is_in_the_state_folder_but_for_a_snap() -> None:
    state, home = Path("/home/me/.local/state/byway"), Path("/home/me")
    assert profile_folder(CHROMIUM, state, home) == state / "browser" / "chromium"
    assert profile_folder(FLATPAK, state, home) == state / "browser" / "firefox"
    snap = profile_folder(SNAP, state, home)
    assert snap.is_relative_to(home / "snap" / "chromium" / "common")
    assert snap != profile_folder(SNAP, Path("/home/me/other"), home), "each state folder has its own"


def test_a_profile_is_open_while_its_browser_runs(tmp_path: Path) -> None:
    """Both kinds leave a lock behind when they crash."""
    state = tmp_path / "state"
    assert list(open_profiles(state, tmp_path)) == []
    in_snap = profile_folder(SNAP, state, tmp_path)
    chromium, firefox = state / "browser" / "chromium", state / "browser" / "firefox"
    for folder, lock, pid in ((chromium, "SingletonLock", "a-host-{}"), (firefox, "lock", "127.0.1.1:+{}")):
        folder.mkdir(parents=True)
        (folder / lock).symlink_to(pid.format(2**22 + 1))  # above the largest pid there can be
    in_snap.mkdir(parents=True)
    (in_snap / "SingletonLock").symlink_to(f"a-host-{os.getpid()}")
    assert list(open_profiles(state, tmp_path)) == [in_snap]
    (firefox / "lock").unlink()
    (firefox / "lock").symlink_to(f"127.0.1.1:+{os.getpid()}")
    assert set(open_profiles(state, tmp_path)) == {in_snap, firefox}


def test_firefox_goes_through_byway_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "browser" / "firefox"
    make_profile(FIREFOX, folder, PROXY)
    text = (folder / "user.js").read_text()
    settings = {name: json.loads(value) for name, value in re.findall(r'^user_pref\("(.+)", (.+)\);$', text, re.M)}
    expected = {
        "network.proxy.type": 1, "network.proxy.http": "::1", "network.proxy.http_port": 8119,
        "network.proxy.ssl": "::1", "network.proxy.ssl_port": 8119, "network.proxy.failover_direct": False,
        "network.proxy.allow_bypass": False, "network.proxy.no_proxies_on": home_network.FIREFOX_BYPASS,
        "network.trr.mode": 5, "network.http.http3.enable": False, "media.peerconnection.ice.proxy_only": True,
        "browser.shell.checkDefaultBrowser": False,
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected
    assert len(settings) == text.count("user_pref(")
    for path in (folder, folder.parent, folder / "user.js"):
        assert not path.stat().st_mode & 0o077


@pytest.mark.parametrize("left", [None, b"", b"{", b"[]", b'{"dns_over_https": 1}', b"\xff"])
def test_chromium_is_set_whatever_was_there(tmp_path: Path, left: bytes | None) -> None:
    folder = tmp_path / "chromium"
    if left is not None:
        (folder / "Default").mkdir(parents=True)
        (folder / "Local State").write_bytes(left)
        (folder / "Default" / "Preferences").write_bytes(left)
    make_profile(CHROMIUM, folder, PROXY)
    assert json.loads((folder / "Local State").read_bytes())["dns_over_https"]["mode"] == "off"
    preferences = json.loads((folder / "Default" / "Preferences").read_bytes())
    assert preferences["webrtc"]["ip_handling_policy"] == "disable_non_proxied_udp"
    for path in (folder, folder / "Default", folder / "Local State", folder / "Default" / "Preferences"):
        assert not path.stat().st_mode & 0o077


def test_the_users_own_settings_stay(tmp_path: Path) -> None:
    (tmp_path / "Local State").write_text('{"dns_over_https": {"mode": "secure", "templates": "x"}, "mine": [1]}')
    make_profile(CHROMIUM, tmp_path, PROXY)
    state = tmp_path / "Local State"
    assert json.loads(state.read_text()) == {"dns_over_https": {"mode": "off", "templates": "x"}, "mine": [1]}
    before = state.stat().st_mtime_ns, state.stat().st_ino
    make_profile(CHROMIUM, tmp_path, PROXY)
    assert (state.stat().st_mtime_ns, state.stat().st_ino) == before, "what is set is not written again"


@each_row("kind", [kind for kind in BrowserKind if kind is not BrowserKind.FIREFOX])
def test_the_command_of_browsers_of_chromiums_kind(kind: BrowserKind) -> None:
    ready = launch(Browser(kind, "/opt/it"), Path("/p q"), PROXY, URL, spki="HASH=", options=["--headless"])
    program, *words = ready.command
    assert program == "/opt/it"
    assert words[0] == "--user-data-dir=/p q"
    assert words[-2:] == ["--headless", URL]
    assert {
        "--proxy-server=http://[::1]:8119", "--disable-quic", "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--no-first-run", "--no-default-browser-check", "--ignore-certificate-errors-spki-list=HASH=",
    } <= set(words)  # fmt: skip
    assert "--no-sandbox" not in words
    (bypass,) = (word for word in words if word.startswith("--proxy-bypass-list="))
    assert {"<local>", "*.local", "192.168.0.0/16", "fc00::/7"} <= set(bypass.partition("=")[2].split(";"))
    assert "internal" not in bypass, "Byway's own page is byway.internal"
    assert shlex.split(str(ready)) == list(ready.command)


def test_a_ca_is_trusted_only_where_there_is_one() -> None:
    assert "spki" not in str(launch(CHROMIUM, Path("/p"), PROXY, URL))


def test_the_command_of_firefox_and_of_a_flatpak() -> None:
    assert launch(FIREFOX, Path("/p"), PROXY, URL, spki="HASH=", options=["--headless"]).command == (
        "/usr/bin/firefox", "--profile", "/p", "--headless", URL,
    )  # fmt: skip
    assert launch(FLATPAK, Path("/p"), PROXY, URL).command == (
        "/usr/bin/flatpak", "run", "--filesystem=/p", "org.mozilla.firefox", "--profile", "/p", URL,
    )  # fmt: skip
