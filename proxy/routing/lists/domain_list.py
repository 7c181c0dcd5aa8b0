"""A published list as a value: its entries, its exceptions, and the report on its file.

All formats give the same few kinds of entries. Lines that cannot become one are skipped, counted by reason and shown
with file and line. Lines that cover more hosts here than in their format are shown too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Self

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.matcher import NO_ENTRIES, Entry, Matcher

SKIPPED_SHOWN = 20
"""Skipped lines, and widened lines, that are shown with file and line."""

SUFFIXES_SHOWN = 5


class Skip(StrEnum):
    """Why a line, or a part of it, is not used."""

    sentence: str  # the text after the quoted line

    def __new__(cls, word: str, sentence: str = "") -> Self:
        skip = str.__new__(cls, word)
        skip._value_, skip.sentence = word, sentence
        return skip

    UNREADABLE = "unreadable", "is neither a domain nor an address"
    REGULAR_EXPRESSION = (
        "regular-expression",
        "is a regular expression, which lists cannot use; rules.txt can (DOMAIN-REGEX)",
    )
    COSMETIC = "cosmetic", "changes pages and names no site"
    PROCESS = "process", "is about a program and not a site; a list may not decide that"
    CONDITION = "condition", "has a condition other than the host, such as a port or a client"
    UNSUPPORTED_TYPE = "unsupported-type", "is of a type that lists cannot use"
    NO_HOST = "no-host", "names no host in a way that lists can use"
    SUFFIX = "suffix", "is a public suffix, and is left out; to list every site below it, set allow_suffixes = true"
    WIDE_PREFIX = (
        "wide-prefix",
        "holds a large part of all addresses, and is left out; to list them, set allow_suffixes = true",
    )
    TOO_MANY_PATTERNS = "too-many-patterns", "is one of too many patterns: each is tried for each host"
    PATTERN = "pattern", "is a pattern that lists cannot use, such as one with ? or one that matches nearly every host"
    INCLUDE = "include", "includes a list that is not beside this one, or includes this one in turn"
    NARROW_EXCEPTION = "narrow-exception", "excepts a part of a site only, such as a path; the site stays listed"
    ORDER = "order", "comes after an entry for some of the same hosts, which decides; they stay listed"
    NO_PROFILE = "no-profile", "names no profile at its end (+profile), as it must after @with result"
    SCRIPT = "script", "is a part of a script that is not understood; scripts are never run"


@frozen_dataclass
class DomainList:
    """The entries of a list, and the report on its file."""

    listed: Matcher
    exceptions: Matcher = NO_ENTRIES
    """Hosts that are not listed, although an entry of `listed` covers them."""
    source: str = ""
    """The file, for messages."""
    format: str = "plain"
    """A name of `formats.FORMATS`."""
    lines_read: int = 0
    """Lines with an entry."""
    skips: Mapping[Skip, int] = field(default_factory=dict)
    """The numbers of skipped lines, or parts of lines, by reason."""
    skipped: tuple[str, ...] = ()
    """A sentence, with file and line, for each of the first skipped lines."""
    suffixes: tuple[str, ...] = ()
    """The same for the first lines that were skipped as SUFFIX or WIDE_PREFIX."""
    missing: str = ""
    """A sentence, with file and line, if only a part of a condition could be used, so that sites are missing: each site
    without its subdomains, for example."""
    lines_widened: int = 0
    """Lines about a scheme or a path that list the whole host."""
    widened: tuple[str, ...] = ()
    """A sentence, with file and line, for each of the first such lines."""
    allow_empty: bool = False
    """The user accepts the list even with a `problem`."""
    included: tuple[str, ...] = ()
    """Names of files of the same folder that the list includes. Some of them may be missing."""
    size: int = 0
    """Bytes of the file, without those that it includes."""
    changed_at: float = 0.0
    """When the file was last written, in seconds since the epoch; 0: not known."""
    absent: str = ""
    """Why there is no file, and what to do; empty: there is one."""

    def covering(self, host: str) -> str | None:
        """Returns the text of the entry that lists a host in canonical spelling; None: the host is not listed, or is an
        exception."""
        entry = self.listed.covering(host)
        if entry is None or self.exceptions is NO_ENTRIES or not self.exceptions.contains(host):
            return entry
        return None

    def contains(self, host: str) -> bool:
        """Whether a host in canonical spelling is listed."""
        return self.listed.contains(host) and (self.exceptions is NO_ENTRIES or not self.exceptions.contains(host))

    @property
    def test(self) -> Callable[[str], object]:
        """A function that tells whether a host is listed. For a list of only domains, or only prefixes, it is a single
        call."""
        if self.exceptions is NO_ENTRIES and len(self.listed) == len(self.listed.domains):
            return self.listed.domains.entry_for
        if self.exceptions is NO_ENTRIES and len(self.listed) == len(self.listed.prefixes):
            return self.listed.prefixes.contains
        return self.contains

    def covers_site(self, domain: str) -> bool:
        """Whether the domain and all its subdomains are certainly listed."""
        below = f"_._.{domain}"  # no entry names these labels, since no label of an entry begins with an underscore
        has_all = self.listed.covering(domain) is not None and self.listed.covering(below) is not None
        return has_all and self.exceptions is NO_ENTRIES

    def entries(self) -> Iterator[Entry]:
        """Yields the entries that list hosts; the exceptions are not among them."""
        return self.listed.entries()

    @property
    def lines_skipped(self) -> int:
        return sum(self.skips.values())

    @property
    def problem(self) -> str:
        """A sentence if the list has no entries, or if more lines could not be read than were read; else "". Such a
        file has an unknown format or is not a list, and a rule on it protects nothing."""
        if self.absent:
            return f"{self.source}: {self.absent}"
        if not self.lines_read and not self.skips:
            return f"{self.source}: the list is empty" if self.source and not self.allow_empty else ""
        if self.listed and self.lines_read >= self.skips.get(Skip.UNREADABLE, 0):
            return ""
        why = self.skipped[0] if self.skipped else f"{self.source}: the list has exceptions only"
        counts = f"{_lines(self.lines_read)} read, {_lines(self.lines_skipped)} skipped"
        return f"{why}; {counts}. The file was read in the format {self.format}"

    def __repr__(self) -> str:
        return f"<DomainList {self.format}: {len(self.listed):,} entries, {self.lines_skipped:,} lines skipped>"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"
