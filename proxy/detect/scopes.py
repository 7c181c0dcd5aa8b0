"""Scopes of beliefs: a host, a registrable domain with its subdomains, or an address prefix.

The registrable domain is the public suffix list's, private section included: two blogs of one provider are unrelated
where the provider says so. A scope is a string: a host as it is, `*.` and a registrable domain, or an address prefix in
CIDR notation.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from proxy.model import IPAddress
from proxy.model.remembered import remembered


@lru_cache(maxsize=1024)
def _rules(tld: str) -> frozenset[str]:
    """The rules of the public suffix list for names under one top-level domain, in A-labels. They are found in about a
    millisecond; all rules would take 30 ms and 2 MiB, and a user visits sites of a few top-level domains."""
    from publicsuffixlist import PSLFILE, encode_idn  # with the first name

    try:
        end = f".{tld.encode().decode('idna')}\n".encode()
    except UnicodeError:  # no A-label, and so in no list
        return frozenset()
    with open(PSLFILE, "rb") as file:
        stems = [before[before.rfind(b"\n") + 1 :].decode() for before in file.read().split(end)[:-1]]
    # `!` marks an exception from a rule, and is no part of the name.
    return frozenset(
        f"{stem if stem.isascii() else '!' * stem.startswith('!') + encode_idn(stem.lstrip('!'))}.{tld}"
        for stem in stems
        if not stem.startswith("//")
    )


@remembered(8192)
def registrable(host: str) -> str:
    """The registrable domain of a host: `example.co.uk` of `a.b.example.co.uk`. A literal, a prefix, a single label and
    a public suffix are returned as they are."""
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
    return names[-2]  # a top-level domain is a public suffix, also where the list has no rule for it


def is_public_suffix(name: str) -> bool:
    """Whether unrelated owners register domains directly below it."""
    return registrable(f"x.{name}") == f"x.{name}"


def domain_scope(host: str) -> str:
    """The scope of a host's registrable domain with all its subdomains; empty for a literal or a single label."""
    domain = registrable(host)
    return f"*.{domain}" if "." in domain and not domain[-1].isdigit() and ":" not in domain else ""


def is_host(scope: str) -> bool:
    """Whether a scope is one host."""
    return not scope.startswith("*.") and "/" not in scope


def prefix_scope(address: IPAddress) -> str:
    """The /24 or /48 around an address: prefixes that are announced and filtered as one (docs/detection.md,
    "Scopes")."""
    if isinstance(address, ipaddress.IPv4Address):
        first, second, third, _ = address.packed
        return f"{first}.{second}.{third}.0/24"  # as the line below, for each first visit
    return f"{ipaddress.IPv6Address(int(address) >> 80 << 80)}/48"


@remembered(4096)
def prefix_around(text: str) -> str:
    """The scope of the address that `address_of` finds in `text`; empty when there is none."""
    address = address_of(text)
    return prefix_scope(address) if address is not None else ""


@remembered(4096)
def address_of(text: str) -> IPAddress | None:
    """The address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; None when there is none."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None
