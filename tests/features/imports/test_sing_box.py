"""Configurations of sing-box: how the fields of a rule belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping

from proxy.features.imports.foreign import PRIVATE
from tests.features.imports.planned import planned, sing_box
from tests.support.rows import each_row

TAKEN: list[tuple[Mapping[str, object], list[str]]] = [
    ({"domain": "a.example", "outbound": "d"}, ["DOMAIN,a.example,DIRECT"]),
    (
        {"domain": ["a.example"], "domain_keyword": ["k"], "ip_cidr": ["192.0.2.7/24"], "outbound": "s"},
        ["DOMAIN,a.example,RELAY:s", "DOMAIN-KEYWORD,k,RELAY:s", "IP-CIDR,192.0.2.0/24,RELAY:s"],
    ),
    (
        {"domain_suffix": ["a.example", ".b.example"], "outbound": "d"},
        ["DOMAIN-SUFFIX,a.example,DIRECT", "DOMAIN-REGEX,\\.b\\.example$,DIRECT"],
    ),
    ({"domain_regex": ["^x[0-9]"], "action": "route", "outbound": "b"}, ["DOMAIN-REGEX,^x[0-9],BLOCK"]),
    ({"domain": "a.example", "action": "reject"}, ["DOMAIN,a.example,BLOCK"]),
    ({"ip_is_private": True, "outbound": "d"}, [f"{test},DIRECT" for test in PRIVATE]),
    (
        {"port": [80, 443], "port_range": ["1000:2000", ":10", "60000:"], "outbound": "s"},
        [f"DST-PORT,{ports},RELAY:s" for ports in ("80", "443", "1000-2000", "1-10", "60000-65535")],
    ),
    ({"process_name": ["curl"], "outbound": "d"}, ["PROCESS-NAME,curl,DIRECT"]),
    ({"network": "tcp", "domain": "a.example", "outbound": "s"}, ["DOMAIN,a.example,RELAY:s"]),
    (
        {
            "type": "logical",
            "mode": "or",
            "outbound": "s",
            "rules": [{"domain": "a.example"}, {"port": 22}, {"network": "udp"}],
        },
        ["DOMAIN,a.example,RELAY:s", "DST-PORT,22,RELAY:s"],
    ),
    (
        {"type": "logical", "mode": "and", "outbound": "s", "rules": [{"network": "tcp"}, {"domain": "a.example"}]},
        ["DOMAIN,a.example,RELAY:s"],
    ),
    ({"rule_set": ["ads"], "geosite": "x", "outbound": "b"}, ["LIST,ads,BLOCK", "LIST,x,BLOCK"]),
]


@each_row(("rule", "lines"), TAKEN)
def test_a_rule_that_byway_has_too_is_taken_whole(rule: Mapping[str, object], lines: list[str]) -> None:
    made = planned(sing_box(rule, final="d"), lists={"RULE-SET,ADS": "ads", "GEOSITE,X": "x"})
    assert (made.lines, made.refused, made.partly, made.warnings) == ([*lines, "MATCH,DIRECT"], [], [], [])


REFUSED: list[tuple[Mapping[str, object], str]] = [
    ({"domain": "a.example", "port": 443}, "Byway has no rules for several conditions at once"),
    ({"domain": "a.example", "process_name": "curl"}, "Byway has no rules for several conditions at once"),
    ({"domain": "a.example", "invert": True}, "Byway has no rules for all but some sites"),
    ({"domain": "a.example", "inbound": "tun-in"}, "Byway has no rules about inbound"),
    ({"clash_mode": "Direct"}, "Byway has no rules about clash_mode"),
    ({"protocol": ["bittorrent"]}, "Byway has no rules about protocol"),
    ({"source_ip_cidr": ["10.0.0.0/8"]}, "Byway has no rules about source_ip_cidr"),
    (
        {"domain": "a.example", "override_address": "192.0.2.1"},
        "it sends connections to another address than they ask for",
    ),
    (
        {"type": "logical", "mode": "and", "rules": [{"domain": "a.example"}, {"port": 1}]},
        "Byway has no rules for several",
    ),
    (
        {"type": "logical", "mode": "or", "invert": True, "rules": [{"domain": "a.example"}]},
        "Byway has no rules for all but",
    ),
    (
        {"type": "logical", "mode": "or", "rules": [{"domain": "a.example", "invert": True}]},
        "Byway has no rules for all but",
    ),
    ({"rule_set": "ru"}, 'it needs a list: name one with --list "RULE-SET,ru=NAME"'),
]


@each_row(("rule", "why"), REFUSED)
def test_a_rule_that_byway_does_not_have_is_listed_and_warned_of(rule: Mapping[str, object], why: str) -> None:
    made = planned(sing_box({**rule, "outbound": "d"}, final="s"))
    assert made.lines == ["MATCH,RELAY:s"]
    (refused,) = made.refused
    assert refused.startswith(why)
    assert made.warnings[0].startswith("1 rule that keeps sites off relays is not taken; ")


@each_row(
    "rule",
    [
        {"action": "sniff"},
        {"protocol": "dns", "action": "hijack-dns"},
        {"action": "resolve"},
        {"protocol": ["quic"], "outbound": "b"},
        {"network": ["udp"], "port": 443, "action": "reject"},
        {"type": "logical", "mode": "and", "rules": [{"network": "udp"}, {"port": 443}], "outbound": "b"},
    ],
)
def test_what_has_no_effect_in_byway_is_not_needed(rule: Mapping[str, object]) -> None:
    made = planned(sing_box(rule, final="d"))
    assert (made.lines, len(made.idle), made.warnings) == (["MATCH,DIRECT"], 1, [])


def test_without_final_all_else_goes_by_the_first_outbound() -> None:
    assert planned(sing_box()).lines == ["MATCH,RELAY:s"]
    assert planned(json.dumps({"outbounds": json.loads(sing_box())["outbounds"]})).lines == []


def test_a_selector_begins_with_its_default_and_what_is_no_relay_is_told() -> None:
    more = [
        {"type": "selector", "tag": "choice", "outbounds": ["fast", "s", "d"], "default": "s"},
        {"type": "urltest", "tag": "fast", "outbounds": ["s", "t"]},
        {"type": "http", "tag": "t", "server": "t.example", "server_port": 8080},
    ]
    document = json.loads(sing_box({"domain": "a.example", "outbound": "choice"}, final="fast"))
    document["outbounds"] += more
    made = planned(json.dumps(document))
    assert made.groups == [("fast", ("s", "t"), "fastest"), ("choice", ("s",), "select")]
    assert made.entries[-1] == ("choice", "taken in part", 'choice: select of s; without "fast", "d"')
    assert made.lines == ["DOMAIN,a.example,RELAY:choice", "MATCH,RELAY:fast"]


def test_where_names_are_resolved_for_rules_on_addresses_these_are_taken_in_part() -> None:
    rule = {"ip_cidr": ["192.0.2.0/24"], "outbound": "d"}
    assert planned(sing_box(rule)).partly == []
    assert len(planned(sing_box({"action": "resolve"}, rule)).partly) == 1


def test_rules_in_rules_without_end_are_refused() -> None:
    rule: dict[str, object] = {"domain": "a.example"}
    for _ in range(200):
        rule = {"type": "logical", "mode": "or", "rules": [rule]}
    assert planned(sing_box({**rule, "outbound": "d"})).refused == ["it has too many rules in each other"]
