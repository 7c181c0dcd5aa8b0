"""More open files than a login shell allows: usually 1,024, and a test that holds hundreds of tunnels has both ends."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def descriptors(wanted: int) -> Iterator[int]:
    """Raises this process's limit to `wanted`, or as far as the machine lets it, and yields the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    try:
        yield max(soft, limit)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
