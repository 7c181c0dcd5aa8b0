"""Desktops with a system proxy for tests: the real gsettings on its own session bus, and stand-ins for the programs of
KDE, macOS and Windows, which keep their settings in a folder.

    async with session_bus(tmp_path) as environment:
        gnome = Gnome(run_in(environment))

`stand_ins(tmp_path)` returns the environment of the others. A stand-in prints the same as the real program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from proxy.setup.desktop.programs import DesktopError, RunProgram
from proxy.setup.desktop.proxy_settings import MODE, DesktopName, Values
from tests.support import programs

_START_S = 15.0


@contextlib.asynccontextmanager
async def session_bus(folder: Path, prefix: Sequence[str] = ()) -> AsyncIterator[Mapping[str, str]]:
    """A session bus with the settings of a user whose home is `folder / "home"`. Yields the environment for its
    programs. `prefix` stands before the command of the bus, and so before all services that it starts."""
    home, runtime = folder / "home", folder / "runtime"
    home.mkdir(exist_ok=True)
    runtime.mkdir(mode=0o700)
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "XDG_CURRENT_DESKTOP": "GNOME"}
    process = await asyncio.create_subprocess_exec(
        *prefix, programs.require("dbus-daemon"), "--session", "--nofork", "--nopidfile", "--print-address=1",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**_of_no_desktop(), **environment},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address = await asyncio.wait_for(process.stdout.readline(), _START_S)
        yield {**environment, "DBUS_SESSION_BUS_ADDRESS": address.decode().strip()}
    finally:
        process.send_signal(signal.SIGTERM)  # what it has started ends when its connection is closed
        await process.wait()


def run_in(environment: Mapping[str, str], prefix: Sequence[str] = ()) -> RunProgram:
    """Returns a `run_program` for another environment, with `prefix` before the command."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [*prefix, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
            env={**_of_no_desktop(), **environment},
        )  # fmt: skip
        if done.returncode:
            raise DesktopError(done.stderr)
        return done.stdout

    return run


def stand_ins(folder: Path, **environment: str) -> Mapping[str, str]:
    """Makes stand-ins of the programs of KDE, macOS and Windows that keep their settings below `folder`. Returns an
    environment in which only they are found."""
    programs_folder = folder / "programs"
    programs_folder.mkdir()
    settings = folder / "settings"
    settings.mkdir()
    (settings / "windows.ProxyEnable").write_text("REG_DWORD    0x0")
    (folder / "calls.txt").touch()
    source = f"#!/bin/sh\nFOLDER={shlex.quote(str(folder))}\n{_STAND_IN}"
    for name in ("kreadconfig6", "kwriteconfig6", "dbus-send", "networksetup", "reg"):
        program = programs_folder / name
        program.write_text(source)
        program.chmod(0o700)
    return {"PATH": f"{programs_folder}{os.pathsep}{os.environ['PATH']}", **environment}


def settings_in(folder: Path) -> Mapping[str, str]:
    """Returns what the stand-ins keep below `folder`."""
    return {file.name: file.read_text() for file in (folder / "settings").iterdir()}


def calls(folder: Path) -> list[list[str]]:
    """Returns the words of each call of a stand-in, in order."""
    return [line.split("\t") for line in (folder / "calls.txt").read_text().splitlines()]


class MemorySettings:
    """ProxySettings in memory. The process is killed after `writes_left` more writes."""

    name = DesktopName.GNOME
    off: Values = {"url": "", "host": "", MODE: "none"}  # noqa: RUF012  # a Mapping, never changed

    def __init__(self, **places: Values) -> None:
        self.places: dict[str, dict[str, str]] = {place: dict(values) for place, values in places.items()}
        self.writes_left = sys.maxsize
        self.stores = True

    def read(self) -> Mapping[str, Values]:
        return {place: dict(values) for place, values in self.places.items()}

    def write(self, place: str, key: str, value: str) -> None:
        if not self.writes_left:
            raise Killed
        self.writes_left -= 1
        if self.stores:
            self.places[place][key] = value

    def in_use(self, values: Values) -> str:
        return {"auto": values["url"], "manual": values["host"]}.get(values[MODE], "")

    def by_pac(self, url: str) -> Values:
        return {"url": url, MODE: "auto"}

    def by_address(self, host: str, port: int) -> Values:
        return {"host": f"{host}:{port}", "local": "10.*", MODE: "manual"}


class Killed(BaseException):
    """The process ends here."""


def _of_no_desktop() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("DBUS_", "XDG_", "KDE_", "GSETTINGS_"))}


_STAND_IN = r"""
# A file for each value. A shell starts in a fifth of the time of Python, and a test runs hundreds of these programs.
name=${0##*/}
tab=$(printf '\t')
newline='
'

joined() { IFS=$1; shift; printf %s "$*"; unset IFS; }

printf '%s\n' "$(joined "$tab" "$name" "$@")" >> "$FOLDER/calls.txt"

value_of() {  # key, default
    if [ -e "$FOLDER/settings/$1" ]; then cat "$FOLDER/settings/$1"; else printf %s "$2"; fi
}

keep() {  # key, value
    printf %s "$2" > "$FOLDER/new.$$"
    mv "$FOLDER/new.$$" "$FOLDER/settings/$1"
}

expect() {
    [ "$1" = "$2" ] || { printf '%s\n' "$name: unexpected words: $2" >&2; exit 4; }
}

case $name in
kreadconfig6 | kwriteconfig6)
    expect '--file,kioslaverc,--group,Proxy Settings,--key' "$1,$2,$3,$4,$5"
    case $name,$7 in
    kreadconfig6,*) printf '%s\n' "$(value_of "kde.$6")" ;;
    *,--delete) rm -f "$FOLDER/settings/kde.$6" ;;
    *) keep "kde.$6" "$7" ;;
    esac
    ;;
networksetup)
    command=$1
    shift
    case $1 in Wi-Fi) at=wifi ;; 'USB 10/100 LAN') at=usb ;; *) expect -listallnetworkservices "$command" ;; esac
    case $command in
    -listallnetworkservices)
        printf '%s\n' 'An asterisk (*) denotes that a network service is disabled.'
        printf '%s\n' Wi-Fi 'USB 10/100 LAN' '*Bluetooth PAN'
        ;;
    -getautoproxyurl)
        printf 'URL: %s\nEnabled: %s\n' "$(value_of $at.autoproxy '(null)')" "$(value_of $at.autoproxy.on No)"
        ;;
    -getwebproxy | -getsecurewebproxy)
        kind=$at.${command#-get}
        address=$(value_of "$kind")
        port=${address##*:}
        printf 'Enabled: %s\nServer: %s\nPort: %s\nAuthenticated Proxy Enabled: 0\n' \
            "$(value_of "$kind.on" No)" "${address%:*}" "${port:-0}"
        ;;
    -getproxybypassdomains)
        bypass=$(value_of $at.bypass)
        printf '%s\n' "${bypass:-There aren't any bypass domains set on $1.}"
        ;;
    -setautoproxyurl) keep $at.autoproxy "$2"; keep $at.autoproxy.on Yes ;;
    -setwebproxy | -setsecurewebproxy)
        [ "$3" -gt 0 ] || exit 4
        keep "$at.${command#-set}" "$2:$3"
        keep "$at.${command#-set}.on" Yes
        ;;
    -setproxybypassdomains)
        shift
        case $* in Empty) keep $at.bypass '' ;; *) keep $at.bypass "$(joined "$newline" "$@")" ;; esac
        ;;
    -setautoproxystate | -setwebproxystate | -setsecurewebproxystate)
        case $2 in on) state=Yes ;; off) state=No ;; *) exit 4 ;; esac
        kind=${command#-set}
        keep "$at.${kind%state}.on" $state
        ;;
    *) exit 4 ;;
    esac
    ;;
reg)
    key='HKCU\Software\Microsoft\Windows\CurrentVersion\Internet Settings'
    expect "$key" "$2"
    case $1 in
    query)
        printf '%s\n' '' "$key" '    User Agent    REG_SZ    Mozilla/4.0 (compatible; MSIE 8.0; Win32)'
        for file in "$FOLDER"/settings/windows.*; do
            [ ! -e "$file" ] || printf '    %s    %s\n' "${file##*/windows.}" "$(cat "$file")"
        done
        printf '%s\n' '' "$key\\Wpad"
        ;;
    add)
        expect 9,/v,/t,/d,/f "$#,$3,$5,$7,$9"
        keep "windows.$4" "$6    $8"
        ;;
    delete)
        expect 5,/v,/f "$#,$3,$5"
        rm "$FOLDER/settings/windows.$4"
        ;;
    esac
    ;;
esac
"""
