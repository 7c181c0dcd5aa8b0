"""Rule-sets of sing-box in their source form. The rows follow its documentation."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.sing_box import DEPTH_LIMIT, parse_sing_box, recognizes
from tests.support.calls import counting
from tests.support.rows import each_row


def read(text: str) -> DomainList:
    builder = ListBuilder("set.json", size=len(text), format="sing-box")
    parse_sing_box(iter(text.splitlines(keepends=True)), builder)
    return builder.build()


def read_rules(*rules: Any, version: int = 3, indent: int | None = None) -> DomainList:
    return read(json.dumps({"version": version, "rules": rules}, indent=indent))


def listed(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.entries()}


@each_row("indent", [None, 2])
@each_row("version", [1, 2, 3, 4])
def test_the_hosts_of_a_rule(version: int, indent: int | None) -> None:
    rule = {
        "domain": ["one.example", "Two.example", "x.example", ".dot.example"],
        "domain_suffix": ["site.example", ".below.example", "bücher.example", "m.example"],
        "domain_keyword": "word",
        "domain_regex": ["^stun\\..+", "^a"],
        "ip_cidr": ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"],
        "invert": False,
    }
    found = read_rules(rule, {"domain_suffix": "single.example", "type": "default"}, version=version, indent=indent)
    assert listed(found) == {
        "one.example": Covers.HOST,
        "two.example": Covers.HOST,
        "x.example": Covers.HOST,
        "site.example": Covers.SITE,
        "m.example": Covers.SITE,
        "below.example": Covers.SUBDOMAINS,
        "xn--bcher-kva.example": Covers.SITE,
        "single.example": Covers.SITE,
        "word": Covers.HOST,
        "192.0.2.0/24": Covers.HOST,
        "198.51.100.7": Covers.HOST,
        "2001:db8::/32": Covers.HOST,
    }
    assert found.skips == {Skip.REGULAR_EXPRESSION: 2, Skip.UNREADABLE: 1}


@each_row(
    ("condition", "reason", "shown"),
    [
        ({"port": [443]}, Skip.CONDITION, "port"),
        ({"port_range": "1000:2000"}, Skip.CONDITION, "port_range: 1000:2000"),
        ({"network": "udp"}, Skip.CONDITION, "network: udp"),
        ({"query_type": ["A", 32768]}, Skip.CONDITION, "query_type"),
        ({"source_ip_cidr": ["10.0.0.0/8"]}, Skip.CONDITION, "source_ip_cidr"),
        ({"wifi_ssid": ["home"]}, Skip.CONDITION, "wifi_ssid"),
        ({"network_interface_address": {"wifi": ["2000::/3"]}}, Skip.CONDITION, "network_interface_address"),
        ({"invert": True}, Skip.UNSUPPORTED_TYPE, "invert: true"),
        ({"process_name": ["curl"]}, Skip.PROCESS, "process_name"),
        ({"process_path_regex": ["^/usr"]}, Skip.PROCESS, "process_path_regex"),
        ({"package_name": "com.termux"}, Skip.PROCESS, "package_name: com.termux"),
        (
            {"type": "logical", "mode": "and", "rules": [{"domain": "b.example"}]},
            Skip.UNSUPPORTED_TYPE,
            "type: logical",
        ),
        ({"of_next_year": [1, {"deep": [None, True, -1.5]}]}, Skip.CONDITION, "of_next_year"),
    ],
)
@each_row("first", [True, False])
def test_a_rule_with_another_condition_is_skipped_as_a_whole(
    condition: dict[str, Any], reason: Skip, shown: str, first: bool
) -> None:
    rule = {**condition, "domain": ["a.example"]} if first else {"domain": ["a.example"], **condition}
    found = read_rules(rule, {"domain": ["ok.example"]})
    assert set(listed(found)) == {"ok.example"}
    assert found.skips == {reason: 1}
    assert found.skipped[0].startswith(f'set.json:1: "{shown}" {reason.sentence}')


@each_row("empty", ["[]", "[ ]", "null"])
@each_row("key", ["port", "source_ip_cidr", "process_name", "domain_regex", "ip_cidr", "package_name"])
def test_a_condition_that_names_nothing_is_none(key: str, empty: str) -> None:
    found = read(f'{{"version": 3, "rules": [{{"{key}": {empty}, "domain": ["a.example"], "ip_is_private": false}}]}}')
    assert (listed(found), found.skips) == ({"a.example": Covers.HOST}, {})


def test_an_object_in_an_array_is_something() -> None:
    found = read_rules(
        {"domain": ["a.example", {"b": 1}]}, {"domain": "c.example", "port": [{"d": 1}]}, {"domain": False}
    )
    assert (listed(found), found.skips) == ({"a.example": Covers.HOST}, {Skip.UNREADABLE: 2, Skip.CONDITION: 1})


def test_one_value_may_stand_without_its_array_and_keys_in_any_order() -> None:
    assert set(listed(read('// note\n{"rules": {"domain": "a.example"} /* x */,\n# y\n"version": 2}'))) == {"a.example"}
    assert read('{"version": 1, "rules": []}').problem == "set.json: the list is empty"


@each_row(
    ("text", "sentence"),
    [
        ("", "set.json:1: the JSON is damaged: { was expected, not the end of the file"),
        ('{"version": 3,\n"rules": [{"domain": ["a.example", "b', "set.json:2: cannot be read at "),
        ('{"version": 3,\n"rules": [{"domain": ["a.example"', "set.json:2: the JSON is damaged: "),
        ('{"version": 3, "rules": [{"domain": ["a.example"]}]} x', "set.json: goes on after its last bracket"),
        ('{"version": 9, "rules": []}', "set.json: is a rule-set of version '9'; Byway reads versions 1 to 4"),
        ('{"rules": []}', "set.json: is a rule-set without a version; Byway reads versions 1 to 4"),
        ('{"version": 3, "rules": "x"}', "the JSON is damaged: [ was expected, not 'x'"),
        ('{"version": 3, "rules": [1]}', "the JSON is damaged: { was expected, not '1'"),
        ('{"version": 3, "rules": [{"domain" "a"}]}', "the JSON is damaged: : was expected, not 'a'"),
        ('{"version": 3 "rules": []}', "the JSON is damaged: , was expected, not 'rules'"),
        ('{"version": 3, "x": ' + "[" * 40, f"has more than {DEPTH_LIMIT} nested brackets"),
        ('{"version": 3, "x": ' + '{"a":' * 40, f"has more than {DEPTH_LIMIT} nested brackets"),
        ("<!DOCTYPE html>\n", "the JSON is damaged: { was expected"),
    ],
)
def test_what_is_no_rule_set_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert sentence in str(caught.value)


def test_many_names_are_read_by_few_calls() -> None:
    text = json.dumps({"version": 3, "rules": [{"domain_suffix": [f"site{n}.example" for n in range(10_000)]}]})
    read(text)  # public suffixes are read once
    with counting() as calls:
        found = read(text)
    assert len(found.listed) == 10_000
    assert calls["proxy.routing.domain_set.DomainSetBuilder.add"] < 20
    assert calls.total() < 1000, calls


@given(st.text(alphabet='{}[]:,"arules version123\\\n', max_size=60))
def test_any_text_is_a_rule_set_or_refused(text: str) -> None:
    for complete in (text, f'{{"version": 3, "rules": [{text}]}}'):
        with suppress(ConfigError):
            read(complete)


@each_row(
    ("text", "is_one"),
    [
        ('{"version": 1, "rules": [', True),
        ('\ufeff{\n  "rules": [\n', True),
        ('{"payload": []}', False),
        ("var a = {}", False),
        ("", False),
    ],
)
def test_its_text_is_recognised(text: str, is_one: bool) -> None:
    assert recognizes(text) is is_one


def test_what_is_no_string_is_named() -> None:
    found = read(
        '{"version": 3, "rules": [{"domain": [1, "a.example", null], "domain_suffix": true, "ip_cidr": {"a": 2}}]}'
    )
    assert [entry.text for entry in found.entries()] == ["a.example"]
    assert found.skips == {Skip.UNREADABLE: 4}
    assert [told.split('"')[1] for told in found.skipped] == [
        "domain: 1", "domain: null", "domain_suffix: true", "ip_cidr: {"
    ]  # fmt: skip
