"""A client's HTTP/2 requests: `wire.http2_request` checks each one before mitmproxy converts it.

The h2 library accepts line ends in values, and an origin may speak HTTP/1. Trailers are dropped, as in HTTP/1, over
which mitmproxy cannot send them.
"""

from __future__ import annotations

import h2.events
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.layers.http import _http2

from proxy.model.errors import PeerError
from proxy.wire.http2_request import check_request, check_trailers


class Http2ClientSide(_http2.Http2Server):
    """The side of a connection that speaks to a client. Refuses a request that would be two in HTTP/1."""

    def handle_h2_event(self, event: h2.events.Event) -> layer.CommandGenerator[bool]:
        try:
            if isinstance(event, h2.events.RequestReceived):
                check_request(_fields(event), ended=event.stream_ended is not None)
            elif isinstance(event, h2.events.TrailersReceived):
                check_trailers(_fields(event))
                return False  # handled, and dropped: the connection goes on
        except (ValueError, PeerError) as fault:
            yield from self.protocol_error(f"this request is refused: {fault}")
            return True
        return (yield from super().handle_h2_event(event))


def install() -> None:
    """Makes mitmproxy use this class from now on."""
    vars(layers.http)["Http2Server"] = Http2ClientSide


def _fields(event: h2.events.RequestReceived | h2.events.TrailersReceived) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in event.headers or ()]
