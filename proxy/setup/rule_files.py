"""Reads the files beside config.toml: rules.txt, lists, and imported block pages.

They are read into values, and polled for edits. Without rules.txt there are no rules; a file that cannot be read or
parsed is an error with its line. The parsers of lists would be a tenth of the code that a start loads, so they are
imported with the first list.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxy.config.file_owners import FolderFiles, read_obeyed
from proxy.config.files import decode, decode_pieces, read_text, shown
from proxy.config.paths import Paths
from proxy.config.relays import relay_names
from proxy.config.schema import ListConfig, Settings
from proxy.detect import pages
from proxy.model import NetworkId
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules
from proxy.setup.freed_memory import return_large_blocks
from proxy.store.list_copies import COPY_LIMIT, ListCopies

if TYPE_CHECKING:
    from proxy.detect.pages.block_pages import BlockPages
    from proxy.routing.lists.domain_list import DomainList

FILE_LIMIT = 16 * 1024 * 1024
"""Bytes of rules.txt and of a file of block pages."""

_SHIPPED_PAGES = Path(pages.__file__).with_name("block_pages.csv")


def read_rules(
    settings: Settings,
    paths: Paths,
    *,
    file: Path | None = None,
    lists: Mapping[str, DomainList] = MappingProxyType({}),
    pause_s: float = 0.0,
    copies: ListCopies | None = None,
) -> Rules:
    """Reads rules.txt, which may be missing, or `file`, and the configured lists as `read_lists` does. `lists` replace
    configured lists of the same names, whose files are then not read.

    Raises ConfigError with all problems, also when another user can change rules.txt or a list. `file` is checked but
    not applied, so another user may own it."""
    others = [item for item in settings.list if item.name not in lists]
    lists = {**read_lists(others, paths, pause_s=pause_s, copies=copies), **lists}
    # A link to a missing target (a folder that is not mounted) is an error: it must not count as no rules.
    if file is None and not os.path.lexists(paths.rules_file):
        return Rules(lists=lists)
    if file is not None:
        text = read_text(file, limit=FILE_LIMIT)
    else:
        text = read_obeyed(paths.rules_file, limit=FILE_LIMIT).text
    return check_rules(text, settings, source=(file or paths.rules_file).name, lists=lists)


def read_lists(
    configured: Sequence[ListConfig], paths: Paths, *, pause_s: float = 0.0, copies: ListCopies | None = None
) -> dict[str, DomainList]:
    """Reads lists from their files, or from the last good copy of a fetched list in `copies` (None: in the state
    folder). A list without a copy is empty, and its `problem` has the remedy. Returns the lists by name.

    Sleeps `pause_s` after about a thousand lines, so that other threads get their turn. Raises ConfigError with the
    problems of all lists."""
    if not configured:
        return {}
    from proxy.routing.lists.domain_list import DomainList
    from proxy.routing.lists.formats import parse_list
    from proxy.routing.lists.list_builder import no_siblings
    from proxy.routing.lists.matcher import NO_ENTRIES

    return_large_blocks()
    copies = copies or ListCopies(paths.lists_dir, ephemeral=True)  # only to read
    lists = {}
    problems: list[str] = []
    for item in configured:
        absent = f"not fetched yet; run `byway list refresh {item.name}`"
        try:
            if (text := _read_list(item, paths, copies, pause_s)) is not None:
                listed = parse_list(
                    text.pieces,
                    size=text.size,
                    source=text.source,
                    format=item.format,
                    allow_empty=item.allow_empty,
                    allow_suffixes=item.allow_suffixes,
                    siblings=text.siblings or no_siblings,
                )
                lists[item.name] = replace(listed, size=text.size, changed_at=text.changed_at)
                continue
        except ConfigError as error:
            if not item.url:
                problems += error.problems
                continue
            absent = f"its copy cannot be used ({error.problems[0]}); run `byway list refresh {item.name}`"
        source = f"list {item.name}"
        lists[item.name] = DomainList(NO_ENTRIES, source=source, absent=absent, allow_empty=item.allow_empty)
    if problems:
        raise ConfigError(problems)
    return lists


def try_lists(configured: Sequence[ListConfig], paths: Paths, copies: ListCopies) -> None:
    """Tries each list in a separate process, as `read_lists` does before it parses one, so that it then does not wait.
    `read_lists` reports the problems."""
    for item in configured:
        with contextlib.suppress(ConfigError):
            _read_list(item, paths, copies)


@frozen_dataclass
class _ListText:
    """The text of a list, read and tried. It can be parsed once."""

    source: str
    """The name of its file, or of the list, in messages."""
    size: int
    """In bytes."""
    changed_at: float
    """When the file was changed, in seconds since the epoch; 0: it is in memory."""
    pieces: Iterator[str]
    siblings: FolderFiles | None
    """The files that it may include; None: a fetched list includes none."""


def _read_list(item: ListConfig, paths: Paths, copies: ListCopies, pause_s: float = 0.0) -> _ListText | None:
    """Reads a list from its file or from its copy, and tries it in a separate process. Returns None when it is not
    fetched yet. Raises ConfigError."""
    if item.url:
        file, source, folder, data = copies.file(item.url), f"list {item.name}", None, copies.content(item.url)
        if data is None:
            return None
    else:
        file = paths.named(item.source)
        source, folder = shown(file), file.parent
        if not os.path.lexists(file):
            raise ConfigError(f"{source}: no such file; put list {item.name} there, or remove its [[list]]")
        data = read_obeyed(file, limit=COPY_LIMIT).data
    copies.trials.require(data, source=source, format=item.format, allow_suffixes=item.allow_suffixes, folder=folder)
    changed_at = 0.0
    with contextlib.suppress(OSError):  # a copy in memory, or a file that was removed since it was read
        changed_at = file.stat().st_mtime
    pieces = decode_pieces(file, data, pause_s=pause_s)
    siblings = FolderFiles(folder, limit=COPY_LIMIT, pause_s=pause_s) if folder is not None else None
    return _ListText(source, len(data), changed_at, pieces, siblings)


def read_list_text(item: ListConfig, paths: Paths, copies: ListCopies) -> str:
    """Returns the text of a list: of its file, or of its last good copy. Raises ConfigError; also without a copy."""
    file = copies.file(item.url) if item.url else paths.named(item.source)
    data = copies.content(item.url) if item.url else read_obeyed(file, limit=COPY_LIMIT).data
    if data is None:
        raise ConfigError(f"list {item.name}: not fetched yet; run `byway list refresh {item.name}`")
    return decode(file, data)


def check_rules(text: str, settings: Settings, *, source: str, lists: Mapping[str, DomainList]) -> Rules:
    """Parses rules under these settings. `source` names them in messages. Raises ConfigError with all problems."""
    relays = relay_names(settings)
    networks = {name: NetworkId(text) for name, text in settings.networks.items()}
    return parse_rules(text, source=source, lists=lists, relays=relays, networks=networks)


def block_pages(paths: Paths) -> Callable[[], BlockPages]:
    """Returns a function that returns the fingerprints of block pages. Imported fingerprints are read now, to report
    their faults: raises ConfigError. The shipped ones alone are read with the first answer of plain HTTP, because that
    takes a fiftieth of a start."""
    if not os.path.lexists(paths.block_pages_file):
        return _shipped_pages
    pages = read_block_pages(paths)
    return lambda: pages


def read_block_pages(paths: Paths) -> BlockPages:
    """Reads the shipped fingerprints of block pages, and the imported ones. Raises ConfigError."""
    from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints

    texts = [(_SHIPPED_PAGES, read_text(_SHIPPED_PAGES, limit=FILE_LIMIT))]
    if os.path.lexists(paths.block_pages_file):
        texts.append((paths.block_pages_file, read_obeyed(paths.block_pages_file, limit=FILE_LIMIT).text))
    return BlockPages(
        fingerprint for file, text in texts for fingerprint in parse_fingerprints(text, file.name).fingerprints
    )


@cache
def _shipped_pages() -> BlockPages:
    from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints

    text = read_text(_SHIPPED_PAGES, limit=FILE_LIMIT)
    return BlockPages(parse_fingerprints(text, _SHIPPED_PAGES.name).fingerprints)


Fingerprint = tuple[object, ...]


def fingerprint(settings: Settings, paths: Paths) -> Fingerprint:
    """Returns the states of the configuration file, which is first, and of each file that the settings name. A state
    changes when the file is edited, replaced, created or removed, and with the owner or mode of the file or its folder.
    Copies of fetched lists are not included: a fetch causes a reload."""
    lists = (paths.named(item.source) for item in settings.list if not item.url)
    files = [paths.config_file, paths.rules_file, paths.block_pages_file, *lists]
    return tuple((*_state(file, with_content=True), *_state(file.parent, with_content=False)) for file in files)


def fingerprint_of_included(settings: Settings, paths: Paths, lists: Mapping[str, DomainList]) -> Fingerprint:
    """Returns the states of the files that the lists included when they were read."""
    folders = {item.name: paths.named(item.source).parent for item in settings.list if not item.url}
    files = [folders[name] / file for name, it in lists.items() if name in folders for file in it.included]
    return tuple(_state(file, with_content=True) for file in files)


def _state(path: Path, *, with_content: bool) -> tuple[int, ...]:
    """Returns the state of a file or a folder; () when it is missing. Follows symbolic links."""
    try:
        status = path.stat()
    except OSError:
        return ()
    content = (status.st_mtime_ns, status.st_size) if with_content else ()
    return (status.st_ino, status.st_mode, status.st_uid, *content)
