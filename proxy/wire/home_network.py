"""The home network: the address prefixes and name suffixes that the internet does not route or resolve.

Routes under AUTO, PAC files, and the bypass lists of browsers, desktops and terminals all use these.
`routing.home_network` also knows names that the hosts file maps to home addresses.
"""

from __future__ import annotations

from proxy.wire.hostnames import PRIVATE_SUFFIXES

LOOPBACK = ("127.0.0.0/8", "::1")
"""This computer."""

PREFIXES = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # carrier-grade NAT and VPNs (RFC 6598)
    "169.254.0.0/16",
    "fc00::/7",  # unique local (RFC 4193)
    "fe80::/10",
)
"""Private and link-local addresses, which mean another computer on each network."""

BYPASS_SUFFIXES = tuple(suffix for suffix in PRIVATE_SUFFIXES if suffix != "internal")
"""Names below these bypass Byway. Names below `internal` do not: Byway's own page is `byway.internal`."""

_WITH_STARS = tuple(f"*.{suffix}" for suffix in BYPASS_SUFFIXES)
_WITH_DOTS = tuple(f".{suffix}" for suffix in BYPASS_SUFFIXES)

DESKTOP_BYPASS = ("localhost", *LOOPBACK, *_WITH_STARS, *PREFIXES)
"""The destinations that desktops reach without a proxy: names with stars, and prefixes."""

CHROMIUM_BYPASS = ";".join(("<local>", *_WITH_STARS, *PREFIXES))
"""The value of `--proxy-bypass-list`. `<local>` stands for names of one label. Chromium itself adds this computer."""

FIREFOX_BYPASS = ",".join(("<local>", *_WITH_DOTS, *PREFIXES))
"""The value of `network.proxy.no_proxies_on`. Firefox itself adds this computer."""

TYPED_BYPASS = ", ".join(("localhost", *LOOPBACK, *_WITH_DOTS, *PREFIXES))
"""The text that a user types into the "no proxy for" field of a browser or a system."""

NO_PROXY = ",".join(("localhost", "127.0.0.1", *LOOPBACK, *_WITH_DOTS, *PREFIXES))
"""The value of `no_proxy`. Some programs read no prefixes there, so it also has the address of this computer."""
