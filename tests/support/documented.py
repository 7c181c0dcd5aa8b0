"""Compares the answers of the control API with docs/openapi.json.

`watch` checks every answer in a test, whatever the test is about. It notes a status that the operation does not have, a
field that the schema does not have, and a value of another type. The schemas allow additional fields, since a later
version may add some; here they are errors.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import web

from proxy.control import api
from proxy.control.access import Handler
from proxy.control.streaming import Followers
from proxy.model.document import document, phrase_of

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"

Schema = dict[str, Any]


class Documented:
    """The document, with the problems of answers that were checked."""

    def __init__(self, described: Schema) -> None:
        self._described = _closed(described)
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.problems: list[str] = []
        self.judged = 0

    def judge(self, method: str, path: str, response: web.StreamResponse) -> None:
        """Checks a response."""
        operation = self._described["paths"][path][method.lower()]
        answered = operation["responses"].get(str(response.status))
        if answered is None:
            self.problems.append(f"{method} {path} answers {response.status}")
        elif isinstance(response, web.Response):
            if "$ref" in answered:
                answered = self._described["components"]["responses"][answered["$ref"].rpartition("/")[2]]
            self._judge(f"{method} {path}", answered["content"], response.content_type, "schema", response.body)

    def judge_line(self, method: str, path: str, line: object) -> None:
        """Checks a line of a streamed answer."""
        content = self._described["paths"][path][method.lower()]["responses"]["200"]["content"]
        self._judge(f"{method} {path}", content, "application/x-ndjson", "x-line", json.dumps(document(line)))

    def _judge(self, where: str, content: Schema, kind: str, key: str, body: Any) -> None:
        self.judged += 1
        if kind not in content:
            self.problems.append(f"{where} answers {kind}")
            return
        schema = content[kind][key]
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {**schema, "components": self._described["components"]}
            self._validators[name] = jsonschema_rs.Draft202012Validator(whole)
        for error in self._validators[name].iter_errors(json.loads(body, object_hook=_in_english)):
            self.problems.append(f"{where}: {'/'.join(map(str, error.instance_path))}: {error.message}")


def _in_english(part: dict[str, Any]) -> Any:
    """Returns a phrase as its English text. The document does not describe the parts of phrases, which commands request
    by a header."""
    phrase = phrase_of(part)
    return str(phrase) if isinstance(phrase, str) else part


@functools.cache
def _of_file() -> Documented:
    """It takes long to make, and longer to make its validators."""
    return Documented(json.loads(FILE.read_text()))


def watch(monkeypatch: pytest.MonkeyPatch) -> Documented:
    """Checks all answers of all servers from now on."""
    documented = copy.copy(_of_file())
    documented.problems = []
    make_handler, answer_lines = api._guarded, Followers.answer

    def guarded(guard: Any) -> Any:
        inner = make_handler(guard)

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            response: web.StreamResponse = await inner(request, handler)
            resource = request.match_info.route.resource
            if resource is not None and request.method in ("GET", "POST", "PUT", "DELETE"):
                documented.judge(request.method, resource.canonical, response)
            return response

        return middleware

    async def answer(self: Followers, request: web.Request, lines: AsyncGenerator[object, None]) -> Any:
        resource = request.match_info.route.resource
        assert resource is not None
        path = resource.canonical

        async def judged() -> AsyncGenerator[object, None]:
            async for line in lines:
                documented.judge_line(request.method, path, line)
                yield line

        try:
            return await answer_lines(self, request, judged())
        finally:
            await lines.aclose()

    monkeypatch.setattr(api, "_guarded", guarded)
    monkeypatch.setattr(Followers, "answer", answer)
    return documented


def _closed(schema: Any) -> Any:
    """Returns the schema without additional fields in objects."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
