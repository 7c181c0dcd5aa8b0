"""Turns the values of `proxy.control.answers` into JSON documents. This is the only serializer.

A dataclass becomes an object with all its fields, in their order; an enum its value; a tuple an array. A field that is
None is null, and none is ever left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from proxy.control.version import VERSION

Document = dict[str, Any]


def versioned(**content: Any) -> Document:
    """Returns a complete document: `content` with the version of the API."""
    return {"version": VERSION, **{name: to_json(value) for name, value in content.items()}}


def document(answer: object) -> Document:
    """Returns the document of an answer: its fields, with the version of the API."""
    return {"version": VERSION, **to_json(answer)}


def to_json(value: Any) -> Any:
    """Returns `value` as what `json.dumps` takes. Raises TypeError for a value of a type that no answer has."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    raise TypeError(f"no answer has a {type(value).__name__}")


@lru_cache(maxsize=256)
def _names(kind: type) -> tuple[str, ...]:
    """`fields` builds a list at each call, and a page of the log has ten thousand rows."""
    return tuple(field.name for field in fields(kind))
