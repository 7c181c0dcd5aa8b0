"""Empties the caches in which libraries keep what they were last asked, such as URLs: names that were visited.

Our own functions are emptied one by one (`model/remembered.py`). Libraries have many such caches, in modules that tell
nobody of them, and another version has others. A cache by `functools.lru_cache` may be emptied at any time.
"""

from __future__ import annotations

import sys
from functools import lru_cache

_Cache = type(lru_cache(len))


def empty_library_caches() -> None:
    """Empties every cache by `lru_cache` in the modules of others. Takes a few milliseconds.

    The collector's list of all objects would name them too, but who reads that while another thread builds a tuple
    makes that thread fail."""
    for name, module in [*sys.modules.items()]:
        if name.partition(".")[0] != "proxy":
            for one in [*vars(module).values()]:
                if type(one) is _Cache:
                    one.cache_clear()
