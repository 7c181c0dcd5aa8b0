"""A Python with other internals of asyncio, as in a later version, for processes that a test starts.

The source is changed at import, consistently in all modules, so asyncio itself works as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

Change = tuple[str, str, str]
"""A module, a regular expression for its source, and the replacement."""

_MODULES = ("asyncio.base_events", "asyncio.events", "asyncio.selector_events", "asyncio.unix_events")
"""The modules that use the internals of event loops and handles."""

_HANDLES = r"handle|reader|writer|timer|self\._scheduled\[0\]"
"""Names of handles in these modules."""

_IMPORT_CHANGED = """
import importlib.machinery, re, sys

CHANGES = {changes!r}

class Changed(importlib.machinery.SourceFileLoader):
    def path_stats(self, path):
        raise OSError("what was compiled is not changed")

    def source_to_code(self, data, path, **options):
        source = data.decode()
        for name, pattern, replacement in CHANGES:
            if name == self.name:
                source, changed = re.subn(pattern, replacement, source)
        return super().source_to_code(source.encode(), path, **options)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name not in {{name for name, *_ in CHANGES}}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Changed(name, spec.origin)
        return spec

sys.meta_path.insert(0, Finder())
"""


def without(borrowed: str) -> list[Change]:
    """Returns the changes of a Python in which a borrowed internal (as `net.loop.choice` names it) has another name."""
    kind, _, name = borrowed.rpartition(".")
    other = f"{name}_as_it_is_called_now"
    if kind == "asyncio.SelectorEventLoop":
        of_others = "".join(rf"(?<!{handle}\.)" for handle in ("handle", "timer"))
        return [(module, rf"{of_others}\b{name}\b", other) for module in _MODULES if module != "asyncio.events"]
    used = [(module, rf"\b({_HANDLES})\.{name}\b", rf"\1.{other}") for module in _MODULES]
    return [("asyncio.events", rf"\b{name}\b", other), *used]


def environment(folder: Path, changes: Sequence[Change]) -> dict[str, str]:
    """Returns the environment of a process on a Python with these changes. `folder` is for a file that they need."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_IMPORT_CHANGED.format(changes=list(changes)))
    return {"PYTHONPATH": f"{folder}:{ROOT}"}
