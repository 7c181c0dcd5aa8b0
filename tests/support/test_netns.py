from __future__ import annotations

import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.netns import NEEDS, PROVIDER, Internet
from tests.support.resolver import Asked, Resolver

pytestmark = [pytest.mark.namespaces, pytest.mark.needs(*NEEDS)]

LOOK_UP = "import socket, sys; print(*(socket.gethostbyname(name) for name in sys.argv[1:]))"


async def test_each_host_has_an_address_a_hosts_file_and_a_resolver_of_its_own(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        internet = await stack.enter_async_context(Internet(tmp_path))
        asked_there = internet.provider.make_socket(socket.AF_INET, socket.SOCK_DGRAM, address=(PROVIDER, 53))
        resolver = await stack.enter_async_context(
            Resolver(asked_there, lambda name, asker: asker if name == "me.test" else None)
        )
        here = await internet.host("here", resolver=PROVIDER, hosts={"there": "192.0.2.1"})
        there = await internet.host("there", resolver=PROVIDER)
        for host, known in ((here, "there"), (there, "localhost")):
            done = await host.run(sys.executable, "-I", "-S", "-c", LOOK_UP, "me.test", known)
            assert done.stdout.split() == [host.address, "192.0.2.1" if known == "there" else "127.0.0.1"]
        assert resolver.asked == [Asked(host.address, "me.test", 1) for host in (here, there)]
        unknown = await there.run(sys.executable, "-I", "-S", "-c", LOOK_UP, "no.test", check=False)
        assert "Name or service not known" in unknown.stderr


async def test_the_provider_sees_who_turns_to_whom(tmp_path: Path) -> None:
    async with Internet(tmp_path) as internet:
        here = await internet.host("here", resolver=PROVIDER)
        there = await internet.host("there", resolver=PROVIDER)
        with there.create_server((there.address, 1080)) as server:
            assert there.listens(1080)
            assert not here.listens(1080)
            _, writer = await here.open_connection(there.address, 1080)
            peer, (address, _) = server.accept()
            assert address == here.address
            begun = len(internet.capture.packets)
            writer.write(b"said on it")
            await writer.drain()
            with here.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                await internet.capture.settle(sock, there.address)
            writer.close()
            peer.close()
        assert internet.capture.begun_by(here.address) == {(there.address, 1080)}
        assert internet.capture.begun_by(here.address, since=begun) == set()
        assert {packet.target for packet in internet.capture.holding(b"said on it")} == {there.address}
        assert internet.capture.strange == []


async def test_a_program_that_does_not_listen_says_why(tmp_path: Path) -> None:
    async with Internet(tmp_path) as internet:
        host = await internet.host("host", resolver=PROVIDER)
        with pytest.raises(OSError, match=r"does not listen on port 1080\. It said:\nno such relay"):
            await host.start("sh", "-c", "echo no such relay; exit 1", port=1080)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            host.create_server(("192.0.2.1", 80))


async def test_what_stays_behind_is_ended_and_told(tmp_path: Path) -> None:
    internet = Internet(tmp_path, patience_s=0.1)
    await internet.__aenter__()
    try:
        host = await internet.host("host", resolver=PROVIDER)
        await host.run("sh", "-c", "setsid sleep 54321 < /dev/null > /dev/null 2>&1 &")
    finally:
        with pytest.raises(AssertionError, match=r"had to be killed: .*sleep 54321"):
            await internet.__aexit__()
    assert not running("54321")


def running(word: str) -> bool:
    return any(word.encode() in _command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
