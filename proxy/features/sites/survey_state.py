"""The file from which an interrupted test continues: private, in the state folder.

The first line has the sites and routes, each further line a result. An incomplete line is skipped. The file is deleted
when the test is done, and when it is older than `[log] keep_days`. It has no hosts that may not be logged: they are
tested again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from proxy.config.files import read_text
from proxy.config.paths import private_folder
from proxy.config.suggestions import quoted
from proxy.model.errors import BywayError, reason_of
from proxy.terminal.exit_codes import Misused

FOLDER = "surveys"
FILE_LIMIT = 256 * 1024 * 1024

_ID = re.compile(r"[0-9a-f]{8}")

Row = dict[str, Any]


class SurveyFile:
    """One survey on disk. The first result creates the file, so that a test without a running Byway leaves none."""

    def __init__(self, path: Path, urls: Sequence[str], routes: Sequence[str], rows: Iterable[Row] = ()) -> None:
        self._path = path
        self.urls = tuple(urls)
        self.routes = tuple(routes)
        self.rows: dict[str, Row] = {row["asked"]: row for row in rows}
        self._saved = len(self.rows)

    @classmethod
    def begin(cls, state_dir: Path, urls: Sequence[str], routes: Sequence[str]) -> SurveyFile:
        return cls(state_dir / FOLDER / f"{secrets.token_hex(4)}.jsonl", urls, routes)

    @classmethod
    def resume(cls, state_dir: Path, survey: str) -> SurveyFile:
        """Opens an interrupted survey. Raises Misused for an unknown one, BywayError when it cannot be read."""
        path = state_dir / FOLDER / f"{survey}.jsonl"
        if not _ID.fullmatch(survey) or not path.is_file():
            others = sorted(path.stem for path in (state_dir / FOLDER).glob("*.jsonl"))
            existing = f"; existing: {', '.join(others[:8])}" if others else ""
            raise Misused(f"no interrupted test {quoted(survey)}{existing}")
        lines = read_text(path, limit=FILE_LIMIT).splitlines()
        try:
            head = json.loads(lines[0])
            return cls(path, head["urls"], head["routes"], _complete_rows(lines[1:]))
        except (ValueError, KeyError, IndexError, TypeError):
            raise BywayError(f"the interrupted test {survey} is damaged; delete {path}") from None

    @property
    def id(self) -> str:
        return self._path.stem

    @property
    def remaining(self) -> list[str]:
        """The sites that are still to be measured."""
        return [url for url in self.urls if url not in self.rows]

    @property
    def is_on_disk(self) -> bool:
        """Whether there is a file to continue from."""
        return self._saved > 0

    def add(self, row: Row, *, keep: bool) -> None:
        """Adds the result of a site; with `keep`, also to the file. Raises BywayError when it cannot be written."""
        self.rows[row["asked"]] = row
        if not keep:
            return
        try:
            if not self._saved:
                self._write_head()
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(row))  # the newline first, so that an incomplete line before it ends
        except OSError as error:  # the disk is full
            raise BywayError(f"{self._path} cannot be written: {reason_of(error)}") from None
        self._saved += 1

    def _write_head(self) -> None:
        private_folder(self._path.parent)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.chmod(self._path, 0o600)
            file.write(json.dumps({"urls": self.urls, "routes": self.routes}))

    def finish(self) -> None:
        """Deletes the file, at the end of the test."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: another survey was interrupted
            self._path.parent.rmdir()


def _complete_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Yields the rows of the lines that were written completely."""
    for line in lines:
        with contextlib.suppress(ValueError):  # the disk was full, or the machine stopped
            yield json.loads(line)


def drop_old(state_dir: Path, *, days: float) -> None:
    """Deletes interrupted surveys that were not continued for `days`."""
    for path in (state_dir / FOLDER).glob("*.jsonl"):
        with contextlib.suppress(OSError):  # another process deleted it
            if time.time() - path.stat().st_mtime > days * 86_400:
                path.unlink()
