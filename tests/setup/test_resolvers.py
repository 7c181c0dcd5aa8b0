"""Who is asked for names, by the interpreter's own audit: with every mode, for sites and for relays."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.model import DIRECT, Destination, Route, Symptom, literal
from proxy.model.errors import ConfigError, DialError
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.knowledge import NothingKnown
from proxy.net.tasks import cancel_all
from proxy.session.setup import Setup
from tests.support.authority import Authority
from tests.support.configured import Maker, making
from tests.support.name_servers import NameServer, Speaks, machine_files, plain_server, saying, tls_server
from tests.support.relay import Relay


@pytest.fixture
async def maker(tmp_path: Path) -> AsyncIterator[Maker]:
    async with making(tmp_path) as maker:
        yield maker


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
    monkeypatch.setattr(
        "proxy.setup.steps.StubResolver",
        partial(StubResolver, folder=machine_files(maker.folder, "127.0.0.77")),
    )
    authority = Authority()
    authority.write(maker.folder)
    async with tls_server(saying("127.0.0.1"), authority.server("127.0.0.1"), Speaks.DOT) as server:
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


async def by_relay(setup: Setup, relay: str) -> DialError:
    with pytest.raises(DialError) as caught:
        await setup.registry.dialer(Route((relay,))).dial(Destination("site.test", 1))
    return caught.value


async def test_a_relays_name_is_asked_of_secure_servers_alone_by_default(
    maker: Maker, names: NameServer, watch: Watch
) -> None:
    maker.write(configuration("on-suspicion", names))
    with watch:
        assert (await by_relay(maker.make(), "named")).evidence["relay"] == Symptom.REFUSED
    assert (watch.asked, set(names.names())) == ([], {"relay.test"})


async def test_where_no_secure_server_answers_it_is_asked_of_nobody(
    maker: Maker, names: NameServer, watch: Watch
) -> None:
    maker.write(configuration("on-suspicion", names).replace(f":{names.port}", ":1"))
    with watch:
        error = await by_relay(maker.make(), "named")
    assert (watch.asked, error.symptom, error.evidence["doh"]) == ([], Symptom.RELAY_DOWN, "doh_down")
    assert "add another encrypted DNS server to [dns] servers" in str(error)


async def test_with_never_it_is_asked_of_the_system(maker: Maker, names: NameServer, watch: Watch) -> None:
    """Also the control: the watch would see it."""
    maker.write(configuration("never", names))
    with watch:
        await by_relay(maker.make(), "named")
    assert (set(watch.asked), set(names.names())) == ({"127.0.0.77 port 53"}, set())


async def test_a_relay_with_an_address_carries_the_query_for_one_with_a_name(maker: Maker, names: NameServer) -> None:
    """The secure server's address leads nowhere from here, and to the server from the relay."""
    async with Relay({"127.0.0.2": "127.0.0.1"}) as relay:
        config = configuration("on-suspicion", names).replace(
            f"127.0.0.1:{names.port}?", f"127.0.0.2:{names.port}?sni=127.0.0.1&"
        )
        maker.write(f'{config}[[relay]]\nname = "address"\nurl = "socks5h://{relay.address}:{relay.port}"\n')
        error = await by_relay(maker.make(), "named")
        await cancel_all()
    assert set(names.names()) == {"relay.test"}, str(error)


class Wary(NothingKnown):
    def is_suspect(self, host: str) -> bool:
        return host == "site.test"


async def test_a_suspect_name_is_asked_of_secure_servers_alone(
    tmp_path: Path, maker: Maker, names: NameServer, watch: Watch
) -> None:
    maker.write(configuration("on-suspicion", names))
    async with making(tmp_path, Wary()) as wary:
        setup = wary.make()
        with watch, pytest.raises(DialError, match="refused"):
            await setup.registry.dialer(DIRECT).dial(Destination("site.test", 1))
        assert watch.asked == []
        await cancel_all()


async def test_D5_a_forged_answer_is_told_with_what_opens_it(maker: Maker, names: NameServer) -> None:
    async with plain_server(saying("10.10.34.34")) as plain:
        maker.write(configuration("on-suspicion", names))
        with pytest.MonkeyPatch.context() as patch:
            folder = machine_files(maker.folder, "127.0.0.1")
            patch.setattr(
                "proxy.setup.steps.StubResolver",
                lambda **given: StubResolver(folder=folder, port=plain.port, **given),
            )
            setup = maker.make()
        with pytest.raises(
            DialError, match=r"forged answer\); if it is correct, add the suffix to \[dns\] local"
        ) as caught:
            await setup.registry.dialer(DIRECT).dial(Destination("site.test", 1))
    assert caught.value.symptom is Symptom.FORGED
    assert caught.value.evidence == {"dns": "dns_bogon", "forged": "10.10.34.34"}


async def test_a_bad_file_of_a_secure_server_is_told_at_start(maker: Maker) -> None:
    maker.write('[dns]\nservers = ["tls://9.9.9.9?ca=none.pem"]\n')
    with pytest.raises(ConfigError, match=r"\[dns\] servers: no certificates can be read from .*none\.pem"):
        maker.make()
