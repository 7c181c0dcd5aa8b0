"""What the control server changes in the application, when two clients ask for it at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app import control_backend
from proxy.app.control_backend import ControlBackend
from proxy.config.schema import Settings
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.store.relay_selection import read_selection, write_selection


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

    monkeypatch.setattr(control_backend, "write_selection", write)
    groups = RelayGroups(Health(Settings().detect))
    backend = _backend(services=SimpleNamespace(groups=groups), selection_file=file)
    await asyncio.gather(backend.select("eu", "vps"), backend.select("us", "tor"))
    assert read_selection(file) == dict(groups.selected) == {"eu": "vps", "us": "tor"}


def _backend(**parts: Any) -> ControlBackend:
    """One with these parts alone."""
    others: dict[str, Any] = {each.name: None for each in fields(ControlBackend) if each.default_factory is MISSING}
    return ControlBackend(**{**others, **parts})
