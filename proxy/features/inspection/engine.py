"""Runs mitmproxy in this process: one master for all inspected clients, with only the necessary addons of its own.

It has no addon that opens connections, listens or has a CA. `Master.run` is never called: the event loop, its exception
handler and the signals are Byway's. The import of this module takes about a second, so `inspector` imports it in a
thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from mitmproxy import exceptions, hooks, options, version
from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver
from mitmproxy.master import Master
from mitmproxy.proxy import layer, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode

from proxy.config.paths import private_folder
from proxy.config.schema import Settings
from proxy.extend.dispatch import Addons
from proxy.features.inspection import http1_compat, http2_compat
from proxy.features.inspection.addon_hooks import GuardedAddon, has_hooks, traverse
from proxy.features.inspection.client_context import AddonHooks, InspectedClient, UpstreamPath
from proxy.features.inspection.handler import Handler, close_writer, connect_streams
from proxy.features.inspection.leaf import Leaf
from proxy.features.inspection.mitm_tls import CIPHERS, LocalCaTls, trust_options
from proxy.net.tasks import spawn
from proxy.wire.sniff import may_be_http

log = logging.getLogger(__name__)

_TLS = b"\x16"
"""The first byte of a ClientHello."""


class Engine:
    """Serves inspected clients with mitmproxy. Create it on the event loop that it serves."""

    def __init__(
        self, folder: Path, settings: Callable[[], Settings], addons: Addons, *, leaf: Callable[[str], Leaf]
    ) -> None:
        """`folder` is mitmproxy's configuration folder; `settings` returns the settings in use; `addons` are the
        user's; `leaf` signs a certificate for a host."""
        _quiet_mitmproxy()
        http1_compat.install(lambda: settings().limits.head_timeout_s)
        http2_compat.install()
        self._settings = settings
        self._addons = addons
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._guarded: list[GuardedAddon] = []
        self._numbers = itertools.count(1)
        self._user_hooks: tuple[AddonHooks, ...] = ()
        private_folder(folder)
        self.master = Master(options.Options(confdir=str(folder), server=False))
        self.master._legacy_log_events.uninstall()  # it would pass every log record of the process to addons
        signing = LocalCaTls(lambda client: self._handlers[client.id].inspected, leaf)
        self._server = proxyserver.Proxyserver()
        self.master.addons.add(core.Core(), self._server, disable_h2c.DisableH2C(), _NextLayer(), signing)
        self.master.options.update(ciphers_server=CIPHERS, **trust_options())
        signing.sealed = True  # from here on no addon may change how mitmproxy connects or signs
        self.refresh_addons()

    async def serve(
        self, inspected: InspectedClient, client: socket.socket, received: bytes, first: UpstreamPath | None
    ) -> None:
        """Starts serving a client, from which `received` was already read; `first` is the path to its origin, if that
        is open. Closes the sockets on every path. Raises OSError."""
        # A reload may have changed this setting since the last client.
        stream_above = str(self._settings().inspect.stream_above_bytes)
        if self.master.options.stream_large_bodies != stream_above:
            self.master.options.update(stream_large_bodies=stream_above)
        try:
            reader, writer = await connect_streams(client, inspected.address, received)
        except BaseException:
            if first is not None:
                first.sock.close()
            raise
        # mitmproxy's own limit, ten minutes, would end pages that stay open
        idle_timeout_s = self._settings().limits.idle_timeout_s
        handler = Handler(self.master, inspected, reader, writer, first, idle_timeout_s=idle_timeout_s)
        task = spawn(self._serve(handler, writer), name=f"inspect {inspected.host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, handler: Handler, writer: asyncio.StreamWriter) -> None:
        number = handler.client.id
        self._handlers[number] = handler
        try:
            with self._server.register_connection(number, handler):
                await handler.handle_client()
        finally:
            del self._handlers[number]
            handler.close()
            await close_writer(writer)

    @property
    def active(self) -> int:
        return len(self._handlers)

    # -- addons --------------------------------------------------------------------------------------------------

    def refresh_addons(self) -> None:
        """Adds and removes addons in mitmproxy, after a change of the user's running addons."""
        user_hooks = tuple(
            AddonHooks(runner, thing) for runner in self._addons.running for thing in runner.addon.objects
        )
        if user_hooks == self._user_hooks:
            return
        self._user_hooks = user_hooks
        hooked = [inner for addon_hooks in user_hooks for inner in traverse(addon_hooks) if has_hooks(inner.addon)]
        for guarded in [guarded for guarded in self._guarded if guarded.addon_hooks not in hooked]:
            self._guarded.remove(guarded)
            self.master.addons.remove(guarded)
        present = [guarded.addon_hooks for guarded in self._guarded]
        for addon_hooks in hooked:
            if addon_hooks not in present:
                self._add_addon(GuardedAddon(addon_hooks, next(self._numbers)))

    def _add_addon(self, guarded: GuardedAddon) -> None:
        manager = self.master.addons
        try:
            manager.add(guarded)
        except exceptions.MitmproxyException as error:  # such as two addons with the same command or option
            log.warning("addon %s: mitmproxy rejects it: %s", guarded.addon_hooks.runner.name, error)
            return
        self._guarded.append(guarded)
        self._set_options(guarded.addon_hooks)
        manager.invoke_addon_sync(guarded, hooks.ConfigureHook(set(self.master.options.keys())))
        running = manager.invoke_addon(guarded, hooks.RunningHook())
        spawn(running, name=f"addon {guarded.addon_hooks.runner.name} is running")

    def _set_options(self, addon_hooks: AddonHooks) -> None:
        """Sets the addon's options from `[addons.NAME]`, which the addon has already declared."""
        for name, value in addon_hooks.runner.addon.for_mitmproxy.items():
            if name not in self.master.options:
                log.warning("addon %s: [addons.%s] %s: it has no such option", *(addon_hooks.runner.name,) * 2, name)
                continue
            try:
                self.master.options.update(**{name: value})
            except (exceptions.OptionsError, TypeError) as error:
                log.warning("addon %s: [addons.%s] %s: %s", *(addon_hooks.runner.name,) * 2, name, error)

    # -- ending --------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends all connections, then removes the addons, which calls their `done` hook."""
        for handler in tuple(self._handlers.values()):
            await handler.end()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=5.0)
        for guarded in self._guarded:
            self.master.addons.remove(guarded)
        self._guarded.clear()


class _NextLayer(next_layer.NextLayer):
    """Detects the protocol of a client without TLS, and inside TLS without ALPN; replaces mitmproxy's own addon.

    mitmproxy decides by the first received bytes, even by one, and forwards unchanged everything that is not clearly
    HTTP. So an unusual request head, or one in pieces, would pass without being parsed. Here the decision waits for
    enough bytes, and a head that a lenient server might accept as HTTP counts as HTTP."""

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


def _quiet_mitmproxy() -> None:
    """Sends mitmproxy's log to ours at debug level, since it names sites. Hides the name of mitmproxy on error pages,
    where scripts of any site could read it."""
    version.MITMPROXY = "proxy"
    mitm_log = logging.getLogger("mitmproxy")
    mitm_log.propagate = False
    mitm_log.handlers[:] = [_ToDebug()]


class _ToDebug(logging.Handler):
    """Writes mitmproxy's records to our log at debug level, and the type of an exception at error level."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR and record.exc_info:
            log.error("mitmproxy failed: %s; use -vv for details", type(record.exc_info[1]).__name__)
        log.debug("mitmproxy: %s", record.getMessage(), exc_info=record.exc_info)
