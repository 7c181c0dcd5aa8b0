"""Desktops with a system proxy for tests: the real gsettings on its own session bus, and stand-ins for the programs of
KDE, macOS and Windows, which keep their settings in a file.

    async with session_bus(tmp_path) as environment:
        gnome = Gnome(run_in(environment))

`stand_ins(tmp_path)` returns the environment of the others. A stand-in prints the same as the real program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
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
    (folder / "settings.json").write_text("{}")
    (folder / "calls.txt").touch()
    source = f"#!{sys.executable} -ISB\nFOLDER = {str(folder)!r}\n{_STAND_IN}"
    for name in ("kreadconfig6", "kwriteconfig6", "dbus-send", "networksetup", "reg"):
        program = programs_folder / name
        program.write_text(source)
        program.chmod(0o700)
    return {"PATH": f"{programs_folder}{os.pathsep}{os.environ['PATH']}", **environment}


def calls(folder: Path) -> list[list[str]]:
    """Returns the words of each call of a stand-in, in order."""
    return [json.loads(line) for line in (folder / "calls.txt").read_text().splitlines()]


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
import json, os, sys

name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(f"{FOLDER}/calls.txt", "a") as calls:
    calls.write(json.dumps([name, *words]) + "\n")
with open(f"{FOLDER}/settings.json") as file:
    values = json.load(file)
KINDS = ("autoproxy", "webproxy", "securewebproxy")
services = values.setdefault(
    "services", {it: {kind: ["", "No"] for kind in KINDS} | {"bypass": []} for it in ("Wi-Fi", "USB 10/100 LAN")}
)

before = json.dumps(values)

def end(code):
    if json.dumps(values) == before:  # who only reads must not write over what another has just written
        sys.exit(code)
    with open(f"{FOLDER}/settings.json.new", "w") as file:
        json.dump(values, file)
    os.replace(f"{FOLDER}/settings.json.new", f"{FOLDER}/settings.json")
    sys.exit(code)

if name == "kreadconfig6":
    assert words[:5] == ["--file", "kioslaverc", "--group", "Proxy Settings", "--key"], words
    print(values.get(words[5], ""))
elif name == "kwriteconfig6":
    assert words[:5] == ["--file", "kioslaverc", "--group", "Proxy Settings", "--key"], words
    if words[6] == "--delete":
        values.pop(words[5], None)
    else:
        values[words[5]] = words[6]
elif name == "networksetup":
    command, *words = words
    service = services[words[0]] if words else {}
    if command == "-listallnetworkservices":
        print("An asterisk (*) denotes that a network service is disabled.", *services, "*Bluetooth PAN", sep="\n")
    elif command == "-getautoproxyurl":
        print("URL: {}\nEnabled: {}".format(service["autoproxy"][0] or "(null)", service["autoproxy"][1]))
    elif command in ("-getwebproxy", "-getsecurewebproxy"):
        address, on = service[command.removeprefix("-get")]
        host, _, port = address.rpartition(":")
        print(f"Enabled: {on}\nServer: {host}\nPort: {port or 0}\nAuthenticated Proxy Enabled: 0")
    elif command == "-getproxybypassdomains":
        print("\n".join(service["bypass"]) or f"There aren't any bypass domains set on {words[0]}.")
    elif command == "-setautoproxyurl":
        service["autoproxy"] = [words[1], "Yes"]
    elif command in ("-setwebproxy", "-setsecurewebproxy"):
        service[command.removeprefix("-set")] = [f"{words[1]}:{int(words[2])}", "Yes"]
    elif command == "-setproxybypassdomains":
        service["bypass"] = [] if words[1:] == ["Empty"] else words[1:]
    elif command in [f"-set{kind}state" for kind in KINDS]:
        service[command.removeprefix("-set").removesuffix("state")][1] = {"on": "Yes", "off": "No"}[words[1]]
    else:
        end(4)
elif name == "reg":
    registry = values.setdefault("registry", {"ProxyEnable": ["REG_DWORD", "0x0"]})
    assert words[1] == r"HKCU\Software\Microsoft\Windows\CurrentVersion\Internet Settings", words
    if words[0] == "query":
        print("\n" + words[1] + "\n    User Agent    REG_SZ    Mozilla/4.0 (compatible; MSIE 8.0; Win32)")
        print(*("    {}    {}    {}".format(key, *value) for key, value in registry.items()), sep="\n")
        print("\n" + words[1] + "\\Wpad")
    elif words[0] == "add":
        assert words[2] == "/v" and words[4] == "/t" and words[6] == "/d" and words[8:] == ["/f"], words
        registry[words[3]] = [words[5], words[7]]
    elif words[0] == "delete":
        assert words[2] == "/v" and words[4:] == ["/f"], words
        end(0 if registry.pop(words[3], None) else 1)
end(0)
"""
