"""The system proxy setting of GNOME, KDE, macOS and Windows, behind one interface.

Each has one or more places (macOS: one for each network service) with values in the desktop's format: a mode, the URL
of a PAC file, the address of a proxy, hosts without a proxy. This module reads and writes them; `system_proxy` decides
when a value is restored.
"""

from __future__ import annotations

import ast
import contextlib
import ipaddress
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Protocol

from proxy.setup.desktop.programs import DesktopError, RunProgram, find_program, run_program
from proxy.wire.home_network import DESKTOP_BYPASS

Values = Mapping[str, str]
"""The values of one place by name; an empty value is not set."""

ONLY_PLACE = ""
"""The name of the place on a desktop with only one."""

_FOUND = "the one that the network names (WPAD)"

MODE = "mode"
"""The name of the value that selects which of the others apply."""


class DesktopName(StrEnum):
    """The desktops whose setting Byway can change."""

    GNOME = "gnome"
    KDE = "kde"
    MACOS = "macos"
    WINDOWS = "windows"

    @property
    def label(self) -> str:
        return {"gnome": "GNOME", "kde": "KDE", "macos": "macOS", "windows": "Windows"}[self.value]


class ProxySettings(Protocol):
    """The setting of one desktop. `read` and `write` run programs, and raise DesktopError."""

    name: DesktopName
    off: Values
    """The values for no proxy."""

    def read(self) -> Mapping[str, Values]:
        """Returns the values of each place."""
        ...

    def write(self, place: str, key: str, value: str) -> None:
        """Writes one value of a place. An empty one removes it."""
        ...

    def in_use(self, values: Values) -> str:
        """Returns the proxy or the PAC file that programs use with the values of a place; empty: none."""
        ...

    def by_pac(self, url: str) -> Values:
        """Returns the values for a PAC file: its URL first, the mode last."""
        ...

    def by_address(self, host: str, port: int) -> Values:
        """Returns the values for an HTTP proxy: its address first, the mode last."""
        ...


class Gnome:
    """GSettings: used by GNOME, Cinnamon, MATE, Unity, and most programs on other desktops."""

    name = DesktopName.GNOME
    off: Values = {"autoconfig-url": "", "http.host": "", MODE: "none"}  # noqa: RUF012  # a Mapping, never changed
    _SCHEMA = "org.gnome.system.proxy"
    _KEYS = (MODE, "autoconfig-url", "ignore-hosts", "http.host", "http.port", "https.host", "https.port")
    _NOT_TEXT = frozenset({"ignore-hosts", "http.port", "https.port"})
    """Values that stay in GVariant's text format."""

    def __init__(self, run: RunProgram = run_program) -> None:
        self._run = run

    def read(self) -> Mapping[str, Values]:
        values = {}
        for line in self._run("gsettings", "list-recursively", self._SCHEMA).splitlines():
            schema, key, text = line.split(" ", 2)
            name = f"{schema.removeprefix(self._SCHEMA).removeprefix('.')}.{key}".removeprefix(".")
            if name in self._KEYS:
                values[name] = text if name in self._NOT_TEXT else _gvariant_string(text)
        if missing := [key for key in self._KEYS if key not in values]:
            raise DesktopError(f"gsettings does not know {', '.join(missing)} of {self._SCHEMA}")
        return {ONLY_PLACE: values}

    def write(self, place: str, key: str, value: str) -> None:
        child, _, name = key.rpartition(".")
        schema = f"{self._SCHEMA}.{child}" if child else self._SCHEMA
        text = value if key in self._NOT_TEXT else json.dumps(value, ensure_ascii=False)
        self._run("gsettings", "set", schema, name, text)

    def in_use(self, values: Values) -> str:
        address = values.get("http.host") and f"{values['http.host']}:{values.get('http.port', '')}"
        return {"auto": values.get("autoconfig-url") or _FOUND, "manual": address or ""}.get(values.get(MODE, ""), "")

    def by_pac(self, url: str) -> Values:
        return {"autoconfig-url": url, MODE: "auto"}

    def by_address(self, host: str, port: int) -> Values:
        address = {"http.host": host, "http.port": str(port), "https.host": host, "https.port": str(port)}
        return {**address, "ignore-hosts": str(list(DESKTOP_BYPASS)), MODE: "manual"}


def _gvariant_string(text: str) -> str:
    try:
        return str(ast.literal_eval(text))  # GVariant writes strings as Python does
    except (ValueError, SyntaxError):
        raise DesktopError(f"gsettings printed no string: {text[:100]}") from None


class Kde:
    """KDE's kioslaverc, read and written by the programs of Plasma 6 or 5."""

    name = DesktopName.KDE
    off: Values = {"Proxy Config Script": "", "httpProxy": "", MODE: "0"}  # noqa: RUF012
    _KEYS = (MODE, "Proxy Config Script", "httpProxy", "httpsProxy", "NoProxyFor")
    _GROUP = ("--file", "kioslaverc", "--group", "Proxy Settings", "--key")
    _CHANGED = ("dbus-send", "--type=signal", "/KIO/Scheduler", "org.kde.KIO.Scheduler.reparseSlaveConfiguration")

    def __init__(self, run: RunProgram = run_program, which: Callable[[str], str | None] = find_program) -> None:
        self._run = run
        self._version = "6" if which("kwriteconfig6") else "5"

    def read(self) -> Mapping[str, Values]:
        program = f"kreadconfig{self._version}"
        return {ONLY_PLACE: {key: self._run(program, *self._GROUP, _kde_key(key)).strip() for key in self._KEYS}}

    def write(self, place: str, key: str, value: str) -> None:
        self._run(
            f"kwriteconfig{self._version}", *self._GROUP, _kde_key(key), *((value,) if value else ("--delete", ""))
        )
        if key == MODE:
            with contextlib.suppress(DesktopError):  # without the signal, running programs keep the old setting
                self._run(*self._CHANGED, "string:")

    def in_use(self, values: Values) -> str:
        address = values.get("httpProxy", "").replace(" ", ":")
        by_mode = {"1": address, "2": values.get("Proxy Config Script", ""), "3": _FOUND, "4": address}
        return by_mode.get(values.get(MODE, ""), "")

    def by_pac(self, url: str) -> Values:
        return {"Proxy Config Script": url, MODE: "2"}

    def by_address(self, host: str, port: int) -> Values:
        proxy = f"http://{host} {port}"  # KDE separates the port by a space
        return {"httpProxy": proxy, "httpsProxy": proxy, "NoProxyFor": ",".join(DESKTOP_BYPASS), MODE: "1"}


def _kde_key(key: str) -> str:
    return "ProxyType" if key == MODE else key


class MacOs:
    """networksetup. Every enabled network service is a place. The mode tells whether the PAC file, the HTTP and the
    HTTPS proxy are on."""

    name = DesktopName.MACOS
    off: Values = {"url": "", "web": "", MODE: "No No No"}  # noqa: RUF012
    _KINDS = ("autoproxy", "webproxy", "securewebproxy")
    _NONE = "Empty"
    """The word that removes all bypass domains."""

    def __init__(self, run: RunProgram = run_program) -> None:
        self._run = run

    def read(self) -> Mapping[str, Values]:
        _, *services = self._run("networksetup", "-listallnetworkservices").splitlines()  # the first line explains
        return {service: self._read(service) for service in services if not service.startswith("*")}  # *: disabled

    def write(self, place: str, key: str, value: str) -> None:
        if key == MODE:
            for kind, is_on in zip(self._KINDS, value.split(), strict=True):
                self._run("networksetup", f"-set{kind}state", place, "on" if is_on == "Yes" else "off")
        elif key == "bypass":
            self._run("networksetup", "-setproxybypassdomains", place, *(value.split("\n") if value else (self._NONE,)))
        elif value:  # there is no way to remove an address
            mode = self._read(place)[MODE]
            if key == "url":
                self._run("networksetup", "-setautoproxyurl", place, value)
            else:
                host, _, port = value.rpartition(":")
                self._run("networksetup", f"-set{key}proxy", place, host, port)
            self.write(place, MODE, mode)  # networksetup turns on an address that it sets

    def in_use(self, values: Values) -> str:
        places = zip(("url", "web", "secureweb"), values.get(MODE, "").split(), strict=False)
        return next((values[key] for key, is_on in places if is_on == "Yes" and values.get(key)), "")

    def by_pac(self, url: str) -> Values:
        return {"url": url, MODE: "Yes No No"}

    def by_address(self, host: str, port: int) -> Values:
        address = f"{host}:{port}"
        return {"web": address, "secureweb": address, "bypass": "\n".join(DESKTOP_BYPASS), MODE: "No Yes Yes"}

    def _read(self, service: str) -> Values:
        auto = self._facts("-getautoproxyurl", service)
        web, secure = self._facts("-getwebproxy", service), self._facts("-getsecurewebproxy", service)
        bypass = self._run("networksetup", "-getproxybypassdomains", service).strip()
        return {
            MODE: " ".join(facts.get("Enabled", "No") for facts in (auto, web, secure)),
            "url": auto.get("URL", "").replace("(null)", ""),
            "web": _mac_address(web),
            "secureweb": _mac_address(secure),
            "bypass": "" if " " in bypass else bypass,  # networksetup prints a sentence when there are none
        }

    def _facts(self, flag: str, service: str) -> Mapping[str, str]:
        lines = self._run("networksetup", flag, service).splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _mac_address(facts: Mapping[str, str]) -> str:
    return f"{facts['Server']}:{facts.get('Port', '0')}" if facts.get("Server") else ""


class Windows:
    """The Internet Settings of this user in the registry. The URL of a PAC file takes precedence over an address."""

    name = DesktopName.WINDOWS
    off: Values = {"AutoConfigURL": "", "ProxyServer": "", MODE: "0x0"}  # noqa: RUF012
    _KEY = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Internet Settings"
    _TYPES: Mapping[str, str] = {
        MODE: "REG_DWORD", "AutoConfigURL": "REG_SZ", "ProxyServer": "REG_SZ", "ProxyOverride": "REG_SZ"
    }  # fmt: skip

    def __init__(self, run: RunProgram = run_program) -> None:
        self._run = run

    def read(self) -> Mapping[str, Values]:
        values = dict.fromkeys(self._TYPES, "")
        for line in self._run("reg", "query", self._KEY).splitlines():
            name, *rest = line.split(None, 2) or ("",)
            key = MODE if name == "ProxyEnable" else name
            if key in values and len(rest) == 2:
                values[key] = rest[1].strip()
        return {ONLY_PLACE: values}

    def write(self, place: str, key: str, value: str) -> None:
        name = "ProxyEnable" if key == MODE else key
        if value:
            self._run("reg", "add", self._KEY, "/v", name, "/t", self._TYPES[key], "/d", value, "/f")
        else:
            self._run("reg", "delete", self._KEY, "/v", name, "/f")
        _tell_wininet()

    def in_use(self, values: Values) -> str:
        address = values.get("ProxyServer", "") if values.get(MODE) == "0x1" else ""
        return values.get("AutoConfigURL") or address

    def by_pac(self, url: str) -> Values:
        return {"AutoConfigURL": url}

    def by_address(self, host: str, port: int) -> Values:
        bypass = ["<local>", *(pattern for local in DESKTOP_BYPASS for pattern in _windows_patterns(local))]
        return {"ProxyServer": f"{host}:{port}", "ProxyOverride": ";".join(bypass), MODE: "0x1", "AutoConfigURL": ""}


def _windows_patterns(host: str) -> Iterator[str]:
    """Yields a host's patterns. Windows has wildcards and no prefixes: 172.16.0.0/12 takes 16 patterns. IPv6 prefixes
    have none; Byway goes direct there."""
    address, _, bits = host.partition("/")
    if not bits:
        yield f"[{address}]" if ":" in address else address
        return
    if ":" in address:
        return
    parts = -(-int(bits) // 8)
    for network in ipaddress.IPv4Network(host).subnets(new_prefix=8 * parts):
        yield ".".join([*str(network).split(".")[:parts], "*"])


def _tell_wininet() -> None:
    """Makes running Windows programs read the registry again."""
    if sys.platform == "win32":
        import ctypes

        for option in (39, 37):  # INTERNET_OPTION_SETTINGS_CHANGED, INTERNET_OPTION_REFRESH
            ctypes.windll.wininet.InternetSetOptionW(None, option, None, 0)


_SETTINGS: Mapping[DesktopName, Callable[[], ProxySettings]] = {
    DesktopName.GNOME: Gnome,
    DesktopName.KDE: Kde,
    DesktopName.MACOS: MacOs,
    DesktopName.WINDOWS: Windows,
}


def settings_of(name: DesktopName) -> ProxySettings:
    """Returns the setting of a desktop."""
    return _SETTINGS[name]()


def this_desktop(env: Mapping[str, str], platform: str = sys.platform) -> DesktopName:
    """Returns the desktop of this session. On Linux every desktop except KDE is assumed to use GNOME's setting."""
    if platform == "darwin":
        return DesktopName.MACOS
    if platform == "win32":
        return DesktopName.WINDOWS
    if "KDE" in env.get("XDG_CURRENT_DESKTOP", "").split(":") or env.get("KDE_FULL_SESSION"):
        return DesktopName.KDE
    return DesktopName.GNOME
