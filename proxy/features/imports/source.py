"""Reads what is imported: a file, standard input, or an https URL, which is fetched once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from proxy.config.files import decode, read_bytes, shown
from proxy.config.paths import Paths
from proxy.features.imports.reading import BACKUP_LIMIT
from proxy.model.errors import ConfigError
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused
from proxy.terminal.terminal import confirm
from proxy.wire import https_url
from proxy.wire.url_secrets import hide_secrets

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
        return _fetched(call, paths, source, direct=direct), hide_secrets(source)
    file = Path(source)
    return decode(file, read_bytes(file, limit=BACKUP_LIMIT)), shown(file)


def _fetched(call: Invocation, paths: Paths, source: str, *, direct: bool) -> str:
    """Fetches a text through relays. Without one that works, asks once whether to fetch it direct."""
    from proxy.probe.download import DownloadFailed

    try:
        url = https_url.parse(source)
    except ValueError as error:
        raise Misused(f"give a file, -, or an https:// URL: {error}") from None
    try:
        data = asyncio.run(_download(paths, url, direct=direct))
    except DownloadFailed as error:
        call.output.hint(f"Not fetched{'' if direct else ' through a relay'}: {error}.")
        can_ask = not direct and not error.is_final and sys.stdin is not None and sys.stdin.isatty()
        if not can_ask:
            more = (
                ""
                if direct or error.is_final
                else f"; to fetch it direct, so that your provider sees {url.host}: --direct"
            )
            raise ConfigError(f"{hide_secrets(source)}: cannot be fetched{more}") from None
        if not confirm(f"Fetch it direct? Your provider sees {url.host}."):
            raise ConfigError(f"{hide_secrets(source)}: nothing was fetched") from None
        return _fetched(call, paths, source, direct=True)
    return decode(Path(url.host), data)


async def _download(paths: Paths, url: https_url.HttpsUrl, *, direct: bool) -> bytes:
    from proxy.probe.list_refresh import fetch
    from proxy.store.list_copies import ListCopies
    from proxy.terminal.fetching import fetching

    async with fetching(paths, ListCopies(paths.lists_dir)) as context:
        found = await fetch(context, url, 0.0, direct=direct, asked=True, limit=BACKUP_LIMIT, remedy="use --direct")
    assert found is not None  # no copy was known
    return found.content
