"""Plain lists: one domain a line, which includes its subdomains, or one address.

`#`, `//` and `!` begin comments; a leading `.`, `*.` or `+.` changes nothing, since the apex is always included. Lists
come from strangers: sizes are bounded, what cannot be read is skipped and counted, and no entry is a pattern.

Nearly every line of a million is plain ASCII, so one expression reads all lines of a piece in one call. Only a piece
with a line that it does not match is read line by line, and only such a line by `wire.hostnames`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.config.suggestions import quoted
from proxy.model.errors import ConfigError
from proxy.routing.domain_set import DomainSetBuilder
from proxy.routing.lists.public_suffixes import public_suffixes
from proxy.routing.match import DomainList
from proxy.wire import hostnames

LIST_LIMIT = 32 * 1024 * 1024
"""Characters of a list: the largest lists in use have half as many."""

DOMAINS_LIMIT = 1_000_000
SKIPPED_SHOWN = 20
SUFFIXES_SHOWN = 5

_READ_LIMIT = 2048
"""Characters of a line that are looked at. What is longer is no entry, or ends in a comment."""

_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_LEADING = re.compile(r"^(?:[*+]?\.)")

_LINE = re.compile(
    r"""^(?!.{254})     # hostnames.HOST_LIMIT
    [\x20\t]*
    (?: (?:[*+]?\.)?
        ( (?:[a-z0-9][a-z0-9_-]{0,62}+(?<!-)\.)*
          [a-z][a-z0-9_-]{0,62}+(?<!-) )        # begins with a letter, so it is no address
        \.? (?: [\x20\t]+ (?: (?:\#|//)[\x20-\x7e\t]* )? )?
    | (?: (?:\#|//|!)[\x20-\x7e\t]* )?
    )
    \r?$""",
    re.MULTILINE | re.VERBOSE,
)
"""A line of ASCII in lower case. Its group is the domain in canonical spelling; empty for a comment, or nothing. A line
that it does not match may still be a domain or an address."""


def parse_plain(pieces: Iterator[str], *, size: int, source: str, allow_empty: bool = False) -> DomainList:
    """Parses a plain list. `pieces` is its text, cut at ends of lines; each is asked for when the one before has been
    read. `size` is the number of their characters, or more; `source` is the name of the file in messages; `allow_empty`
    is passed on to the result. Raises ConfigError when the list is too large."""
    if size > LIST_LIMIT:
        raise ConfigError(f"{source}: a list can have at most {LIST_LIMIT // 1024 // 1024} million characters")
    domains = DomainSetBuilder(size)
    skipped: list[str] = []
    suffixes: dict[str, str] = {}
    lines_read = lines_skipped = 0
    first = 1
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.removesuffix("\n")  # the expression would match once more after it
        found: list[str] = _LINE.findall(lines.lower()) if text.isascii() else []
        if len(found) != lines.count("\n") + 1:
            found = []
            for number, line in enumerate(text.splitlines(), first):
                domain, entry = _read(line[:_READ_LIMIT])
                found.append(domain)
                if entry and not domain:
                    lines_skipped += 1
                    if len(skipped) < SKIPPED_SHOWN:
                        skipped.append(f"{source}:{number}: {quoted(entry)} is neither a domain nor an address")
        lines_read += len(found) - found.count("")
        for place in public_suffixes(found):
            told = f"{quoted(found[place])} is a public suffix, so every site below it is listed"
            suffixes.setdefault(found[place], f"{source}:{first + place}: {told}")
        domains.add([domain for domain in found if domain] if "" in found else found)
        if len(domains) > DOMAINS_LIMIT:
            raise ConfigError(f"{source}: a list can have at most {DOMAINS_LIMIT:,} domains")
        first += len(found)
    notices = list(suffixes.values())
    if (more := len(notices) - SUFFIXES_SHOWN) > 0:
        notices[SUFFIXES_SHOWN:] = [f"{source}: and {more:,} more public suffixes"]
    return DomainList(
        domains.build(),
        source=source,
        lines_read=lines_read,
        lines_skipped=lines_skipped,
        skipped=tuple(skipped),
        suffixes=tuple(notices),
        allow_empty=allow_empty,
    )


def _read(line: str) -> tuple[str, str]:
    """Returns the domain of a line, empty when it has none, and the line without its comment."""
    match = _LINE.fullmatch(line.lower()) if line.isascii() else None
    if match is not None:
        return match[1] or "", ""
    entry = _COMMENT.sub("", line).strip()
    if entry.startswith("!"):
        return "", ""
    try:
        return (hostnames.host(_LEADING.sub("", entry)), entry) if entry else ("", "")
    except ValueError:
        return "", entry
