"""Finds the browsers of this computer: in PATH, in the folders where each system installs them, as snaps and flatpaks.

A Browser is a value: its program and its packaging. Packaged browsers may read only some folders, which limits the
places of their profile (`profiles`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from proxy.model.frozen_dataclass import frozen_dataclass


class BrowserKind(StrEnum):
    """The browsers that Byway can configure, in order of preference."""

    CHROMIUM = "chromium"
    FIREFOX = "firefox"
    BRAVE = "brave"
    CHROME = "chrome"
    EDGE = "edge"

    @property
    def brand(self) -> str:
        """The name for people."""
        return _BRANDS[self]


class Packaging(StrEnum):
    """How a browser is packaged."""

    NATIVE = "native"
    SNAP = "snap"
    FLATPAK = "flatpak"


@frozen_dataclass
class Browser:
    """An installed browser."""

    kind: BrowserKind
    program: str
    packaging: Packaging = Packaging.NATIVE
    package: str = ""  # the name of a snap or a flatpak


_BRANDS: Mapping[BrowserKind, str] = {
    BrowserKind.CHROMIUM: "Chromium",
    BrowserKind.FIREFOX: "Firefox",
    BrowserKind.BRAVE: "Brave",
    BrowserKind.CHROME: "Chrome",
    BrowserKind.EDGE: "Edge",
}

_PROGRAMS: Mapping[BrowserKind, tuple[str, ...]] = {
    BrowserKind.CHROMIUM: ("chromium", "chromium-browser", "ungoogled-chromium"),
    BrowserKind.FIREFOX: ("firefox", "firefox-esr", "librewolf"),
    BrowserKind.BRAVE: ("brave-browser", "brave"),
    BrowserKind.CHROME: ("google-chrome", "google-chrome-stable"),
    BrowserKind.EDGE: ("microsoft-edge", "microsoft-edge-stable"),
}
_LINUX_FOLDERS = ("/usr/local/bin", "/usr/bin", "/snap/bin")
"""Folders that are searched besides PATH: a service may have a shorter PATH than its user."""

_FLATPAKS: Mapping[BrowserKind, str] = {
    BrowserKind.CHROMIUM: "org.chromium.Chromium",
    BrowserKind.FIREFOX: "org.mozilla.firefox",
    BrowserKind.BRAVE: "com.brave.Browser",
    BrowserKind.CHROME: "com.google.Chrome",
    BrowserKind.EDGE: "com.microsoft.Edge",
}
_FLATPAK_FOLDERS = ("~/.local/share/flatpak/exports/bin", "/var/lib/flatpak/exports/bin")

_MAC_PROGRAMS: Mapping[BrowserKind, str] = {
    BrowserKind.CHROMIUM: "Chromium.app/Contents/MacOS/Chromium",
    BrowserKind.FIREFOX: "Firefox.app/Contents/MacOS/firefox",
    BrowserKind.BRAVE: "Brave Browser.app/Contents/MacOS/Brave Browser",
    BrowserKind.CHROME: "Google Chrome.app/Contents/MacOS/Google Chrome",
    BrowserKind.EDGE: "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
}
_MAC_FOLDERS = ("/Applications", "~/Applications")

_WINDOWS_PROGRAMS: Mapping[BrowserKind, str] = {
    BrowserKind.CHROMIUM: "Chromium/Application/chrome.exe",
    BrowserKind.FIREFOX: "Mozilla Firefox/firefox.exe",
    BrowserKind.BRAVE: "BraveSoftware/Brave-Browser/Application/brave.exe",
    BrowserKind.CHROME: "Google/Chrome/Application/chrome.exe",
    BrowserKind.EDGE: "Microsoft/Edge/Application/msedge.exe",
}
_WINDOWS_FOLDERS = ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData")

_SNAP_PROGRAM = re.compile(rb"/snap/bin/([a-z0-9-]+)")
_SCRIPT_MAX = 4096


def installed_browsers(env: Mapping[str, str], platform: str) -> Iterator[Browser]:
    """Yields the browsers that a user with this environment can run, one of each kind, in the order of BrowserKind.
    `platform` is `sys.platform`."""
    for kind in BrowserKind:
        if (browser := find_browser(kind, env, platform)) is not None:
            yield browser


def find_browser(kind: BrowserKind, env: Mapping[str, str], platform: str) -> Browser | None:
    """Returns the browser of this kind; None when it is not installed."""
    if platform == "darwin":
        candidates = [Path(_at_home(folder, env), _MAC_PROGRAMS[kind]) for folder in _MAC_FOLDERS]
    elif platform == "win32":
        candidates = [Path(env[name], _WINDOWS_PROGRAMS[kind]) for name in _WINDOWS_FOLDERS if env.get(name)]
    else:
        return _find_on_linux(kind, env)
    program = next((str(path) for path in candidates if os.path.isfile(path)), None)
    return None if program is None else Browser(kind, program)


def _find_on_linux(kind: BrowserKind, env: Mapping[str, str]) -> Browser | None:
    path = os.pathsep.join([*filter(None, [env.get("PATH")]), *_LINUX_FOLDERS])
    for name in _PROGRAMS[kind]:
        if (program := shutil.which(name, path=path)) is not None:
            snap = _snap_behind(program)
            return Browser(kind, program, Packaging.SNAP, snap) if snap else Browser(kind, program)
    flatpak, package = shutil.which("flatpak", path=path), _FLATPAKS[kind]
    if flatpak is not None and any(os.path.exists(Path(_at_home(folder, env), package)) for folder in _FLATPAK_FOLDERS):
        return Browser(kind, flatpak, Packaging.FLATPAK, package)
    return None


def closed_folders(env: Mapping[str, str], platform: str) -> Iterator[str]:
    """Yields the folders of browsers that this user may not read: an undetected browser may be there."""
    if platform == "darwin":
        folders = [_at_home(folder, env) for folder in _MAC_FOLDERS]
    elif platform == "win32":
        folders = [env[name] for name in _WINDOWS_FOLDERS if env.get(name)]
    else:
        path = [*filter(None, env.get("PATH", "").split(os.pathsep)), *_LINUX_FOLDERS]
        folders = [*path, *(_at_home(folder, env) for folder in _FLATPAK_FOLDERS)]
    for folder in dict.fromkeys(folders):
        try:
            os.stat(os.path.join(folder, "."))
        except PermissionError:
            yield folder
        except OSError:  # it is not there
            continue


def _snap_behind(program: str) -> str:
    """Returns the name of the snap that a program starts; empty: none. The program is a link in /snap/bin, or, as on
    Ubuntu, a script."""
    if os.path.basename(os.path.realpath(program)) == "snap":
        return os.path.basename(program)
    try:
        with open(program, "rb") as file:
            head = file.read(_SCRIPT_MAX)
    except OSError:  # a program need not be readable to be run
        return ""
    snap = _SNAP_PROGRAM.search(head) if head.startswith(b"#!") else None
    return snap[1].decode("ascii") if snap else ""


def _at_home(folder: str, env: Mapping[str, str]) -> str:
    return folder.replace("~", env.get("HOME") or "/nonexistent", 1)
