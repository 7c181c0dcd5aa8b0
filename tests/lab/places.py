"""The addresses of everything in the lab: one map, so that no address is written twice.

Nearly all are in documentation or benchmark space (RFC 5737, RFC 2544, RFC 3849), which Byway's address guard refuses
as the address of a name; the configuration of a Byway in the lab permits `ALLOWED`. Addresses outside of `ALLOWED` stay
refused, so that a forged answer such as 10.10.34.36 is as in the real world: no honest answer.
"""

from __future__ import annotations

CLIENT = "192.168.1.2"
CLIENT6 = "2001:db8:1::2"
SECOND_CLIENT = "192.168.7.2"
SECOND_CLIENT6 = "2001:db8:7::2"

# The provider: its resolver, its servers, and the place where its middleboxes listen.
PROVIDER = "192.0.2.0/25"
PROVIDER6 = "2001:db8:15::/48"
PROVIDER_RESOLVER = "192.0.2.53"
PROVIDER_RESOLVER6 = "2001:db8:15::53"
PORTAL = "192.0.2.10"
BLOCK_PAGE = "192.0.2.80"

# Relays, outside of the country.
RELAYS = "192.0.2.128/25"
RELAYS6 = "2001:db8:7e1a::/48"
SOCKS_RELAY = "192.0.2.129"
HTTPS_RELAY = "192.0.2.130"
LYING_RELAY = "192.0.2.131"
SOCKS_PORT = 1080
HTTPS_PORT = 8443

# The rest of the world.
SERVICES = "203.0.113.0/24"
SERVICES6 = "2001:db8:113::/48"
PUBLIC_RESOLVER = "203.0.113.53"
DOH = "203.0.113.1"
DOT = "203.0.113.9"
"""It speaks DoH as well, but over HTTP/2 only."""
CONTROLS = {
    "control-one.test": "203.0.113.201",
    "control-two.test": "203.0.113.202",
    "control-home.test": "203.0.113.203",
}
"""Two foreign pages and, last, a domestic one."""
DOMESTIC = "control-home.test"

SITES = "198.19.0.0/16"
SITES6 = "2001:db8:19::/48"
WIDE = "240.19.0.0/16"
"""Another provider, for sites that share a /16 with each other alone. Both /16 of benchmark space are taken, so this is
one of the space that is reserved (RFC 1112 section 4)."""
NOBODY = "198.51.100.0/24"
"""Routed to the rest of the world, where no host has it: a SYN stays unanswered, whoever sends it."""
POISON = "198.51.100.66"
"""The address in a forged answer that is to look honest."""
BOGON = "10.10.34.36"
"""The answer of Iran's resolvers for a blocked name (and 10.10.34.34, .35): a private address for a public name."""
FAKE = "198.18.0.0/16"
"""The prefix in which other proxies that answer DNS themselves (Clash, sing-box) put all names by default."""
NAT64 = "64:ff9b::/96"

ALLOWED = (PROVIDER, RELAYS, SERVICES, SITES, WIDE, NOBODY, "2001:db8::/32", NAT64)


def site_address(number: int, *, wide: bool = False) -> str:
    """Returns the address of the site with this number, below 60 000, in SITES or in WIDE. Neighbours in number are
    never neighbours in address: sites in one /24 differ in number by 250 at least, so that a belief about a prefix
    concerns one site alone."""
    return f"{'240' if wide else '198'}.19.{number % 250}.{number // 250 + 1}"


def site_address6(number: int) -> str:
    """Returns its IPv6 address, of a /64 and a /48 of its own as far as they suffice."""
    return f"2001:db8:19:{number:x}::1"
