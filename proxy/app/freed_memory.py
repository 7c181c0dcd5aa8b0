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
    """Frees what nobody uses any more, also of what a start has made. That is frozen (`process`), so that no collection
    scans it, and none would ever free a part of it whose objects refer to each other: the first resolver and the first
    guard know the names that were visited until they were replaced. Takes some tens of milliseconds."""
    gc.unfreeze()
    gc.collect()


def _c_library() -> Any:
    """Returns the C library; None where it is certainly not glibc."""
    if sys.platform != "linux":
        return None
    import ctypes  # which a start does not wait for

    return ctypes.CDLL(None)
