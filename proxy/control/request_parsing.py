"""Parses the fields of API requests, strictly.

A request has only known fields, each once and of its type; otherwise it is refused, with a sentence that names the
field.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiohttp import web

from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused

T = TypeVar("T")

BODY_LIMIT = 64 * 1024
FAR_FUTURE = 1e11
"""The latest time that a request may name, in seconds since the epoch."""

BODY_TIMEOUT_S = 10.0
"""The default of `[limits] head_timeout_s`, which a client of the proxy port has for a head."""


async def parse_body(request: web.Request, fields: Mapping[str, type]) -> dict[str, Any]:
    """Returns the JSON object of a request. `fields` are the known ones with their types; all are optional.

    Raises Refused: 408 too slow, 413 too long, 415 not JSON by its type, 400 anything else."""
    if request.content_type != "application/json":
        raise Refused(415, "The body must be application/json.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
    except TimeoutError:
        raise Refused(408, f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"The body has at most {BODY_LIMIT} bytes.") from None
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_fields, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object.")
    for name, given in value.items():
        _check_known(name, fields)
        if type(given) is not fields[name]:
            raise Refused(400, f"{name} must be a {fields[name].__name__}.")
    return value


def parse_query(request: web.Request, *known: str) -> Mapping[str, str]:
    """Returns the fields of the query, each of which may be given once. Raises Refused (400)."""
    fields = dict.fromkeys(known)
    for name in request.query:
        _check_known(name, fields)
        if len(request.query.getall(name)) > 1:
            raise Refused(400, f"{name} is given twice.")
    return request.query


def parse_field(convert: Callable[[str], T], text: str) -> T:
    """Returns `convert(text)`. Raises Refused (400) with the sentence of its ValueError."""
    try:
        return convert(text)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def parse_number(text: str, *, least: float, most: float) -> float:
    """Parses a plain number within bounds. Raises ValueError."""
    try:
        value = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        value = None
    if value is None or not least <= value <= most:  # NaN is never between
        raise ValueError(f"{quoted(text)} is not a number from {least:g} to {most:g}")
    return value


def _check_known(name: str, fields: Mapping[str, Any]) -> None:
    if name not in fields:
        raise Refused(400, f"unknown field {quoted(name)}{suggestion(name, fields)}")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is given twice")
    return fields


def _refuse_constant(text: str) -> float:
    """NaN and Infinity, which Python's parser would take."""
    raise ValueError(f"{text} is not JSON")
