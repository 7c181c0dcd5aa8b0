"""The files that a user writes beside config.toml: rules.txt, the lists it names, and known block pages.

They are read into values, and looked at for edits. A file that is missing says nothing; one that is there and cannot be
read, or makes no sense, is an error with its line.
"""

from __future__ import annotations

import os
from pathlib import Path

from proxy.config.files import read_text
from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.detect import block_pages
from proxy.detect.block_pages import BlockPages, parse_fingerprints
from proxy.routing.lists.plain import parse_plain
from proxy.routing.rules import Rules, parse_rules

FILE_LIMIT = 16 * 1024 * 1024
"""Bytes of rules.txt, of a list and of a file of block pages."""

_SHIPPED_PAGES = Path(block_pages.__file__).with_suffix(".csv")


def read_rules(settings: Settings, paths: Paths, *, file: Path | None = None) -> Rules:
    """The rules of rules.txt, which may be missing, or of `file`, with the lists that they name.

    Raises ConfigError with all problems."""
    lists = {
        name: parse_plain(read_text(listed, limit=FILE_LIMIT), source=str(listed))
        for name, listed in _list_files(settings, paths).items()
    }
    # A link to what is not there (a folder that is not mounted) is a fault: it must not look like no rules.
    if file is None and not os.path.lexists(paths.rules_file):
        return Rules(lists=lists)
    file = file or paths.rules_file
    relays = [relay.name for relay in settings.relay]
    return parse_rules(read_text(file, limit=FILE_LIMIT), source=file.name, lists=lists, relays=relays)


def read_block_pages(paths: Paths) -> BlockPages:
    """The fingerprints that ship with us, and those that were imported. Raises ConfigError."""
    files = [_SHIPPED_PAGES]
    if os.path.lexists(paths.block_pages_file):
        files.append(paths.block_pages_file)
    return BlockPages(
        fingerprint
        for file in files
        for fingerprint in parse_fingerprints(read_text(file, limit=FILE_LIMIT), file.name).fingerprints
    )


def fingerprint(settings: Settings, paths: Paths) -> tuple[object, ...]:
    """Changes when the configuration, or a file that goes with these settings, is edited, replaced, made or removed."""
    lists = _list_files(settings, paths).values()
    files = [paths.config_file, paths.rules_file, paths.block_pages_file, *lists]
    return tuple(_mark(file) for file in files)


def _list_files(settings: Settings, paths: Paths) -> dict[str, Path]:
    return {item.name: paths.named(item.source) for item in settings.list}


def _mark(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; symbolic links are followed."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
