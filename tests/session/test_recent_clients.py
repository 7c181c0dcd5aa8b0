"""Which browsers have just used the proxy."""

from __future__ import annotations

import time

import pytest

from proxy.session.recent_clients import RECENT_S, RecentClients


def test_a_client_is_known_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clients = RecentClients()
    assert not clients.has_used("Firefox")
    clients.note("Firefox")
    assert clients.has_used("Firefox")
    assert not clients.has_used("Chromium")
    now += RECENT_S
    assert clients.has_used("Firefox")
    now += 0.1
    assert not clients.has_used("Firefox")
    clients.note("Firefox")
    assert clients.has_used("Firefox")


def test_only_the_latest_are_kept_and_none_by_its_name() -> None:
    clients = RecentClients()
    for number in range(1000):
        clients.note(f"agent {number}")
        clients.note("agent 0")
    assert clients.has_used("agent 0")
    assert clients.has_used("agent 999")
    assert not clients.has_used("agent 1")
    assert len(clients._noted) == 64
    assert all(type(key) is int for key in clients._noted)
