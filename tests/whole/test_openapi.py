"""The API document: it is what the endpoints are, it is an OpenAPI document, and no real answer contradicts it."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
from aiohttp import ClientSession, web

from proxy.control import api
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.frame import Frame
from tests.support.control_world import World, read
from tests.support.documented import FILE, Documented
from tests.support.rows import each_row
from tests.whole.openapi import as_text, make_document

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text())
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_the_document_is_what_the_endpoints_are() -> None:
    assert FILE.read_text() == as_text(make_document()), f"write it anew: python -m {make_document.__module__}"


def test_every_route_is_documented(world: World) -> None:
    app = api.make_app(Frame(world.parts, SignIn()), guard=None)  # type: ignore[arg-type]  # nothing is asked
    routes = {(route.resource.canonical, route.method.lower()) for route in app.router.routes() if route.resource}
    assert {(path, method) for path, method in routes if method != "head"} == set(OPERATIONS)


def test_every_operation_says_what_it_is() -> None:
    names = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(names)) == len(names)
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"].endswith(".")
        given = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert given == set(re.findall(r"\{(\w+)\}", path))
        assert ("requestBody" in operation) == (method in ("post", "put"))
        assert {"200", "400", "401", "403", "421", "500"} <= set(operation["responses"])


def test_every_schema_is_described_and_leads_to_one_that_is_there() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    for reference in re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', FILE.read_text()):
        assert reference[1] in DOCUMENT["components"][reference[0]]
    for schema in schemas.values():
        jsonschema_rs.meta.validate({**schema, "components": DOCUMENT["components"]})


def test_no_request_takes_a_path_a_command_or_a_password() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    asked = {name for schema in schemas if schema.endswith("Request") for name in schemas[schema]["properties"]}
    asked |= {
        each["name"] for path, method in OPERATIONS for each in DOCUMENT["paths"][path][method].get("parameters", ())
    }
    assert not {name for name in asked if re.search(r"path|file|command|cmd|password|secret|ca$|addon", name)}


# -- a control: what contradicts the document is found ----------------------------------------------------------------


@each_row(
    ("status", "body"),
    [
        (200, {"version": 2, "mode": {"mode": "auto", "paused_until": None}}),
        (200, {"version": 2, "mode": {"mode": "auto", "paused_until": None}, "relays": 1, "more": 1}),
        (200, {"version": 2, "mode": {"mode": "odd", "paused_until": None}, "relays": 1}),
        (200, {"version": 2, "mode": {"mode": "auto", "paused_until": "never"}, "relays": 1}),
        (200, {"version": 3, "mode": {"mode": "auto", "paused_until": None}, "relays": 1}),
        (400, {"version": 2}),
        (402, {"version": 2, "error": "a sentence"}),
    ],
)
def test_an_answer_that_is_not_documented_is_found(status: int, body: dict[str, Any]) -> None:
    documented = Documented(DOCUMENT)
    documented.judge("GET", "/v1/mode", web.json_response(body, status=status))
    assert len(documented.problems) == 1


def test_an_answer_of_another_type_is_found() -> None:
    documented = Documented(DOCUMENT)
    documented.judge("GET", "/v1/mode", web.Response(text="{}"))
    assert documented.problems == ["GET /v1/mode answers text/plain"]


async def test_every_answer_of_these_tests_is_judged(api: ClientSession, documented: Documented) -> None:
    await read(api, "/v1/status")
    async with api.get("/v1/log?limit=0") as refused:
        assert refused.status == 400
    assert (documented.judged, documented.problems) == (2, [])
