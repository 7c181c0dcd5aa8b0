"""Empties the caches of libraries, which contain recent arguments such as URLs, and so the names of visited sites.

`model/remembered.py` empties the caches of Byway's functions, one by one. Libraries have many undocumented caches, and
each version has others. A cache by `functools.lru_cache` may be emptied at any time.
"""

from __future__ import annotations

import sys
from functools import lru_cache

_Cache = type(lru_cache(len))


def empty_library_caches() -> None:
    """Empties every `lru_cache` in the modules of libraries. Takes a few milliseconds.

    `gc.get_objects` would find them too, but it can make another thread fail that builds a tuple."""
    for name, module in [*sys.modules.items()]:
        if name.partition(".")[0] != "proxy":
            for one in [*vars(module).values()]:
                if type(one) is _Cache:
                    one.cache_clear()
