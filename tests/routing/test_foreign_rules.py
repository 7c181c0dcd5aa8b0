"""Rules of other programs, as rules of Byway."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.foreign_rules import recognizes, translate
from tests.support.calls import counting
from tests.support.rows import each_row

CLASH = """\
port: 7890
proxies:
  - {name: vps, type: socks5}
rules:
  # mine
  - DOMAIN-SUFFIX,google.com,PROXY
  - 'DOMAIN,ads.example,REJECT'
  - "DOMAIN-KEYWORD,track,REJECT-DROP"
  - IP-CIDR,192.0.2.0/24,DIRECT,no-resolve
  - IP-CIDR6,2001:db8::/32,vps,no-resolve
  - IP-CIDR,198.51.100.7/32,DIRECT,src
  - PROCESS-NAME,transmission,DIRECT
  - GEOIP,CN,DIRECT
  - DOMAIN,stream.example,Streaming
  - DOMAIN-SUFFIX,short.example
  - MATCH,PROXY
dns:
  - not,a,rule
"""

OMEGA = """\
[SwitchyOmega Conditions]
; a comment
@with result

*.example.com +proxy
www.example.net +direct
*ads* +vps
Ip: 192.0.2.0/24 +direct
HostWildcard: **.deep.example +proxy
UrlRegex: ^http: +proxy
x.example
* +direct
"""


def test_rules_of_clash_are_translated_and_the_rest_is_told() -> None:
    assert recognizes(CLASH)
    found = translate(CLASH, relays=["VPS"])
    assert [rule for _, rule in found.rules] == [
        "DOMAIN-SUFFIX,google.com,RELAY",
        "DOMAIN,ads.example,BLOCK",
        "DOMAIN-KEYWORD,track,BLOCK",
        "IP-CIDR,192.0.2.0/24,DIRECT",
        "IP-CIDR,2001:db8::/32,RELAY:VPS",
        "PROCESS-NAME,transmission,DIRECT",
        "MATCH,RELAY",
    ]
    assert found.rules[0][0] == 6
    assert [(number, why.rpartition(": ")[2]) for number, why in found.not_taken] == [
        (11, "it is about the client's address"),
        (13, 'Byway has no rules of type "GEOIP"'),
        (14, 'what "Streaming" does is not known here; write DIRECT, RELAY or BLOCK'),
        (15, "it has no action"),
    ]


def test_what_others_write_more_loosely_is_translated() -> None:
    surge = "IP-CIDR,192.0.2.77/24,DIRECT\nIP-CIDR6,2001:db8::1/32,DIRECT\nFINAL,Proxy,dns-failed\n"
    assert [rule for _, rule in translate(surge).rules] == [
        "IP-CIDR,192.0.2.0/24,DIRECT", "IP-CIDR,2001:db8::/32,DIRECT", "MATCH,RELAY",
    ]  # fmt: skip
    omega = "[SwitchyOmega Conditions]\n@with result\n.example.com +proxy\nIp: 192.0.2.77/24 +direct\n"
    assert [rule for _, rule in translate(omega).rules] == [
        "DOMAIN-SUFFIX,example.com,RELAY", "IP-CIDR,192.0.2.0/24,DIRECT",
    ]  # fmt: skip


def test_types_of_byway_are_none_that_it_does_not_have() -> None:
    found = translate("LIST,gfw,RELAY\nNETWORK,office,DIRECT\nNETWORK,udp,REJECT\n")
    assert [rule for _, rule in found.rules] == ["LIST,gfw,RELAY", "NETWORK,office,DIRECT"]
    assert found.not_taken == ((3, '"NETWORK,udp,REJECT": it is about TCP or UDP'),)


def test_conditions_of_switchyomega_are_translated_and_the_rest_is_told() -> None:
    assert recognizes(OMEGA)
    found = translate(OMEGA, relays=["vps"])
    assert [rule for _, rule in found.rules] == [
        "DOMAIN-SUFFIX,example.com,RELAY",
        "DOMAIN,www.example.net,DIRECT",
        "DOMAIN-KEYWORD,ads,RELAY:vps",
        "IP-CIDR,192.0.2.0/24,DIRECT",
        "DOMAIN-REGEX,\\.deep\\.example$,RELAY",
        "MATCH,DIRECT",
    ]
    assert [number for number, _ in found.not_taken] == [10, 11]


def test_patterns_of_switchyomega_are_rules_of_the_same_hosts() -> None:
    lines = [
        "a.example|*.b.example +proxy",
        "*.a*.example +direct",
        "a?.example +proxy",
        "*a*b* +proxy",
        "*.example.* +proxy",
        "HostRegex: ^a[0-9]$ +proxy",
    ]
    found = translate("\n".join(["[SwitchyOmega Conditions]", "@with result", *lines]))
    assert [rule for _, rule in found.rules] == [
        "DOMAIN,a.example,RELAY",
        "DOMAIN-SUFFIX,b.example,RELAY",
        "DOMAIN-REGEX,(?:^|\\.)a.*\\.example$,DIRECT",
        "DOMAIN-REGEX,^a.\\.example$,RELAY",
        "DOMAIN-REGEX,a.*b,RELAY",
        "DOMAIN-REGEX,(?:^|\\.)example\\.,RELAY",
        "DOMAIN-REGEX,^a[0-9]$,RELAY",
    ]


def test_a_regular_expression_may_have_commas_and_own_rules_are_understood() -> None:
    text = "DOMAIN-REGEX,^a{1,3}\\.example$,PROXY\nDOMAIN,a.example,prefer-relay:tor\nFINAL,DIRECT # all else\n"
    assert [rule for _, rule in translate(text, relays=["tor"]).rules] == [
        "DOMAIN-REGEX,^a{1,3}\\.example$,RELAY",
        "DOMAIN,a.example,PREFER-RELAY:tor",
        "MATCH,DIRECT",
    ]


def test_an_action_with_a_relay_that_is_not_known_is_left_out() -> None:
    text = "DOMAIN,a.example,RELAY:other\nDOMAIN,b.example,VIA:tor\nDOMAIN,c.example,prefer-relay:TOR\n"
    found = translate(text, relays=["tor"])
    assert found.rules == ((3, "DOMAIN,c.example,PREFER-RELAY:tor"),)
    assert [number for number, _ in found.not_taken] == [1, 2]


@each_row(
    "text",
    [
        "",
        "example.com\n",
        "payload:\n  - DOMAIN-SUFFIX,example.com\n  - IP-CIDR,192.0.2.0/24,no-resolve\n",
        "DOMAIN,a.example\nIP-CIDR,192.0.2.0/24,no-resolve\n",
        "DOMAIN,a.example\nIP-CIDR,192.0.2.0/24,no-resolve\nIP-CIDR,198.51.100.0/24,No-Resolve\n",
        "||example.com^\n",
        "[SwitchyOmega Conditions]\n*.example.com\n",
        "server=/example.com/192.0.2.1\n",
    ],
)
def test_a_list_is_no_file_of_rules(text: str) -> None:
    assert not recognizes(text)


@given(st.text(st.sampled_from("DOMAIN-SUFFIX,+*.: \n@[]#'\"aR"), max_size=200))
def test_any_text_is_translated_or_told(text: str) -> None:
    for head in ("", "rules:\n", "[SwitchyOmega Conditions]\n@with result\n"):
        recognizes(head + text)
        found = translate(head + text)
        assert all("\n" not in rule for _, rule in found.rules)


def backup(**changes: object) -> str:
    """Options as SwitchyOmega exports them."""
    rules = [
        {"condition": {"conditionType": "HostWildcardCondition", "pattern": "*.a.example"}, "profileName": "work"},
        {"condition": {"conditionType": "HostWildcardCondition", "pattern": "b.example"}, "profileName": "direct"},
        {"condition": {"conditionType": "IpCondition", "ip": "192.0.2.0", "prefixLength": 24}, "profileName": "VPS"},
        {"condition": {"conditionType": "UrlRegexCondition", "pattern": "^https"}, "profileName": "work"},
        {"condition": {"conditionType": "FalseCondition"}, "profileName": "work"},
        {"condition": {"conditionType": "HostWildcardCondition", "pattern": "c.example"}, "profileName": "__rules"},
    ]
    options: dict[str, object] = {
        "schemaVersion": 2,
        "-startupProfileName": "auto switch",
        "+work": {"name": "work", "profileType": "FixedProfile", "fallbackProxy": {"port": 1080}},
        "+auto switch": {
            "name": "auto switch", "profileType": "SwitchProfile", "defaultProfileName": "direct", "rules": rules
        },
        "+other": {"name": "other", "profileType": "SwitchProfile", "defaultProfileName": "work", "rules": []},
    }  # fmt: skip
    return json.dumps({**options, **changes})


def test_the_switch_profile_of_a_backup_is_rules() -> None:
    text = f"\ufeff{backup()}\n"
    assert recognizes(text)
    found = translate(text, relays=["vps"])
    assert [rule for _, rule in found.rules] == [
        "DOMAIN-SUFFIX,a.example,RELAY",
        "DOMAIN,b.example,DIRECT",
        "IP-CIDR,192.0.2.0/24,RELAY:vps",
        "MATCH,DIRECT",
    ]
    assert [why.partition(": ")[0] for _, why in found.not_taken] == ['"UrlRegex', '"False', '"HostWildcard']


@pytest.mark.parametrize("url", ["https://lists.example/gfw.txt", ""])
def test_the_list_of_a_switch_profile_is_told_with_the_default_behind_it(url: str) -> None:
    switch = {"profileType": "SwitchProfile", "name": "auto switch", "defaultProfileName": "__ruleListOf_auto switch",
              "rules": [{"condition": {"conditionType": "HostWildcardCondition", "pattern": "a.example"},
                         "profileName": "work"}]}  # fmt: skip
    attached = {"profileType": "RuleListProfile", "name": "__ruleListOf_auto switch", "matchProfileName": "work",
                "defaultProfileName": "direct", "format": "AutoProxy", "sourceUrl": url, "ruleList": ""}  # fmt: skip
    found = translate(backup(**{"+auto switch": switch, "+__ruleListOf_auto switch": attached}))
    assert [rule for _, rule in found.rules] == ["DOMAIN,a.example,RELAY"]
    ((_, told),) = found.not_taken
    assert told == (
        f'the rule list{url and f" {url}"}: its sites lead to "work", all others to "direct"; to use it: byway rule '
        f"import {url or 'FILE'}, then add a LIST rule and a MATCH"
    )


def test_a_rule_of_a_backup_has_the_line_of_its_pattern() -> None:
    text = json.dumps(json.loads(backup()), indent=1)
    found = translate(text, relays=["vps"])
    lines = ["", *text.split("\n")]
    assert [lines[number].split('"')[3] for number, _ in found.rules[:3]] == ["*.a.example", "b.example", "192.0.2.0"]


@pytest.mark.parametrize(
    "text",
    [
        "rules:\n{}".format("  - DOMAIN,a.example,PROXY\n" * 100),
        "[[a]]\n" * 100,
        "[SwitchyOmega Conditions]\n@with result\n{}".format("*.a.example +proxy\n" * 100),
    ],
    ids=["clash", "no rules", "omega"],
)
def test_a_text_is_cut_into_lines_as_often_however_long_it_is(text: str) -> None:
    cuts = []
    for times in (1, 8):
        with counting() as calls:
            translate(text * times)
        cuts.append(calls["proxy.routing.lists.lines.split_lines"])
    assert cuts[0] == cuts[1]


def test_of_several_switch_profiles_none_is_guessed() -> None:
    with pytest.raises(ConfigError, match='the switch profiles "auto switch" or "other"; choose the startup profile'):
        translate(backup(**{"-startupProfileName": ""}))


@pytest.mark.parametrize(
    "text",
    [
        backup(**{"+auto switch": {"name": "auto switch", "profileType": "SwitchProfile"}}),
        backup(**{"+work": []}),
        backup()[:-9],
    ],
    ids=["no rules", "no profile", "cut short"],
)
def test_a_backup_that_says_nothing_clear_is_refused(text: str) -> None:
    assert recognizes(text)
    with pytest.raises(ConfigError, match=r"^the backup"):
        translate(text)


@pytest.mark.parametrize("section", ["[Rule]", "[filter_local]"])
def test_of_a_configuration_with_sections_the_rules_alone_are_read(section: str) -> None:
    text = (
        "[General]\nskip-proxy = 192.0.2.0/24, localhost\n[Proxy]\nvps = socks5, 192.0.2.1, 1080, me, hunter2\n"
        f"{section}\n# why\nDOMAIN-SUFFIX,a.example,PROXY\nGEOIP,CN,DIRECT\nFINAL,DIRECT\n[MITM]\nhostname = b.test\n"
    )
    assert recognizes(text)
    found = translate(text)
    assert found.rules == ((7, "DOMAIN-SUFFIX,a.example,RELAY"), (9, "MATCH,DIRECT"))
    assert [number for number, _ in found.not_taken] == [8]
