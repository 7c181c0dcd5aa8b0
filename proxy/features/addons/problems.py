"""Problems of addons that do not load, or were disabled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.control.answers.problems import Button, Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.extend.manager import AddonState
from proxy.model.phrase import _
from proxy.wire.relay_url import redact


async def problems(moment: Moment) -> list[Problem]:
    """Returns the present problems."""
    parts = moment.frame.parts
    return present(parts.addons(), parts.counters().get("addons_missing"))


def present(addons: Sequence[AddonState], missing: object) -> list[Problem]:
    """As `problems`. `missing` is a sentence about configured addons without a file; empty or None: there are none."""
    return [Problem(ProblemSubject.ADDONS, text, do, (_ADDONS,)) for text, do in _problems(addons, missing)]


_ADDONS = Button(_("Show"), "addons", leads=True)


def _problems(addons: Sequence[AddonState], missing: object) -> Iterator[tuple[str, str]]:
    for addon in addons:
        if addon.problems:
            text = (
                _("Addon {name} does not load: {reason}; the previous version keeps running.")
                if addon.running
                else _("Addon {name} does not load: {reason}.")
            )
            yield text.given(name=addon.name, reason=redact(addon.problems[0])), "byway addons list"
        elif addon.is_off:
            text = _("Addon {name} was disabled after repeated faults: {fault}.")
            fix = _("edit {file}", file=str(addon.file.path))
            yield text.given(name=addon.name, fault=redact(addon.last_fault)), fix
    if missing:
        yield redact(str(missing)), "byway addons list"
