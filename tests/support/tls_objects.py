"""Counts OpenSSL's objects for TLS connections, which take 100 KiB each."""

from __future__ import annotations

import contextlib
import gc
import ssl
from collections.abc import Iterator


def _connections() -> set[int]:
    return {id(it) for it in gc.get_objects() if type(it) is ssl.SSLObject and not it.server_side}


@contextlib.contextmanager
def none_left_behind() -> Iterator[None]:
    """Fails if a client's connection of the block still exists at its end, without a garbage collection."""
    gc.collect()
    before = _connections()
    gc.disable()
    try:
        yield
        assert not _connections() - before
    finally:
        gc.enable()
