"""Files, relays, rules and the guard becoming one Setup, or one list of everything that is wrong."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.errors import ConfigError, DialError
from proxy.model import DIRECT, Destination, IPAddress, Route, Symptom
from proxy.net.poller import make_poller
from proxy.net.resolver import Resolver
from proxy.net.tasks import spawn
from proxy.services import Setup
from proxy.setup import SetupMaker, _source_towards


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
    assert len(set(seen)) == 4
    assert maker.fingerprint() == seen[-1]


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


def test_only_our_own_addresses_are_where_packets_to_them_come_from() -> None:
    assert _source_towards("127.0.0.1") == "127.0.0.1"
    assert _source_towards("192.0.2.77") != "192.0.2.77"
