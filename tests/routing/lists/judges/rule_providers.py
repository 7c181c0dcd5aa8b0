"""Made-up rule providers of Clash, the same for a seed: every kind of entry, in the spellings that occur in public."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator
from typing import Literal

Behavior = Literal["domain", "ipcidr", "classical"]
Format = Literal["yaml", "text"]

_WORDS = ("news", "video", "cdn", "img", "blog", "api", "mail", "x", "1st", "foo-bar", "a_b", "xn--p1ai", "example")
_TOP = ("com", "net", "org", "ru", "kz", "cn", "co.uk", "com.tr", "xn--p1ai", "example")


def rule_provider(behavior: Behavior, format: Format, *, lines: int, seed: int) -> str:  # noqa: A002  # mihomo's word
    """Returns a file of about so many entries; some stand twice, and some are of types that lists cannot use."""
    chance = random.Random(f"{behavior} {format} {seed}")
    make = {"domain": _domain, "ipcidr": _prefix, "classical": _classical}[behavior]
    text = ["# NAME: made up", "# TOTAL: many", ""]
    if format == "yaml":
        text.append("payload:")
    indent = chance.choice(("", "  ", "    "))
    for number in range(lines):
        entry = make(chance, number)
        if format == "text":
            text.append(entry)
            continue
        quote = chance.choice(("", "'", '"'))
        quote = quote or ("'" if entry[0] == "*" else "")
        text.append(f"{indent}- {quote}{entry}{quote}{chance.choice(('', '', '', ' # why', '  '))}")
        if chance.random() < 0.02:
            text.append(chance.choice(("", f"{indent}# {entry}")))
    return "\n".join(text) + "\n"


def _name(chance: random.Random, number: int) -> str:
    labels = chance.choices(_WORDS, k=chance.choice((0, 0, 1, 1, 2)))
    # Of few names, so that some are above or below others in the same file.
    own = f"site{number}" if chance.random() < 0.7 else f"site{number % 50}"
    return ".".join([*labels, own, chance.choice(_TOP)])


def _domain(chance: random.Random, number: int) -> str:
    name = _name(chance, number)
    leading = chance.choice(("", "", "+.", "+.", "+.", ".", "*."))
    if chance.random() < 0.02:
        return f"{chance.choice(('www', 'api', '*'))}.*.{name}"
    return f"{leading}{name.upper() if chance.random() < 0.02 else name}"


def _prefix(chance: random.Random, number: int) -> str:
    if chance.random() < 0.2:
        length = chance.choice((29, 32, 36, 40, 44, 48, 56, 64, 127, 128))
        address = str(ipaddress.IPv6Address(0x2001 << 112 | chance.getrandbits(112)))
    else:
        length = chance.choice((8, *range(12, 33), 24, 24, 32))
        address = str(ipaddress.IPv4Address(chance.getrandbits(32)))
    if chance.random() < 0.05:  # bits beyond the length
        return f"{address}/{length}"
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _classical(chance: random.Random, number: int) -> str:
    make = chance.choices(list(_TYPED), weights=[weight for _, weight in _TYPED.values()])[0]
    return f"{make},{_TYPED[make][0](chance, number)}"


def _keyword(chance: random.Random, number: int) -> str:
    return f"{chance.choice(_WORDS)}{number}" if chance.random() < 0.9 else f"-{number}."


def _wildcard(chance: random.Random, number: int) -> str:
    name = _name(chance, number)
    return chance.choice((f"*.{name}", f"cdn*.{name}", f"*-{name}", f"www{number}.*", f"*a*.{name}"))


_Value = Callable[[random.Random, int], str]
_TYPED: dict[str, tuple[_Value, float]] = {
    "DOMAIN": (_name, 10),
    "DOMAIN-SUFFIX": (_name, 30),
    "DOMAIN-KEYWORD": (_keyword, 3),
    "DOMAIN-WILDCARD": (_wildcard, 3),
    "DOMAIN-REGEX": (lambda chance, number: f"^ads{number}[0-9]+\\.(a|b){{1,3}}$", 1),
    "IP-CIDR": (lambda chance, number: f"{_of_family(chance, 4)}{chance.choice((',no-resolve', ''))}", 8),
    "IP-CIDR6": (lambda chance, number: f"{_of_family(chance, 6)},no-resolve", 3),
    "PROCESS-NAME": (lambda chance, number: f"program{number}.exe", 1),
    "DST-PORT": (lambda chance, number: f"{number % 60000 + 1}", 1),
    "AND": (lambda chance, number: f"((DOMAIN,and{number}.example),(NETWORK,udp))", 0.5),
    "NOT": (lambda chance, number: f"((DOMAIN,not{number}.example))", 0.2),
}


def _of_family(chance: random.Random, version: int) -> str:
    return next(prefix for prefix in _prefixes(chance) if (":" in prefix) == (version == 6))


def _prefixes(chance: random.Random) -> Iterator[str]:
    while True:
        yield _prefix(chance, 0)
