"""The engine for keys is made when a Setup first has one, and closed with the run."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.model import Destination, IPAddress, Symptom
from proxy.model.errors import DialError
from proxy.model.feature import Feature, Role
from proxy.net.dialers.key_relay import KeyDialer, KeyRelay, NoEngineDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import Poller, make_poller
from proxy.setup.checked import KeyEngineOnDemand, Parts
from proxy.setup.steps import make

KEY = '[[relay]]\nname = "key"\nurl = "trojan://hunter2@relay.example:443"\n'
TOR = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'


class Engine:
    def __init__(self) -> None:
        self.relays: list[KeyRelay] = []
        self.is_closed = False

    def dialer(self, relay: KeyRelay) -> KeyDialer:
        self.relays.append(relay)
        return NoEngineDialer(relay.name)

    async def close(self) -> None:
        self.is_closed = True


class OnDemand(KeyEngineOnDemand):
    """One whose feature is here."""

    def __init__(self, poller: Poller) -> None:
        super().__init__((), poller, None)
        self.engine: Engine | None = None

    def get(self) -> Engine:
        if self._made is None:
            self._made = self.engine = Engine()
        assert self.engine is not None
        return self.engine


async def test_it_is_made_with_the_first_key_and_not_before(tmp_path: Path) -> None:
    poller = make_poller(asyncio.get_running_loop())
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    keys = OnDemand(poller)
    parts = Parts(poller, paths, 8119, keys=keys)
    try:
        for config in (TOR, TOR + KEY):
            paths.config_file.write_text(config)
            paths.config_file.chmod(0o600)
            assert keys.engine is None
            setup = make(parts, load(paths.config_file, env={}), {})
        assert keys.engine is not None
        assert [relay.name for relay in keys.engine.relays] == ["key"]
        assert keys.engine.relays[0].lookup is not None
        assert keys.own_ports == {8119}
        keys.own_ports.add(40000)  # a port of the engine: the guard refuses it at once
        reason = setup.guard.refuse_host(Destination("127.0.0.1", 40000))
        assert reason is not None
        await keys.close()
        assert keys.engine.is_closed
    finally:
        poller.close()


async def test_keys_get_addresses_of_destinations_by_encrypted_dns_alone_and_none_that_the_guard_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a key of WireGuard is a network of others: a public name must not lead into it."""
    found = {"mixed.example": ("10.0.0.1", "1.1.1.1"), "rebound.example": ("10.0.0.1", "127.0.0.1")}

    async def secure(_: Resolver, host: str) -> list[IPAddress]:
        return [*map(ipaddress.ip_address, found[host])]

    monkeypatch.setattr(Resolver, "secure", secure)
    poller = make_poller(asyncio.get_running_loop())
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    try:
        for dns in ("", "[dns]\nservers = []\n"):
            keys = OnDemand(poller)
            paths.config_file.write_text(dns + KEY)
            paths.config_file.chmod(0o600)
            make(Parts(poller, paths, 8119, keys=keys), load(paths.config_file, env={}), {})
            assert keys.engine is not None
            through = keys.engine.relays[0].lookup_through
            if dns:
                assert through is None
                continue
            assert through is not None
            names = through(NoEngineDialer("key"))
            assert await names(Destination("mixed.example", 443)) == [ipaddress.ip_address("1.1.1.1")]
            with pytest.raises(DialError, match=r"10\.0\.0\.1") as refused:
                await names(Destination("rebound.example", 443))
            assert refused.value.symptom is Symptom.FORBIDDEN
    finally:
        poller.close()


async def test_a_feature_that_does_not_work_is_none(tmp_path: Path) -> None:
    poller = make_poller(asyncio.get_running_loop())
    async with KeyEngineOnDemand((), poller, tmp_path) as without:
        assert without.get() is None
    broken = Feature("none", provides={Role.KEY_ENGINE: "missing:Engine"})
    async with KeyEngineOnDemand((broken,), poller, tmp_path) as none:
        assert none.get() is None
    poller.close()
