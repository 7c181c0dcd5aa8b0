"""Makes a ClientHello as Python's TLS does: that of a program which is no browser.

It is for probes that only see whether it is answered, and how. No handshake follows.
"""

from __future__ import annotations

import contextlib
import ssl


def own_hello(server_name: str = "") -> bytes:
    """Returns a ClientHello with the SNI `server_name`; empty: with none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name or None).do_handshake()
    return outgoing.read()
