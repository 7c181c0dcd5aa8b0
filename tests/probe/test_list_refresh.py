"""Lists are fetched when asked for or beside a visit, through relays, and only a good one replaces the last good copy.

A real source and real relays on loopback; the clock is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from proxy.config.schema import ListConfig, SubscriptionConfig
from proxy.model import DIRECT, Action, Destination, Plan, Route
from proxy.model.errors import BywayError
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all
from proxy.probe import list_refresh as module
from proxy.probe.list_refresh import (
    BACK_OFF_MAX_S,
    BACK_OFF_S,
    JITTER,
    ListRefresh,
    RefreshContext,
    Refreshed,
    Remedy,
    Result,
    due_at,
    is_stale,
    relays_left_by,
)
from proxy.session.setup import Setup
from proxy.store import list_copies
from proxy.store.list_copies import CopyInfo, ListCopies
from tests.support.clock import Clock
from tests.support.configured import Maker, making
from tests.support.list_source import LONG_AGO, Answer, ListSource, endless, page, redirect, zipped
from tests.support.relay import Relay
from tests.support.rows import each_row
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("lists_tried_once")

GOOD = b"".join(b"site%d.test\n" % number for number in range(10))
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
DAY = 86_400.0
ANY_VISIT = cast(Any, None)


class Scene:
    """One list at one source, and what fetches it."""

    def __init__(
        self, maker: Maker, source: ListSource, relays: Sequence[Relay], clock: Clock, copies: ListCopies
    ) -> None:
        self.source, self.relays, self.clock, self.copies = source, relays, clock, copies
        self.private: list[str] = []
        self.direct_allowed = True
        self.only: dict[str, Sequence[Route]] = {}
        self.reloads = 0
        self.more = ""
        self._maker = maker
        self.setup: Setup
        self.refresh = ListRefresh(
            RefreshContext(
                setup=lambda: self.setup,
                may_go_direct=self._may_go_direct,
                only_relays=self._only_relays,
                order=lambda names: names,
                is_private=lambda host: host in self.private,
                apply=self._apply,
                now=clock,
                trust=source.authority.client(),
            ),
            copies,
            rng=random.Random(1),
        )

    def configure(self, *, refresh: str = "1d", via: str = "relay", url: str = "", more: str = "") -> None:
        url = url or f"https://lists.test:{self.source.port}/list.txt"
        relays = "".join(
            f'[[relay]]\nname = "r{number}"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
            for number, relay in enumerate(self.relays)
        )
        named = f'[[list]]\nname = "mine"\nsource = "{url}"\nvia = "{via}"\n'
        self._maker.write(f'{named}refresh = "{refresh}"\n{relays}{more}', "LIST,mine,PREFER-RELAY\n")
        self.setup = self._maker.make()

    @property
    def item(self) -> ListConfig:
        return self.setup.settings.list[0]

    @property
    def info(self) -> CopyInfo:
        return self.copies.info(self.item.url)

    @property
    def serves(self) -> bytes | None:
        return self.copies.content(self.item.url)

    async def ask(self, *, accept_smaller: bool = False) -> Refreshed:
        (result,) = [it async for it in self.refresh.refresh([self.item], asked=True, accept_smaller=accept_smaller)]
        return result

    async def visit(self) -> None:
        """A visit, and all that it starts."""
        self.refresh.on_delivered(ANY_VISIT)
        await until(lambda: not self.refresh._under_way)

    async def _may_go_direct(self, _: Setup, _destination: Destination) -> bool:
        return self.direct_allowed

    async def _only_relays(self, _: Setup, destination: Destination) -> Sequence[Route] | None:
        return self.only.get(destination.host)

    async def _apply(self) -> None:
        self.reloads += 1
        self.setup = self._maker.make()


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(module, "COPY_LIMIT", 1_000_000)
    names = {"lists.test": "127.0.0.1", "cdn.test": "127.0.0.1"}
    source, relay = ListSource({"/list.txt": page(GOOD, last_modified=LONG_AGO)}), Relay(names)
    async with source, relay, making(tmp_path) as maker:
        scene = Scene(maker, source, [relay], Clock(), ListCopies(tmp_path / "state" / "lists"))
        scene.configure()
        yield scene
        await cancel_all()


# -- when ----------------------------------------------------------------------------------------------------------


async def test_a_list_is_fetched_when_asked_for_and_is_in_use_then(scene: Scene) -> None:
    assert scene.setup.router.rules.lists["mine"].problem == "list mine: not fetched yet; run `byway list refresh mine`"
    assert await scene.ask() == Refreshed("mine", Result.REPLACED, 10)
    assert scene.reloads == 1
    assert scene.setup.router.rules.lists["mine"].covering("www.site3.test") == "site3.test"
    assert scene.relays[0].asked == [f"lists.test:{scene.source.port}"]
    assert scene.info == CopyInfo(
        scene.item.url, scene.clock.now, scene.clock.now, entries=10, jitter=scene.info.jitter
    )


async def test_nothing_is_fetched_without_a_visit_or_before_it_is_due(scene: Scene) -> None:
    await scene.visit()
    assert scene.source.connections == 1, "due at once: there is no copy"
    for _ in range(24):
        scene.clock.advance(DAY * (1 - JITTER) / 24)
        await scene.visit()
    assert scene.source.connections == 1
    scene.clock.advance(DAY * 2 * JITTER)
    await asyncio.sleep(0)
    assert scene.source.connections == scene.relays[0].connections == 1, "due, and no visit"
    await scene.visit()
    assert scene.source.connections == scene.relays[0].connections == 2
    await scene.visit()
    assert scene.source.connections == 2


async def test_without_refresh_nothing_is_ever_fetched_unasked(scene: Scene) -> None:
    scene.configure(refresh="")
    scene.refresh.on_configuration()
    for _ in range(10):
        scene.clock.advance(30 * DAY)
        await scene.visit()
    assert scene.source.connections == scene.relays[0].connections == 0
    assert (await scene.ask()).result is Result.REPLACED


async def test_an_edited_refresh_counts_at_the_next_visit(scene: Scene) -> None:
    await scene.visit()
    scene.configure(refresh="15m")
    scene.refresh.on_configuration()
    scene.clock.advance(1000)
    await scene.visit()
    assert scene.source.connections == 2


async def test_a_clock_that_was_far_ahead_is_forgotten(scene: Scene) -> None:
    scene.clock.now += 1000 * DAY
    await scene.visit()
    scene.clock.now -= 1000 * DAY
    await scene.visit()
    assert scene.source.connections == 2
    assert scene.info.fetched_at == scene.clock.now


async def test_visits_at_once_fetch_once(scene: Scene) -> None:
    for _ in range(50):
        scene.refresh.on_delivered(ANY_VISIT)
    await scene.visit()
    assert scene.source.connections == 1


async def test_one_fetch_at_a_time(scene: Scene) -> None:
    at_once, most = 0, 0

    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _turn in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        writer.write(page(GOOD))
        await writer.drain()

    scene.source.answers["/list.txt"] = slowly
    await asyncio.gather(*(scene.ask() for _ in range(5)))
    assert (most, scene.source.connections) == (1, 5)


async def test_a_host_of_log_never_is_not_asked_unasked(scene: Scene) -> None:
    scene.private.append("lists.test")
    await scene.visit()
    assert scene.relays[0].connections == 0
    assert "`[log] never`" in scene.info.error
    assert (await scene.ask()).result is Result.REPLACED


def test_due_times_move_by_a_tenth_at_most() -> None:
    rng, item = random.Random(3), ListConfig(name="l", source="https://l.test/", refresh="1d")
    refresh = ListRefresh(cast(Any, None), cast(Any, None), rng=rng)
    times = [due_at(item, CopyInfo("", fetched_at=1.0, jitter=refresh._jitter()), 2.0) - 1.0 for _ in range(1000)]
    assert 0.9 * DAY <= min(times) < 0.91 * DAY
    assert 1.09 * DAY < max(times) <= 1.1 * DAY


def test_failures_are_repeated_ever_later() -> None:
    item = ListConfig(name="l", source="https://l.test/", refresh="15m")
    now = 100 * DAY

    def wait(failures: int) -> float:
        return due_at(item, CopyInfo("", fetched_at=1.0, failed_at=now, failures=failures), now) - now

    assert [wait(n) for n in (1, 2, 3)] == [BACK_OFF_S, 2 * BACK_OFF_S, 4 * BACK_OFF_S]
    assert wait(50) == wait(5000) == BACK_OFF_MAX_S
    assert due_at(item, CopyInfo("", fetched_at=now - 10, failed_at=now, failures=1), now) == now + 890, "not sooner"
    assert due_at(replace(item, refresh=""), CopyInfo(""), now) == float("inf")


def test_a_copy_is_stale_after_twice_its_refresh() -> None:
    item = ListConfig(name="l", source="https://l.test/", refresh="1d")
    assert not is_stale(item, CopyInfo("", fetched_at=1.0), 1.0 + 2 * DAY)
    assert is_stale(item, CopyInfo("", fetched_at=1.0), 2.0 + 2 * DAY)
    assert not is_stale(item, CopyInfo(""), 1e9), "there is none"
    assert not is_stale(replace(item, refresh=""), CopyInfo("", fetched_at=1.0), 1e9)


async def test_only_the_list_that_is_due_is_fetched(scene: Scene) -> None:
    scene.source.answers["/other.txt"] = page(GOOD)
    more = f'[[list]]\nname = "other"\nsource = "https://lists.test:{scene.source.port}/other.txt"\nrefresh = "15m"\n'
    scene.configure(more=more)
    await scene.visit()
    scene.clock.advance(1200)
    await scene.visit()
    assert [head.split()[1] for head in scene.source.heads] == ["/list.txt", "/other.txt", "/other.txt"]


async def test_whatever_one_list_raises_those_behind_it_are_fetched(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"https://lists.test:{scene.source.port}/other.txt"
    scene.configure(more=f'[[list]]\nname = "other"\nsource = "{url}"\nrefresh = "1d"\n')
    scene.source.answers["/other.txt"] = page(GOOD)
    check = ListRefresh._check

    def broken(self: ListRefresh, item: ListConfig, *args: Any, **named: Any) -> int:
        if item.name == "mine":
            raise IndexError("tuple index out of range")
        return check(self, item, *args, **named)

    monkeypatch.setattr(ListRefresh, "_check", broken)
    await scene.visit()
    assert scene.info.failures == 1
    assert scene.info.error == "a fault of Byway (IndexError): please report it"
    assert "List mine: the fetch failed by a fault of Byway" in caplog.text
    assert scene.copies.content(url) == GOOD
    asked = len(scene.source.heads)
    await scene.visit()
    assert len(scene.source.heads) == asked, "it backs off"


async def test_a_restart_makes_nothing_due(scene: Scene) -> None:
    await scene.visit()
    again = ListRefresh(scene.refresh._context, ListCopies(scene.copies.file("").parent))
    again.on_delivered(ANY_VISIT)
    await until(lambda: not again._under_way)
    assert scene.source.connections == 1


async def test_a_dead_source_does_not_cost_each_visit(scene: Scene) -> None:
    scene.source.answers["/list.txt"] = page(b"", status="503 Busy")
    for _ in range(24 * 60):
        scene.clock.advance(60)
        await scene.visit()
    assert 6 <= scene.source.connections <= 9, "10 min, 20 min, … in a day"


# -- what --------------------------------------------------------------------------------------------------------------


async def test_an_unchanged_list_is_confirmed_and_nothing_is_reloaded(scene: Scene) -> None:
    await scene.ask()
    scene.clock.advance(DAY)
    assert await scene.ask() == Refreshed("mine", Result.UNCHANGED, 10)
    assert scene.source.fields()["if-modified-since"].endswith(" 00:00:00 GMT")
    assert (scene.info.fetched_at, scene.info.changed_at) == (scene.clock.now, scene.clock.now - DAY)
    scene.source.answers["/list.txt"] = page(GOOD)
    assert (await scene.ask()).result is Result.UNCHANGED, "the same text"
    assert scene.reloads == 1


async def test_a_copy_that_is_lost_is_fetched_whole(scene: Scene) -> None:
    await scene.ask()
    scene.copies.file(scene.item.url).unlink()
    assert (await scene.ask()).result is Result.REPLACED
    assert "if-none-match" not in scene.source.fields()


TO, NOT_PUBLIC = "through r0: redirects to", "which is no public place"

BAD: dict[str, tuple[Answer, str]] = {
    "html": (page(HTML, kind="text/html"), "a web page came in place of the list"),
    "a part of html": (page(b"You are <b>blocked</b>.", kind="text/html; charset=x"), "a web page came in place of"),
    "html as text": (page(b"\n  <HTML>" + HTML), "a web page came in place of the list"),
    "shrunk": (page(b"site0.test\nsite1.test\nsite2.test\nsite3.test\n"), "it has shrunk from 10 entries to 4"),
    "empty": (page(b""), "it is empty"),
    "comments": (page(b"# moved\n"), "it is empty"),
    "garbage": (page(b"???\n!!!?\n@@@ x\n" * 20), "no line of it can be used"),
    "mostly garbage": (page(GOOD + b"? ?\n" * 20), "more lines cannot be read (20) than can (10)"),
    "not text": (
        page(bytes(range(128, 256))),
        "what came cannot be used: line 1 is not UTF-8 text (byte 0x80); if it is text, save it as UTF-8",
    ),
    "a binary rule-set": (
        page(b"SRS\x01x"),
        "what came cannot be used: is a binary rule-set of sing-box; take its source (.json), or run: sing-box "
        "rule-set decompile",
    ),
    "gzip as such": (
        page(gzip.compress(b"a.example\n")),
        "what came cannot be used: is compressed with gzip; unpack it first",
    ),
    "not found": (page(b"", status="404 Not Found"), "through r0: answered 404"),
    "endless": (endless, "through r0: is larger than 1,000,000 bytes"),
    "bomb": (zipped(bytes(9_000_000)), "through r0: decompresses to more than 1,000,000 bytes"),
    "longer than it says": (page(GOOD, content_length="11"), "through r0: goes on after the length that it declares"),
    "shorter than it says": (page(GOOD, content_length="5000"), "through r0: the peer closed"),
    "to http": (redirect("http://lists.test/list.txt"), "through r0: redirects to http://, which is not encrypted"),
    "to loopback": (redirect("https://127.0.0.1/"), f"{TO} 127.0.0.1, {NOT_PUBLIC}"),
    "to loopback, spelled": (redirect("https://0x7f.1/"), f"{TO} 127.0.0.1, {NOT_PUBLIC}"),
    "to metadata": (
        redirect("https://169.254.169.254/latest"),
        f"{TO} 169.254.169.254, {NOT_PUBLIC}",
    ),
    "to the router": (redirect("https://192.168.1.1/"), f"{TO} 192.168.1.1, {NOT_PUBLIC}"),
    "to a local name": (redirect("https://printer.local/"), f"{TO} printer.local, {NOT_PUBLIC}"),
    "to this computer": (redirect("https://localhost/"), f"{TO} localhost, {NOT_PUBLIC}"),
    "round in circles": (redirect("/list.txt"), "through r0: redirects more than 5 times"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
async def test_the_last_good_copy_serves_whatever_comes(
    scene: Scene, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.ask()
    before = scene.info
    scene.source.answers["/list.txt"], reason = BAD[kind]
    scene.clock.advance(DAY)
    with caplog.at_level(logging.WARNING):
        result = await scene.ask()
        await scene.ask()
    assert (result.result, result.entries) == (Result.FAILED, 10)
    assert result.why.startswith(reason), result.why
    assert "\n" not in result.why
    assert scene.serves == GOOD
    assert scene.setup.router.rules.lists["mine"].covering("site9.test")
    assert scene.reloads == 1
    assert scene.info == replace(
        before, failed_at=scene.clock.now, failures=2, error=result.why, jitter=scene.info.jitter
    )
    said = [record.getMessage() for record in caplog.records if "mine" in record.getMessage()]
    assert said == ["List mine could not be fetched; the last good copy stays in use: see `byway list show mine`"], (
        "once, and without a host"
    )
    scene.source.answers["/list.txt"] = page(GOOD, last_modified=LONG_AGO)
    assert (await scene.ask()).result is Result.UNCHANGED
    assert (scene.info.failures, scene.info.error) == (0, "")


async def test_half_of_the_entries_are_enough_and_less_when_the_user_says_so(scene: Scene) -> None:
    await scene.ask()
    scene.source.answers["/list.txt"] = page(b"".join(GOOD.splitlines(keepends=True)[:5]))
    assert await scene.ask() == Refreshed("mine", Result.REPLACED, 5)
    scene.source.answers["/list.txt"] = page(b"site0.test\n")
    assert (await scene.ask()).why == "it has shrunk from 5 entries to 1"
    assert await scene.ask(accept_smaller=True) == Refreshed("mine", Result.REPLACED, 1)


async def test_a_first_list_may_not_be_a_web_page_either(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.source.answers["/list.txt"] = page(HTML)
    result = await scene.ask()
    assert (result.result, result.entries, scene.serves) == (Result.FAILED, 0, None)
    assert "there is no copy of it" in caplog.text


async def test_a_list_that_a_script_writes_may_have_the_type_of_a_page(scene: Scene) -> None:
    scene.source.answers["/list.txt"] = page(GOOD, kind="text/html; charset=UTF-8")
    assert (await scene.ask()).result is Result.REPLACED
    assert scene.serves == GOOD


async def test_a_disk_that_is_full_keeps_the_last_good_copy(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.ask()
    scene.source.answers["/list.txt"] = page(GOOD + b"new.test\n")

    def full(path: Path, _: object) -> None:
        raise BywayError(f"{path} cannot be written: no space left on device")

    monkeypatch.setattr(list_copies, "write_private", full)
    result = await scene.ask()
    assert result.result is Result.FAILED
    assert result.why.endswith("no space left on device")
    assert scene.serves == GOOD
    assert scene.info.error == result.why


# -- through what ------------------------------------------------------------------------------------------------------


async def test_each_relay_is_tried_in_turn(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        source = await stack.enter_async_context(ListSource({"/list.txt": page(GOOD)}))
        dead = await stack.enter_async_context(Relay({}, address="127.0.0.8"))
        knows_not = await stack.enter_async_context(Relay({}, address="127.0.0.10"))
        works = await stack.enter_async_context(Relay({"lists.test": "127.0.0.1"}))
        maker = await stack.enter_async_context(making(tmp_path))
        scene = Scene(maker, source, [dead, knows_not, works], Clock(), ListCopies(tmp_path / "state" / "lists"))
        scene.configure()
        await dead.stop()
        assert (await scene.ask()).result is Result.REPLACED
        assert len(knows_not.asked) == len(works.asked) == 1
        await works.stop()
        result = await scene.ask()
        assert result.result is Result.FAILED
        assert result.why.count("through r") == 3
        assert scene.serves == GOOD


async def test_a_rule_chooses_the_relay(tmp_path: Path) -> None:
    names = {"lists.test": "127.0.0.1", "cdn.test": "127.0.0.1"}
    source, one, two = ListSource({"/list.txt": page(GOOD)}), Relay(names), Relay(names)
    async with source, one, two, making(tmp_path) as maker:
        scene = Scene(maker, source, [one, two], Clock(), ListCopies(tmp_path / "state" / "lists"))
        scene.configure()
        scene.only["lists.test"] = [Route(("r1",))]
        assert (await scene.ask()).result is Result.REPLACED
        assert (one.connections, two.connections) == (0, 1)
        scene.only["lists.test"] = []
        assert (await scene.ask()).why == "a rule blocks its host, or leaves no relay for it"
        del scene.only["lists.test"]
        source.answers["/list.txt"] = redirect(f"https://cdn.test:{source.port}/list.txt?2")
        source.answers["/list.txt?2"] = page(GOOD + b"new.test\n")
        scene.only["cdn.test"] = [Route(("r1",))]
        assert await scene.ask() == Refreshed("mine", Result.REPLACED, 11), "the other relay is tried, and may"
        assert one.asked == [f"lists.test:{source.port}"]
        assert two.asked[-1] == f"cdn.test:{source.port}"


@each_row(
    ("action", "routes", "left"),
    [
        (Action.AUTO, (DIRECT,), None),
        (Action.DIRECT, (DIRECT,), None),
        (Action.PREFER_RELAY, (Route(("a",)), DIRECT), None),
        (Action.RELAY, (Route(("a",)), Route(("a",), ("tlsrec",)), Route(("b",))), (Route(("a",)), Route(("b",)))),
        (Action.RELAY, (), ()),
        (Action.BLOCK, (), ()),
    ],
)
def test_which_relays_a_plan_leaves(action: Action, routes: tuple[Route, ...], left: tuple[Route, ...] | None) -> None:
    assert relays_left_by(Plan(action, routes, "why")) == left


async def test_a_list_that_is_gone_is_asked_for_once(tmp_path: Path) -> None:
    names = {"lists.test": "127.0.0.1"}
    async with ListSource() as source, Relay(names) as one, Relay(names) as two, making(tmp_path) as maker:
        scene = Scene(maker, source, [one, two], Clock(), ListCopies(tmp_path / "state" / "lists"))
        scene.configure()
        assert (await scene.ask()).why == "through r0: answered 404"
        assert source.connections == 1


async def test_a_wrong_certificate_is_no_source(scene: Scene) -> None:
    await scene.ask()
    await scene.source.__aexit__()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("lists.test").configure_cert(context)
    async with ListSource({"/list.txt": page(b"evil.test\n" * 10)}, context=context, port=scene.source.port) as evil:
        result = await scene.ask()
        assert result.why.startswith("through r0: has a bad certificate: ")
        assert evil.heads == []
    assert scene.serves == GOOD


class Forbidden:
    """In place of the direct dialer, and of the resolver below it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def dial(self, destination: Destination) -> Stream:
        self.asked.append(destination.host)
        raise AssertionError(f"{destination} was dialed direct")


async def test_nothing_goes_direct_when_every_relay_fails(scene: Scene) -> None:
    forbidden = scene.setup.registry.direct = cast(Any, Forbidden())
    await scene.relays[0].stop()
    await scene.visit()
    assert (await scene.ask()).why.startswith("through r0: ")
    assert scene.source.connections == 0
    assert forbidden.asked == []


async def test_without_a_relay_nothing_is_sent(scene: Scene) -> None:
    scene.relays = []
    scene.configure()
    forbidden = scene.setup.registry.direct = cast(Any, Forbidden())
    result = await scene.ask()
    assert result.why == 'there is no relay to fetch it through; add one, or set via = "direct" for it'
    assert scene.source.connections == 0
    assert forbidden.asked == []


async def test_a_relay_that_takes_addresses_only_is_passed_over(scene: Scene) -> None:
    relay = scene.relays[0]
    local = f'[[relay]]\nname = "local"\nurl = "socks5://{relay.address}:{relay.port}?resolve=local"\n'
    scene.relays = []
    scene.configure(more=local)
    assert (await scene.ask()).why == "through local: the relay takes addresses only"
    assert (relay.connections, scene.source.connections) == (0, 0)


async def test_direct_only_where_the_list_says_so_and_the_rules_allow_it(scene: Scene) -> None:
    allow = '[dns.hosts]\n"lists.test" = "127.0.0.1"\n[safety]\nallow = ["127.0.0.1:*"]\n'
    scene.configure(via="direct", more=allow)
    scene.direct_allowed = False
    assert (await scene.ask()).why == "is at a host for which a rule or an addon forbids direct"
    assert scene.source.connections == 0
    scene.direct_allowed = True
    assert (await scene.ask()).result is Result.REPLACED
    assert scene.relays[0].connections == 0


async def test_direct_never_leads_into_the_private_network_by_a_redirect(scene: Scene) -> None:
    """Not even where the user may go: `[safety] allow` is for the user, not for a list's source."""
    allow = '[dns.hosts]\n"lists.test" = "127.0.0.1"\n[safety]\nallow = ["127.0.0.1:*"]\n'
    scene.configure(via="direct", more=allow)
    scene.source.answers["/list.txt"] = redirect(f"https://127.0.0.1:{scene.source.port}/other")
    assert (await scene.ask()).why == "redirects to 127.0.0.1, which is no public place"
    assert scene.source.connections == 1


async def test_a_private_address_is_fetched_direct_only(scene: Scene) -> None:
    scene.configure(url="https://192.168.7.7/list.txt")
    assert (await scene.ask()).why.startswith("through r0: is in a private network, where no relay leads")
    assert scene.relays[0].connections == 0


async def test_what_takes_too_long_over_all_relays_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_S", 0.1)

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    scene.source.answers["/list.txt"] = never
    assert (await scene.ask()).why == "took longer than 0.1 s"


# -- subscriptions -----------------------------------------------------------------------------------------------------


SHOP = b"socks5h://de.example:1080#DE\nhttps://nl.example:443#NL\n"


def follow(scene: Scene, *, refresh: str = "1d") -> SubscriptionConfig:
    """Configures a subscription in the place of the list."""
    scene.source.answers["/shop"] = page(SHOP, subscription_userinfo="total=5; expire=7")
    url = f"https://lists.test:{scene.source.port}/shop"
    table = f'[[subscription]]\nname = "shop"\nsource = "{url}"\nrefresh = "{refresh}"\nuser_agent = "clash"\n'
    scene.configure(refresh="", more=table)
    return scene.setup.settings.subscription[0]


async def test_a_subscription_is_fetched_beside_a_visit_once_it_is_due_and_its_relays_are_in_use(scene: Scene) -> None:
    item = follow(scene)
    assert [*scene.setup.registry.relay_names] == ["r0"]
    await scene.visit()
    assert "User-Agent: clash\r\n" in scene.source.heads[-1]
    assert [*scene.setup.registry.relay_names] == ["r0", "shop/DE", "shop/NL"]
    assert [(group.name, group.members) for group in scene.setup.groups] == [("shop", ("shop/DE", "shop/NL"))]
    info = scene.copies.info(item.url)
    assert (info.entries, info.said) == (2, "total=5; expire=7")
    scene.clock.advance(DAY / 2)
    await scene.visit()
    assert len(scene.source.heads) == 1
    scene.source.answers["/shop"] = page(b"socks5h://de.example:1080#changed\n")
    scene.clock.advance(DAY)
    await scene.visit()
    assert len(scene.source.heads) == 2
    assert [*scene.setup.registry.relay_names] == ["r0", "shop/DE"]


async def test_a_subscription_without_refresh_is_never_fetched_unasked(scene: Scene) -> None:
    item = follow(scene, refresh="")
    await scene.visit()
    assert scene.source.heads == []
    (result,) = [it async for it in scene.refresh.refresh([item], asked=True)]
    assert result == Refreshed("shop", Result.REPLACED, 2)


async def test_a_subscription_is_not_fetched_direct_when_every_relay_fails(scene: Scene) -> None:
    item = follow(scene)
    forbidden = scene.setup.registry.direct = cast(Any, Forbidden())
    await scene.relays[0].stop()
    await scene.visit()
    assert scene.copies.info(item.url).error.startswith("through r0: ")
    assert (scene.source.connections, forbidden.asked) == (0, [])


async def test_a_bad_file_of_a_subscription_keeps_the_last_good_copy(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    item = follow(scene)
    await scene.visit()
    for answer, why in (
        (page(HTML), "a web page came in place of the file"),
        (page(b"ss://x"), "none of its 1 entries"),
    ):
        scene.source.answers["/shop"] = answer
        (result,) = [it async for it in scene.refresh.refresh([item], asked=True)]
        assert (result.result, result.entries) == (Result.FAILED, 2)
        assert result.why.startswith(why)
    assert scene.copies.content(item.url) == SHOP
    assert caplog.text.count("Subscription shop could not be fetched; the last good copy stays in use") == 1


async def asked_since(scene: Scene, item: SubscriptionConfig, *, asked: bool = True) -> str:
    """Fetches a subscription. Returns the If-Modified-Since of the request, and the result."""
    (result,) = [it async for it in scene.refresh.refresh([item], asked=asked)]
    return f"{scene.source.fields().get('if-modified-since', 'whole')} {result.result}"


async def test_a_server_that_never_says_that_its_file_has_changed_is_not_believed_for_ever(scene: Scene) -> None:
    """Each answer to If-Modified-Since is 304, though the file is another one."""
    item = follow(scene)
    began = scene.clock()
    await scene.visit()
    scene.source.answers["/shop"] = page(b"socks5h://de.example:1080#new\n", last_modified=LONG_AGO)
    results = []
    for day in range(1, 10):
        scene.clock.advance(began + (day + 0.5) * DAY - scene.clock())
        results.append((await asked_since(scene, item, asked=False)).split()[-1])
    assert results == ["unchanged"] * 6 + ["replaced"] + ["unchanged"] * 2
    assert [*scene.setup.registry.relay_names] == ["r0", "shop/DE"]


async def test_the_whole_file_is_sent_to_a_person_who_asks_on_another_day(scene: Scene) -> None:
    item = follow(scene)
    await scene.visit()
    scene.source.answers["/shop"] = page(b"socks5h://de.example:1080#new\n", last_modified=LONG_AGO)
    assert (await asked_since(scene, item)).endswith("GMT unchanged")
    scene.clock.advance(1.5 * DAY)
    assert await asked_since(scene, item) == "whole replaced"


async def test_a_fetch_in_the_future_is_a_wrong_clock_and_holds_nothing_up(scene: Scene) -> None:
    """The clock was years ahead when the copy was fetched; since then, no file could be newer."""
    item = follow(scene)
    scene.clock.advance(400 * DAY)
    await scene.visit()
    scene.clock.now -= 400 * DAY
    scene.source.answers["/shop"] = page(b"socks5h://de.example:1080#new\n", last_modified=LONG_AGO)
    assert due_at(item, scene.copies.info(item.url), scene.clock()) == 0
    assert await asked_since(scene, item) == "whole replaced"
    assert scene.copies.info(item.url).fetched_at == scene.clock()


async def test_of_many_relays_that_are_gone_a_fetch_tries_some(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.relays = [*scene.relays, *(Relay({}, port=number) for number in range(1, 6))]
    item = follow(scene)
    await scene.relays[0].stop()
    (result,) = [it async for it in scene.refresh.refresh([item], asked=True)]
    assert result.why.count("through r") == 3
    assert result.why.endswith("; and 3 more relays")
    monkeypatch.setattr(module, "TRY_S", 0.0)
    (result,) = [it async for it in scene.refresh.refresh([item], asked=True)]
    assert result.why.count("through r") == 1
    assert result.why.endswith("; 5 more relays were not tried, after 0 s")
    assert result.remedy is Remedy.DIRECT


async def test_each_failure_has_the_remedy_that_may_help(scene: Scene) -> None:
    item = follow(scene)
    await scene.visit()
    for answer, remedy in (
        (page(b"", status="403 Forbidden"), Remedy.DIRECT),
        (page(HTML), Remedy.DIRECT),
        (page(b"", status="404 Not Found"), Remedy.NONE),
        (page(b""), Remedy.NONE),
        (page(b"ss://x"), Remedy.NONE),
    ):
        scene.source.answers["/shop"] = answer
        (result,) = [it async for it in scene.refresh.refresh([item], asked=True)]
        assert (result.result, result.remedy) == (Result.FAILED, remedy), result.why
        (result,) = [it async for it in scene.refresh.refresh([item], asked=True, direct=True)]
        assert (result.result, result.remedy) == (Result.FAILED, Remedy.NONE), result.why
