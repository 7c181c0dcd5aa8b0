"""The secret of this installation, with which network ids are hashed: an id alone does not reveal its network."""

from __future__ import annotations

import secrets

from proxy.config.paths import Paths, write_private

_BYTES = 32


def read_network_key(paths: Paths, *, ephemeral: bool) -> bytes:
    """Returns the key. It is made at the first run; with `ephemeral` it is read, so that NETWORK rules hold, and not
    written."""
    try:
        key = paths.network_key_file.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != _BYTES:
        key = secrets.token_bytes(_BYTES)
        if not ephemeral:
            write_private(paths.network_key_file, key)
    return key
