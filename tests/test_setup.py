"""Files, relays, rules and the guard becoming one Setup, or one list of everything that is wrong."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.errors import ConfigError, DialError
from proxy.model import DIRECT, Destination, IPAddress, Route, Symptom, literal
from proxy.net.dns_system import SystemDns
from proxy.net.poller import make_poller
from proxy.net.resolver import Resolver
from proxy.net.tasks import cancel_all, spawn
from proxy.services import Setup
from proxy.setup import SetupMaker, _source_towards
from tests.support.authority import Authority
from tests.support.name_servers import NameServer, machine_files, plain_server, saying, tls_server


class Maker:
    """A configuration's folder, and the Setup that is made of what is written there."""

    def __init__(self, folder: Path, maker: SetupMaker, paths: Paths) -> None:
        self.folder = folder
        self._maker = maker
        self._paths = paths

    def write(self, config: str = "", rules: str = "") -> None:
        (self.folder / "config.toml").write_text(config)
        (self.folder / "rules.txt").write_text(rules)

    def make(self) -> Setup:
        return self._maker.make(load(self._paths.config_to_read, env={}), {}, port=8119)

    def fingerprint(self) -> tuple[object, ...]:
        return self._maker.fingerprint(load(self._paths.config_to_read, env={}))


@pytest.fixture
async def maker(tmp_path: Path) -> AsyncIterator[Maker]:
    poller = make_poller(asyncio.get_running_loop())
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    yield Maker(tmp_path, SetupMaker(poller, paths), paths)
    poller.close()


async def test_what_is_wrong_with_several_parts_is_told_together(maker: Maker) -> None:
    maker.write(
        """[safety]
allow = ["nonsense/99"]
[[relay]]
name = "mute"
url = "socks5h://user@127.0.0.1:9050"
password_cmd = "false"
""",
        rules="DOMAIN,a.example,NOWHERE\n",
    )
    with pytest.raises(ConfigError) as caught:
        maker.make()
    relay, guard, rule = caught.value.problems
    assert relay == "[[relay]] mute: its password command failed with exit code 1"
    assert "config.toml:2" in guard
    assert rule.startswith("rules.txt:1: ")


async def test_a_password_is_asked_for_once(maker: Maker) -> None:
    asked = maker.folder / "asked"
    maker.write(
        f"""[[relay]]
name = "vps"
url = "socks5h://user@127.0.0.1:9050"
password_cmd = "sh -c 'echo x >> {asked}; echo secret'"
"""
    )
    for _ in range(2):
        (hop,) = maker.make().registry.hops(("vps",))
        assert hop.password == "secret"
    assert asked.read_text() == "x\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo SECRET; exit 3'", "failed with exit code 3"),
        ("true", "printed no password"),
        ("printf '\\377'", "not text"),
        ("/nowhere/at/all", "cannot run"),
    ],
)
async def test_a_password_command_that_gives_none_is_told_without_its_secret(
    maker: Maker, command: str, said: str
) -> None:
    maker.write(f'[listen]\nuser = "me"\npassword_cmd = {json.dumps(command)}\n')
    with pytest.raises(ConfigError, match=said) as caught:
        maker.make()
    assert "SECRET" not in str(caught.value), "the command may hold it as well"


async def test_a_reload_is_due_when_a_file_is_edited_made_or_removed(maker: Maker) -> None:
    maker.write('[[list]]\nname = "mine"\nsource = "mine.txt"\n')
    seen = [maker.fingerprint()]
    (maker.folder / "mine.txt").write_text("a.example\n")
    seen.append(maker.fingerprint())
    (maker.folder / "rules.txt").write_text("MATCH,AUTO\n")
    seen.append(maker.fingerprint())
    (maker.folder / "rules.txt").unlink()
    seen.append(maker.fingerprint())
    (maker.folder / "block_pages.csv").write_text(f"{PAGES_HEAD}\n")
    seen.append(maker.fingerprint())
    assert len(set(seen)) == 5
    assert maker.fingerprint() == seen[-1]


PAGES_HEAD = "name,scope,location_found,pattern_type,pattern"


def _seen(setup: Setup, body: bytes) -> tuple[Symptom, object]:
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    look = setup.advice.look_at(answer, "blog.example", True)
    return look.symptom, look.evidence.get("page")


async def test_shipped_and_imported_block_pages_are_known(maker: Maker) -> None:
    maker.write()
    shipped, mine = b'<html><iframe src="http://10.10.34.34?type=x">', b"<p>as stop.example/law says"
    assert _seen(maker.make(), shipped) == (Symptom.BLOCK_PAGE, "byway.ir_frame")
    assert _seen(maker.make(), mine) == (Symptom.NONE, None)
    (maker.folder / "block_pages.csv").write_text(f"{PAGES_HEAD}\nmine,isp,body,contains,stop.example/law\n")
    assert _seen(maker.make(), mine) == (Symptom.BLOCK_PAGE, "mine")
    assert _seen(maker.make(), shipped) == (Symptom.BLOCK_PAGE, "byway.ir_frame")
    (maker.folder / "block_pages.csv").write_text("no list\n")
    with pytest.raises(ConfigError, match=r"block_pages\.csv:1: is no list of block pages"):
        maker.make()


async def test_B5_an_address_that_has_become_ours_since_the_start_is_refused(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private literal goes direct, unless it is this computer's own: so after a change of network too."""
    maker.write()
    dialer = maker.make().registry.dialer(DIRECT)
    monkeypatch.setattr("proxy.setup._source_towards", lambda _: "192.168.77.5")
    with pytest.raises(DialError, match="this computer itself") as refused:
        await dialer.dial(Destination("192.168.77.5", 22))
    assert refused.value.symptom is Symptom.FORBIDDEN


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_B4_E29_a_relay_whose_name_leads_to_ourselves_is_never_dialed(
    maker: Maker, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The configuration shows no loop then: only the resolver knows."""

    async def resolve(_: Resolver, host: str) -> list[IPAddress]:
        return [ipaddress.ip_address(address)]

    monkeypatch.setattr(Resolver, "resolve", resolve)
    maker.write('[[relay]]\nname = "me"\nurl = "socks5h://me.test:8119"\n')
    with pytest.raises(DialError, match="Byway itself"):
        await maker.make().registry.dialer(Route(("me",))).dial(Destination("example.org", 443))
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as relay:
        relay.setblocking(False)
        maker.write(f'[[relay]]\nname = "other"\nurl = "http://me.test:{relay.getsockname()[1]}"\n')
        dialer = maker.make().registry.dialer(Route(("other",)))
        dialing = spawn(dialer.dial(Destination("example.org", 443)), name="dial")
        accepted, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(relay), 10)
        accepted.close()  # the control: any other port of this computer is fine
        await asyncio.wait([dialing])
        assert isinstance(dialing.exception(), DialError)


# -- names -------------------------------------------------------------------------------------------------------------


class Watch:
    """What this process asks of the system and of name servers, by the interpreter's own audit events."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._is_on = False
        sys.addaudithook(self._heard)  # for good: a hook cannot be taken back

    def __enter__(self) -> Watch:
        self.asked.clear()
        self._is_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on:
            return
        if event in ("socket.connect", "socket.sendto") and arguments[1][1:2] == (53,):
            self.asked.append(f"{arguments[1][0]} port 53")
        elif event == "socket.getaddrinfo" and literal(arguments[0]) is None:
            self.asked.append(f"getaddrinfo {arguments[0]}")


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


NAMES = ("site.test", "printer", "nas.lan", "x.home.arpa")


@pytest.fixture
async def names(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    """A secure name server of everything, and the configuration of a machine whose own ones would be on loopback."""
    monkeypatch.setattr("proxy.setup.SystemDns", partial(SystemDns, folder=machine_files(maker.folder, "127.0.0.77")))
    authority = Authority()
    authority.write(maker.folder)
    async with tls_server(saying("127.0.0.1"), authority.server("127.0.0.1"), http=False) as server:
        yield server
        await cancel_all()


def configuration(mode: str, server: NameServer) -> str:
    return f"""
[dns]
secure = "{mode}"
servers = ["tls://127.0.0.1:{server.port}?ca=authority.pem"]
[safety]
allow = ["127.0.0.1"]
[limits]
resolve_timeout_s = 2
[[relay]]
name = "named"
url = "socks5h://relay.test:1"
"""


async def visit(setup: Setup) -> set[Symptom]:
    """Every name over every route, with what a diagnosis would ask too. Nobody listens where they lead."""
    symptoms = set()
    for route in (DIRECT, Route(wrap=("doh",)), Route(("named",))):
        for name in NAMES:
            with pytest.raises(DialError) as caught:
                await setup.registry.dialer(route).dial(Destination(name, 1))
            symptoms.add(caught.value.symptom)
    for name in NAMES:
        await setup.resolver.compare(name)
    return symptoms


async def test_with_always_nothing_is_asked_on_port_53(maker: Maker, names: NameServer, watch: Watch) -> None:
    maker.write(configuration("always", names))
    with watch:
        assert await visit(maker.make()) == {Symptom.REFUSED, Symptom.NO_NAME, Symptom.SKIPPED, Symptom.RELAY_DOWN}
    assert watch.asked == []
    assert set(names.names()) == {"site.test", "relay.test"}


async def test_with_always_nothing_is_when_no_secure_server_answers(
    maker: Maker, names: NameServer, watch: Watch
) -> None:
    maker.write(configuration("always", names).replace(f":{names.port}", ":1"))
    with watch:
        assert Symptom.SKIPPED in await visit(maker.make())
    assert watch.asked == []


async def test_the_watch_sees_what_is_asked_otherwise(maker: Maker, names: NameServer, watch: Watch) -> None:
    """The control: the same visits with the default."""
    maker.write(configuration("on-suspicion", names))
    with watch:
        await visit(maker.make())
    assert "127.0.0.77 port 53" in watch.asked
    assert "getaddrinfo printer" in watch.asked


async def test_a_suspect_name_is_asked_of_secure_servers_alone(
    tmp_path: Path, maker: Maker, names: NameServer, watch: Watch
) -> None:
    poller = make_poller(asyncio.get_running_loop())
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    maker.write(configuration("on-suspicion", names))
    setup = SetupMaker(poller, paths, suspect=lambda host: host == "site.test").make(
        load(paths.config_to_read, env={}), {}, port=8119
    )
    with watch, pytest.raises(DialError, match="refused"):
        await setup.registry.dialer(DIRECT).dial(Destination("site.test", 1))
    assert watch.asked == []
    await cancel_all()
    poller.close()


async def test_D5_a_forged_answer_is_told_with_what_opens_it(maker: Maker, names: NameServer) -> None:
    async with plain_server(saying("10.10.34.34")) as plain:
        maker.write(configuration("on-suspicion", names))
        with pytest.MonkeyPatch.context() as patch:
            folder = machine_files(maker.folder, "127.0.0.1")
            patch.setattr("proxy.setup.SystemDns", lambda **given: SystemDns(folder=folder, port=plain.port, **given))
            setup = maker.make()
        with pytest.raises(DialError, match=r"forged answer; if it is right, \[dns\] local") as caught:
            await setup.registry.dialer(DIRECT).dial(Destination("site.test", 1))
    assert (caught.value.symptom, caught.value.evidence) == (Symptom.FORGED, {"dns": "dns_bogon"})


async def test_a_bad_file_of_a_secure_server_is_told_at_start(maker: Maker) -> None:
    maker.write('[dns]\nservers = ["tls://9.9.9.9?ca=none.pem"]\n')
    with pytest.raises(ConfigError, match=r"\[dns\] servers: no certificates can be read from .*none\.pem"):
        maker.make()


def test_only_our_own_addresses_are_where_packets_to_them_come_from() -> None:
    assert _source_towards("127.0.0.1") == "127.0.0.1"
    assert _source_towards("192.0.2.77") != "192.0.2.77"
