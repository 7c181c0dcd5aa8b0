"""Scopes of beliefs: a host, a registrable domain with its subdomains, or an address prefix.

A scope is a string: a host, `*.` and a registrable domain, or an address prefix in CIDR notation. Registrable domains
follow the public suffix list with its private section, where a provider can declare that its blogs are unrelated.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from proxy.model import IPAddress
from proxy.model.remembered import remembered


@lru_cache(maxsize=1024)
def _rules(tld: str) -> frozenset[str]:
    """Returns the rules of the public suffix list for names under one top-level domain, in A-labels. That takes about a
    millisecond. All rules would take 30 ms and 2 MiB, and a user visits sites of a few top-level domains."""
    from publicsuffixlist import PSLFILE, encode_idn  # imported with the first name

    try:
        end = f".{tld.encode().decode('idna')}\n".encode()
    except UnicodeError:  # not an A-label, so it has no rules
        return frozenset()
    with open(PSLFILE, "rb") as file:
        stems = [before[before.rfind(b"\n") + 1 :].decode() for before in file.read().split(end)[:-1]]
    # `!` marks an exception from a rule. It is not a part of the name.
    return frozenset(
        f"{stem if stem.isascii() else '!' * stem.startswith('!') + encode_idn(stem.lstrip('!'))}.{tld}"
        for stem in stems
        if not stem.startswith("//")
    )


@remembered(8192)
def registrable(host: str) -> str:
    """Returns the registrable domain of a host: `example.co.uk` for `a.b.example.co.uk`. A literal, a prefix, a single
    label and a public suffix are returned unchanged."""
    if host[-1:].isdigit() or ":" in host or "." not in host:
        return host
    labels = host.split(".")
    rules = _rules(labels[-1])
    names = [".".join(labels[start:]) for start in range(len(labels))]
    for start, name in enumerate(names[:-1]):
        if f"!{name}" in rules:
            return name
        if name in rules or f"*.{names[start + 1]}" in rules or f"*.{name}" in rules:
            return names[max(start - 1, 0)]
    return names[-2]  # a top-level domain is a public suffix, even without a rule in the list


def is_public_suffix(name: str) -> bool:
    """Whether unrelated owners register domains directly below it."""
    return registrable(f"x.{name}") == f"x.{name}"


def domain_scope(host: str) -> str:
    """Returns the scope of a host's registrable domain with its subdomains; empty for a literal or a single label."""
    domain = registrable(host)
    return f"*.{domain}" if "." in domain and not domain[-1].isdigit() and ":" not in domain else ""


def scopes_of(name: str) -> list[str]:
    """Returns the possible scopes of a belief about a name, a host or a scope itself: the name, and each domain above
    it as a whole."""
    labels = name.removeprefix("*.").split(".")
    above = [f"*.{'.'.join(labels[place:])}" for place in range(len(labels) - 1)]
    return [*dict.fromkeys([name, *above[-_DOMAINS:]])]


_DOMAINS = 5
"""A registrable domain has at most this many labels."""


def is_host(scope: str) -> bool:
    return not scope.startswith("*.") and "/" not in scope


def prefix_scope(address: IPAddress) -> str:
    """Returns the /24 or /48 of an address: prefixes that are announced and filtered as a whole (docs/detection.md,
    "Scopes")."""
    if isinstance(address, ipaddress.IPv4Address):
        first, second, third, _ = address.packed
        return f"{first}.{second}.{third}.0/24"  # faster than the line below, since each first visit needs it
    return f"{ipaddress.IPv6Address(int(address) >> 80 << 80)}/48"


@remembered(4096)
def wide_scope(prefix: str) -> str:
    """Returns the /16 or /32 around a /24 or /48: some censors block such ranges at once."""
    if ":" not in prefix:
        first, second, _ = prefix.split(".", 2)
        return f"{first}.{second}.0.0/16"
    inner = int(ipaddress.IPv6Address(prefix.removesuffix("/48")))
    return f"{ipaddress.IPv6Address(inner >> 96 << 96)}/32"


@remembered(4096)
def prefix_around(text: str) -> str:
    """Returns the scope of the address in `text` (see `address_of`); empty: there is none."""
    address = address_of(text)
    return prefix_scope(address) if address is not None else ""


@remembered(4096)
def address_of(text: str) -> IPAddress | None:
    """Returns the address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; None: there is
    none."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None
