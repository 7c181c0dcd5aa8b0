"""Recognizes requests for Byway's own addresses that a page of another site caused.

Such a page must not find out that its visitor uses Byway. So its request to the proxy's own address is answered like
one for a wrong host, and its request for our own name like one for a name that does not exist.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from proxy.model import Destination
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.http1 import HTTP_PORT, RequestHead

SIGN_IN_PATH = "/sign-in"
"""The path to which a file of `byway open` posts a one-time code. For browsers, that file is another site."""


def is_foreign(head: RequestHead, is_ours: Callable[[str], bool]) -> bool:
    """Whether a page of another site caused a request, as far as the browser says so (Fetch Metadata). Not foreign are
    an address that a person typed, a request of the browser itself, such as one for a PAC file, a request of another
    program, and a link on our own pages, which lead from our name to our address. `is_ours` says whether a Host names
    this proxy."""
    if "cross-site" not in _all(head, "sec-fetch-site"):
        return False
    if head.method == "POST" and head.target == SIGN_IN_PATH and _all(head, "sec-fetch-dest") == ["document"]:
        return False
    # No page can set a referrer of another origin.
    referrers = _all(head, "referer")
    host = referrers[0].removeprefix("http://").partition("/")[0].lower() if len(referrers) == 1 else ""
    return not (referrers and referrers[0].startswith("http://") and (host == OWN_NAME or is_ours(host)))


def as_unknown(head: RequestHead) -> tuple[RequestHead, Destination]:
    """Turns a request for our own name into one for an unknown name of the same length. Returns it with its
    destination. It fails like any unknown name, after the same time, and resolvers do not learn our name."""
    label, _, suffix = OWN_NAME.partition(".")
    host = f"{secrets.token_hex(len(label))[: len(label)]}.{suffix}"
    unknown = Destination(host, HTTP_PORT if head.destination is None else head.destination.port)
    forwarded = head.forwarded.replace(f"Host: {OWN_NAME}".encode(), f"Host: {host}".encode(), 1)
    return head._replace(destination=unknown, named=unknown, forwarded=forwarded), unknown


def _all(head: RequestHead, name: str) -> list[str]:
    """All values of a field."""
    return [value for each, value in head.headers if each.lower() == name]
