"""Makes the proxy configuration files (PAC) for browsers and systems.

The text depends on Byway's address alone, never on beliefs: any page can read it with a script tag, and browsers cache
it for hours. It examines the host as text and resolves no name. Hosts of the local network (`wire.home_network`) go
direct; a name such as `10.example.com` only looks like an address.
"""

from __future__ import annotations

from enum import StrEnum

from proxy.model import Destination
from proxy.wire.home_network import BYPASS_SUFFIXES

CONTENT_TYPE = "application/x-ns-proxy-autoconfig"

_SCRIPT = r"""function FindProxyForURL(url, host) {
  var h = host.toLowerCase().replace(/^\[|\]$/g, "");
  var byte = "\\.(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
  var nets = "((127|10)B|192\\.168|169\\.254|172\\.(1[6-9]|2\\d|3[01])"
    + "|100\\.(6[4-9]|[7-9]\\d|1[01]\\d|12[0-7]))BB";
  var local = new RegExp("^" + nets.replace(/B/g, byte) + "$").test(h)
    || h === "::1" || /^(f[cd]..|fe[89ab].):/.test(h)
    || /^((.+\.)?localhost|.+\.(SUFFIXES))\.?$/.test(h)
    || (/^[\w-]+$/.test(h) && !/^(\d+|0x[\da-f]*)$/.test(h));
  return local ? "DIRECT" : "RESULT";
}
"""


class Pac(StrEnum):
    """The variants of the file, by their paths."""

    LENIENT = "/proxy.pac"  # direct when Byway does not answer
    STRICT = "/strict.pac"  # no direct route; a browser that cannot load the file goes direct all the same


PATHS = {"/proxy.pac": Pac.LENIENT, "/wpad.dat": Pac.LENIENT, "/strict.pac": Pac.STRICT}


def pac_text(variant: Pac, proxy: Destination) -> str:
    """Returns the file, about 900 bytes of ASCII, for a Byway that clients reach at `proxy`."""
    result = f"PROXY {proxy}" if variant is Pac.STRICT else f"PROXY {proxy}; DIRECT"
    suffixes = "|".join(BYPASS_SUFFIXES).replace(".", r"\.")
    return _SCRIPT.replace("RESULT", result).replace("SUFFIXES", suffixes)
