"""Reads what is imported: a file, standard input, or an https URL, which is fetched once."""

from __future__ import annotations

import sys
from pathlib import Path

from proxy.config.files import decode, read_bytes, shown
from proxy.config.paths import Paths
from proxy.features.imports.reading import BACKUP_LIMIT
from proxy.model.errors import ConfigError
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused
from proxy.terminal.fetching import fetch_asking
from proxy.wire.url_secrets import hide_paths

STANDARD_INPUT = "-"


def read_source(call: Invocation, paths: Paths, source: str, *, direct: bool) -> tuple[str, str]:
    """Returns the text and the name of the source for messages. Raises Misused, ConfigError and BywayError."""
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise Misused("standard input is closed; name a file, or pipe the configuration into the command")
        name, data = "standard input", sys.stdin.buffer.read(BACKUP_LIMIT + 1)
        if len(data) > BACKUP_LIMIT:
            raise ConfigError(f"{name}: is larger than {BACKUP_LIMIT:,} bytes; is this the right file?")
        return decode(Path(name), data), name
    if "://" in source:
        fetched = fetch_asking(call, paths, source, limit=BACKUP_LIMIT, direct=direct)
        return decode(Path(fetched.host), fetched.content), hide_paths(source)
    file = Path(source)
    return decode(file, read_bytes(file, limit=BACKUP_LIMIT)), shown(file)
