"""Freed memory goes back to the system.

glibc takes a block of 128 KiB or more from the system by itself, but raises that limit with each such block that is
freed, to 32 MiB: later ones lie in the heaps of threads, which keep what is freed. After a few reloads of a list of a
million domains, 90 MiB were kept for nothing (measured). Of smaller blocks it keeps the pages anyway: nearly one MiB
after a start.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1024 * 1024


def return_large_blocks() -> None:
    """Fixes the limit of glibc at 1 MiB, for this process. Other C libraries, which have no such setting, stay as they
    are."""
    library = _c_library()
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def return_freed_pages() -> None:
    """Gives back each page on which nothing is in use. Takes a few milliseconds."""
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def collect_replaced() -> None:
    """Frees what nobody uses any more though its objects refer to each other: a resolver and a guard that were replaced
    know the names that were visited. Nothing that was there before the first Setup is scanned (`process`), so it takes
    some milliseconds, however long the lists are."""
    gc.collect()


def _c_library() -> Any:
    """Returns the C library; None where it is certainly not glibc."""
    if sys.platform != "linux":
        return None
    import ctypes  # which a start does not wait for

    return ctypes.CDLL(None)
