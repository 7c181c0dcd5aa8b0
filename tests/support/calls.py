"""Counts calls of Python functions: each start of a frame, and each resumption of a generator or coroutine.

Unlike a timing, the count is exact and the same on every machine. Frames of the tests do not count.
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
    """Yields the numbers of calls so far within the block, by module and name."""
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
