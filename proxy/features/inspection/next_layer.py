"""Decides which protocol a client speaks inside TLS, where it named none by ALPN, and without TLS.

mitmproxy decides by the first bytes that come, even by one, and passes on what is not clearly HTTP as it is. So a
request head that is odd, or that comes in pieces, would pass without being parsed. Here the decision waits until enough
has come, and what a lenient server might take for HTTP counts as HTTP.
"""

from __future__ import annotations

from mitmproxy.addons import next_layer
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.wire.sniff import may_be_http

_TLS = b"\x16"
"""The first byte of a ClientHello."""


class NextLayer(next_layer.NextLayer):
    """Replaces mitmproxy's addon of the same name."""

    def _next_layer(self, context: Context, data_client: bytes, data_server: bytes) -> layer.Layer | None:
        is_plain = not context.client.tls and not data_client.startswith(_TLS)
        if (is_plain or context.client.tls_established) and not context.client.alpn and not data_server:
            is_http = may_be_http(data_client)
            if is_http is None:
                raise next_layer.NeedsMoreData
            if is_http:
                return layers.HttpLayer(context, HTTPMode.transparent)
            return layers.TCPLayer(context)
        return super()._next_layer(context, data_client, data_server)
