"""Checks the values of rules by type, and brings them to their canonical spelling.

Values are normalized like destinations, so `Bücher.Example.` and `xn--bcher-kva.example` are one rule. A value that can
never match, or belongs to another type, is refused with a sentence that says what to write.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from proxy.config.suggestions import quoted, suggestion
from proxy.model import UNKNOWN_NETWORK, NetworkId, literal
from proxy.routing.rule import RuleType
from proxy.wire import hostnames

if TYPE_CHECKING:
    from proxy.routing.pattern import Pattern

REGEX_RULES_LIMIT = 256
"""DOMAIN-REGEX rules of one file at most: each new host is tested with one after another."""

REGEX_WORK_LIMIT = 1 << 20
"""Steps to compile all patterns of one file at most: about a tenth of a second."""

_LEADING = (".", "*.", "+.")
_WITH_PORT = re.compile(r"[^:\[\]]+:[0-9]{1,5}")
_NETWORK_ID = re.compile(f"[0-9a-f]{{16}}|{UNKNOWN_NETWORK}")


def canonical_value(
    rule_type: RuleType,
    text: str,
    *,
    lists: Mapping[str, object],
    networks: Mapping[str, NetworkId],
    patterns: PatternBudget,
) -> str:
    """Returns the value of a rule in canonical spelling. It may name one of `lists` or `networks`. Raises ValueError
    with a sentence."""
    match rule_type:
        case RuleType.DOMAIN:
            return _host(text)
        case RuleType.DOMAIN_SUFFIX:
            return _suffix(text)
        case RuleType.DOMAIN_KEYWORD:
            return _checked_keyword(text)
        case RuleType.DOMAIN_REGEX:
            return patterns.compile(text).text
        case RuleType.IP_CIDR:
            return _network(text)
        case RuleType.DST_PORT:
            ports = ports_of(text)
            return f"{ports[0]}-{ports[-1]}" if len(ports) > 1 else str(ports[0])
        case RuleType.LIST:
            if text not in lists:
                hint = suggestion(text, lists) if lists else "; no [[list]] is configured"
                raise ValueError(f"unknown list {quoted(text)}{hint}")
            return text
        case RuleType.PROCESS_NAME:
            return _program(text)
        case RuleType.NETWORK:
            return parse_network(text, networks)
        case RuleType.MATCH:
            return ""


def _host(text: str) -> str:
    if text.startswith(_LEADING):
        raise ValueError(
            f"{quoted(text)} is more than one host; for a domain and its subdomains write DOMAIN-SUFFIX,{_bare(text)}"
        )
    if "/" in text:
        raise ValueError(f"{quoted(text)} is a URL; a rule takes the host name only")
    if _WITH_PORT.fullmatch(text):
        raise ValueError(f"{quoted(text)} has a port; a rule takes the host name only, and DST-PORT is for ports")
    return hostnames.parse_host(text)


def _bare(text: str) -> str:
    """Returns the text after the first dot."""
    return text.partition(".")[2]


def _suffix(text: str) -> str:
    if text.startswith(_LEADING):
        raise ValueError(f"{quoted(text)} needs no dot or star; DOMAIN-SUFFIX,{_bare(text)} includes its subdomains")
    host = _host(text)
    if (host[-1].isdigit() or ":" in host) and literal(host) is not None:  # keeps names out of the cache of `literal`
        raise ValueError(f"{quoted(text)} is an address; write IP-CIDR,{host}/{128 if ':' in host else 32}")
    return host


def _program(text: str) -> str:
    if not text or "/" in text or "\\" in text:
        raise ValueError(f"{quoted(text)} is not the name of a program; write it without its folder: PROCESS-NAME,curl")
    return text.lower()


def parse_network(text: str, networks: Mapping[str, str]) -> str:
    """Returns a name of `[networks]` in its spelling there, or an id unchanged. Raises ValueError with a sentence."""
    names = {name.lower(): name for name in networks}
    if text.lower() in names:
        return names[text.lower()]
    if _NETWORK_ID.fullmatch(text):
        return text
    hint = (
        suggestion(text, names.values())
        if names
        else f'; name it in config.toml under [networks]: {text or "home"} = "ID"'
    )
    raise ValueError(f"unknown network {quoted(text)}{hint}; `byway status -v` shows the id of the network in use")


def _checked_keyword(text: str) -> str:
    word = text.lower()
    if not re.fullmatch(r"[a-z0-9._-]{1,63}", word):
        raise ValueError(
            f"keyword {quoted(text)} can never match: names contain only letters, digits, dots, - and _ "
            "(international names as xn--…)"
        )
    return word


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        masked = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an address or CIDR such as 192.0.2.0/24") from None
    raise ValueError(f"{quoted(text)} has host bits set; did you mean {masked}?")


def ports_of(text: str) -> range:
    """Returns the ports of `443` or `8000-8100`. Raises ValueError with a sentence."""
    low, dash, high = text.partition("-")
    try:
        ports = range(hostnames.port(low.strip()), hostnames.port(high.strip() if dash else low.strip()) + 1)
    except ValueError:
        ports = range(0)
    if not ports:
        raise ValueError(f"{quoted(text)} is not a port (1-65535) or a range such as 8000-8100")
    return ports


@lru_cache(maxsize=2 * REGEX_RULES_LIMIT)
def compiled_pattern(text: str) -> Pattern:
    """Compiles a pattern. The cache lets checks, matches, traces and reloads share it. Raises ValueError."""
    from proxy.routing.pattern import Pattern  # imported only if there are such rules

    return Pattern(text)


class PatternBudget:
    """Limits the patterns of one file: their number, and the work to compile them."""

    __slots__ = ("_number", "_work")

    def __init__(self) -> None:
        self._number = 0
        self._work = 0

    def compile(self, text: str) -> Pattern:
        """Compiles one more pattern. Raises ValueError if it cannot be used, and when a limit is reached."""
        if self._number >= REGEX_RULES_LIMIT:
            raise ValueError(f"more than {REGEX_RULES_LIMIT} DOMAIN-REGEX rules; use DOMAIN-SUFFIX or a LIST instead")
        if self._work >= REGEX_WORK_LIMIT:
            raise ValueError(
                "the DOMAIN-REGEX rules above are too complex together, so this one is not read; "
                "use DOMAIN-SUFFIX or a LIST instead"
            )
        self._number += 1
        try:
            pattern = compiled_pattern(text)
        except ValueError as error:
            raise ValueError(f"pattern {quoted(text)} cannot be used: {error}") from None
        self._work += pattern.work
        return pattern
