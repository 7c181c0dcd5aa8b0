"""Raises the limit of open files. A login shell usually allows 1,024, and a test with hundreds of tunnels holds both
ends of each."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

TUNNELS = 500
"""Tunnels that are open while the configuration behind them is edited, broken and removed."""

_FOR_A_TUNNEL = 4
"""Descriptors of a tunnel: its ends at the client, the server, and both in a relay in the test's process."""
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
    """Yields TUNNELS, or the number of tunnels that this machine allows."""
    with descriptors(_FOR_A_TUNNEL * TUNNELS + _FOR_THE_REST) as limit:
        yield min(TUNNELS, (limit - _FOR_THE_REST) // _FOR_A_TUNNEL)
