"""Configurations of Clash: servers, groups, and what each kind of rule means."""

from __future__ import annotations

import pytest

from proxy.features.imports.foreign import RULES_LIMIT, Unreadable
from tests.features.imports.planned import clash, planned
from tests.support.rows import each_row

TAKEN = [
    ("DOMAIN,a.example,S", ["DOMAIN,a.example,RELAY:S"]),
    ("DOMAIN-SUFFIX,a.example,DIRECT", ["DOMAIN-SUFFIX,a.example,DIRECT"]),
    ("DOMAIN-KEYWORD,word,REJECT", ["DOMAIN-KEYWORD,word,BLOCK"]),
    ("DOMAIN-REGEX,^a{1,3}\\.example$,REJECT-DROP", ["DOMAIN-REGEX,^a{1,3}\\.example$,BLOCK"]),
    ("DOMAIN-WILDCARD,*.a?.example,S", ["DOMAIN-REGEX,\\.a.\\.example$,RELAY:S"]),
    ("DOMAIN-WILDCARD,a.example,S", ["DOMAIN,a.example,RELAY:S"]),
    ("IP-CIDR,192.0.2.7/24,S,no-resolve", ["IP-CIDR,192.0.2.0/24,RELAY:S"]),
    ("IP-CIDR6,2001:db8::/32,DIRECT,no-resolve", ["IP-CIDR,2001:db8::/32,DIRECT"]),
    ("DST-PORT,22/80-90,REJECT", ["DST-PORT,22,BLOCK", "DST-PORT,80-90,BLOCK"]),
    ("PROCESS-NAME,curl,DIRECT", ["PROCESS-NAME,curl,DIRECT"]),
    ("NETWORK,tcp,S", ["MATCH,RELAY:S"]),
    ("MATCH,DIRECT", ["MATCH,DIRECT"]),
    (
        "OR,((DOMAIN,a.example),(DOMAIN-SUFFIX,b.example)),S",
        ["DOMAIN,a.example,RELAY:S", "DOMAIN-SUFFIX,b.example,RELAY:S"],
    ),
    ("OR,((NETWORK,UDP),(DOMAIN,a.example)),REJECT", ["DOMAIN,a.example,BLOCK"]),
    ("AND,((NETWORK,TCP),(DOMAIN,a.example)),REJECT", ["DOMAIN,a.example,BLOCK"]),
    ("AND,((IP-CIDR,192.0.2.0/24,no-resolve),(NETWORK,TCP)),S", ["IP-CIDR,192.0.2.0/24,RELAY:S"]),
]


@each_row(("rule", "lines"), TAKEN)
def test_a_rule_that_byway_has_too_is_taken_whole(rule: str, lines: list[str]) -> None:
    made = planned(clash(rule))
    assert (made.lines, made.refused, made.partly, made.warnings) == (lines, [], [], [])


REFUSED = [
    ("GEOSITE,ru,DIRECT", 'it needs a list: name one with --list "GEOSITE,ru=NAME"', "keeps sites off relays"),
    ("GEOIP,RU,DIRECT,no-resolve", 'it needs a list: name one with --list "GEOIP,RU=NAME"', "keeps sites off relays"),
    ("RULE-SET,ads,REJECT", 'it needs a list: name one with --list "RULE-SET,ads=NAME"', "blocks sites"),
    ("NOT,((DOMAIN,a.example)),S", "Byway has no rules of type NOT", "sends sites through relays only"),
    ("AND,((DOMAIN,a.example),(DST-PORT,443)),DIRECT", "Byway has no rules for several conditions at once", "keeps"),
    (
        "AND,((OR,((DOMAIN,a),(DOMAIN,b))),(DST-PORT,443)),DIRECT",
        "Byway has no rules of type AND with such parts",
        "keeps",
    ),
    ("OR,((DOMAIN,a.example),(GEOX,ru)),REJECT", "Byway has no rules of type GEOX", "blocks"),
    ("SUB-RULE,(NETWORK,tcp),sub", "Byway has no rules of type SUB-RULE", "does what is not known"),
    ("IP-ASN,13335,DIRECT", "Byway has no rules of type IP-ASN", "keeps"),
    ("IP-CIDR,192.0.2.0/24,DIRECT,src", "it is about the client, not about the site", "keeps"),
    ("SRC-IP-CIDR,192.0.2.0/24,DIRECT", "it is about the client, not about the site", "keeps"),
    ("IN-PORT,7890,S", "it is about the client, not about the site", "sends"),
    ("LIST,mine,S", "Byway has no rules of type LIST", "sends"),
    ("DOMAIN,a.example", "it has no action", "does what is not known"),
    ("DOMAIN,a.example,Nowhere", 'the file does not say what "Nowhere" is', "does what is not known"),
    ("DOMAIN,a.example,PASS", '"PASS": PASS goes on with the rule after it, which no rule of Byway does', "does"),
    ("x" * 200, "it has no action", "does"),
]


@each_row(("rule", "why", "warned"), REFUSED)
def test_a_rule_that_byway_does_not_have_is_listed_and_what_that_costs_is_a_warning(
    rule: str, why: str, warned: str
) -> None:
    made = planned(clash(rule))
    assert (made.lines, made.refused) == ([], [why])
    (warning,) = made.warnings
    assert warning.startswith(f"1 rule that {warned}"), warning
    assert warning.partition("\n")[0].endswith(" not taken; other rules decide, in the end AUTO:")
    assert f"\n  rule 1: {rule[:60]}" in warning


@each_row(
    "rule",
    ["NETWORK,UDP,REJECT", "AND,((NETWORK,UDP),(DST-PORT,443)),REJECT", "OR,((NETWORK,udp),(NETWORK,udp)),S"],
)
def test_a_rule_about_udp_is_not_needed(rule: str) -> None:
    made = planned(clash(rule, "DOMAIN,a.example,S"))
    assert (made.idle, made.warnings) == (["it is about UDP, which Byway does not carry"], [])
    assert made.lines == ["DOMAIN,a.example,RELAY:S"]


def test_addresses_of_names_are_not_asked_for_and_that_is_a_warning() -> None:
    made = planned(
        clash("IP-CIDR,192.0.2.0/24,DIRECT", "GEOIP,RU,DIRECT", "GEOIP,LAN,DIRECT", "MATCH,S"), lists={"GEOIP,RU": "ru"}
    )
    assert made.lines[:2] == ["IP-CIDR,192.0.2.0/24,DIRECT", "LIST,ru,DIRECT"]
    assert "IP-CIDR,10.0.0.0/8,DIRECT" in made.lines
    assert made.partly[0] == (
        "IP-CIDR,192.0.2.0/24,DIRECT (only for addresses in requests: Byway resolves no name to match a rule)"
    )
    (warning,) = made.warnings
    assert warning.startswith("3 rules apply only for addresses in requests: ")
    assert "\n  rule 2: GEOIP,RU,DIRECT\n" in warning


def test_the_order_stays_and_nothing_behind_match_is_used() -> None:
    made = planned(clash("DOMAIN,b.example,S", "DOMAIN,a.example,DIRECT", "MATCH,S", "DOMAIN,c.example,DIRECT"))
    assert made.lines == ["DOMAIN,b.example,RELAY:S", "DOMAIN,a.example,DIRECT", "MATCH,RELAY:S"]
    assert made.idle == ["no site is left for it: a rule before it is for all sites"]


def test_behind_a_match_that_is_not_taken_nothing_is_used_either() -> None:
    made = planned(clash("MATCH,Nowhere", "DOMAIN,c.example,DIRECT"))
    assert made.lines == []
    assert made.warnings[0].startswith("1 rule that does what is not known is not taken;")


SERVERS = """\
  - {name: H, type: http, server: h.example, port: 8443, tls: true, username: me, password: "p@ss"}
  - {name: Key, type: trojan, server: k.example, port: 443, password: hunter2}
  - {name: Near, type: trojan, server: 192.168.1.1, port: 443, password: hunter2}
  - {name: Bare, type: trojan, server: k.example, port: 443, password: hunter2, skip-cert-verify: true}
  - {name: Far, type: vless, server: k.example, port: 443, uuid: hunter2, dialer-proxy: H}
  - {name: Tunnel, type: trojan, server: k.example, port: 443, password: hunter2, network: ws,
     ws-opts: {headers: {User-Agent: x}}}
  - {name: Straight, type: direct}
  - {name: Unchecked, type: http, server: u.example, port: 443, tls: true, skip-cert-verify: true}
  - {name: S, type: socks5, server: other.example, port: 1080}
  - {name: Second, type: socks5, server: s2.example, port: 1080, dialer-proxy: H}
  - {name: Snell, type: snell, server: n.example, port: 443, psk: hunter2}
"""


def test_servers_are_relays_also_by_their_keys() -> None:
    made = planned(clash("DOMAIN,a.example,Straight", "DOMAIN,b.example,S", proxies=SERVERS))
    assert made.relays == [
        ("S", "socks5h://s.example:1080"),
        ("H", "https://me:p%40ss@h.example:8443"),
        ("Key", "trojan://hunter2@k.example:443?security=tls"),
    ]
    said = {name: text for name, _, text in made.entries}
    assert said["H"] == "H: https://me:***@h.example:8443"
    assert said["Key"] == "Key: trojan://k.example:443"
    assert said["Near"].startswith("the server of its key, 192.168.1.1, is in the local network")
    assert said["Bare"].startswith("this Trojan key for k.example:443 (Bare) is not supported: field skip-cert-verify")
    assert said["Far"].startswith("this VLESS key for k.example:443 (Far) is not supported: field dialer-proxy")
    assert said["Tunnel"].startswith("this Trojan key for k.example:443 (Tunnel) is not supported: no link can say its")
    assert "the certificate would not be checked" in said["Unchecked"]
    assert "dialer-proxy" in said["Second"]
    assert said["Snell"] == "type snell is not supported"
    assert ("S", "not taken", "an entry before it has the same name") in made.entries
    assert made.lines == ["DOMAIN,a.example,DIRECT", "DOMAIN,b.example,RELAY:S"]
    assert "hunter2" not in str(made.entries)


def test_sections_that_are_not_read_and_another_mode_are_told() -> None:
    text = (
        clash("MATCH,S") + "mode: global\ndns: {enable: true}\nrule-providers: {a: {type: file, path: /etc/passwd}}\n"
    )
    assert planned(text).found.notes == (
        "the file has mode: global, with which Clash does not use these rules",
        "not read: rule-providers, dns",
    )


@each_row(
    ("text", "why"),
    [
        ("proxies: 1\n", "its proxies is not a list"),
        ("proxies: [1]\n", "entry 1 of its proxies is not a map"),
        ("rules: [[a]]\n", "its rules is not a list of texts"),
        ("rules:\n" + "  - MATCH,DIRECT\n" * (RULES_LIMIT + 1), "it has 20,001 rules, and Byway takes at most 20,000"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        planned(text)
