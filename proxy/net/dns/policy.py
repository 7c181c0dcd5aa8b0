"""What the resolver asks of the layers above it: the current network, which names are suspect, which addresses bogus.

`net` looks names up and compares answers. What is believed about a name is the business of `detect`, which addresses
are public that of `routing`; `net` imports neither. `proxy/setup/build_resolvers.py` wires them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from proxy.model import UNKNOWN_NETWORK, DnsFinding, IPAddress, NetworkId


class EncryptedFor(StrEnum):
    """Which names are asked of encrypted DNS, and then of no other. The value is the word of `[dns] secure`."""

    NONE = "never"
    SUSPECTS = "on-suspicion"  # those that the policy suspects, or with a finding against them, but no local ones
    PUBLIC = "public"  # all but local ones; no setting: for the names of relays
    ALL = "always"


class ResolverPolicy(Protocol):
    """What a resolver asks of the layers above it, and reports to them."""

    def network(self) -> NetworkId:
        """The current network: answers are cached for the one that gave them."""
        ...

    def has_ipv6(self) -> bool:
        """Whether this machine has an IPv6 address that is good beyond its link."""
        ...

    def is_suspect(self, host: str) -> bool:
        """Whether `host` must not be resolved in plain text; asked for `EncryptedFor.SUSPECTS` alone."""
        ...

    def is_portal(self) -> bool:
        """Whether a captive portal is known to answer in place of every site, so that its answers are no findings."""
        ...

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """Called for a forged answer that came in addition to the one in use."""
        ...


class NetworkOnly:
    """A policy that knows the network and suspects no name."""

    def __init__(self, network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK) -> None:
        self._network = network

    def network(self) -> NetworkId:
        return self._network()

    def has_ipv6(self) -> bool:
        return True  # not known

    def is_suspect(self, host: str) -> bool:
        return False

    def is_portal(self) -> bool:
        return False

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        pass


NO_RESOLVER_POLICY: ResolverPolicy = NetworkOnly()
"""For commands, which run without the rest of Byway."""


class BogonCheck(Protocol):
    """Knows the addresses to which no public name leads."""

    @property
    def has_exceptions(self) -> bool:
        """Whether the user allows any of them."""
        ...

    def is_home(self, address: IPAddress) -> bool:
        """Whether `address` is one of the home network, also if the user allows it."""
        ...

    def is_bogon(self, host: str, address: IPAddress) -> bool:
        """Whether `address` as an answer for `host` is neither public nor allowed by the user."""
        ...
