"""The home network by its texts: the prefixes and suffixes below which no uplink leads to anything.

One source for what decides about the home network: routes under AUTO, the PAC files, the bypass lists of browsers, of
desktops and of terminals. `routing.home_network` also knows names that files lead there.
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
"""Private and link-local addresses, which mean something else on each network."""

BYPASS_SUFFIXES = tuple(suffix for suffix in PRIVATE_SUFFIXES if suffix != "internal")
"""Names below these go past Byway. Names below `internal` do not: Byway's own page is `byway.internal`."""

_WITH_STARS = tuple(f"*.{suffix}" for suffix in BYPASS_SUFFIXES)
_WITH_DOTS = tuple(f".{suffix}" for suffix in BYPASS_SUFFIXES)

DESKTOP_BYPASS = ("localhost", *LOOPBACK, *_WITH_STARS, *PREFIXES)
"""What desktops reach without a proxy: names with stars, and prefixes."""

CHROMIUM_BYPASS = ";".join(("<local>", *_WITH_STARS, *PREFIXES))
"""The value of `--proxy-bypass-list`. `<local>` are names of one label; Chromium adds this computer by itself."""

FIREFOX_BYPASS = ",".join(("<local>", *_WITH_DOTS, *PREFIXES))
"""The value of `network.proxy.no_proxies_on`. Firefox adds this computer by itself."""

TYPED_BYPASS = ", ".join(("localhost", *LOOPBACK, *_WITH_DOTS, *PREFIXES))
"""What a user types where a browser or a system asks for which hosts to use no proxy."""

NO_PROXY = ",".join(("localhost", "127.0.0.1", *LOOPBACK, *_WITH_DOTS, *PREFIXES))
"""The value of `no_proxy`. Some programs read no prefixes there, so this computer stands as an address as well."""
