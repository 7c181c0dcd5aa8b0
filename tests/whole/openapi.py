"""Writes docs/openapi.json, the OpenAPI 3.1 document of the control API.

    python -m tests.whole.openapi

It is made of the endpoints, and of the types that their handlers take and answer, by pydantic's TypeAdapter. A test
compares the file with what is made, and the tests of the API compare real answers with it (`documented.py`, beside).
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import make_dataclass
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from proxy.control.api import endpoints_of
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.streaming import ErrorAnswer
from proxy.features.table import FEATURES
from proxy.model.document_version import VERSION
from proxy.model.feature import SaidBy, provided
from tests.support.documented import FILE, Schema

_JSON, _LINES = "application/json", "application/x-ndjson"

_DESCRIPTION = """\
What the commands use to reach a running Byway. It listens on a Unix socket of the user, which `run.json` in the state
folder names; where there are no Unix sockets, on loopback with a token, which is there too. Web pages may not use it.

A request is accepted only in its exact form: no unknown, repeated or wrongly typed field. No request takes a path, a
command or code, and no answer holds a password. Times are seconds since the epoch, or null when they are not set;
durations are seconds. A later version may add fields; what is there never changes its meaning without a new `version`.

Sentences are English in every answer. For a command that speaks another language, the header `Byway-Phrases: parts`
makes an object of each sentence: its message, as the catalogues have it, and the values in it.
"""

_REFUSALS = {
    400: "The request is not in its exact form: a field is unknown, repeated, missing or wrong, or a value is refused.",
    401: "The token is missing or wrong. On a Unix socket there is none.",
    403: "A web page, or another user of this computer.",
    404: "What is named does not exist.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The body is not application/json, or it is compressed.",
    421: "The Host is not ours.",
    500: "Byway could not answer.",
}

_EXAMPLES = {
    "host": "example.org",
    "connection": "1",
    "page": "sites",
    "name": "gfw",
    "site": "https://example.org/",
    "url": "https://example.org/",
    "action": "relay:tor",
    "use": "tor",
    "route": "tor",
    "outcome": "failed",
    "mode": "relay",
    "pause_s": 600.0,
    "process": "curl",
    "desktop": "gnome",
}
"""Of what may be asked, by the name of the field."""


class _Schemas(GenerateJsonSchema):
    """Describes each class by its docstring. A field that may be left out of a request is not null: null is refused.
    No field is left out of an answer."""

    def dataclass_schema(self, schema: Any) -> Schema:
        made = super().dataclass_schema(schema)
        made["description"] = _in_one_line(schema["cls"])
        if self.mode == "validation":
            made["additionalProperties"] = False
            for name, field in made["properties"].items():
                if field.get("default", ...) is None:
                    (made["properties"][name],) = (kind for kind in field["anyOf"] if kind != {"type": "null"})
                if name in _EXAMPLES:
                    made["properties"][name]["examples"] = [_EXAMPLES[name]]
        else:
            made["required"] = list(made["properties"])
            for field in made["properties"].values():
                field.pop("default", None)
        return made

    def enum_schema(self, schema: Any) -> Schema:
        return {**super().enum_schema(schema), "description": _in_one_line(schema["cls"])}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def make_document() -> Schema:
    """Returns the document."""
    events = SimpleNamespace(on=lambda *_: None)  # no endpoint is asked for anything
    parts: Any = SimpleNamespace(features=FEATURES, services=SimpleNamespace(events=events))
    nothing: Any = None
    endpoints = sorted(endpoints_of(Frame(parts, nothing)), key=lambda each: (each.path, each.method))
    answers = dict.fromkeys((*(kind for each in endpoints for kind in each.answers), ErrorAnswer))
    bodies = dict.fromkeys(each.asked for each in endpoints if each.has_body and each.asked is not None)
    kinds: list[Any] = [(kind, "serialization", TypeAdapter(_completed(kind))) for kind in answers]
    kinds += [(kind, "validation", TypeAdapter(kind)) for kind in bodies]
    _, made = TypeAdapter.json_schemas(kinds, ref_template="#/components/schemas/{model}", schema_generator=_Schemas)
    schemas = {name: _untitled(schema) for name, schema in sorted(made["$defs"].items())}
    for kind in answers:
        schema = schemas[kind.__name__]
        schema["properties"] = {"version": {"const": VERSION, "type": "integer"}, **schema["properties"]}
        schema["required"] = ["version", *schema["required"]]
    paths: dict[str, Schema] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Byway's control API", "version": str(VERSION), "description": _one_line_each(_DESCRIPTION)},
        "servers": [{"url": "http://byway"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _refusal(text) for status, text in _REFUSALS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _completed(answer: type) -> type:
    """The answer with the types of what other features say in it."""
    types = get_type_hints(answer)
    said = False
    for name, hint in get_type_hints(answer, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, SaidBy):
                by: Any = get_type_hints(provided(FEATURES, mark.role))["return"]
                types[name] = get_type_hints(by)[mark.field] if mark.field else by
                said = True
    return make_dataclass(answer.__name__, types.items(), namespace={"__doc__": answer.__doc__}) if said else answer


def _operation(endpoint: Endpoint) -> Schema:
    handler: Any = endpoint.handler  # a bound method
    asked = endpoint.asked
    in_path = re.findall(r"\{(\w+)\}", endpoint.path)
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "examples": [_EXAMPLES[name]]},
        }
        for name in in_path
    ]
    operation: Schema = {
        "operationId": handler.__name__,
        "tags": [type(handler.__self__).__name__.removesuffix("Endpoints")],
        "summary": _in_one_line(handler),
    }
    if asked is not None and not endpoint.has_body:
        schema = TypeAdapter(asked).json_schema(schema_generator=_Schemas)
        operation["description"] = schema["description"]
        for name, field in schema["properties"].items():
            needed = name in schema.get("required", ())
            parameters.append({"name": name, "in": "query", "required": needed, "schema": field})
    if parameters:
        operation["parameters"] = parameters
    if endpoint.has_body:
        body = {"type": "object", "additionalProperties": False} if asked is None else _reference(asked)
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    statuses = {400, 401, 403, 415, 421, 500, *endpoint.refuses}
    statuses |= ({408, 413} if endpoint.has_body else set()) | ({404} if in_path else set())
    operation["responses"] = {
        "200": _answered(endpoint),
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)},
    }
    return operation


def _answered(endpoint: Endpoint) -> Schema:
    if endpoint.streams:
        lines = [_reference(kind) for kind in (*endpoint.answers, ErrorAnswer)]
        text = "One JSON object a line, as things happen: what each is, `x-line` says."
        return {"description": text, "content": {_LINES: {"schema": {"type": "string"}, "x-line": {"anyOf": lines}}}}
    answers = [_reference(kind) for kind in endpoint.answers]
    schema = answers[0] if len(answers) == 1 else {"anyOf": answers}
    return {"description": " ".join(map(_in_one_line, endpoint.answers)), "content": {_JSON: {"schema": schema}}}


def _refusal(text: str) -> Schema:
    return {"description": text, "content": {_JSON: {"schema": _reference(ErrorAnswer)}}}


def _reference(kind: type) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _untitled(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "title"}


def _one_line_each(text: str) -> str:
    """Paragraphs, each in one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _in_one_line(described: object) -> str:
    """The docstring, where a new line is no more than a space."""
    text = inspect.getdoc(described)
    assert text, f"{described} has no docstring"
    return " ".join(text.split())


def as_text(document: Schema) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(make_document()))
