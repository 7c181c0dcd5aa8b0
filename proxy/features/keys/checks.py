"""The check of the engine for keys in `byway doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.relays import has_keys
from proxy.features.keys.binary import NoEngine, find
from proxy.model.phrase import _
from proxy.terminal.command import Invocation
from proxy.terminal.findings import Finding, Step
from proxy.terminal.offline import read_configuration


def checks(call: Invocation) -> Iterator[Finding]:
    """Yields the fault of the engine, if a relay is a key."""
    if not has_keys(read_configuration(call.paths).settings):
        return
    try:
        find()
    except NoEngine as error:
        text = _("relays that are keys cannot be used: {reason}", reason=error.reason)
        yield Finding(Step.RELAYS_FAIL, text, error.do or "byway relay list")
