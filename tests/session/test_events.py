"""Subscribers of events: each is called, and one that raises costs the others nothing."""

from __future__ import annotations

import pytest

from proxy.session.events import Events, Learned, SignalWaits


def test_handlers_of_one_kind_are_called_in_order_and_no_others() -> None:
    events, called = Events(), list[str]()
    events.on(SignalWaits, lambda _: called.append("first"), lambda _: called.append("second"))
    events.on(Learned, lambda _: called.append("learned"))
    events.emit(SignalWaits())
    assert called == ["first", "second"]


def test_a_handler_that_raises_is_logged_and_the_next_one_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: SignalWaits) -> None:
        raise ValueError("of the handler")

    events, called = Events(), list[str]()
    events.on(SignalWaits, fails, lambda _: called.append("next"))
    events.emit(SignalWaits())
    assert called == ["next"]
    assert "fails on SignalWaits failed" in caplog.text
    assert "ValueError: of the handler" in caplog.text


def test_without_leaves_out_a_kind_and_does_not_change_the_original() -> None:
    events, called = Events(), list[str]()
    events.on(SignalWaits, lambda _: called.append("waits"))
    events.on(Learned, lambda _: called.append("learned"))
    fewer = events.without(Learned)
    fewer.emit(Learned(()))
    fewer.emit(SignalWaits())
    assert called == ["waits"]
    events.emit(Learned(()))
    assert called == ["waits", "learned"]
