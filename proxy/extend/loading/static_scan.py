"""Reads the description and the hooks of an addon's file without running it, for lists of addons."""

from __future__ import annotations

import ast
from pathlib import Path

from proxy.config.files import read_text
from proxy.extend.hooks import HOOKS
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

_LIMIT = 1024 * 1024
"""The most bytes of one file, as for the loader."""

MITMPROXY_HOOKS = frozenset(
    {
        "request", "requestheaders", "response", "responseheaders", "error", "http_connect", "http_connect_upstream",
        "http_connected", "client_connected", "client_disconnected", "server_connect", "server_connected",
        "server_disconnected", "server_connect_error", "tls_clienthello", "tls_start_client", "tls_start_server",
        "tls_established_client", "tls_established_server", "tls_failed_client", "tls_failed_server",
        "websocket_start", "websocket_message", "websocket_end", "tcp_start", "tcp_message", "tcp_end", "tcp_error",
        "next_layer", "load", "configure", "running", "done",
    }
)  # fmt: skip
"""Hooks of mitmproxy that a file may have for inspected connections."""


@frozen_dataclass
class StaticScan:
    """The description and the hooks of a file; empty when the file cannot be read."""

    about: str = ""  # the first paragraph of its docstring, in one line
    hooks: tuple[str, ...] = ()  # Byway's, by their names alone, in the order of the documentation
    inspects: tuple[str, ...] = ()  # mitmproxy's


def scan(file: Path) -> StaticScan:
    """Parses a file. Raises nothing: the loader reports its faults."""
    try:
        tree = ast.parse(read_text(file, limit=_LIMIT))
    except (BywayError, OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return StaticScan()
    about = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    scopes: list[ast.Module | ast.ClassDef] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    names = {
        node.name for scope in scopes for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return StaticScan(
        " ".join(about.split()), tuple(name for name in HOOKS if name in names), tuple(sorted(names & MITMPROXY_HOOKS))
    )
