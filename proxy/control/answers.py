"""Answers of the control API: JSON, with the version of the API."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from proxy.control.serialize import versioned


def answer(**content: Any) -> web.Response:
    return web.json_response(versioned(**content))


def error(status: int, text: str) -> web.Response:
    return web.json_response(versioned(error=text), status=status)
