"""Which browsers are found, in the places where each system has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from proxy.features.desktop import browsers
from proxy.features.desktop.browsers import (
    Browser,
    BrowserKind,
    Packaging,
    closed_folders,
    find_browser,
    installed_browsers,
)


def program(path: Path, text: str = "#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of a system are below this one."""
    monkeypatch.setattr(browsers, "_LINUX_FOLDERS", (str(tmp_path / "usr"), str(tmp_path / "snap")))
    monkeypatch.setattr(browsers, "_FLATPAK_FOLDERS", ("~/flatpak", str(tmp_path / "flatpak")))
    monkeypatch.setattr(browsers, "_MAC_FOLDERS", (str(tmp_path / "Applications"), "~/Applications"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("chromium", "chromium"), ("chromium", "chromium-browser"), ("firefox", "firefox-esr"),
     ("chrome", "google-chrome"), ("edge", "microsoft-edge-stable"), ("brave", "brave-browser")],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["mine", "usr"])
def test_on_linux_by_path_and_beyond_it(kind: str, name: str, folder: str, tmp_path: Path) -> None:
    found = program(tmp_path / folder / name)
    env = {"PATH": str(tmp_path / "mine")}
    assert find_browser(BrowserKind(kind), env, "linux") == Browser(BrowserKind(kind), found)
    assert [browser.kind for browser in installed_browsers(env, "linux")] == [kind]


def test_a_snap_is_known_by_its_link_or_by_the_script_that_starts_it(tmp_path: Path) -> None:
    snap = program(tmp_path / "bin" / "snap")
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap" / "brave").symlink_to(snap)
    program(tmp_path / "usr" / "firefox", '#!/bin/sh\nexec /snap/bin/firefox "$@"\n')
    brave, firefox = (find_browser(kind, {}, "linux") for kind in (BrowserKind.BRAVE, BrowserKind.FIREFOX))
    assert brave is not None
    assert firefox is not None
    assert (brave.packaging, brave.package) == (Packaging.SNAP, "brave")
    assert (firefox.packaging, firefox.package) == (Packaging.SNAP, "firefox")


@pytest.mark.parametrize("folder", ["home/flatpak", "flatpak"])
def test_a_flatpak_is_run_by_flatpak(folder: str, tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")}
    program(tmp_path / folder / "org.mozilla.firefox")
    assert find_browser(BrowserKind.FIREFOX, env, "linux") is None, "flatpak itself is not there"
    flatpak = program(tmp_path / "bin" / "flatpak")
    found = find_browser(BrowserKind.FIREFOX, env, "linux")
    assert found == Browser(BrowserKind.FIREFOX, flatpak, Packaging.FLATPAK, "org.mozilla.firefox")
    native = program(tmp_path / "usr" / "firefox")
    assert find_browser(BrowserKind.FIREFOX, env, "linux") == Browser(BrowserKind.FIREFOX, native), "goes before"


@pytest.mark.parametrize("folder", ["Applications", "home/Applications"])
def test_on_macos(folder: str, tmp_path: Path) -> None:
    found = program(tmp_path / folder / "Google Chrome.app/Contents/MacOS/Google Chrome")
    env = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin"}
    assert list(installed_browsers(env, "darwin")) == [Browser(BrowserKind.CHROME, found)]


@pytest.mark.parametrize("variable", ["ProgramFiles", "ProgramFiles(x86)", "LocalAppData"])
def test_on_windows(variable: str, tmp_path: Path) -> None:
    found = program(tmp_path / "Microsoft/Edge/Application/msedge.exe")
    assert list(installed_browsers({variable: str(tmp_path)}, "win32")) == [Browser(BrowserKind.EDGE, found)]


def test_the_first_is_chosen_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("google-chrome", "firefox", "microsoft-edge", "chromium", "brave"):
        program(tmp_path / "usr" / name)
    found = [str(browser.kind) for browser in installed_browsers({}, "linux")]
    assert found == ["chromium", "firefox", "brave", "chrome", "edge"]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_where_there_is_none_none_is_found(platform: str) -> None:
    assert list(installed_browsers({}, platform)) == []


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_folder_that_may_not_be_read_is_named_and_hides_no_other_browser(
    tmp_path: Path, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sudo flatpak`. Root reads everything, so the system's answer is put in its place."""
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / "home")}
    program(tmp_path / "bin" / "flatpak")
    closed = tmp_path / "home" / ("flatpak" if platform == "linux" else "Applications")
    closed.mkdir(parents=True)
    ask = os.stat

    def stat(path: Any, *words: Any, **more: Any) -> os.stat_result:
        if str(path).startswith(f"{closed}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return ask(path, *words, **more)

    monkeypatch.setattr(os, "stat", stat)
    assert list(installed_browsers(env, platform)) == []
    assert list(closed_folders(env, platform)) == [str(closed)]
    if platform == "linux":
        firefox = program(tmp_path / "usr" / "firefox")
        assert [it.program for it in installed_browsers(env, platform)] == [firefox]
