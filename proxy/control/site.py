"""Which site a person means, where its pages do not matter."""

from __future__ import annotations

import ipaddress

from proxy.model import Destination
from proxy.probe.target import page_of


def site(text: str) -> Destination:
    """The host and port meant by `text`; port 443 unless it says otherwise. Raises ValueError with a sentence."""
    return page_of(text).destination


def scope(text: str) -> str:
    """The host meant by `text`, which stands for all below it too: `*.example.org` and `.example.org` are the same as
    `example.org`. Raises ValueError with a sentence, also for a prefix: its first address alone would be meant."""
    address, slash, length = text.strip().partition("/")
    if slash and length.isdecimal() and is_address(address):
        raise ValueError(
            f"{text.strip()} is a prefix of addresses; for it, run `byway rule add IP-CIDR,{text.strip()},ACTION`"
        )
    return site(text.strip().removeprefix("*").removeprefix(".")).host


def is_address(text: str) -> bool:
    """Whether it is an IP address in its usual spelling, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
