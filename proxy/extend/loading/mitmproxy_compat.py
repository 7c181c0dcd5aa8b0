"""What a file that was written for mitmproxy needs to be loaded as it is, and which of its options are mitmproxy's.

Such a file may be nothing but functions with the names of mitmproxy's hooks; its options it declares in a hook of
mitmproxy's, `load`, which is called only once the first connection is inspected. Until then nobody can say whether
`[addons.NAME]` sets the right ones, so what is no option of Byway's is kept for then.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.extend.loading.addon import NO_OPTIONS

_IMPORTS = re.compile(r"^(?:from|import)\s+mitmproxy\b", re.MULTILINE)
"""At the top of a file. An indented one is for the type checker, or for later."""

_WITH_ALL_HOOKS = ("mitmproxy.eventsequence", "mitmproxy.addonmanager", "mitmproxy.proxy.server", "mitmproxy.log")
"""`mitmproxy.script.concurrent` takes only names of hooks that were declared by then: in these modules."""


def prepare(source: str) -> None:
    """To be called before such a file is run; other files cost nothing. What cannot be imported, the file will say."""
    if _IMPORTS.search(source):
        with contextlib.suppress(ImportError):
            for name in _WITH_ALL_HOOKS:
                importlib.import_module(name)


def split_options(
    objects: Sequence[object], table: Mapping[str, Any], known: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Of what `[addons.NAME]` says, Byway's part and mitmproxy's. `known` are the addon's own `Options`."""
    if not any(callable(getattr(thing, "load", None)) for thing in objects):
        return table, NO_OPTIONS
    ours = {key: value for key, value in table.items() if key in known}
    return ours, {key: value for key, value in table.items() if key not in known}
