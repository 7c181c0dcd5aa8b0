"""Answers about addons."""

from __future__ import annotations

from enum import StrEnum

from proxy.extend.manager import AddonState
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact


class AddonWord(StrEnum):
    """The state of an addon."""

    OFF = "off"
    RUNS = "runs"
    STOPPED = "stopped"  # disabled after faults, until its file is edited
    FAULTY = "faulty"  # it does not load


@frozen_dataclass
class AddonJson:
    """An addon. A running one has `problems` if the edited version of its file does not load. `version` is that of the
    running one. `dropped` counts the notifications for which it was too slow."""

    name: str
    file: str
    shipped: bool
    enabled: bool
    state: AddonWord
    version: str
    since: float | None
    hooks: tuple[str, ...]
    problems: tuple[str, ...]
    faults: int
    last_fault: str
    slowest_s: float
    dropped: int

    @classmethod
    def of(cls, state: AddonState) -> AddonJson:
        if not state.file.enabled:
            word = AddonWord.OFF
        elif state.is_off:
            word = AddonWord.STOPPED
        else:
            word = AddonWord.RUNS if state.running else AddonWord.FAULTY
        return cls(
            name=state.name,
            file=str(state.file.path),
            shipped=state.file.shipped,
            enabled=state.file.enabled,
            state=word,
            version=state.running,
            since=state.since or None,
            hooks=tuple(state.hooks),
            problems=tuple(map(redact, state.problems)),
            faults=state.faults,
            last_fault=redact(state.last_fault),
            slowest_s=round(state.slowest_s, 4),
            dropped=state.dropped,
        )


@frozen_dataclass
class AddonsAnswer:
    """All addons of the user, and the shipped ones."""

    addons: tuple[AddonJson, ...]
