"""Answers of the control API as responses: JSON, with the version of the API."""

from __future__ import annotations

from aiohttp import web

from proxy.control.document import document, versioned


def answer(value: object) -> web.Response:
    """Returns the response of an answer (`proxy.control.answers`)."""
    return web.json_response(document(value))


def error(status: int, text: str) -> web.Response:
    return web.json_response(versioned(error=text), status=status)
