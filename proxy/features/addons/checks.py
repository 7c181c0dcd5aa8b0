"""The check of addons in `byway doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.features.addons.lookup import check_files, select_files
from proxy.model.errors import ConfigError
from proxy.model.phrase import _
from proxy.terminal.command import Invocation
from proxy.terminal.findings import Finding, Step


def checks(call: Invocation) -> Iterator[Finding]:
    """Yields the problems that `byway addons check` finds."""
    try:
        _checked, problems = check_files(call, select_files(call, []))
    except ConfigError as error:  # files that others could change
        problems = [*error.problems]
    for problem in problems:
        do = _("correct it, then run `byway addons check`")
        yield Finding(Step.ADDONS, problem, do, prevents_start=True)
