"""The one serializer: dataclasses, enums, times and numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from proxy.control.answers.plans import PlanJson
from proxy.control.answers.problems import ProblemJson, ProblemSubject
from proxy.model import Action
from proxy.model.document import document, phrase_of, phrase_parts, to_json, versioned
from proxy.model.document_version import VERSION
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext
from tests.support.rows import each_row

PLAN = PlanJson(Action.RELAY, ("tor", "direct"), "a rule")


@frozen_dataclass
class Everything:
    plan: PlanJson
    plans: tuple[PlanJson, ...]
    until: float | None
    flag: bool


def test_an_answer_is_an_object_with_the_version_and_all_its_fields_in_order() -> None:
    shown = document(Everything(PLAN, (PLAN,), None, False))
    plan = {"action": "RELAY", "routes": ["tor", "direct"], "why": "a rule"}
    assert shown == {"version": VERSION, "plan": plan, "plans": [plan], "until": None, "flag": False}
    assert list(shown) == ["version", "plan", "plans", "until", "flag"]


@frozen_dataclass
class One:
    plan: PlanJson


@frozen_dataclass
class NoneAtAll:
    pass


def test_one_field_or_none_at_all_is_an_object_too() -> None:
    assert to_json(One(PLAN)) == {"plan": {"action": "RELAY", "routes": ["tor", "direct"], "why": "a rule"}}
    assert to_json(NoneAtAll()) == {}


@frozen_dataclass
class Tried:
    route: str
    evidence: Mapping[str, Any]


def test_enums_are_their_values_and_read_only_mappings_are_objects() -> None:
    shown = to_json(Tried("tor", MappingProxyType({"relay": Action.BLOCK, "status": 200})))
    assert shown["evidence"] == {"relay": "BLOCK", "status": 200}
    assert type(shown["evidence"]["relay"]) is str
    assert json.loads(json.dumps(shown)) == shown


def test_a_command_may_make_a_document_of_parts() -> None:
    assert versioned(plan=PlanJson(Action.AUTO, ("direct",), "AUTO"), results=[]) == {
        "version": VERSION,
        "plan": {"action": "AUTO", "routes": ["direct"], "why": "AUTO"},
        "results": [],
    }


@each_row("value", [{1, 2}, b"bytes", object(), PlanJson])
def test_what_no_answer_has_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no answer has a"):
        to_json({"part": [value]})


def test_phrases_are_english_unless_their_parts_are_asked_for() -> None:
    inner = ngettext("{count} site", "{count} sites", 2)
    answer = ProblemJson(
        ProblemSubject.SITES, _("{sites} by {route}", sites=inner, route="tor"), pgettext("status", "works")
    )
    assert document(answer) == {"version": VERSION, "subject": "sites", "text": "2 sites by tor", "do": "works"}
    again = json.loads(json.dumps(document(answer, phrase_parts)), object_hook=phrase_of)
    assert again == document(answer), "a phrase is its English text"
    text, do = again["text"], again["do"]
    assert (text.message, text.values["sites"].number, text.values["route"]) == ("{sites} by {route}", 2, "tor")
    assert do.context == "status"


def test_an_object_that_is_no_phrase_stays_as_it_is() -> None:
    for given in ({}, {"phrase": "x"}, {"phrase": 1, "text": 2}):
        assert phrase_of(given) is given
