"""More open files than a login shell allows: usually 1,024, and a test that holds hundreds of tunnels has both ends."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

TUNNELS = 500
"""That run while what they were opened by is edited, broken and taken away."""

_FOR_A_TUNNEL = 4
"""Its ends at the client and the server, and in a relay within the test's process."""
_FOR_THE_REST = 200


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


@contextlib.contextmanager
def descriptors_for_tunnels() -> Iterator[int]:
    """Yields TUNNELS, or how many of them this machine lets a test hold."""
    with descriptors(_FOR_A_TUNNEL * TUNNELS + _FOR_THE_REST) as limit:
        yield min(TUNNELS, (limit - _FOR_THE_REST) // _FOR_A_TUNNEL)
