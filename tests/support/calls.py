"""Counts calls of Python functions: the start of each frame, and each time that a generator or coroutine goes on.

The count is exact and the same on every machine, where a timing is not. Frames of the tests themselves do not count.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def counting() -> Iterator[Counter[str]]:
    """The calls within the block, by module and name. A reading of it in the block is the count so far."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module != "contextlib" and not module.startswith("tests."):
            calls[f"{module}.{frame.f_code.co_qualname}"] += 1

    before, collects = sys.getprofile(), gc.isenabled()
    gc.collect()
    gc.disable()  # a collection calls what somebody else has left behind
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
