"""Counts calls of Python functions: each start of a frame, and each resumption of a generator or coroutine.

Unlike a timing, the count is exact and the same on every machine. Frames of the tests do not count, nor do list, set
and dict comprehensions: before Python 3.12 each one is a frame of its own (PEP 709).
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType

_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})


@contextlib.contextmanager
def counting() -> Iterator[Counter[str]]:
    """Yields the numbers of calls so far within the block, by module and name."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if event != "call" or module == "contextlib" or module.startswith("tests.") or code.co_name in _COMPREHENSIONS:
            return
        calls[f"{module}.{code.co_qualname}"] += 1

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
