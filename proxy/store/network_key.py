"""The secret key of this installation for the hashes of networks: an id alone does not reveal its network."""

from __future__ import annotations

import logging
import secrets

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, write_private
from proxy.model.errors import BywayError, reason_of

log = logging.getLogger(__name__)

_BYTES = 32

_NEW_IDS = "Networks have new ids in this run: NETWORK rules do not match, and what was learned is not used"


def read_network_key(paths: Paths, *, ephemeral: bool) -> bytes:
    """Returns the key, which the first run makes. With `ephemeral` it is read, for NETWORK rules, but not written. If
    the file cannot be read or written, it is not changed, and the key is valid for this run only."""
    try:
        key = read_own_file(paths.network_key_file, limit=_BYTES + 1)
    except OSError as error:
        key = b""
        if not isinstance(error, FileNotFoundError):
            log.warning("%s cannot be read: %s. %s", paths.network_key_file, reason_of(error), _NEW_IDS)
            ephemeral = True
    if len(key) != _BYTES:
        key = secrets.token_bytes(_BYTES)
        if not ephemeral:
            try:
                write_private(paths.network_key_file, key)
            except BywayError as error:
                log.warning("%s. %s", error, _NEW_IDS)
    return key
