"""Parses the fields of API requests, strictly.

Each endpoint has a frozen dataclass of its fields. A request with an unknown or repeated field, or one of another type,
is refused with a sentence that names the field.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from aiohttp import web

from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.model.frozen_dataclass import frozen_dataclass

S = TypeVar("S")
T = TypeVar("T")

BODY_LIMIT = 64 * 1024
"""The most bytes of a body."""

FAR_FUTURE = 1e11
"""The latest time in a request, in seconds since the epoch."""

BODY_TIMEOUT_S = 10.0
"""Seconds for a body: the default of `[limits] head_timeout_s`, which is for the head of a client's request."""


@frozen_dataclass
class Between:
    """The bounds of a number in a request, both included: `Annotated[float, Between(0, 1)]`."""

    least: float
    most: float

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Adds the bounds to the API document, which pydantic makes."""
        return {**handler(schema), "minimum": self.least, "maximum": self.most}


async def parse_body(request: web.Request, kind: type[T]) -> T:
    """Parses the JSON object in the body as the dataclass `kind`.

    Raises Refused: 408 too slow, 413 too long, 415 another content type, 400 any other fault."""
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
    fields = _fields_of(kind)
    return _made(kind, {name: _typed(name, given, fields) for name, given in value.items()})


def parse_query(request: web.Request, kind: type[T]) -> T:
    """Parses the query as the dataclass `kind`. Raises Refused (400)."""
    fields = _fields_of(kind)
    values: dict[str, Any] = dict(query_fields(request, *fields))
    for name, text in values.items():
        if (bounds := fields[name].bounds) is not None:
            number = parse_field(partial(parse_number, least=bounds.least, most=bounds.most), text)
            values[name] = fields[name].type(number)
    return _made(kind, values)


def query_fields(request: web.Request, *names: str) -> Mapping[str, str]:
    """Returns the fields of the query. Each must be one of `names`, and occurs at most once. Raises Refused (400)."""
    fields = dict.fromkeys(names)
    for name in request.query:
        _check_known(name, fields)
        if len(request.query.getall(name)) > 1:
            raise Refused(400, f"{name} is given twice.")
    return request.query


@frozen_dataclass
class Nothing:
    """A request without fields."""


@frozen_dataclass
class _Field:
    """A field of a request. `is_list`: it is a list of `type`."""

    type: Any  # str, bool, int or float
    is_list: bool
    bounds: Between | None
    required: bool


def _fields_of(kind: type) -> Mapping[str, _Field]:
    """Returns the fields of a dataclass by name, from the annotations: str, bool, int, float or tuple[str, ...], with
    bounds or without, optional or not."""
    by_name = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclass_fields(cast(Any, kind)):
        given = hints[field.name]
        if get_origin(given) is UnionType or get_origin(given) is Union:
            (given,) = (part for part in get_args(given) if part is not NoneType)
        bounds = None
        if get_origin(given) is Annotated:
            given, bounds = get_args(given)
        is_list = get_origin(given) is tuple
        required = field.default is MISSING and field.default_factory is MISSING
        by_name[field.name] = _Field(get_args(given)[0] if is_list else given, is_list, bounds, required)
    return by_name


def _made(kind: type[T], values: Mapping[str, Any]) -> T:
    for name, field in _fields_of(kind).items():
        if field.required and name not in values:
            raise Refused(400, f"{name} is missing")
    return kind(**values)


def _typed(name: str, given: Any, fields: Mapping[str, _Field]) -> Any:
    """Returns the value of a field in a body. An integer is accepted for a float, since JSON has one type of number."""
    _check_known(name, fields)
    field = fields[name]
    if field.is_list:
        if not isinstance(given, list) or any(type(each) is not field.type for each in given):
            raise Refused(400, f"{name} must be a list of {field.type.__name__}.")
        return tuple(given)
    if field.type is float and type(given) is int and abs(given) <= FAR_FUTURE:
        given = float(given)
    if type(given) is not field.type:
        raise Refused(400, f"{name} must be a {field.type.__name__}.")
    if field.bounds is not None and not field.bounds.least <= given <= field.bounds.most:
        raise Refused(400, f"{name} must be from {field.bounds.least:.0f} to {field.bounds.most:.0f}")
    return given


def parse_field(convert: Callable[[S], T], given: S) -> T:
    """Returns `convert(given)`. Raises Refused (400) with the sentence of its ValueError."""
    try:
        return convert(given)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def parse_number(text: str, *, least: float, most: float) -> float:
    """Parses a decimal number within bounds, both included. Raises ValueError."""
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
    """Refuses NaN and Infinity, which Python's parser accepts."""
    raise ValueError(f"{text} is not JSON")
