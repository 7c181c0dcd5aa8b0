"""Which protocol a client speaks inside TLS, where it has not said so by ALPN.

mitmproxy decides by the first bytes that come, be it one, and takes what is not clearly HTTP for an unknown protocol
that goes through as it is. A request head that is odd, or that comes in pieces, would so pass without being read. Here
it is waited for until enough has come, and what a lenient server might take for HTTP is HTTP.
"""

from __future__ import annotations

from mitmproxy.addons import next_layer
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.wire.sniff import may_be_http


class NextLayer(next_layer.NextLayer):
    """See the module's docstring."""

    def _next_layer(self, context: Context, data_client: bytes, data_server: bytes) -> layer.Layer | None:
        if context.client.tls_established and not context.client.alpn and not data_server:
            is_http = may_be_http(data_client)
            if is_http is None:
                raise next_layer.NeedsMoreData
            if is_http:
                return layers.HttpLayer(context, HTTPMode.transparent)
            return layers.TCPLayer(context)
        return super()._next_layer(context, data_client, data_server)
