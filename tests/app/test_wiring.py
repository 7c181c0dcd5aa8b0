"""The subscribers of an outcome."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app.notifications import Notifications
from proxy.app.wiring import Subscribers, subscribe
from proxy.model import UNKNOWN_NETWORK
from proxy.session.events import Ended, Events
from tests.support.outcomes import works
from tests.support.services import services


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


def events_of(recorder: Recorder) -> Events:
    shared = services(events=Events())
    part: Any = recorder
    subscribe(
        shared,
        Subscribers(
            shared,
            part,
            part,
            cast(Any, SimpleNamespace()),
            Notifications(shared, None, ephemeral=True),
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


def test_addons_do_not_learn_of_a_private_host() -> None:
    assert [name for name, _ in calls_for("private.example", Recorder())] == ["store"]


def test_a_store_that_fails_keeps_the_outcome_from_no_other(caplog: pytest.LogCaptureFixture) -> None:
    assert [name for name, _ in calls_for("one.example", Recorder(full=True))] == ["addons"]
    assert "failed on Ended" in caplog.text


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
