from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from proxy.model import IPAddress, NetworkId, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dns.getaddrinfo import THREADS, system_lookup
from proxy.net.dns.resolver import ADDRESSES, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.dns.tampering import CACHED_NAMES
from proxy.net.knowledge import NothingKnown
from proxy.net.tasks import cancel_all, spawn
from tests.support.late import stall
from tests.support.name_servers import machine_files, plain_server, reply, silent
from tests.support.waiting import until

ADDRESS = ipaddress.ip_address("192.0.2.7")


class Lookup:
    """A resolver that counts what it is asked, and answers once `open` is set."""

    def __init__(self, answer: Callable[[str], list[IPAddress]] = lambda _: [ADDRESS]) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self.running = self.most = 0
        self._answer = answer
        self._lock = threading.Lock()

    def __call__(self, host: str) -> list[IPAddress]:
        with self._lock:
            self.asked.append(host)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self.open.wait(10)
            return self._answer(host)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def lookup() -> Iterator[Lookup]:
    made = Lookup()
    yield made
    made.open.set()


def failing(error: Exception) -> Callable[[str], NoReturn]:
    def fail(_: str) -> NoReturn:
        raise error

    return fail


async def test_hosts_come_first_and_ask_nobody(lookup: Lookup) -> None:
    resolver = Resolver({"intranet.test": "127.0.0.2", "six.test": "::1"}, lookup=lookup)
    assert await resolver.resolve("intranet.test") == (ipaddress.ip_address("127.0.0.2"),)
    assert await resolver.resolve("six.test") == (ipaddress.ip_address("::1"),)
    assert lookup.asked == []


def test_hosts_that_are_no_addresses_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[dns.hosts\] a.test: 'b.test' is not an address"):
        Resolver({"a.test": "b.test"})


async def test_C9_onion_names_are_asked_of_nobody(lookup: Lookup) -> None:
    resolver = Resolver(lookup=lookup)
    for host in ("onion", "abc.onion"):
        with pytest.raises(DialError, match="Tor") as caught:
            await resolver.resolve(host)
        assert (caught.value.stage, caught.value.symptom) == (Stage.RESOLVE, Symptom.FORBIDDEN)
    assert lookup.asked == []


async def test_D12_a_thousand_lookups_of_one_name_are_one_query(lookup: Lookup) -> None:
    resolver = Resolver(lookup=lookup)
    asking = [spawn(resolver.resolve("a.test"), name="resolve") for _ in range(1000)]
    await asyncio.sleep(0)
    lookup.open.set()
    assert set(await asyncio.gather(*asking)) == {(ADDRESS,)}
    assert lookup.asked == ["a.test"]


async def test_answers_are_kept_for_the_network_that_gave_them(lookup: Lookup) -> None:
    lookup.open.set()
    network = NetworkId("home")
    resolver = Resolver(lookup=lookup, knowledge=NothingKnown(lambda: network))
    for _ in range(3):
        await resolver.resolve("a.test")
    assert lookup.asked == ["a.test"]
    network = NetworkId("train")
    await resolver.resolve("a.test")
    assert lookup.asked == ["a.test"] * 2


async def test_answers_grow_old(lookup: Lookup) -> None:
    lookup.open.set()
    resolver = Resolver(lookup=lookup, options=ResolverOptions(keep_s=0))
    for _ in range(2):
        await resolver.resolve("a.test")
    assert lookup.asked == ["a.test"] * 2


async def test_few_answers_are_kept_and_few_addresses_each() -> None:
    lookup = Lookup(lambda _: [ADDRESS + number for number in range(100)])
    lookup.open.set()
    resolver = Resolver(lookup=lookup)
    assert len(await resolver.resolve("first.test")) == ADDRESSES
    for number in range(CACHED_NAMES):
        await resolver.resolve(f"n{number}.test")
    await resolver.resolve(f"n{CACHED_NAMES - 1}.test")
    assert len(lookup.asked) == CACHED_NAMES + 1
    await resolver.resolve("first.test")  # the oldest went
    assert len(lookup.asked) == CACHED_NAMES + 2


async def test_a_lookup_is_begun_without_a_task_of_the_caller(lookup: Lookup) -> None:
    resolver, told = Resolver(lookup=lookup), list[str]()
    with pytest.raises(DialError, match="Tor"):
        resolver.begin("abc.onion", lambda: None)
    first, second, left = (resolver.begin("a.test", partial(told.append, who)) for who in ("first", "second", "left"))
    left.close()
    assert first.poll() is None
    lookup.open.set()
    await until(lambda: first.poll() is not None)
    assert (first.poll(), second.poll(), left.poll()) == ((ADDRESS,), (ADDRESS,), None)
    assert told == ["first", "second"]
    assert lookup.asked == ["a.test"]


async def test_so_many_threads_and_no_more(lookup: Lookup) -> None:
    resolver = Resolver(lookup=lookup)
    asking = [spawn(resolver.resolve(f"n{number}.test"), name="resolve") for number in range(3 * THREADS)]
    await until(lambda: lookup.running == THREADS)
    lookup.open.set()
    await asyncio.gather(*asking)
    assert lookup.most == THREADS
    assert len(lookup.asked) == 3 * THREADS


async def test_a_silent_resolver_is_waited_for_so_long(lookup: Lookup) -> None:
    resolver = Resolver(options=ResolverOptions(timeout_s=0.05), lookup=lookup)
    with pytest.raises(DialError, match=r"no DNS answer for a\.test") as caught:
        await resolver.resolve("a.test")
    assert (caught.value.stage, caught.value.symptom) == (Stage.RESOLVE, Symptom.RESOLVE_FAILED)


async def test_who_leaves_takes_nobody_along(lookup: Lookup) -> None:
    resolver = Resolver(lookup=lookup)
    leaving, staying = (spawn(resolver.resolve("a.test"), name="resolve") for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    lookup.open.set()
    assert await staying == (ADDRESS,)


@pytest.mark.parametrize(
    ("error", "symptom"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Symptom.NO_NAME),
        (socket.gaierror(getattr(socket, "EAI_NODATA", socket.EAI_NONAME), "No address"), Symptom.NO_NAME),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), Symptom.RESOLVE_FAILED),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), Symptom.RESOLVE_FAILED),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), Symptom.LOCAL),
        (OSError(errno.EMFILE, "Too many open files"), Symptom.LOCAL),
        (OSError(errno.EIO, "Input/output error"), Symptom.RESOLVE_FAILED),
        (UnicodeEncodeError("idna", "x", 0, 1, "label too long"), Symptom.NO_NAME),
        (ZeroDivisionError("a fault"), Symptom.LOCAL),
    ],
)
async def test_what_went_wrong_is_told_apart(error: Exception, symptom: Symptom) -> None:
    resolver = Resolver(lookup=failing(error))
    with pytest.raises(DialError, match=r"a\.test") as caught:
        await resolver.resolve("a.test")
    assert (caught.value.stage, caught.value.symptom) == (Stage.RESOLVE, symptom)


async def test_a_failure_is_not_kept() -> None:
    answers = iter([OSError(errno.EIO, "once"), None])

    def lookup(_: str) -> list[IPAddress]:
        if error := next(answers):
            raise error
        return [ADDRESS]

    resolver = Resolver(lookup=lookup)
    with pytest.raises(DialError):
        await resolver.resolve("a.test")
    assert await resolver.resolve("a.test") == (ADDRESS,)


async def test_no_address_is_no_name() -> None:
    with pytest.raises(DialError, match="has no address") as caught:
        await Resolver(lookup=lambda _: []).resolve("a.test")
    assert caught.value.symptom is Symptom.NO_NAME


async def test_a_loop_that_ended_is_no_fault(lookup: Lookup) -> None:
    def ask_and_leave() -> None:
        async def main() -> None:
            with pytest.raises(DialError):
                await Resolver(options=ResolverOptions(timeout_s=0.01), lookup=lookup).resolve("a.test")

        asyncio.run(main())

    await asyncio.to_thread(ask_and_leave)
    lookup.open.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "resolve a.test"]:
        await asyncio.to_thread(thread.join, 10)


def test_the_system_knows_localhost() -> None:
    found = system_lookup("localhost")
    assert found
    assert all(address.is_loopback for address in found)
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("home")
async def test_an_answer_that_came_while_the_loop_was_late_is_in_time(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with plain_server(silent) as server:
        folder = machine_files(tmp_path, "127.0.0.1")
        resolver = Resolver(
            options=ResolverOptions(timeout_s=60), system=StubResolver(folder=folder, port=server.port, retry_s=100)
        )
        asked = spawn(resolver.resolve("a.test"), name="resolve")
        await until(lambda: len(server.asked) == 2)

        def answer() -> None:
            for question in server.asked:
                server.push(reply(question, str(ADDRESS)))

        loop.call_at(loop.time() + 30, answer)
        stall(1000)
        assert await asked == (ADDRESS,)
        await cancel_all()  # the lookup listens on for a second answer
