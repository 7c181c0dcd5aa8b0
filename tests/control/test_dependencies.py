"""What the control server changes in the application, when two clients ask for it at once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.control import dependencies
from proxy.control.dependencies import Dependencies
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.session.services import Services
from proxy.store.forgetting import Forgotten
from proxy.store.relay_selection import read_selection, write_selection
from tests.support.control_world import Parts, SharedParts
from tests.support.outcomes import AWAY, HOME


async def test_of_two_selections_at_once_both_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one waits for a slow disk, and must not write over the second one with what was true before it."""
    file, second = tmp_path / "relay-selection.json", threading.Event()
    writes: list[Mapping[str, str]] = []

    def write(to: Path, selected: Mapping[str, str]) -> None:
        writes.append(selected)
        if len(writes) == 1:
            second.wait(0.3)
        write_selection(to, selected)
        second.set()

    monkeypatch.setattr(dependencies, "write_selection", write)
    groups = RelayGroups(Health(Settings().detect))
    parts = _dependencies(services=SimpleNamespace(groups=groups), selection_file=file)
    await asyncio.gather(parts.select("eu", "vps"), parts.select("us", "tor"))
    assert read_selection(file) == dict(groups.selected) == {"eu": "vps", "us": "tor"}


@pytest.mark.parametrize(
    ("what", "begun"),
    [
        (Forgotten(), {1, 2, 3, 4, 5, 6}),
        (Forgotten("a.test"), {2, 3}),
        (Forgotten(since=50.0), {4}),
        (Forgotten(network=AWAY), {3}),
    ],
)
async def test_of_what_is_open_and_forgotten_nothing_is_learned_or_recorded(
    tmp_path: Path, what: Forgotten, begun: set[int]
) -> None:
    """Of all that has begun nothing, even what has just been closed: it is judged for some seconds yet."""
    places = (2, "a.test", 1.0, HOME), (3, "www.a.test", 1.0, AWAY), (4, "b.test", 99.0, HOME)
    connections = [
        SimpleNamespace(request=SimpleNamespace(id=number), host=host, opened_at=at, network=network)
        for number, host, at, network in places
    ]
    beliefs, store, ways_file = Mock(), Mock(), Mock(written=AsyncMock())
    beliefs.all.return_value, beliefs.results_since.return_value = [], set()
    beliefs.forget.return_value = beliefs.forget_unstored.return_value = []
    open_connections = Mock(newest_first=lambda: iter(connections))
    services = Mock(beliefs=beliefs, request_ids=itertools.count(7), open_connections=open_connections)
    parts = _dependencies(
        services=services,
        inspector=Mock(),
        store=store,
        active=Mock(),
        ways_file=ways_file,
        saved_health=lambda: None,
        paths=Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path),
    )
    await parts.forget(what)
    for told in (beliefs.ignore, store.leave_out):
        (requests,) = told.call_args.args
        assert {number for number in range(1, 99) if number in requests} == begun


async def test_the_last_results_since_a_moment_are_forgotten_with_the_beliefs(tmp_path: Path) -> None:
    beliefs = Beliefs(Settings().detect)
    for host, at in (("old.test", 40.0), ("new.test", 60.0)):
        beliefs.measured(host, LastResult(SiteStatus.SITE_DOWN, at, Source.CONNECTION), network=HOME)
    parts = _dependencies(
        services=Mock(beliefs=beliefs, now=lambda: 99.0, open_connections=Mock(newest_first=lambda: iter([]))),
        inspector=Mock(),
        store=Mock(),
        active=Mock(),
        ways_file=Mock(written=AsyncMock()),
        saved_health=lambda: None,
        paths=Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path),
    )
    await parts.forget(Forgotten(since=50.0))
    left = {host for host, _ in beliefs.recent_results(network=HOME, now=99.0)}
    assert left == {"old.test"}


def _dependencies(**parts: Any) -> Dependencies:
    """Those with these parts alone."""
    others: dict[str, Any] = {each.name: None for each in fields(Dependencies) if each.default_factory is MISSING}
    return Dependencies(**{**others, **parts})


def test_what_tests_have_instead_has_no_other_names() -> None:
    """The parts of a World stand in for these, and no type checker compares them."""
    real = {*dir(Dependencies), *(each.name for each in fields(Dependencies))}
    assert {each.name for each in fields(Parts)} <= real
    assert {each.name for each in fields(SharedParts)} <= {*dir(Services), *(each.name for each in fields(Services))}
