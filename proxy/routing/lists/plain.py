"""Plain lists: one domain a line, meant with all that is below it, or one address.

`#`, `//` and `!` begin comments; a leading `.`, `*.` or `+.` changes nothing, for the apex is always meant. Lists
come from strangers: sizes are bounded, what cannot be read is skipped and counted, and nothing is ever an expression.
"""

from __future__ import annotations

import re

from proxy.config.words import quoted
from proxy.errors import ConfigError
from proxy.routing.match import DomainList
from proxy.wire import names

LIST_LIMIT = 32 * 1024 * 1024
"""Characters of a list: the largest that are in use have half of it."""

DOMAINS_LIMIT = 1_000_000
SKIPPED_SHOWN = 20

_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")


def parse_plain(text: str, *, source: str) -> DomainList:
    """The domains of a list; `source` is what messages call its file. Raises ConfigError when it is too large."""
    if len(text) > LIST_LIMIT:
        raise ConfigError(f"{source}: a list has at most {LIST_LIMIT // 1024 // 1024} million characters")
    domains: set[str] = set()
    skipped: list[str] = []
    skipped_count = 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        entry = _COMMENT.sub("", line).strip()
        if not entry or entry.startswith("!"):
            continue
        try:
            domains.add(names.host(re.sub(r"^(?:[*+]?\.)", "", entry)))
        except ValueError:
            skipped_count += 1
            if len(skipped) < SKIPPED_SHOWN:
                skipped.append(f"{source}:{number}: {quoted(entry)} is neither a domain nor an address")
        if len(domains) > DOMAINS_LIMIT:
            raise ConfigError(f"{source}: a list has at most {DOMAINS_LIMIT:,} domains")
    return DomainList(frozenset(domains), tuple(skipped), skipped_count)
