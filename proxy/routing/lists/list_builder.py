"""Collects the entries of a list from a parser, and makes a DomainList.

All formats use it, so names, public suffixes and limits are checked, and skipped lines counted, in one place. Large
files are added in bulk: a piece of domains that an expression has matched, so that they are in canonical spelling. A
single entry may be in any spelling.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from proxy.config.suggestions import quoted
from proxy.model import literal
from proxy.model.errors import ConfigError
from proxy.routing.domain_set import TEXT_LIMIT, Covers, DomainSetBuilder
from proxy.routing.lists.domain_list import SKIPPED_SHOWN, SUFFIXES_SHOWN, DomainList, Skip
from proxy.routing.lists.matcher import NO_DOMAINS, NO_ENTRIES, Matcher, Wildcard
from proxy.routing.lists.prefix_lines import SHORTEST_PREFIX, ipv4_keys, ipv6_keys
from proxy.routing.lists.public_suffixes import public_suffixes
from proxy.routing.prefix_set import NO_PREFIXES, PrefixSetBuilder, prefix_key
from proxy.wire import hostnames

T = TypeVar("T")

ENTRIES_LIMIT = 1_000_000
"""Domains and prefixes of a list at most."""

PATTERNS_LIMIT = 1000
"""Keywords and wildcards of a list at most: each is tried for each host, which takes a tenth of a microsecond."""

_KEYWORD = re.compile(r"[a-z0-9._-]{2,63}")
"""Two characters at least: one occurs in nearly every name."""

_WILDCARD = re.compile(r"[a-z0-9._*-]{2,253}")

_NAMES_NO_SITE = frozenset((Skip.UNREADABLE, Skip.SUFFIX, Skip.WIDE_PREFIX))
"""Reasons that leave no site out: no host has such a name, or it is not a site."""

Siblings = Callable[[str], "tuple[str, Iterator[str]] | None"]
"""Takes the name of a file in the folder of a list, without dots and slashes. Returns its name in messages, and its
text in pieces; None: there is no such file. Raises ConfigError when it cannot be read, or when all these files together
are too large."""


def no_siblings(name: str) -> None:
    """The Siblings of a list without a folder."""


class ListBuilder:
    """Collects one list. `source` is the file's name in messages; `size` the number of characters in names, or more;
    `format` the name of the format; `siblings` reads the files that a list may include.

    Lines are numbered from 1 and come in order. With `exception`, hosts are not listed although an entry covers them.
    Methods that add, and `build`, raise ConfigError when the list is too large.
    """

    def __init__(
        self,
        source: str,
        *,
        size: int = 0,
        format: str = "plain",  # noqa: A002  # as the setting is called
        allow_empty: bool = False,
        allow_suffixes: bool = False,
        siblings: Siblings = no_siblings,
    ) -> None:
        self.source = source
        self.format = format
        self.line = 1
        """The number of the last line that a method got: the place of a fault of the parser."""
        self.is_needed = False
        """True if the parts that are skipped now may list sites: see `DomainList.missing`."""
        self._allow_empty = allow_empty
        self._allow_suffixes = allow_suffixes
        self._listed = _Entries(size)
        self._exceptions = _Entries(size)
        self._check_above = 0
        self._patterns = 0
        self._lines_read = 0
        self._last_read = 0
        self._skips: Counter[Skip] = Counter()
        self._skipped: list[str] = []
        self._suffixes: dict[str, str] = {}
        self._more_suffixes = 0
        self._missing = ""
        self._lines_widened = 0
        self._widened: list[str] = []
        self._siblings = siblings
        self._included: dict[str, None] = {}

    @contextmanager
    def including(self, name: str) -> Iterator[Iterator[str] | None]:
        """Reads another file of the folder as a part of the list. Yields its text in pieces; None: there is no such
        file. Inside the block, line numbers are those of that file. Raises ConfigError when it cannot be read."""
        self._included[name] = None  # also if it is missing: it may be made later
        sibling = self._siblings(name)
        source, pieces = sibling or (self.source, None)
        (self.source, self._last_read), including = (source, 0), self.source
        try:
            yield pieces
        finally:
            self.source, self._last_read, self.line = including, 0, 1

    def add(self, line: int, domain: str, covers: Covers = Covers.SITE, *, exception: bool = False) -> bool:
        """Adds a domain or an address in any spelling; other text is skipped. Returns whether it was added."""
        try:
            host = hostnames.host(domain)
        except ValueError:
            self.skip(line, domain, Skip.UNREADABLE)
            return False
        if (address := literal(host)) is not None:
            self._of(exception).add_prefixes(address.version, (prefix_key(int(address), address.max_prefixlen),))
        elif covers > Covers.HOST and not self._allow_suffixes and public_suffixes((host,)):
            self.skip(line, host, Skip.SUFFIX)
            return False
        else:
            self._add_domains(self._of(exception), (host,), covers)
        self._read(line)
        return True

    def add_many(self, first_line: int, domains: Sequence[str], covers: Covers | bytes = Covers.SITE) -> None:
        """Adds the domains of consecutive lines, one a line, in canonical spelling; "" for a line without one. `covers`
        is for all of them, or bytes with the flags of each line."""
        self.add_lines(first_line, "\n".join(domains), covers)

    def add_lines(self, first_line: int, lines: str, covers: Covers | bytes = Covers.SITE) -> None:
        """As `add_many`, for one text with a domain a line."""
        self.line = first_line
        domains = lines.split("\n")
        may_be_suffixes = covers != Covers.HOST and not self._allow_suffixes
        places = public_suffixes(domains, lines) if may_be_suffixes else []
        if places or not all(domains):
            flags = covers if isinstance(covers, bytes) else bytes((covers,)) * len(domains)
            for place in places:
                if flags[place] != Covers.HOST:
                    self.skip(first_line + place, domains[place], Skip.SUFFIX)
                    domains[place] = ""
            covers = bytes([flag for flag, domain in zip(flags, domains, strict=True) if domain])
            domains, lines = list(filter(None, domains)), ""
        self._add_domains(self._listed, domains, covers, lines)
        self._lines_read += len(domains)
        self._check_size()

    def add_prefix(self, line: int, text: str, *, exception: bool = False) -> bool:
        """Adds an address or prefix, `192.0.2.0/24`; other text is skipped. Bits beyond the length are ignored. Returns
        whether it was added."""
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            self.skip(line, text, Skip.UNREADABLE)
            return False
        number, length, version = int(network.network_address), network.prefixlen, network.version
        if version == 6 and length >= 96 and number >> 32 == 0xFFFF:  # IPv4-mapped: canonical hosts are IPv4
            number, length, version = number & 0xFFFFFFFF, length - 96, 4
        if length < SHORTEST_PREFIX[version] and not self._allow_suffixes:
            self.skip(line, text, Skip.WIDE_PREFIX)
            return False
        self._of(exception).add_prefixes(version, (prefix_key(number, length),))
        self._read(line)
        return True

    def add_ipv4(self, first_line: int, prefixes: str) -> None:
        """Adds a text of IPv4 addresses and prefixes, one a line, that IPV4_PREFIX matches; a line may be empty. Takes
        half a microsecond a prefix."""
        self._add_bulk(first_line, prefixes, 4, ipv4_keys)

    def add_ipv6(self, first_line: int, prefixes: str) -> None:
        """As `add_ipv4`, for IPv6 and IPV6_PREFIX."""
        self._add_bulk(first_line, prefixes, 6, ipv6_keys)

    def _add_bulk(self, first_line: int, prefixes: str, version: int, to_keys: Callable[[str], Sequence[int]]) -> None:
        has_empty = "\n\n" in f"\n{prefixes}\n"
        lines = "\n".join(filter(None, prefixes.split("\n"))) if has_empty else prefixes
        if lines and (keys := to_keys(lines)):
            self._listed.add_prefixes(version, keys)
            self._lines_read += len(keys)
            self._check_size()
            return
        for line, text in enumerate(prefixes.split("\n"), first_line):
            if text:
                self.add_prefix(line, text)

    def add_keyword(self, line: int, text: str, *, exception: bool = False) -> bool:
        """Adds a text that occurs in names. Returns whether it was added; else it is skipped."""
        word = text.lower()
        if _KEYWORD.fullmatch(word) is None:
            self.skip(line, text, Skip.PATTERN)
            return False
        if word.startswith(".") and not self._allow_suffixes and public_suffixes((word[1:],)):
            self.skip(line, text, Skip.SUFFIX)
            return False
        return self._add_pattern(line, text, self._of(exception).keywords, word)

    def add_wildcard(self, line: int, text: str, *, by_label: bool = False, exception: bool = False) -> bool:
        """Adds a pattern for whole names, `cdn*.example.com`. A star matches any characters, also none and dots; with
        `by_label`, one whole label. Returns whether it was added; else it is skipped."""
        pattern = re.sub(r"\*+", "*", text.lower())
        rest = pattern.removeprefix("*.")
        if "*" not in rest and rest != pattern:
            return self.add(line, rest, Covers.CHILDREN if by_label else Covers.SUBDOMAINS, exception=exception)
        is_other = by_label and any(label != "*" for label in pattern.split(".") if "*" in label)
        says_little = "*" not in pattern or len(pattern.replace("*", "").strip(".")) < 2
        if _WILDCARD.fullmatch(pattern) is None or is_other or says_little:
            self.skip(line, text, Skip.PATTERN)
            return False
        if not self._allow_suffixes and public_suffixes((pattern.lstrip("*."),)):
            self.skip(line, text, Skip.SUFFIX)
            return False
        return self._add_pattern(line, text, self._of(exception).wildcards, Wildcard.of(pattern, by_label=by_label))

    def skip(self, line: int, text: str, reason: Skip) -> None:
        """Counts a line, or a part of one, that is not used. Messages show `text`."""
        self.line = line
        self._skips[reason] += 1
        if reason in (Skip.SUFFIX, Skip.WIDE_PREFIX):
            if len(self._suffixes) < SUFFIXES_SHOWN:
                self._suffixes.setdefault(text, self._sentence(line, text, reason))
            self._more_suffixes += text not in self._suffixes
        if len(self._skipped) < SKIPPED_SHOWN:
            self._skipped.append(self._sentence(line, text, reason))
        if self.is_needed and reason not in _NAMES_NO_SITE and not self._missing:
            self._missing = f"{self.source}:{line}: {quoted(text)} was skipped, so sites are missing"

    def widen(self, line: int, text: str, host: str) -> None:
        """Counts a line about a scheme or a path whose whole host was added."""
        self._lines_widened += 1
        if len(self._widened) < SKIPPED_SHOWN:
            self._widened.append(f"{self.source}:{line}: {quoted(text)} was read as all of {quoted(host)}")

    def build(self) -> DomainList:
        """Returns the list. Nothing can be added after this. Raises ConfigError when it is too large."""
        self._check_size(at_the_end=True)
        suffixes = list(self._suffixes.values())
        if self._more_suffixes:
            suffixes.append(f"{self.source}: and {self._more_suffixes:,} more lines like these")
        return DomainList(
            self._listed.build(),
            self._exceptions.build(),
            source=self.source,
            format=self.format,
            lines_read=self._lines_read,
            skips=dict(self._skips),
            skipped=tuple(self._skipped),
            suffixes=tuple(suffixes),
            missing=self._missing,
            lines_widened=self._lines_widened,
            widened=tuple(self._widened),
            allow_empty=self._allow_empty,
            included=tuple(self._included),
        )

    def _of(self, exception: bool) -> _Entries:
        return self._exceptions if exception else self._listed

    def _add_domains(self, entries: _Entries, domains: Sequence[str], covers: Covers | bytes, lines: str = "") -> None:
        try:
            entries.add_domains(domains, covers, lines)
        except OverflowError:
            raise ConfigError(f"{self.source}: the domains of a list can have {TEXT_LIMIT:,} characters") from None

    def _add_pattern(self, line: int, text: str, patterns: dict[T, None], pattern: T) -> bool:
        if self._patterns >= PATTERNS_LIMIT and pattern not in patterns:
            self.skip(line, text, Skip.TOO_MANY_PATTERNS)
            return False
        self._patterns += pattern not in patterns
        patterns[pattern] = None
        self._read(line)
        return True

    def _sentence(self, line: int, text: str, reason: Skip) -> str:
        return f"{self.source}:{line}: {quoted(text)} {reason.sentence}"

    def _read(self, line: int) -> None:
        self.line = line
        if line != self._last_read:
            self._lines_read += 1
            self._last_read = line
        self._check_size()

    def _check_size(self, *, at_the_end: bool = False) -> None:
        kinds = self._listed, self._exceptions
        added = sum([it.added for it in kinds])
        if added <= ENTRIES_LIMIT or (added <= self._check_above and not at_the_end):
            return
        if sum([len(it) for it in kinds]) > ENTRIES_LIMIT:
            raise ConfigError(f"{self.source}: a list can have at most {ENTRIES_LIMIT:,} domains and addresses")
        self._check_above = added + ENTRIES_LIMIT // 2  # many are repeated; a count takes long, so the next one waits


class _Entries:
    """The entries, or the exceptions. A table is made when it is needed: for a large list it takes megabytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._domains: DomainSetBuilder | None = None
        self._prefixes: PrefixSetBuilder | None = None
        self.added = 0
        """Domains and prefixes that were added, with repeated ones."""
        self.keywords: dict[str, None] = {}
        self.wildcards: dict[Wildcard, None] = {}

    def add_domains(self, domains: Sequence[str], covers: Covers | bytes, lines: str) -> None:
        if self._domains is None:
            self._domains = DomainSetBuilder(self._size)
        self._domains.add(domains, covers, lines=lines)
        self.added += len(domains)

    def add_prefixes(self, version: int, keys: Sequence[int]) -> None:
        if self._prefixes is None:
            self._prefixes = PrefixSetBuilder()
        self._prefixes.add(version, keys)
        self.added += len(keys)

    def build(self) -> Matcher:
        if self._domains is None and self._prefixes is None and not self.keywords and not self.wildcards:
            return NO_ENTRIES
        return Matcher(
            NO_DOMAINS if self._domains is None else self._domains.build(),
            NO_PREFIXES if self._prefixes is None else self._prefixes.build(),
            tuple(self.keywords),
            tuple(self.wildcards),
        )

    def __len__(self) -> int:
        """The number of different domains and prefixes."""
        return sum(len(each) for each in (self._domains, self._prefixes) if each is not None)
