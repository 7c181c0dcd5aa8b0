"""Everything of mitmproxy's that we use and that is not promised to stay: a version that breaks us is seen here first.

Read it beside `engine`, `handler`, `addon_hooks` and `mitm_tls`.
"""

from __future__ import annotations

import dataclasses
import inspect
from importlib import metadata
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from mitmproxy import certs, connection, exceptions, flow, hooks, http, options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master
from mitmproxy.proxy import commands, events, layers, mode_specs, server, server_hooks
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.layers.http import _http1, _http2
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.tls import TlsData

from proxy.config.mitmproxy_version import unavailable
from proxy.features.inspection import addon_hooks, handler, mitm_tls
from proxy.features.inspection.authority import make_authority
from proxy.features.inspection.leaf import Leaves


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    return inspect.getsource(thing)


def test_the_installed_version_is_one_that_we_know() -> None:
    assert unavailable() == "", metadata.version("mitmproxy")


def test_a_handler_is_made_and_run_as_we_do_it() -> None:
    assert parameters(ProxyConnectionHandler) == ["master", "r", "w", "options", "mode"]
    for name, expected in {
        "handle_client": ["self"],
        "handle_hook": ["self", "hook"],
        "open_connection": ["self", "command"],
        "handle_connection": ["self", "connection"],
        "server_event": ["self", "event"],
        "close_connection": ["self", "connection", "half_close"],
        "log": ["self", "message", "level", "exc_info"],
    }.items():
        assert parameters(getattr(ProxyConnectionHandler, name)) == expected, name
        assert name not in ("handle_client", "open_connection") or inspect.iscoroutinefunction(
            getattr(ProxyConnectionHandler, name)
        )
    assert [field.name for field in dataclasses.fields(server.ConnectionIO)] == ["handler", "reader", "writer"]
    assert parameters(server.TimeoutWatchdog) == ["timeout", "callback"]
    made = source(server.ConnectionHandler.__init__)
    for attribute in ("self.client = ", "self.transports = ", "self.layer = ", "self.timeout_watchdog = "):
        assert attribute in made


def test_the_engine_asks_for_every_upstream_by_open_connection() -> None:
    """And by nothing else that opens sockets: what we replace is the only way out."""
    text = source(server)
    assert text.count("asyncio.open_connection(") == 1
    assert text.count("open_udp_connection(") == 1
    replaced = source(server.ConnectionHandler.open_connection)
    assert "asyncio.open_connection(" in replaced
    assert "open_udp_connection(" in replaced


def test_what_stands_before_and_after_a_connection_is_what_we_do_too() -> None:
    text = source(server.ConnectionHandler.open_connection)
    for step in (
        "ServerConnectHook", "ServerConnectErrorHook", "ServerConnectedHook", "ServerDisconnectedHook",
        "OpenConnectionCompleted", "self.handle_connection(", "ConnectionState.OPEN", "timestamp_tcp_setup",
    ):  # fmt: skip
        assert step in text
    assert parameters(server_hooks.ServerConnectionHookData) == ["server", "client"]
    assert [field.name for field in dataclasses.fields(events.OpenConnectionCompleted)] == ["command", "reply"]
    assert parameters(commands.OpenConnection) == ["connection"]


def test_a_connection_to_a_place_that_is_known_is_opened_before_the_client_is_answered() -> None:
    assert issubclass(layers.modes.TransparentProxy, layers.modes.DestinationKnown)
    assert 'connection_strategy == "eager"' in source(layers.modes.DestinationKnown.finish_start)
    assert isinstance(mode_specs.ProxyMode.parse("transparent"), mode_specs.TransparentMode)


def test_the_hooks_that_we_look_at_exist_and_carry_what_we_read() -> None:
    for name, field in {
        "requestheaders": "flow", "responseheaders": "flow", "response": "flow", "error": "flow",
        "websocket_message": "flow", "tcp_message": "flow",
        "tls_start_client": "data", "tls_failed_client": "data", "tls_failed_server": "data",
        "tls_established_client": "data", "tls_established_server": "data",
    }.items():  # fmt: skip
        assert [one.name for one in dataclasses.fields(hooks.all_hooks[name])] == [field], name  # type: ignore[arg-type]
    assert {"conn", "context", "ssl_conn"} <= {field.name for field in dataclasses.fields(TlsData)}
    for name in addon_hooks._AT_ONCE:
        assert name in hooks.all_hooks
    assert "metadata" in source(flow.Flow.__init__)
    assert isinstance(http.HTTPFlow(connection.Client(peername=("", 0), sockname=("", 0)),
                                    connection.Server(address=("", 0))).metadata, dict)  # fmt: skip


def test_what_is_said_of_a_client_that_does_not_take_a_certificate_is_what_we_look_for() -> None:
    said = source(tls.ClientTLSLayer.on_handshake_error)
    assert handler._HUNG_UP[0] in said
    for words in ("unknown ca", "bad certificate", "certificate unknown"):
        assert words in said
        assert words in handler._REJECTED
    assert 'f"TLS Error: {e}"' in source(tls.TLSLayer.receive_data)


def test_without_a_connection_of_openssls_a_client_is_hung_up_on() -> None:
    started = source(tls.TLSLayer.start_tls)
    assert "if not tls_start.ssl_conn:" in started
    assert "commands.CloseConnection(self.conn)" in started
    assert hasattr(connection.Connection, "tls_established")


def test_the_addon_for_tls_asks_us_for_certificates_and_its_store_for_nothing_more() -> None:
    assert parameters(tlsconfig.TlsConfig.get_cert) == ["self", "conn_context"]
    text = source(tlsconfig.TlsConfig)
    used = {line.split("self.certstore.")[1].split("(")[0].split(",")[0] for line in text.splitlines()
            if "self.certstore." in line}  # fmt: skip
    ours = {"dhparams"}
    replaced = {"default_ca.has_expired", "add_cert_file", "get_cert", "default_crl", 'default_ca.serial}.crl"'}
    assert used - ours <= replaced, "what is used elsewhere than in methods that we replace"
    for name in ("configure", "running", "get_cert", "request"):
        assert name in vars(mitm_tls.LocalCaTls), "replaced"
    assert "CertStore.from_store" in source(tlsconfig.TlsConfig.configure), "here it would make its own authority"
    assert [field.name for field in dataclasses.fields(certs.CertStoreEntry)] == [
        "cert", "privatekey", "chain_file", "chain_certs",
    ]  # fmt: skip


def test_a_leaf_of_ours_is_a_certificate_to_it() -> None:
    leaf = Leaves(make_authority(now=1_800_000_000.0), now=lambda: 1_800_000_000.0).leaf("a.test")
    cert = certs.Cert(leaf.certificate)
    assert cert.to_pem().startswith(b"-----BEGIN CERTIFICATE")
    assert cert.fingerprint() == leaf.certificate.fingerprint(hashes.SHA256())


async def test_the_master_and_its_manager_have_what_we_call() -> None:
    master = Master(options.Options(confdir="/nowhere", server=False))
    master._legacy_log_events.uninstall()
    assert parameters(AddonManager.invoke_addon_sync) == ["self", "addon", "event"]
    assert inspect.iscoroutinefunction(AddonManager.invoke_addon)
    tls_addon = tlsconfig.TlsConfig()
    tls_addon.configure = lambda _updated: None  # type: ignore[method-assign]  # it would write to /nowhere
    ours = core.Core(), proxyserver.Proxyserver(), disable_h2c.DisableH2C(), next_layer.NextLayer(), tls_addon
    master.addons.add(*ours)
    known = set(master.options.keys())
    needed = {*mitm_tls.OURS, *mitm_tls.trust_options(), "ciphers_server", "stream_large_bodies"}
    assert needed <= known
    assert "asyncio.start_server" not in source(Master)
    assert parameters(proxyserver.Proxyserver.register_connection) == ["self", "connection_id", "handler"]


def test_error_pages_are_signed_with_the_one_name_that_we_change() -> None:
    for module in (_http1, _http2):
        text = source(module)
        assert "version.MITMPROXY" in text
        assert "version.VERSION" not in text


def test_http1_is_read_by_the_parts_that_we_put_in_its_place() -> None:
    assert "Http1Client(" in source(layers.http)
    assert "return ChunkedReader()" in source(_http1.make_body_reader)
    assert parameters(_http1.Http1Client.read_headers) == ["self", "event"]
    assert "self.state = self.read_headers" in source(_http1.Http1Connection)
    assert "Http1Server(" in source(layers.http)
    assert parameters(_http1.Http1Server._handle_event) == ["self", "event"]
    assert "isinstance(command, commands.RequestWakeup)" in source(layers.http.HttpLayer.event_to_child)
    assert parameters(_http1.Http1Server.read_headers) == ["self", "event"]
    assert "self.body_reader = make_body_reader(expected_body_size)" in source(_http1.Http1Server.read_headers)
    assert "HTTP trailers are not implemented yet" in source(_http1), "else ours is needless"


def test_http2_and_the_choice_of_a_protocol_are_asked_of_the_parts_that_we_put_in_their_place() -> None:
    assert "Http2Server(" in source(layers.http)
    assert parameters(_http2.Http2Server.handle_h2_event) == ["self", "event"]
    assert "h2.events.TrailersReceived" in source(_http2), "else ours is needless"
    assert parameters(next_layer.NextLayer._next_layer) == ["self", "context", "data_client", "data_server"]
    assert issubclass(next_layer.NeedsMoreData, Exception)
    assert "except NeedsMoreData" in source(next_layer.NextLayer.next_layer)


def test_a_flow_that_is_killed_when_it_failed_is_answered_by_no_page() -> None:
    told = source(layers.http.HttpStream.handle_protocol_error)
    assert (
        told.index("yield HttpErrorHook(")
        < told.index("self.check_killed(")
        < told.index("yield SendHttp(event, self.context.client)")
    )
    assert "flow.Error.KILLED_MESSAGE" in source(layers.http.HttpStream.check_killed)


def test_its_exceptions_are_the_ones_that_we_know() -> None:
    assert issubclass(exceptions.OptionsError, exceptions.MitmproxyException)
    assert issubclass(exceptions.AddonHalt, exceptions.MitmproxyException)
    assert issubclass(exceptions.AddonManagerError, exceptions.MitmproxyException)


def test_a_context_shares_its_server_with_those_that_are_made_of_it() -> None:
    client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    context = Context(client, options.Options())
    assert context.fork().server is context.server
    assert context.fork().client is client


@pytest.mark.parametrize("name", ["emudhra", "emudhra_ca"])
def test_no_option_of_a_published_authority_is_there(name: str) -> None:
    assert name not in options.Options()
