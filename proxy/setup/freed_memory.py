"""Returns freed memory to the system.

glibc maps each block of 128 KiB or more separately, but each such block that is freed raises this threshold, up to
32 MiB. Later blocks are in the heaps of threads, which keep freed memory: 90 MiB after a few reloads of a list of a
million domains (measured). Pages of freed smaller blocks are kept in any case: nearly one MiB after a start.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1024 * 1024


def return_large_blocks() -> None:
    """Fixes glibc's threshold at 1 MiB for this process. Does nothing with other C libraries."""
    library = _c_library()
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def return_freed_pages() -> None:
    """Returns all unused pages to the system. Takes a few milliseconds."""
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def collect_replaced() -> None:
    """Collects replaced objects that refer to each other: a replaced resolver and guard contain the names that were
    visited. The collector does not scan objects from before the first Setup (`app.process`), so this takes some
    milliseconds."""
    gc.collect()


def _c_library() -> Any:
    """Returns the C library; None when it is certainly not glibc."""
    if sys.platform != "linux":
        return None
    import ctypes  # not at the beginning of a start

    return ctypes.CDLL(None)
