"""A computer that is carried from one network to the next, with tunnels open. Run by test_network_watch.py as

    unshare -Urnm python -m tests.net.uplink.moving

in a network namespace of its own, since it moves addresses and the default route. Two networks say the same of
themselves (192.168.1.0/24, router 192.168.1.1), as homes do; a third is wired. Behind each router the same server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Callable

from proxy.model import UNKNOWN_NETWORK, NetworkId
from proxy.net.poller import make_poller
from proxy.net.stream import SocketStream
from proxy.net.tunnel.pump import Pump
from proxy.net.uplink.network_watch import NetworkChange, NetworkWatch
from tests.lab.spaces import Space
from tests.support import programs
from tests.support.sockets import tcp_pair
from tests.support.waiting import GIVEN_UP_S, until

SERVER, PORT = "198.51.100.7", 8000
HOME, CAFE, WIRED = 1, 2, 3
ROUTERS = {HOME: "192.168.1.1", CAFE: "192.168.1.1", WIRED: "10.3.0.1"}
OURS = {HOME: "192.168.1.2", CAFE: "192.168.1.2", WIRED: "10.3.0.2"}


def ip(words: str, *, of: Space | None = None) -> None:
    command = [programs.require("ip"), *words.split()]
    if of is None:
        subprocess.run(command, check=True, timeout=10)
    else:
        assert of.popen(command).wait(10) == 0


def plug_in(number: int) -> Space:
    """One network's router, with the server behind it. Our end of the wire is down."""
    router = Space(f"router{number}")
    ip(f"link add near{number} type veth peer name far netns /proc/{os.getpid()}/fd/{router.fd}")
    ip("link set lo up", of=router)
    ip(f"address add {ROUTERS[number]}/24 dev far", of=router)
    ip(f"address add {SERVER}/32 dev lo", of=router)
    ip("link set far up", of=router)
    return router


def arrive(number: int, metric: int = 600) -> None:
    prefix = f"{ROUTERS[number].rpartition('.')[0]}.0/24"
    ip(f"address replace {OURS[number]}/24 dev near{number} noprefixroute")
    ip(f"link set near{number} up")
    ip(f"route replace {prefix} dev near{number} src {OURS[number]} metric {metric}")
    ip(f"route replace default via {ROUTERS[number]} dev near{number} src {OURS[number]} metric {metric}")


def leave(number: int) -> None:
    """The address stays on the link that is down: Linux has it so."""
    ip(f"link set near{number} down")


class Traveller:
    """What is watched and carried, and what came of it."""

    def __init__(self, routers: dict[int, Space]) -> None:
        self.watch = NetworkWatch(b"key")
        self.watch.on_change(self._moved)
        self.pump = Pump(idle_timeout_s=600, half_open_timeout_s=600)
        self.moves: list[NetworkChange] = []
        self.open_now: set[str] = set()
        self._routers = routers
        self._poller = make_poller(asyncio.get_running_loop())
        self._kept: list[socket.socket] = []

    def _moved(self, moved: NetworkChange) -> None:
        self.moves.append(moved)
        self.pump.abort_where(lambda upstream: moved.orphans(upstream.lowest_socket), "gone")

    async def open(self, name: str, router: int, to: str = SERVER) -> None:
        """A tunnel to a server behind that router."""
        with self._routers[router].create_server((to, PORT)) as listener:
            upstream = socket.socket()
            upstream.setblocking(False)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(upstream, (to, PORT)), GIVEN_UP_S)
            accepted, _ = listener.accept()
        client, far = tcp_pair()
        self._kept += [accepted, far]
        self.open_now.add(name)
        self.pump.start(
            SocketStream(client, self._poller, "client"),
            SocketStream(upstream, self._poller, name),
            lambda _: self.open_now.discard(name),
        )

    async def notice(self, what: Callable[[], bool]) -> None:
        await until(what)

    async def elsewhere(self, left: NetworkId) -> NetworkId:
        """Once another network than `left` is noticed, and nothing more changes: which."""
        await self.notice(lambda: self.watch.current() != left)
        await self.notice(lambda: self.watch._timer is None)
        return self.watch.current()

    async def close(self) -> None:
        self.watch.close()
        await self.pump.close(0)
        self._poller.close()
        for sock in self._kept:
            sock.close()


async def travel(routers: dict[int, Space]) -> None:
    traveller = Traveller(routers)
    try:
        await traveller.watch.start()
        home = traveller.watch.current()
        assert home != UNKNOWN_NETWORK
        assert traveller.watch._uplink is not None
        assert traveller.watch._uplink.hardware, "the router was not asked for"
        await carry_to_the_cafe(traveller, home)
        await plug_the_wire_in(traveller, home)
        await lose_the_way(traveller, home)
        await lose_the_address(traveller)
    finally:
        await traveller.close()


async def carry_to_the_cafe(traveller: Traveller, home: NetworkId) -> None:
    """The same addresses, and another network."""
    await traveller.open("at home", HOME)
    leave(HOME)
    assert await traveller.elsewhere(home) == UNKNOWN_NETWORK
    assert traveller.open_now == {"at home"}  # it may yet be back
    arrive(CAFE)
    await traveller.notice(lambda: not traveller.open_now)
    cafe = traveller.watch.current()
    assert cafe not in (home, UNKNOWN_NETWORK)
    await traveller.open("in the cafe", CAFE)
    leave(CAFE)
    arrive(HOME)
    await traveller.notice(lambda: not traveller.open_now)
    assert traveller.watch.current() == home
    assert any(moved.reused_address is not None for moved in traveller.moves)


async def plug_the_wire_in(traveller: Traveller, home: NetworkId) -> None:
    """Both are there, and the wire is preferred: what went outside by the other is lost, what is beside us is not."""
    await traveller.open("outside", HOME)
    await traveller.open("beside us", HOME, to=ROUTERS[HOME])
    arrive(WIRED, metric=100)
    await traveller.notice(lambda: traveller.open_now == {"beside us"})
    assert traveller.watch.current() not in (home, UNKNOWN_NETWORK)
    leave(WIRED)
    await traveller.notice(lambda: traveller.watch.current() == home)
    assert traveller.open_now == {"beside us"}


async def lose_the_way(traveller: Traveller, home: NetworkId) -> None:
    """A router that is away for a moment."""
    await traveller.open("outside", HOME)
    ip("route delete default")
    assert await traveller.elsewhere(home) == UNKNOWN_NETWORK
    arrive(HOME)
    assert await traveller.elsewhere(UNKNOWN_NETWORK) == home
    assert traveller.open_now == {"beside us", "outside"}


async def lose_the_address(traveller: Traveller) -> None:
    ip(f"address flush dev near{CAFE}")  # the same one
    assert traveller.open_now
    ip(f"address flush dev near{HOME}")
    await traveller.notice(lambda: not traveller.open_now)


def main() -> None:
    ip("link set lo up")
    with contextlib.ExitStack() as undo:
        routers = {}
        for number in ROUTERS:
            routers[number] = plug_in(number)
            undo.callback(routers[number].close)
        arrive(HOME)
        asyncio.run(travel(routers))


if __name__ == "__main__":
    main()
