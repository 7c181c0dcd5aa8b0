"""The subscribers of an outcome."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app.wiring import ListFetching, Subscribers, _from_the_first, subscribe
from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import ListConfig
from proxy.model import DIRECT, UNKNOWN_NETWORK, ClosedBy, Outcome
from proxy.net.dns.resolver import Resolver
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import TunnelResult
from proxy.session.events import Delivered, Ended, Events, HostsForgotten, Learned, Rescued
from proxy.session.kept_hellos import KeptHellos
from proxy.store.list_copies import ListCopies
from proxy.wire.flight import Flight
from tests.support.outcomes import works
from tests.support.services import services
from tests.wire.hellos import real


class Recorder:
    """The store and the addons in one: it notes the calls of each. A disk that is full raises."""

    wants_outcomes = wants_changes = True

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.calls: list[tuple[str, str]] = []
        self.changed: list[Callable[[], None]] = []

    def on_change(self, call: Callable[[], None]) -> None:
        self.changed.append(call)

    def is_private(self, host: str) -> bool:
        return host == "private.example"

    def record(self, outcome: Any, *, network: str) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.calls.append(("store", outcome.host))

    def notify_outcome(self, outcome: Any) -> None:
        self.calls.append(("addons", outcome.host))


def events_of(recorder: Recorder, **given: Any) -> Events:
    shared = services(events=Events(), **given)
    part: Any = recorder
    subscribe(
        shared,
        Subscribers(
            shared,
            (),
            part,
            part,
            cast(Any, SimpleNamespace()),
            None,
            ephemeral=True,
            verbose=False,
        ),
    )
    return shared.events


def calls_for(host: str, recorder: Recorder) -> list[tuple[str, str]]:
    events_of(recorder).emit(Ended(works(host), UNKNOWN_NETWORK))
    return recorder.calls


def test_an_outcome_is_stored_then_given_to_addons() -> None:
    host = "one.example"
    assert calls_for(host, Recorder()) == [("store", host), ("addons", host)]


@pytest.mark.parametrize("counts", [True, False])
def test_of_a_routine_connection_the_log_takes_the_sums_alone_if_it_keeps_no_more(counts: bool) -> None:
    class Counter(Recorder):
        wants_outcomes = wants_changes = False

        def count_direct(self, network: str, request: int, at: float, bytes_up: int, bytes_down: int) -> bool:
            self.calls.append(("sums", f"{request} {at} {bytes_up} {bytes_down}"))
            return counts

    made = works("one.example", at=5.0)
    events_of(recorder := Counter()).emit(Ended(None, UNKNOWN_NETWORK, cast(Any, Asked(made, recorder.calls))))
    assert recorder.calls == [("sums", f"{made.request.id} 5.0 0 0")] + (
        [] if counts else [("outcome", ""), ("store", "one.example")]
    )


class Asked:
    """A routine connection, which notes that its outcome is made."""

    def __init__(self, outcome: Outcome, calls: list[tuple[str, str]]) -> None:
        self.request = outcome.request
        self.at, self.bytes_up, self.bytes_down = outcome.at, outcome.bytes_up, outcome.bytes_down
        self._outcome = outcome
        self._calls = calls

    @property
    def outcome(self) -> Outcome:
        self._calls.append(("outcome", ""))
        return self._outcome


async def test_no_host_stays_known_that_is_to_be_forgotten() -> None:
    nobody: Any = None
    flows, down = FlowMonitor(nobody, DetectTuning()), SharedFindings(lambda: 0.0)
    resolver = Resolver()
    resolver._opinions.put((UNKNOWN_NETWORK, "slow.example"), 1e9, nobody)
    setup = cast(Any, SimpleNamespace(resolver=resolver))
    hellos = KeptHellos()
    events = events_of(Recorder(), flows=flows, findings=down, setup=lambda: setup, kept_hellos=hellos)
    down.mark_down("down.example")
    tunnel = cast(
        Any, SimpleNamespace(up=SimpleNamespace(moved=0), down=SimpleNamespace(moved=0), client_is_slow=False)
    )
    flow = flows.watch(tunnel, "reset.example", nobody, route=DIRECT)
    flows.ended(flow, TunnelResult(0, 1 << 30, ClosedBy.SERVER, f"it broke: {os.strerror(errno.ECONNRESET)}"))
    flows._poll()
    assert (*flows._broke_at, *down.down_until) == (("reset.example", DIRECT), "down.example")
    flight = Flight()
    flight.receive_data(real("lost.example"))
    hellos.keep("lost.example", flight)
    assert hellos.of("lost.example")

    events.emit(HostsForgotten())

    slow = flows._slow
    assert (*slow.fastest, *slow.ended, *slow.waiting, *slow._windows, *flows._broke_at, *down.down_until) == ()
    assert not resolver._opinions.items
    assert hellos.of("lost.example") is None
    flows.close()


def test_addons_do_not_learn_of_a_private_host() -> None:
    assert [name for name, _ in calls_for("private.example", Recorder())] == ["store"]


def test_a_store_that_fails_keeps_the_outcome_from_no_other(caplog: pytest.LogCaptureFixture) -> None:
    assert [name for name, _ in calls_for("one.example", Recorder(full=True))] == ["addons"]
    assert "store_outcome on Ended failed" in caplog.text


def test_addons_are_told_of_outcomes_only_while_one_has_a_hook_for_them() -> None:
    recorder, told = Recorder(), []
    events = events_of(recorder)
    for wants in (True, False, True):
        recorder.wants_outcomes = wants
        recorder.changed[0]()
        recorder.calls.clear()
        events.emit(Ended(works("one.example"), UNKNOWN_NETWORK))
        told.append([name for name, _ in recorder.calls])
    assert told == [["store", "addons"], ["store"], ["store", "addons"]]


def test_a_handler_that_cannot_be_had_is_asked_for_again_with_the_next_event() -> None:
    """As without a free descriptor, when its module cannot be imported."""
    events, told, asked = Events(), list[Ended](), list[int]()

    def handler() -> Callable[[Ended], None]:
        asked.append(1)
        if len(asked) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return told.append

    _from_the_first(events, Ended, handler)
    for _ in range(3):
        events.emit(Ended(works(), UNKNOWN_NETWORK))
    assert (len(asked), len(told)) == (2, 2)


def test_a_handler_that_comes_with_the_first_event_is_told_of_each_once() -> None:
    events, told, asked = Events(), list[str](), list[str]()

    def note(ended: Ended) -> None:
        told.append(ended.outcome.host)

    def handler() -> Callable[[Ended], None]:
        asked.append("")
        return note

    _from_the_first(events, Ended, handler)
    copy = events.without(Learned)
    assert asked == []
    for number, where in enumerate((copy, events, copy, events)):
        where.emit(Ended(works(f"{number}.example"), UNKNOWN_NETWORK))
    assert told == [f"{number}.example" for number in range(4)]


# -- lists that are fetched --------------------------------------------------------------------------------------------


async def test_visits_are_told_to_who_fetches_lists_while_one_may_become_due(tmp_path: Path) -> None:
    """What is called for each visit costs."""
    shared = services()
    copies = ListCopies(tmp_path, ephemeral=True)
    by_hand = ListConfig(name="mine", source="https://lists.test/mine.txt")
    weekly = replace(by_hand, refresh="7d")

    async def apply() -> None:
        """Nothing was fetched."""

    def told() -> list[int]:
        return [len(shared.events._handlers.get(kind, ())) for kind in (Delivered, Rescued)]

    before = told()
    fetching = ListFetching(shared, copies, [by_hand], apply)
    assert told() == before
    assert "refresh" not in vars(fetching), "and it is not imported"
    for _ in range(2):
        fetching.follow([by_hand, weekly])
        assert told() == [count + 1 for count in before]
    fetching.follow([by_hand])
    assert told() == before
