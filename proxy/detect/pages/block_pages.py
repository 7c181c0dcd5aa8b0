"""Recognizes block pages by fingerprints.

A fingerprint is a row of the format that OONI, Censored Planet and Citizen Lab share: a place, a pattern, and whether a
match means a block page or a veto, a page that only looks like one (scope `fp`: a captcha, an error of a CDN). If both
match, the more specific pattern decides, that is the longer one: `redirect` alone does not veto a page that has the
address of a provider's block page. Vague wording (scope `vbw`) never counts: ordinary pages say "blocked" too.

A match takes time linear in the page: a regular expression is accepted only if it is plain text with `.` and `.*`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass

ROWS_LIMIT = 20_000
"""Rows of one file at most; OONI's have 1729."""

PATTERN_LIMIT = 2000
"""Characters of the longest pattern; OONI's have up to 831."""

SHORTEST = 4
"""Characters of the shortest pattern. A shorter one occurs in ordinary pages."""

PAGE_LIMIT = 256 * 1024
"""Characters of a page that are searched: pictures inside a page can move its words 100 KiB down."""

BODY = "body"
_FIELD = "header."

# Scopes that are no blocks: vague words, harmless notices (unpaid bill, new router), refusals of the site itself.
_LEFT_OUT = frozenset({"vbw", "injb", "prov"})
_BLOCKING = frozenset({"nat", "isp", "prod", "inst"})
_VETO = "fp"
_NEEDED = ("name", "scope", "location_found", "pattern_type", "pattern")
_PLACE = re.compile(r"header\.[a-z0-9-]{1,64}\Z")
_HAS_LETTERS = re.compile(r"\w{2}")
_BARE_TAG = re.compile(r"<!--.{0,12}-->|</?[A-Za-z0-9]+>")

# A piece of an accepted regular expression: an escaped sign, `.*`, `.`, or a sign without a special meaning.
_PIECE = re.compile(
    r"\\(?P<escaped>[^A-Za-z0-9])|(?P<any>\.\*)|(?P<one>\.)|(?P<plain>[^\\.*+?\[\](){|^$]|\{(?![0-9,]))", re.DOTALL
)

Holds = Callable[[str], bool]


@frozen_dataclass
class Fingerprint:
    """One row. `weight` is the number of characters that a match must have: how specific it is."""

    id: str
    place: str  # `body`, or `header.` and a name in lower case
    veto: bool
    weight: int
    holds: Holds
    needle: str = ""  # text that any match contains


@frozen_dataclass
class Imported:
    """The fingerprints of a file, and the rows that were left out."""

    fingerprints: tuple[Fingerprint, ...]
    vague: int
    """Rows that were left out because their wording is vague, or because they mean no block."""
    refused: tuple[str, ...]
    """A sentence, with file and line, for each row that cannot be used."""


class BlockPages:
    """All fingerprints, to be matched with answers."""

    def __init__(self, fingerprints: Iterable[Fingerprint] = ()) -> None:
        tables: tuple[dict[str, list[Fingerprint]], ...] = ({}, {})
        for row in sorted(fingerprints, key=lambda row: -row.weight):
            tables[row.veto].setdefault(row.place, []).append(row)
        # Two tables, of blocks and of vetoes: place → the rows, the most specific first, and their needles.
        self._tables = tuple(
            {place: (rows, [row.needle for row in rows]) for place, rows in table.items()} for table in tables
        )
        self.fields = frozenset(place.removeprefix(_FIELD) for place in tables[0] if place != BODY)
        """The header fields by which a block page may be recognized, in lower case."""

    def __len__(self) -> int:
        return sum(len(rows) for table in self._tables for rows, _ in table.values())

    def match(self, headers: Mapping[str, str], body: str) -> str:
        """Returns the id of the block page's row; empty: it is no known block page.

        The names in `headers` are in lower case. `PAGE_LIMIT` characters of the decoded `body` are searched."""
        name, at_least = "", 0
        for table in self._tables:
            best: Fingerprint | None = None
            for place, (rows, needles) in table.items():
                text = body[:PAGE_LIMIT] if place == BODY else headers.get(place.removeprefix(_FIELD), "")
                if not text:
                    continue
                for row in compress(rows, map(text.__contains__, needles)):  # in C for rows whose needle is missing
                    if row.weight < at_least or (best is not None and row.weight <= best.weight):
                        break
                    if row.holds(text):
                        best = row
                        break
            if best is None:
                return name  # no block page matches; or, in the second table, no veto
            name, at_least = best.id, best.weight
        return ""

    def match_head(self, headers: Mapping[str, str]) -> str:
        """As `match`, for the head alone."""
        return self.match(headers, "")

    def __repr__(self) -> str:
        return f"<BlockPages {len(self)} fingerprints>"


def is_fingerprints(text: str) -> bool:
    """Whether the first line of a text has the columns of the OONI format."""
    names = [name.strip() for name in text.removeprefix("\ufeff").partition("\n")[0].split(",")]
    return set(_NEEDED) <= set(names)


def parse_fingerprints(text: str, source: str) -> Imported:
    """Parses a CSV file in the OONI format. A row that cannot be used is reported and left out. Five columns are
    needed: name, scope, location_found, pattern_type, pattern; others are ignored.

    Raises ConfigError for a file in another format."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    except csv.Error as error:
        raise _no_csv(rows, source, error) from None
    if missing:
        raise ConfigError(f'{source}:1: not an OONI fingerprint CSV: the header has no "{missing[0]}" column')
    taken: dict[str, Fingerprint] = {}
    vague, refused = 0, list[str]()
    for number, row in enumerate(_read(rows, source)):
        if number >= ROWS_LIMIT:
            raise ConfigError(f"{source}:{rows.line_num}: more than {ROWS_LIMIT:,} rows; is it the right file?")
        if row["scope"] in _LEFT_OUT:
            vague += 1
            continue
        try:
            fingerprint = _fingerprint(row)
        except ValueError as fault:
            refused.append(f"{source}:{rows.line_num}: {fault}")
        else:
            taken[fingerprint.id] = fingerprint
    return Imported(tuple(taken.values()), vague, tuple(refused))


def _read(rows: csv.DictReader[str], source: str) -> Iterator[Mapping[str, str]]:
    try:
        for row in rows:
            yield {name: row[name] or "" for name in _NEEDED}
    except csv.Error as error:  # a field longer than 128 KiB, the limit of `csv`
        raise _no_csv(rows, source, error) from None


def _no_csv(rows: csv.DictReader[str], source: str, error: csv.Error) -> ConfigError:
    return ConfigError(f"{source}:{rows.line_num}: not a CSV file: {error}")


def _fingerprint(row: Mapping[str, str]) -> Fingerprint:
    """Raises ValueError with one sentence."""
    scope, place, kind, pattern = row["scope"], row["location_found"], row["pattern_type"], row["pattern"]
    if not row["name"]:
        raise ValueError("the row has no name")
    if scope not in _BLOCKING and scope != _VETO:
        raise ValueError(f"scope {scope[:40]!r} is not one of {', '.join(sorted(_BLOCKING | _LEFT_OUT | {_VETO}))}")
    if place != BODY and not _PLACE.match(place):
        raise ValueError(f'location_found {place[:40]!r} is neither "body" nor "header.NAME"')
    if len(pattern) > PATTERN_LIMIT:
        raise ValueError(f"the pattern is longer than {PATTERN_LIMIT} characters")
    holds, pieces = _matcher(kind, pattern)
    weight = sum(map(len, pieces))
    if weight < SHORTEST:
        raise ValueError(f"the pattern {pattern!r} is too short")
    if scope != _VETO and place == BODY and kind != "full" and not _HAS_LETTERS.search(_BARE_TAG.sub("", pattern)):
        raise ValueError(f"the pattern {pattern!r} matches every empty page")
    return Fingerprint(row["name"], place, scope == _VETO, weight, holds, max(pieces, key=len))


def _matcher(kind: str, pattern: str) -> tuple[Holds, Sequence[str]]:
    """Returns the function that decides about a match, and the texts that every match has. Raises ValueError."""
    match kind:
        case "contains":
            return lambda text: pattern in text, [pattern]
        case "prefix":
            return lambda text: text.startswith(pattern), [pattern]
        case "full":
            return lambda text: text == pattern, [pattern]
        case "regexp":
            return _expression(pattern)
    raise ValueError(f"pattern_type {kind[:40]!r} is not one of contains, full, prefix, regexp")


def _expression(pattern: str) -> tuple[Holds, Sequence[str]]:
    """Compiles a regular expression of plain text with `.` and `.*`. Its texts are searched one after another within a
    line, since `.` matches no line end, so a match takes time linear in the page, whatever the page has."""
    runs = [""]
    texts = [""]
    at = 0
    while at < len(pattern):
        piece = _PIECE.match(pattern, at)
        if piece is None:
            raise ValueError(f"the regular expression {pattern[:60]!r} may use only text, `.` and `.*`")
        at = piece.end()
        if piece["any"]:
            runs.append("")
            texts.append("")
        elif piece["one"]:
            runs[-1] += "."
            texts.append("")
        else:
            sign = piece["escaped"] or piece["plain"]
            runs[-1] += re.escape(sign)
            texts[-1] += sign
    in_order = [re.compile(run) for run in runs if run]
    needle = max(texts, key=len)
    return lambda text: any(_in_order(in_order, line) for line in text.split("\n") if needle in line), texts


def _in_order(expressions: Sequence[re.Pattern[str]], line: str) -> bool:
    at = 0
    for expression in expressions:
        match = expression.search(line, at)
        if match is None:
            return False
        at = match.end()
    return True
