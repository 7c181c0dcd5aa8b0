"""The subscribers of an outcome."""

from __future__ import annotations

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
    """The store, the addons and the feed in one: it notes the calls of each. A disk that is full raises."""

    wants_outcomes = wants_changes = True

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.calls: list[tuple[str, str]] = []

    def is_private(self, host: str) -> bool:
        return host == "private.example"

    def record(self, outcome: Any, *, network: str) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.calls.append(("store", outcome.host))

    def notify_outcome(self, outcome: Any) -> None:
        self.calls.append(("addons", outcome.host))

    def publish(self, ended: Ended) -> None:
        self.calls.append(("feed", ended.outcome.host))


def calls_for(host: str, recorder: Recorder) -> list[tuple[str, str]]:
    shared = services(events=Events())
    part: Any = recorder
    subscribe(
        shared,
        Subscribers(
            shared,
            part,
            part,
            part,
            cast(Any, SimpleNamespace()),
            Notifications(shared, None, ephemeral=True),
            verbose=False,
        ),
    )
    shared.events.emit(Ended(works(host), UNKNOWN_NETWORK))
    return recorder.calls


def test_an_outcome_is_stored_then_given_to_addons_then_published() -> None:
    host = "one.example"
    assert calls_for(host, Recorder()) == [("store", host), ("addons", host), ("feed", host)]


def test_addons_do_not_learn_of_a_private_host() -> None:
    assert [name for name, _ in calls_for("private.example", Recorder())] == ["store", "feed"]


def test_a_store_that_fails_keeps_the_outcome_from_no_other(caplog: pytest.LogCaptureFixture) -> None:
    assert [name for name, _ in calls_for("one.example", Recorder(full=True))] == ["addons", "feed"]
    assert "failed on Ended" in caplog.text
