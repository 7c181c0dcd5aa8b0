"""Reads what a caller asks for.

Either it has exactly the fields that there are, each of its type, or it is refused with a sentence that says which is
not.
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
BODY_TIMEOUT_S = 10.0
"""As long as a client of the proxy port may take for a head."""


async def parse_body(request: web.Request, fields: Mapping[str, type]) -> dict[str, Any]:
    """The JSON object of a request. Fields that are left out are left out.

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
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object.")
    for name, given in value.items():
        _known(name, fields)
        if type(given) is not fields[name]:
            raise Refused(400, f"{name} must be a {fields[name].__name__}.")
    return value


def parse_query(request: web.Request, *known: str) -> Mapping[str, str]:
    """The query's fields, each at most once. Raises Refused (400)."""
    fields = dict.fromkeys(known)
    for name in request.query:
        _known(name, fields)
        if len(request.query.getall(name)) > 1:
            raise Refused(400, f"{name} is given twice.")
    return request.query


def parse_field(convert: Callable[[str], T], text: str) -> T:
    """`text` as something else. Raises Refused (400) with the sentence of convert's ValueError."""
    try:
        return convert(text)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def parse_number(text: str, *, least: float, most: float) -> float:
    """A plain number within bounds. Raises ValueError."""
    try:
        value = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        value = None
    if value is None or not least <= value <= most:  # NaN is never between
        raise ValueError(f"{quoted(text)} is not a number from {least:g} to {most:g}")
    return value


def _known(name: str, fields: Mapping[str, Any]) -> None:
    if name not in fields:
        raise Refused(400, f"unknown field {quoted(name)}{suggestion(name, fields)}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a field is given twice")
    return made


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
