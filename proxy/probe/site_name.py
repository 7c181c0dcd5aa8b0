"""Parses the site that a person types, for uses without a page."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from proxy.detect.scopes import registrable
from proxy.model import Destination
from proxy.probe.target import page_of


def site(text: str) -> Destination:
    """Returns the host and port in `text`; port 443 unless it names one. Raises ValueError with a sentence."""
    return page_of(text).destination


def scope(text: str) -> str:
    """Returns the host in `text`, for a scope that includes its subdomains: `*.example.org` and `.example.org` are the
    same as `example.org`. Raises ValueError with a sentence, also for a prefix of addresses, of which only the first
    would be taken."""
    address, slash, length = text.strip().partition("/")
    if slash and length.isdecimal() and is_address(address):
        raise ValueError(
            f"{text.strip()} is a prefix of addresses; for it, run `byway rule add IP-CIDR,{text.strip()},ACTION`"
        )
    return site(text.strip().removeprefix("*").removeprefix(".")).host


def with_or_without_www(host: str) -> str:
    """Returns the other usual name of a site: `www.example.org` for `example.org`, and vice versa; empty for an address
    and a single label."""
    if is_address(host) or "." not in host.removeprefix("www."):
        return ""
    return host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"


def names_of(scopes: Iterable[str]) -> list[str]:
    """Returns names for completion: hosts, and the registrable domains above them."""
    names = dict.fromkeys(scope.removeprefix("*.") for scope in scopes if "/" not in scope)
    return sorted(dict.fromkeys([*names, *map(registrable, names)]))[:NAMES_MAX]


NAMES_MAX = 500
"""The most names for completion; a browser shows a few of them at a time."""


def is_of_same_site(name: str, host: str) -> bool:
    """Whether a name, or a scope `*.example.org`, has the same registrable domain as a host, and differs from it."""
    domain = registrable(host)
    return name != host and "." in domain and not is_address(host) and registrable(name.removeprefix("*.")) == domain


def is_address(text: str) -> bool:
    """Whether `text` is an IP address in its usual spelling, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
