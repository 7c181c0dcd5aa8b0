"""The problem that keys have no engine, for `status` and Today."""

from __future__ import annotations

import asyncio

from proxy.config.relays import has_keys
from proxy.control.answers.problems import Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.features.keys.binary import NoEngine, find
from proxy.model.phrase import _


async def problems(moment: Moment) -> list[Problem]:
    """Returns the present problem."""
    if not has_keys(moment.frame.parts.settings):
        return []
    try:
        await asyncio.to_thread(find)
    except NoEngine as error:
        text = _("Relays that are keys cannot be used: {reason}.", reason=error.reason)
        return [Problem(ProblemSubject.RELAYS, text, error.do or "byway doctor")]
    return []
