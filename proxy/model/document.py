"""Serializes values, such as those of `proxy.control.answers`, as JSON documents, and reads them back. There is no
other serializer.

A dataclass becomes an object with the fields that its constructor takes, in their order, an enum becomes its value, and
a tuple an array. No field is left out: None becomes null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from proxy.model.document_version import VERSION
from proxy.model.phrase import Phrase

Document = dict[str, Any]
T = TypeVar("T")


def versioned(**content: Any) -> Document:
    """Returns a complete document: `content` with the version of the API."""
    return {"version": VERSION, **{name: to_json(value) for name, value in content.items()}}


def document(answer: object, said: Callable[[Phrase], Any] = str) -> Document:
    """Returns the document of an answer: its fields, with the version of the API. `said` serializes a phrase: by
    default as its English text, with `phrase_parts` in parts, which a command says in another language."""
    return {"version": VERSION, **to_json(answer, said)}


def to_json(value: Any, said: Callable[[Phrase], Any] = str) -> Any:
    """Returns `value` in types that `json.dumps` takes. Raises TypeError for any other type."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if is_dataclass(kind):
        names, read = _fields_of(kind)
        return {
            name: part if type(part) in _PLAIN else to_json(part, said)
            for name, part in zip(names, read(value), strict=True)
        }
    if issubclass(kind, list | tuple):
        return [to_json(part, said) for part in value]
    if issubclass(kind, Mapping):
        return {str(name): to_json(part, said) for name, part in value.items()}
    if kind is Phrase:
        return said(value)
    if issubclass(kind, str):  # an enum of texts
        return str(value)
    raise TypeError(f"no answer has a {kind.__name__}")


def from_json(kind: Callable[..., T], document: Mapping[str, Any]) -> T:
    """Returns the value of texts, numbers and tuples of such values that `to_json` made this of. Fields that only a
    later version has are left out."""
    given = {}
    for name, inner in _inner_kinds(kind).items():
        part = document[name]
        given[name] = part if inner is None else tuple(from_json(inner, each) for each in part)
    return kind(**given)


PHRASES_HEADER = "Byway-Phrases"
"""A request with the value "parts" gets phrases as `phrase_parts` writes them."""


def phrase_parts(phrase: Phrase) -> Document:
    """Returns the message of a phrase, which the catalogues translate, and its values."""
    return {
        "phrase": phrase.message,
        "plural": phrase.plural,
        "number": phrase.number,
        "context": phrase.context,
        "values": to_json(phrase.values, phrase_parts),
    }


def phrase_of(document: Document) -> Document | Phrase:
    """Returns the phrase that `phrase_parts` serialized as this object; any other object unchanged."""
    if document.keys() != _PARTS:
        return document
    return Phrase(*map(document.__getitem__, ("phrase", "plural", "number", "context", "values")))


_PARTS = {"phrase", "plural", "number", "context", "values"}


def fields_of(value: Any) -> Mapping[str, Any]:
    """Returns the fields of an answer, not serialized: its phrases can still be said in another language."""
    kind: Any = type(value)
    names, read = _fields_of(kind)
    return dict(zip(names, read(value), strict=True))


_PLAIN = frozenset({str, int, float, bool, NoneType})


@lru_cache(maxsize=256)
def _inner_kinds(kind: Any) -> Mapping[str, Any]:
    """Returns the names of the fields, with the class of the values in a tuple of them; None for any other field."""
    inner = {name: next(iter(get_args(hint)), None) for name, hint in get_type_hints(kind).items()}
    return {field.name: inner[field.name] if is_dataclass(inner[field.name]) else None for field in fields(kind)}


@lru_cache(maxsize=256)
def _fields_of(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Returns the names of the fields, and a function that reads all of them at once: a page of the log has ten
    thousand rows."""
    names = tuple(field.name for field in fields(kind) if field.init)
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda value: tuple(getattr(value, name) for name in names)
