"""The sites that `byway test` measures: named one by one, from a file, or from a test list in the configuration's
folder.

A file has a URL or a host on each line; `#` begins a comment. A CSV with a column `url`, such as the test lists of
Citizen Lab, is read by that column. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from proxy.config.files import read_text, shown
from proxy.config.suggestions import quoted
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import site
from proxy.terminal.exit_codes import Misused

FILE_LIMIT = 16 * 1024 * 1024
"""Bytes of a list."""

SITES_LIMIT = 50_000

_REASONS = 5
"""The most lines in the error for a list without a usable line."""

_PUBLIC_LISTS = "https://github.com/citizenlab/test-lists"


@frozen_dataclass
class Sites:
    """The sites to measure, in order, each once; and a sentence for each skipped line of a list."""

    urls: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def read_sites(named: Sequence[str], file: Path | None, listed: str | None, config_dir: Path) -> Sites:
    """Returns the named sites, those of a file and those of a list, together. Raises Misused and ConfigError."""
    urls, skipped = list[str](), list[str]()
    for text in named:
        if problem := _problem(text):
            raise Misused(f"{quoted(text)} is not a site: {problem}")
        urls.append(text)
    for path in (file, None if listed is None else _list_file(listed, config_dir)):
        if path is not None:
            for line, text in _entries(read_text(path, limit=FILE_LIMIT), path.name):
                if problem := _problem(text):
                    skipped.append(f"{path.name}:{line}: {quoted(text)} is not a site: {problem}")
                else:
                    urls.append(text)
    if skipped and not urls:
        raise ConfigError((*skipped[:_REASONS], f"no sites in {len(skipped)} lines"))
    if not urls:
        raise Misused("name sites, or a file with --file or --list")
    chosen = tuple(dict.fromkeys(urls))
    if len(chosen) > SITES_LIMIT:
        raise Misused(f"{len(chosen)} sites are too many; the limit is {SITES_LIMIT}")
    return Sites(chosen, tuple(skipped))


def _list_file(listed: str, config_dir: Path) -> Path:
    """Returns the file of a list: for a name, `lists/NAME.csv` beside the configuration. Raises Misused."""
    if "/" in listed or "\\" in listed or listed.endswith((".csv", ".txt")):
        return Path(listed).expanduser()
    folder = config_dir / "lists"
    for suffix in (".csv", ".txt"):
        if (path := folder / f"{listed}{suffix}").exists():
            return path
    raise Misused(
        f"no list {quoted(listed)}: {shown(folder / f'{listed}.csv')} does not exist. Byway downloads nothing: get "
        f"lists/{listed}.csv from {_PUBLIC_LISTS} and put it there"
    )


def _entries(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yields the line number and the URL or host of each entry of a list. Raises ConfigError."""
    lines = io.StringIO(text.lstrip("\ufeff"), newline=None)  # with the line ends of any system
    if (column := _url_column(lines.readline())) is not None:
        yield from _of_column(column, lines, name)
        return
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.lstrip("\ufeff").split("#", 1)[0].strip() if "://" not in line else line.strip()
        if entry and not entry.startswith("#"):
            yield number, entry


def _url_column(header: str) -> int | None:
    """Returns the number of the column `url` in the header of a CSV; None without one."""
    try:
        names = [name.strip().lower() for name in next(csv.reader([header]), ())]
    except csv.Error:
        return None
    return names.index("url") if "url" in names else None


def _of_column(column: int, lines: Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    rows = csv.reader(lines)
    try:
        for row in rows:
            if url := row[column].strip() if column < len(row) else "":
                yield rows.line_num + 1, url
    except csv.Error as error:  # a field beyond the reader's own limit of 128 KiB
        raise ConfigError(f"{name}:{rows.line_num + 1}: not a CSV file: {error}") from None


def _problem(text: str) -> str:
    """Returns the error of a text that names no site; empty for a valid one."""
    try:
        site(text)
    except ValueError as error:
        return str(error)
    return ""
