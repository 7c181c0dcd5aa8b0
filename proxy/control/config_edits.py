"""Edits the configuration file on request of a page, one edit at a time.

After an edit either the running Byway uses the new configuration, or the file is unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from proxy.config import edit
from proxy.control.access import Refused
from proxy.control.dependencies import Dependencies
from proxy.model.errors import BywayError, ConfigError
from proxy.model.phrase import _, semicolons
from proxy.wire.relay_url import redact

T = TypeVar("T")


class ConfigEdits:
    """Edits the configuration of one Byway. Belongs to one loop."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts
        self._editing = asyncio.Lock()

    async def version(self) -> str:
        """Returns the version of the file, for a form that must not undo what was edited since its page was made."""
        return await asyncio.to_thread(edit.version_of, self._parts.config_file)

    async def run(self, change: Callable[[Path], T], *, version: str = "") -> T:
        """Edits the file with `change`, which may raise ValueError or BywayError, and reloads it. `version` is that of
        the file for which the edit is meant; empty: any. Raises Refused with a sentence; then the file is unchanged."""
        file = self._parts.config_file
        async with self._editing:
            if version and version != await self.version():
                raise Refused(
                    409, _("The configuration was edited since you opened this page. Nothing was changed. Try again.")
                )
            try:
                before = await asyncio.to_thread(edit.text_of, file)
                result = await asyncio.to_thread(change, file)
                after = await asyncio.to_thread(edit.text_of, file)
            except (ValueError, BywayError) as error:
                raise refused(error) from None
            if problems := await self._parts.reload():
                text = _(
                    "Nothing was changed, because Byway could not use the result: {problems}",
                    problems=semicolons([redact(problem) for problem in problems]),
                )
                try:
                    await asyncio.to_thread(partial(edit.put_back, file, before, instead_of=after))
                except BywayError as error:
                    raise refused(error) from None
                await self._parts.reload()
                raise Refused(409, text)
            return result


def refused(error: Exception) -> Refused:
    """Returns the refusal for an error of an edit."""
    if isinstance(error, ConfigError):
        return Refused(409, semicolons([redact(problem) for problem in error.problems]))
    return Refused(409 if isinstance(error, BywayError) else 400, redact(str(error)))
