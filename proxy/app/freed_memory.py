"""Large blocks of memory go back to the system when they are freed.

glibc takes a block of 128 KiB or more from the system by itself, but raises that limit with each such block that is
freed, to 32 MiB: later ones lie in the heaps of threads, which keep what is freed. After a few reloads of a list of a
million domains, 90 MiB were kept for nothing (measured).
"""

from __future__ import annotations

import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 1024 * 1024


def return_large_blocks() -> None:
    """Fixes the limit of glibc at 1 MiB, for this process. Other C libraries, which have no such setting, stay as they
    are."""
    if sys.platform != "linux":
        return
    import ctypes  # half a MiB, which a run without lists does not need

    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
