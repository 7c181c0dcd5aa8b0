"""A blocked page comes through Debian's wireguard-go and sshd, each by a key; and what leaves the computer then.

Behind wireguard-go the kernel passes packets on, so the site sees the address that the key has in the tunnel.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.lab import places, rules
from tests.lab.country import Country
from tests.lab.links import PERFECT
from tests.lab.packets import ICMP, UDP
from tests.lab.real_relays import RealRelays, stop
from tests.lab.spaces import Space
from tests.lab.test_rescue import came_from
from tests.support import programs
from tests.support.tunnel_servers import hexadecimal, wireguard_keys
from tests.support.waiting import until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.needs("unshare", "mihomo"),
    pytest.mark.waits,
    pytest.mark.slow,
]

SERVER, IN_TUNNEL = "192.0.2.218", "192.0.2.219"
PORT = 51820
_UAPI = "/var/run/wireguard/wg0.sock"


def with_engine(folder: Path) -> dict[str, str]:
    """Returns an environment in which mihomo is on PATH."""
    (folder / "programs").mkdir()
    (folder / "programs" / "mihomo").symlink_to(programs.require("mihomo"))
    return {"PATH": f"{folder / 'programs'}{os.pathsep}{os.environ['PATH']}"}


@asynccontextmanager
async def wireguard(relays: RealRelays) -> AsyncIterator[str]:
    """Runs wireguard-go on a host of its own. Yields the link of a key."""
    (private, public), (peer_private, peer_public) = wireguard_keys(), wireguard_keys()
    here = relays.country.router.add_space("wireguard", [f"{SERVER}/29", f"{IN_TUNNEL}/29"])
    here.mount_memory("/run")
    here.run(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
    command = [programs.require("wireguard-go"), "-f", "wg0"]
    process = here.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await _set_up(relays, here, private, peer_public)
        query = f"publickey={quote(public, safe='')}&address={IN_TUNNEL}%2F32&dns={places.PROVIDER_RESOLVER}"
        yield f"wireguard://{quote(peer_private, safe='')}@{SERVER}:{PORT}?{query}"
    finally:
        await stop(process)


async def _set_up(relays: RealRelays, here: Space, private: str, peer: str) -> None:
    await until(lambda: here.run(lambda: os.path.exists(_UAPI)))
    said = here.run(
        lambda: _told(
            f"set=1\nprivate_key={hexadecimal(private)}\nlisten_port={PORT}\npublic_key={hexadecimal(peer)}\n"
            f"allowed_ip={IN_TUNNEL}/32\n\n"
        )
    )
    assert said == "errno=0\n\n"
    for words in (
        ("link", "set", "wg0", "up"),
        ("address", "del", f"{IN_TUNNEL}/29", "dev", _device(here)),
        ("route", "add", f"{IN_TUNNEL}/32", "dev", "wg0"),
    ):
        assert await relays.run(here, programs.require("ip"), *words) == 0, words


def _told(text: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(_UAPI)
        sock.sendall(text.encode())
        return sock.recv(1000).decode()


def _device(here: Space) -> str:
    names = here.run(lambda: [name for _, name in socket.if_nameindex()])
    (device,) = [name for name in names if name not in ("lo", "wg0")]
    return device


def table(name: str, link: str) -> str:
    return f'[[relay]]\nname = "{name}"\nurl = "{link}"\n'


@pytest.mark.needs("wireguard-go", "ip")
async def test_a_blocked_page_comes_through_wireguard_go_and_nobody_else_learns_its_name(tmp_path: Path) -> None:
    async with Country(tmp_path, link=PERFECT) as country, RealRelays(country, tmp_path) as relays:
        blocked = country.add_site("blocked.example")
        country.rules.set([rules.AddressDrop(blocked.address)])
        async with wireguard(relays) as link:
            config = country.config(no_relay=True, servers=[country.doh_url], controls=(), extra=table("wg", link))
            since = await country.caught_up()
            folder, environment = tmp_path / "byway", with_engine(tmp_path)
            async with country.byway(folder, config=config, rules="MATCH,RELAY:wg", environment=environment) as byway:
                for url in (blocked.url(), blocked.url(secure=False)):
                    answer = await byway.get(url)
                    assert (answer.status, came_from(answer)) == (200, IN_TUNNEL)
        await country.caught_up()
        packets = country.router.events.packets(sender="client", since=since)
        sent = {(seen.packet.protocol, seen.packet.target, seen.packet.dport) for seen in packets}
        late = (ICMP, SERVER, 0)  # its answer to a packet of the server after the engine's end
        assert {one for one in sent if one[1] != places.PORTAL} - {late} == {(UDP, SERVER, PORT)}
        assert blocked.name in country.resolver.names(), "it was asked through the key"
        assert relays.told(blocked.name) == set()


@pytest.mark.needs("wireguard-go", "ip")
async def test_a_page_that_is_found_blocked_comes_through_wireguard_go(tmp_path: Path) -> None:
    async with Country(tmp_path, link=PERFECT) as country, RealRelays(country, tmp_path) as relays:
        blocked = country.add_site("blocked.example")
        country.rules.set([rules.SniReset(blocked.name)])
        async with wireguard(relays) as link:
            config = country.config(no_relay=True, extra=table("wg", link))
            async with country.byway(tmp_path / "byway", config=config, environment=with_engine(tmp_path)) as byway:
                answer = await byway.get(blocked.url())
                assert (answer.status, came_from(answer)) == (200, IN_TUNNEL)
                (row,) = await byway.rows(blocked.name, 1)
                assert row["winner"] == "wg"


@pytest.mark.needs("ssh", "ssh-keygen", "sshd")
async def test_a_blocked_page_comes_through_sshd_by_a_key_with_its_host_key(tmp_path: Path) -> None:
    async with Country(tmp_path, link=PERFECT) as country, RealRelays(country, tmp_path) as relays:
        blocked = country.add_site("blocked.example")
        country.rules.set([rules.SniReset(blocked.name)])
        await relays.start("sshd")
        server = relays.addresses["sshd"]
        host_key, private = ((tmp_path / name).read_text().strip() for name in ("host_key.pub", "user_key"))
        link = f"ssh://user@{server}:2222?host-key={quote(host_key, safe='')}&pk={quote(private, safe='')}"
        config = country.config(no_relay=True, extra=table("ssh", link))
        async with country.byway(tmp_path / "byway", config=config, environment=with_engine(tmp_path)) as byway:
            answer = await byway.get(blocked.url())
            assert (answer.status, came_from(answer)) == (200, server)
            (row,) = await byway.rows(blocked.name, 1)
            assert row["winner"] == "ssh"
