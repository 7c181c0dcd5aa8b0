"""The last good copies of fetched lists and the results of their fetches, kept across restarts.

Each URL has two files with mode 0600, named by its hash: the text of the list, and its CopyInfo. The text is replaced
as a whole, and only by a checked one, so a reader never sees half a list. With `--ephemeral` nothing is written: new
copies are in memory, and copies on disk are still used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.file_owners import read_obeyed
from proxy.config.files import read_bytes
from proxy.config.paths import private_folder, write_private
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.store.list_trials import ListTrials

log = logging.getLogger(__name__)

COPY_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest list; for lists in files, routing/lists/formats.py has the same limit."""

UNUSED_S = 30 * 86_400.0
"""Age at which a copy is deleted that no list of the configuration uses."""

_INFO_LIMIT = 64 * 1024
_NAMES_LIMIT = 1024 * 1024
_TEXT_LIMIT = 4096
_TEXTS = ("url", "error", "said")
_FAR_FUTURE = 1e11


@frozen_dataclass
class CopyInfo:
    """The state of the copy of one URL. Times are seconds since the epoch; 0: never."""

    url: str
    fetched_at: float = 0.0
    """When the source last sent the copy or answered that it has not changed; 0: there is no copy."""
    changed_at: float = 0.0
    """When the copy was fetched."""
    entries: int = 0
    """Entries of the copy."""
    jitter: float = 1.0
    """The share of `refresh`, or of the back-off, after which a fetch is due, so that computers that were switched on
    together do not fetch together."""
    failed_at: float = 0.0
    failures: int = 0
    """Failed fetches in a row, since the copy was last confirmed."""
    error: str = ""
    """Why the last fetch failed, in a sentence; empty if it did not."""
    said: str = ""
    """What the source of a subscription said of the account, as its header has it; empty: nothing."""

    @property
    def has_copy(self) -> bool:
        return self.fetched_at > 0


class ListCopies:
    """The copies in one folder. Every method may wait for the disk, and may be called from any thread."""

    def __init__(self, folder: Path, *, ephemeral: bool = False) -> None:
        self._folder = folder
        self._ephemeral = ephemeral
        self._infos: dict[str, CopyInfo] = {}  # those that are not on disk
        self._contents: dict[str, bytes] = {}
        self._names: dict[str, Mapping[str, str]] = {}
        self._trials: ListTrials | None = None
        self._allows_trials = True
        self._making = threading.Lock()

    @property
    def trials(self) -> ListTrials:
        """The trials of lists. They are made with the first list, since many runs have none."""
        with self._making:
            if self._trials is None:
                from proxy.store.list_trials import ListTrials

                self._trials = ListTrials(self._folder / "tried.json", ephemeral=self._ephemeral)
                if not self._allows_trials:
                    self._trials.end()
            return self._trials

    def end_trials(self) -> None:
        """See ListTrials.end."""
        with self._making:
            self._allows_trials = False
            if self._trials is not None:
                self._trials.end()

    def file(self, url: str) -> Path:
        """Returns the path of the text of a URL's copy."""
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.txt"

    def info(self, url: str) -> CopyInfo:
        """Returns the state of a URL's copy. A damaged file counts as missing. If the file cannot be read, the result
        has no copy, and its `error` is the reason."""
        return self._infos.get(url) or _read_info(self.file(url).with_suffix(".json"), url)

    def content(self, url: str) -> bytes | None:
        """Returns the text of the copy; None: there is no copy. Raises ConfigError when it cannot be read, or when
        another user could change it."""
        if url in self._contents:
            return self._contents[url]
        file = self.file(url)
        info = self.info(url)
        if not info.has_copy and info.error and not info.failures:
            raise ConfigError(info.error)  # there may be a copy
        if not info.has_copy or not os.path.lexists(file):
            return None
        return read_obeyed(file, limit=COPY_LIMIT).data

    def replace(self, info: CopyInfo, content: bytes) -> None:
        """Stores a new copy. Raises BywayError when it cannot be written; the previous copy then stays."""
        if self._ephemeral:
            self._contents[info.url] = content
        else:
            private_folder(self._folder)
            write_private(self.file(info.url), content)
        self.note(info)

    def names(self, url: str) -> Mapping[str, str]:
        """Returns the names that `keep_names` stored for a URL; empty when there are none, or they cannot be read."""
        if url in self._names:
            return self._names[url]
        try:
            document = json.loads(read_bytes(self._names_file(url), limit=_NAMES_LIMIT))
        except (ConfigError, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict) or not all(isinstance(each, str) for each in document.values()):
            return {}
        return document

    def keep_names(self, url: str, names: Mapping[str, str]) -> None:
        """Stores the names of what is in a copy; in memory if they cannot be written."""
        self._names[url] = names
        if self._ephemeral:
            return
        try:
            private_folder(self._folder)
            write_private(self._names_file(url), json.dumps(names))
        except BywayError as error:
            log.debug("%s", error)
        else:
            self._names.pop(url, None)

    def _names_file(self, url: str) -> Path:
        return self.file(url).with_suffix(".names")

    def note(self, info: CopyInfo) -> None:
        """Stores the state of a URL's copy; in memory if it cannot be written."""
        self._infos[info.url] = info
        if self._ephemeral:
            return
        try:
            private_folder(self._folder)
            write_private(self.file(info.url).with_suffix(".json"), json.dumps(asdict(info)))
        except BywayError as error:
            log.debug("%s", error)
        else:
            self._infos.pop(info.url, None)

    def delete_unused(self, urls: Collection[str], now: float) -> None:
        """Deletes the copies of all other URLs that were not written for UNUSED_S."""
        if self._ephemeral:
            return
        used = {self.file(url).stem for url in urls}
        with contextlib.suppress(OSError):  # no folder, or no permission: the copies only stay longer
            for file in self._folder.iterdir():
                if file.stem not in used and now - file.stat().st_mtime > UNUSED_S:
                    file.unlink(missing_ok=True)


def _read_info(file: Path, url: str) -> CopyInfo:
    try:
        document = {"said": "", **json.loads(read_bytes(file, limit=_INFO_LIMIT))}  # earlier versions had no `said`
        values = {field.name: document[field.name] for field in fields(CopyInfo)}
        if values["url"] != url or not all(_is_sane(value, name in _TEXTS) for name, value in values.items()):
            raise ValueError("not a document of this folder's")
        return CopyInfo(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        log.debug("%s cannot be read: %s", file, type(error).__name__)
        return CopyInfo(url)
    except ConfigError as error:
        return CopyInfo(url, error=_refused(file, error))


def _refused(file: Path, error: ConfigError) -> str:
    """Returns why a file cannot be read; empty if it does not exist."""
    try:
        file.lstat()
    except FileNotFoundError:
        return ""
    except OSError:
        pass
    return error.problems[0]


def _is_sane(value: object, is_text: bool) -> bool:
    if is_text:
        return isinstance(value, str) and len(value) <= _TEXT_LIMIT
    return type(value) in (int, float) and 0 <= value < _FAR_FUTURE  # type: ignore[operator]  # NaN fails it, too
