"""Sentences about the mode and a pause, for `byway mode`, `status` and `why`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.languages.amounts import ago, clock
from proxy.model.phrase import _, sentences

MEANINGS = {
    "auto": _("AUTO goes direct first, another route if the site is blocked."),
    "direct": _("AUTO goes direct only; blocked sites do not open. Nothing is learned."),
    "relay": _("AUTO uses relays only. Nothing is learned."),
}


def mode_sentences(mode: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yields sentences about a pause and an unusual mode, each with the command that ends it. `mode` None: unknown."""
    if mode is None:
        return
    until = mode["paused_until"]
    if until is not None:
        ends = _("Paused; ends {ago} ({time}).", ago=ago(until, now=time.time()), time=clock(until)[11:16])
        yield sentences([ends, MEANINGS["direct"]]), "byway resume"
    if mode["mode"] != "auto":
        yield _("Mode {mode}: {meaning}", mode=mode["mode"], meaning=MEANINGS[mode["mode"]]), "byway mode auto"
