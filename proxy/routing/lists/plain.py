"""Plain lists: one domain a line, which includes its subdomains, or one address.

`#`, `//` and `!` begin comments; a leading `.`, `*.` or `+.` changes nothing, since the apex is always included. Lists
come from strangers: sizes are bounded, what cannot be read is skipped and counted, and no entry is a pattern.
"""

from __future__ import annotations

import re
from functools import cache

from publicsuffixlist import PublicSuffixList

from proxy.config.suggestions import quoted
from proxy.model.errors import ConfigError
from proxy.routing.match import DomainList
from proxy.wire import hostnames

LIST_LIMIT = 32 * 1024 * 1024
"""Characters of a list: the largest lists in use have half as many."""

DOMAINS_LIMIT = 1_000_000
SKIPPED_SHOWN = 20
SUFFIXES_SHOWN = 5

_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_LEADING = re.compile(r"^(?:[*+]?\.)")


def parse_plain(text: str, *, source: str, allow_empty: bool = False) -> DomainList:
    """Parses a plain list; `source` is the name of its file in messages, `allow_empty` is passed on to the result.
    Raises ConfigError when it is too large."""
    if len(text) > LIST_LIMIT:
        raise ConfigError(f"{source}: a list can have at most {LIST_LIMIT // 1024 // 1024} million characters")
    domains: set[str] = set()
    skipped: list[str] = []
    suffixes: list[str] = []
    lines_read = lines_skipped = 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        entry = _COMMENT.sub("", line).strip()
        if not entry or entry.startswith("!"):
            continue
        try:
            domain = hostnames.host(_LEADING.sub("", entry))
        except ValueError:
            lines_skipped += 1
            if len(skipped) < SKIPPED_SHOWN:
                skipped.append(f"{source}:{number}: {quoted(entry)} is neither a domain nor an address")
            continue
        lines_read += 1
        if domain in domains:
            continue
        domains.add(domain)
        if is_public_suffix(domain):
            suffixes.append(f"{source}:{number}: {quoted(domain)} is a public suffix, so every site below it is listed")
        if len(domains) > DOMAINS_LIMIT:
            raise ConfigError(f"{source}: a list can have at most {DOMAINS_LIMIT:,} domains")
    if (more := len(suffixes) - SUFFIXES_SHOWN) > 0:
        suffixes[SUFFIXES_SHOWN:] = [f"{source}: and {more:,} more public suffixes"]
    return DomainList(
        frozenset(domains),
        source=source,
        lines_read=lines_read,
        lines_skipped=lines_skipped,
        skipped=tuple(skipped),
        suffixes=tuple(suffixes),
        allow_empty=allow_empty,
    )


@cache
def _icann_suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True, accept_unknown=False)  # 40 ms and 3 MB: only where there is a list


def is_public_suffix(domain: str) -> bool:
    """Whether registries sell names right below it: `com`, `co.uk`. Not `github.io`, which belongs to one owner."""
    return _icann_suffixes().is_public(domain)
