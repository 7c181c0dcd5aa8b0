from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import select
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proxy.model import IPAddress
from proxy.net.dns import stub_resolver as dns_system
from proxy.net.dns.stub_resolver import QUESTIONS, LookupResult, StubResolver
from proxy.net.loop.choice import new_loop
from proxy.net.poller import make_poller
from proxy.net.tasks import spawn
from proxy.wire.dns import Rcode
from tests.support.late import stall
from tests.support.name_servers import Asked, machine_files, plain_server, reply, saying, silent
from tests.support.waiting import until

FOUR, SIX = "192.0.2.7", "2001:db8::7"
Texts = tuple[str, ...]


class Ear:
    """What a lookup told, as texts."""

    def __init__(self) -> None:
        self.found: list[LookupResult] = []
        self.differing: list[tuple[Texts, Texts]] = []

    async def on_result(self, found: LookupResult) -> None:
        self.found.append(found)

    def on_two_answers(self, first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
        self.differing.append((tuple(map(str, first)), tuple(map(str, second))))

    def may_ask_next(self) -> bool:
        return True

    @property
    def addresses(self) -> list[Texts]:
        return [tuple(map(str, found.addresses)) for found in self.found]


async def ask(system: StubResolver, host: str = "a.test", *, timeout_s: float = 10) -> Ear:
    """The whole of a lookup, with what came after its answer."""
    ear = Ear()
    await system.ask(host, timeout_s, ear)
    return ear


def asking(
    folder: Path,
    port: int,
    *servers: str,
    retry_s: float = 10,
    second_answer_s: float = 0.05,
    has_ipv6: bool = True,
) -> StubResolver:
    machine_files(folder, *(servers or ("127.0.0.1",)))
    return StubResolver(
        folder=folder, port=port, retry_s=retry_s, second_answer_s=second_answer_s, has_ipv6=lambda: has_ipv6
    )


pytestmark = pytest.mark.usefixtures("home")


async def test_both_families_are_asked_for_at_once_and_told_together(tmp_path: Path) -> None:
    async with plain_server(saying(FOUR, SIX, ttl=17)) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert ear.addresses == [(FOUR, SIX)]
    assert ear.found[0].ttl_s == 17
    assert sorted(asked.kind for asked in server.asked) == ["A", "AAAA"]


@pytest.mark.parametrize(
    ("addresses", "code", "expected", "kinds"),
    [
        ([FOUR, SIX], "NOERROR", (Rcode.OK, (FOUR,)), ["A"]),
        ([SIX], "NOERROR", (Rcode.OK, (SIX,)), ["A", "AAAA"]),
        ([], "NOERROR", (Rcode.OK, ()), ["A", "AAAA"]),
        ([], "NXDOMAIN", (Rcode.NO_NAME, ()), ["A"]),
        ([], "SERVFAIL", (Rcode.FAILED, ()), ["A"] * QUESTIONS),
    ],
)
async def test_a_machine_without_ipv6_asks_for_it_only_where_there_is_nothing_else(
    tmp_path: Path, addresses: list[str], code: str, expected: tuple[Rcode, Texts], kinds: list[str]
) -> None:
    async with plain_server(saying(*addresses, code=code)) as server:
        ear = await ask(asking(tmp_path, server.port, has_ipv6=False))
    assert [(found.code, texts) for found, texts in zip(ear.found, ear.addresses, strict=True)] == [expected]
    assert [asked.kind for asked in server.asked] == kinds


async def test_the_server_that_knows_no_ipv4_address_is_asked_for_the_other(tmp_path: Path) -> None:
    async with (
        plain_server(saying(SIX)) as first,
        plain_server(silent, address="127.0.0.2", port=first.port) as second,
    ):
        ear = await ask(asking(tmp_path, first.port, "127.0.0.1", "127.0.0.2", has_ipv6=False))
    assert ear.addresses == [(SIX,)]
    assert [asked.kind for asked in first.asked] == ["A", "AAAA"]
    assert second.asked == []


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: epoll is Linux")
def test_queries_leave_at_the_end_of_a_pass_and_those_of_a_lookup_that_ended_before_never(tmp_path: Path) -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        async with plain_server(saying(FOUR)) as server:
            machine_files(tmp_path, "127.0.0.1")
            with contextlib.closing(make_poller(loop)) as poller:
                system = StubResolver(poller=poller, folder=tmp_path, port=server.port, second_answer_s=0)
                ended = ask(system, "ended.test")
                ended.send(None)  # up to its wait for an answer
                ended.close()
                assert (await ask(system, "a.test")).addresses == [(FOUR,)]
            return [asked.name for asked in server.asked]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert set(runner.run(story())) == {"a.test"}


@pytest.mark.parametrize("loop", [new_loop, asyncio.new_event_loop])
def test_where_a_port_is_closed_the_next_server_is_asked(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The first query is refused, so that the second one cannot be sent."""

    async def story() -> None:
        async with plain_server(saying(FOUR), address="127.0.0.2") as server:
            machine_files(tmp_path, "127.0.0.1", "127.0.0.2")
            with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller:
                system = StubResolver(poller=poller, folder=tmp_path, port=server.port, retry_s=1e9, second_answer_s=0)
                assert (await ask(system)).addresses == [(FOUR,)]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_two_different_answers_are_told_without_ipv6_as_well(tmp_path: Path) -> None:
    async with plain_server(lambda asked: [reply(asked, "203.0.113.66"), reply(asked, FOUR)]) as server:
        ear = await ask(asking(tmp_path, server.port, has_ipv6=False))
    assert ear.differing == [(("203.0.113.66",), (FOUR,))]


async def test_D13_a_question_in_the_clear_looks_like_any_other_programs(tmp_path: Path) -> None:
    async with plain_server(saying(FOUR)) as server:
        await ask(asking(tmp_path, server.port))
    assert all(not asked.message.options and asked.message.edns < 0 for asked in server.asked)
    assert len({asked.message.id for asked in server.asked}) == 2


@pytest.mark.parametrize("kind", ["A", "AAAA"])
async def test_D9_one_family_that_hangs_holds_nothing_up(tmp_path: Path, kind: str) -> None:
    """The answer comes while the deadline is far away."""
    async with plain_server(lambda asked: [] if asked.kind == kind else [reply(asked, FOUR, SIX)]) as server:
        ear = await ask(asking(tmp_path, server.port), timeout_s=1e9)
    assert ear.addresses == [(SIX,) if kind == "A" else (FOUR,)]


async def test_a_family_that_comes_late_is_told_too(tmp_path: Path) -> None:
    async with plain_server(lambda asked: [reply(asked, FOUR)] if asked.kind == "A" else []) as server:
        ear = Ear()
        system = asking(tmp_path, server.port, second_answer_s=60)
        task = spawn(system.ask("a.test", 1e9, ear), name="ask")
        await until(lambda: len(ear.found) == 1)
        (asked,) = [asked for asked in server.asked if asked.kind == "AAAA"]
        server.push(reply(asked, SIX))
        await until(lambda: len(ear.found) == 2)
        assert ear.addresses == [(FOUR,), (FOUR, SIX)]
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("code", "expected"), [("SERVFAIL", Rcode.FAILED), ("REFUSED", Rcode.REFUSED), ("NOTIMP", Rcode.OTHER)]
)
async def test_D6_a_server_that_fails_is_followed_by_the_next(tmp_path: Path, code: str, expected: Rcode) -> None:
    async with (
        plain_server(saying(code=code)) as first,
        plain_server(saying(FOUR), address="127.0.0.2", port=first.port) as second,
    ):
        system = asking(tmp_path, first.port, "127.0.0.1", "127.0.0.2")
        assert (await ask(system)).addresses == [(FOUR,)]
        second.say = saying(code=code)
        ear = await ask(system)
    assert ear.found == [LookupResult(code=expected, source=ear.found[0].source)]


async def test_D6_a_name_that_does_not_exist_is_asked_of_nobody_else(tmp_path: Path) -> None:
    async with (
        plain_server(saying(code="NXDOMAIN")) as first,
        plain_server(saying(FOUR), address="127.0.0.2", port=first.port) as second,
    ):
        ear = await ask(asking(tmp_path, first.port, "127.0.0.1", "127.0.0.2"))
    assert [found.code for found in ear.found] == [Rcode.NO_NAME]
    assert second.asked == []


async def test_a_name_without_addresses_exists(tmp_path: Path) -> None:
    async with plain_server(saying()) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert [(found.code, found.addresses) for found in ear.found] == [(Rcode.OK, ())]


async def test_silence_is_waited_for_so_long(tmp_path: Path) -> None:
    async with plain_server(silent) as server:
        ear = await ask(asking(tmp_path, server.port), timeout_s=0.05)
    assert [found.code for found in ear.found] == [None]


async def test_a_silent_server_does_not_keep_the_next_from_being_asked(tmp_path: Path) -> None:
    async with (
        plain_server(silent) as first,
        plain_server(saying(FOUR), address="127.0.0.2", port=first.port),
    ):
        ear = await ask(asking(tmp_path, first.port, "127.0.0.1", "127.0.0.2", retry_s=0.02), timeout_s=1e9)
    assert ear.addresses == [(FOUR,)]


async def test_all_are_asked_again_and_then_no_more(tmp_path: Path) -> None:
    async with plain_server(silent) as server:
        task = spawn(ask(asking(tmp_path, server.port, retry_s=0.01), timeout_s=1e9), name="ask")
        await until(lambda: len(server.asked) >= 2 * QUESTIONS)
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        await asyncio.wait([task])
    assert len(server.asked) == 2 * QUESTIONS


async def test_where_nobody_listens_the_next_is_asked_at_once(tmp_path: Path) -> None:
    async with plain_server(saying(FOUR), address="127.0.0.2") as server:
        ear = await ask(asking(tmp_path, server.port, "127.0.0.1", "127.0.0.2"), timeout_s=1e9)
    assert ear.addresses == [(FOUR,)]


async def test_where_nobody_listens_at_all_it_ends_at_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    ear = await ask(asking(tmp_path, port), timeout_s=1e9)
    assert ear.found[0].code is None
    assert "refused" in ear.found[0].source
    assert not ear.found[0].offline


async def test_F80_where_no_way_leads_to_any_server_the_machine_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(server: str, port: int) -> socket.socket:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(dns_system, "_connected", connected)
    ear = await ask(asking(tmp_path, 53, "192.0.2.1", "2001:db8::1"), timeout_s=1e9)
    assert (ear.found[0].code, ear.found[0].offline) == (None, True)


async def test_F80_a_machine_that_lacks_one_family_is_not_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = dns_system._connected

    def connected(server: str, port: int) -> socket.SocketType:
        if ":" in server:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        return connect(server, port)

    monkeypatch.setattr(dns_system, "_connected", connected)
    async with plain_server(silent) as server:
        ear = await ask(asking(tmp_path, server.port, "2001:db8::1", "127.0.0.1"), timeout_s=0.1)
    assert (ear.found[0].code, ear.found[0].offline) == (None, False)


async def test_what_does_not_fit_is_asked_for_over_tcp(tmp_path: Path) -> None:
    many = [f"192.0.2.{number}" for number in range(1, 60)]

    def say(asked: Asked) -> Sequence[bytes]:
        return [reply(asked, *many) if asked.over == "tcp" else reply(asked, truncated=True)]

    async with plain_server(say) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert len(ear.found[0].addresses) == len(many)
    assert {asked.over for asked in server.asked} == {"udp", "tcp"}


async def test_two_different_answers_to_one_question_are_told(tmp_path: Path) -> None:
    def say(asked: Asked) -> Sequence[bytes]:
        return [reply(asked, "203.0.113.66"), reply(asked, FOUR)]

    async with plain_server(say) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert ear.addresses == [("203.0.113.66",)]
    assert ear.differing == [(("203.0.113.66",), (FOUR,))]


async def test_a_denial_before_the_answer_is_told(tmp_path: Path) -> None:
    async with plain_server(lambda asked: [reply(asked, code="NXDOMAIN"), reply(asked, FOUR)]) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert ear.differing == [((), (FOUR,))]


@pytest.mark.parametrize(
    "second",
    [
        lambda asked: reply(asked, FOUR),  # the same datagram twice
        lambda asked: reply(asked, "192.0.2.8"),  # another machine of the same network
        lambda asked: reply(asked, "203.0.113.66", number=asked.message.id ^ 1),  # to another question
        lambda asked: reply(asked, "203.0.113.66").replace(b"\x01a\x04test", b"\x01b\x04test"),  # for another name
        lambda asked: b"\0",
        lambda asked: asked.message.to_wire(),  # our own question
    ],
)
async def test_what_is_no_second_answer_is_not_told(tmp_path: Path, second: Callable[[Asked], bytes]) -> None:
    async with plain_server(lambda asked: [reply(asked, FOUR), second(asked)]) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert ear.differing == []


async def test_D4_a_bad_forgery_before_the_answer_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def say(asked: Asked) -> Sequence[bytes]:
        wrong = [reply(asked, "203.0.113.66", number=asked.message.id ^ 1), b"\xff" * 700, reply(asked, FOUR)[:30]]
        return [*wrong, reply(asked, FOUR)]

    async with plain_server(say) as server:
        ear = await ask(asking(tmp_path, server.port))
    assert ear.addresses == [(FOUR,)]
    assert caplog.records == []  # nor is it a fault of ours


# -- the machine's files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["printer", "printer.local", "app.localhost", "known.test"])
def test_special_names_are_left_to_getaddrinfo(tmp_path: Path, host: str) -> None:
    folder = machine_files(tmp_path, "127.0.0.1", hosts="127.0.0.9 Known.test # mine\nnonsense other.test\n")
    system = StubResolver(folder=folder)
    assert not system.handles(host)
    assert system.handles("other.test")
    assert system.in_hosts("known.test") == (ipaddress.ip_address("127.0.0.9"),)


@pytest.mark.parametrize(
    ("more", "nsswitch"),
    [
        ("options single-request", ""),
        ("options rotate use-vc", ""),
        ("options ndots:2", ""),
        ("", "hosts: files ldap dns"),
        ("", "hosts: files"),
    ],
)
def test_special_machines_are_left_to_getaddrinfo(tmp_path: Path, more: str, nsswitch: str) -> None:
    assert not StubResolver(folder=machine_files(tmp_path, "127.0.0.1", more=more, nsswitch=nsswitch)).handles("a.test")


@pytest.mark.parametrize(
    ("more", "nsswitch"),
    [
        ("; a comment\nsearch corp.test\noptions edns0 trust-ad ndots:x", ""),
        ("", "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns"),
        ("", "hosts: files mdns4_minimal [NOTFOUND=return] dns"),
    ],
)
def test_ordinary_machines_are_not(tmp_path: Path, more: str, nsswitch: str) -> None:
    assert StubResolver(folder=machine_files(tmp_path, "127.0.0.1", more=more, nsswitch=nsswitch)).handles("a.test")


def test_without_name_servers_everything_is_left_to_getaddrinfo(tmp_path: Path) -> None:
    assert not StubResolver(folder=tmp_path).handles("a.test")


async def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    system = StubResolver(folder=machine_files(tmp_path, "127.0.0.1"))
    often = StubResolver(folder=tmp_path, files_every_s=3600)
    assert [system.has_search, often.has_search] == [False, False]
    machine_files(tmp_path, "127.0.0.1", more="search corp.test")
    assert [system.has_search, often.has_search] == [True, False], "the other has looked a moment ago"


@pytest.mark.parametrize(
    ("search", "host", "own"),
    [
        ("corp.test", "intranet.corp.test", True),
        ("corp.test", "corp.test", True),
        ("corp.test", "notcorp.test", False),
        ("test Corp.Test.", "intranet.corp.test", True),
        ("test Corp.Test.", "intranet.test", False),  # a suffix that unrelated sites share
        (".", "intranet.test", False),
    ],
)
def test_which_names_are_the_networks_own(tmp_path: Path, search: str, host: str, own: bool) -> None:
    system = StubResolver(folder=machine_files(tmp_path, "127.0.0.1", more=f"search {search}"))
    assert system.is_searched(host) is own


async def test_an_answer_that_came_while_the_loop_was_late_is_in_time(tmp_path: Path) -> None:
    """The last poll before the deadline was over when it came."""
    loop = asyncio.get_running_loop()
    async with plain_server(silent) as server:
        asked = spawn(ask(asking(tmp_path, server.port, retry_s=100), timeout_s=60), name="ask")
        await until(lambda: len(server.asked) == 2)

        def answer() -> None:
            for question in server.asked:
                server.push(reply(question, FOUR, SIX))

        loop.call_at(loop.time() + 30, answer)
        stall(1000)
        ear = await asked
    assert ear.addresses == [(FOUR, SIX)]


async def test_the_family_that_came_while_the_loop_was_late_is_not_left_out(tmp_path: Path) -> None:
    def six_then_four(asked: Asked) -> Sequence[bytes]:
        if asked.kind == "AAAA":
            loop.call_soon(loop.call_soon, loop.call_soon, four_late)
            return [reply(asked, SIX)]
        return []

    def four_late() -> None:
        loop.call_at(loop.time() + 0.01, lambda: server.push(reply(question("A"), FOUR)))
        stall(1000)

    def question(kind: str) -> Asked:
        return next(asked for asked in server.asked if asked.kind == kind)

    loop = asyncio.get_running_loop()
    async with plain_server(six_then_four) as server:
        ear = await ask(asking(tmp_path, server.port, retry_s=2000), timeout_s=2000)
    assert ear.addresses == [(FOUR, SIX)]
