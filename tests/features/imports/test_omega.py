"""Backups of SwitchyOmega and ZeroOmega: profiles, conditions, and the hosts that go direct all the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from proxy.features.imports.foreign import ADDRESSES_ONLY, Unreadable
from tests.features.imports.planned import planned
from tests.support.rows import each_row

DIRECT_ANYWAY = ["127.0.0.1", "::1", "localhost", "<local>"]


def fixed(name: str = "vps", bypass: Sequence[str] = (), **more: object) -> dict[str, object]:
    return {
        "name": name,
        "profileType": "FixedProfile",
        "fallbackProxy": {"scheme": "socks5", "host": f"{name}.example", "port": 1080},
        "bypassList": [{"conditionType": "BypassCondition", "pattern": each} for each in (*DIRECT_ANYWAY, *bypass)],
        **more,
    }


def condition(kind: str, pattern: str = "", **more: object) -> dict[str, object]:
    return {"conditionType": f"{kind}Condition", **({"pattern": pattern} if pattern else {}), **more}


def switch(
    *rules: tuple[Mapping[str, object], str], default: str = "direct", name: str = "auto switch"
) -> dict[str, object]:
    listed = [{"condition": it, "profileName": profile} for it, profile in rules]
    return {"name": name, "profileType": "SwitchProfile", "defaultProfileName": default, "rules": listed}


def backup(*profiles: Mapping[str, object], start: str = "auto switch") -> str:
    options = {f"+{it['name']}": it for it in profiles}
    return json.dumps({"schemaVersion": 2, "-startupProfileName": start, "-quickSwitchProfiles": [], **options})


TAKEN = [
    (condition("HostWildcard", "*.a.example"), ["DOMAIN-SUFFIX,a.example"]),
    (condition("HostWildcard", "a.example|B.example"), ["DOMAIN,a.example", "DOMAIN,b.example"]),
    (condition("HostWildcard", ".a.example"), ["DOMAIN-SUFFIX,a.example"]),
    (condition("HostWildcard", "**.a.example"), ["DOMAIN-REGEX,\\.a\\.example$"]),
    (condition("HostWildcard", "*.a.*"), ["DOMAIN-REGEX,(?:^|\\.)a\\."]),
    (condition("HostWildcard", "a?.example"), ["DOMAIN-REGEX,^a.\\.example$"]),
    (condition("HostWildcard", "*ads*"), ["DOMAIN-KEYWORD,ads"]),
    (condition("HostWildcard", "*"), ["MATCH"]),
    (condition("HostRegex", "(^|\\.)a[0-9]\\.example$"), ["DOMAIN-REGEX,(^|\\.)a[0-9]\\.example$"]),
    (condition("UrlWildcard", "*://*.a.example/*"), ["DOMAIN-REGEX,\\.a\\.example$"]),
    (condition("UrlWildcard", "*://a.example/*"), ["DOMAIN,a.example"]),
    (condition("Bypass", "*.a.example"), ["DOMAIN-REGEX,\\.a\\.example$"]),
    (condition("HostLevels", minValue=0, maxValue=0), ["DOMAIN-REGEX,^[^.]*$"]),
    (condition("HostLevels", minValue=1, maxValue=2), ["DOMAIN-REGEX,^[^.]*(?:\\.[^.]*){1,2}$"]),
    (condition("True"), ["MATCH"]),
]


@each_row(("given", "tests"), TAKEN)
def test_a_condition_on_hosts_is_taken_whole(given: Mapping[str, object], tests: list[str]) -> None:
    made = planned(backup(fixed(), switch((given, "vps"))))
    assert (made.refused, made.partly, made.warnings) == ([], [], [])
    assert made.lines == [*(f"{test},RELAY:vps" for test in tests), *(["MATCH,DIRECT"] if "MATCH" not in tests else [])]


def test_an_address_is_taken_for_addresses_alone() -> None:
    made = planned(backup(fixed(), switch((condition("Ip", ip="192.0.2.7", prefixLength=24), "vps"))))
    assert made.partly == [f"IP-CIDR,192.0.2.0/24,RELAY:vps ({ADDRESSES_ONLY})"]


REFUSED = [
    (condition("UrlRegex", "^http:"), "it is about URLs, which TLS hides"),
    (condition("UrlWildcard", "http://*.a.example/*"), "it is about URLs, which TLS hides"),
    (condition("UrlWildcard", "*://a.example/path*"), "it is about URLs, which TLS hides"),
    (condition("UrlWildcard", "*://a.example:8080/*"), "it is about URLs, which TLS hides"),
    (condition("Keyword", "word"), "it is about URLs of plain HTTP"),
    (condition("Time", startHour=1, endHour=2), "Byway has no rules about hours"),
    (condition("Weekday", startDay=1, endDay=2), "Byway has no rules about days"),
    (condition("HostLevels", minValue="x", maxValue=2), "its number of dots is not one"),
    (condition("Bypass", "http://a.example"), "it is about a scheme"),
    (condition("Bypass", "a.example:8080"), "it is about a port"),
    (condition("Odd", "x"), 'Byway has no rules for conditions of type "Odd"'),
    (condition("HostWildcard", "|"), "it has no pattern"),
]


@each_row(("given", "why"), REFUSED)
def test_another_condition_is_listed_and_warned_of(given: Mapping[str, object], why: str) -> None:
    made = planned(backup(fixed(), switch((given, "direct"), default="vps")))
    assert (made.lines, made.refused) == (["MATCH,RELAY:vps"], [why])
    assert made.warnings[0].startswith("1 rule that keeps sites off relays is not taken; ")


def test_a_condition_that_is_switched_off_is_not_needed() -> None:
    made = planned(backup(fixed(), switch((condition("False", "x"), "vps"))))
    assert (made.idle, made.lines) == (["it is switched off"], ["MATCH,DIRECT"])


# -- hosts that go direct all the same ---------------------------------------------------------------------------------


def test_behind_the_default_they_are_rules_of_their_own() -> None:
    profile = fixed(bypass=["*.corp.example", ".home.example", "a.example", "192.0.2.0/24", "198.51.100.7"])
    made = planned(backup(profile, switch((condition("HostWildcard", "b.example"), "direct"), default="vps")))
    assert made.lines == [
        "DOMAIN,b.example,DIRECT",
        "DOMAIN-REGEX,\\.corp\\.example$,DIRECT",
        "DOMAIN-REGEX,\\.home\\.example$,DIRECT",
        "DOMAIN,a.example,DIRECT",
        "IP-CIDR,192.0.2.0/24,DIRECT",
        "IP-CIDR,198.51.100.7/32,DIRECT",
        "MATCH,RELAY:vps",
    ]
    assert made.refused == []


def test_an_entry_that_no_rule_can_express_is_warned_of() -> None:
    made = planned(backup(fixed(bypass=["http://a.example"]), switch(default="vps")))
    assert made.lines == ["MATCH,RELAY:vps"]
    assert made.warnings[0].startswith("1 rule that keeps sites off relays is not taken; ")


@each_row(
    ("pattern", "bypass", "lines"),
    [
        ("*.a.example", "*.b.example", ["DOMAIN-SUFFIX,a.example,RELAY:vps"]),
        ("*.a.example", "x.a.example", ["DOMAIN,x.a.example,DIRECT", "DOMAIN-SUFFIX,a.example,RELAY:vps"]),
        (
            "*.a.example",
            "*.x.a.example",
            ["DOMAIN-REGEX,\\.x\\.a\\.example$,DIRECT", "DOMAIN-SUFFIX,a.example,RELAY:vps"],
        ),
        ("a.example", "192.0.2.0/24", ["DOMAIN,a.example,RELAY:vps"]),
        ("a.example", "xa.example", ["DOMAIN,a.example,RELAY:vps"]),
        ("*.a.example", "*.example", []),
        ("*.a.example", "*a*", []),
        ("*word*", "*.a.example", []),
        ("*.a.example", "http://b.example", []),
    ],
)
def test_behind_one_rule_they_are_taken_if_it_is_certain_which_they_are(
    pattern: str, bypass: str, lines: list[str]
) -> None:
    made = planned(backup(fixed(bypass=[bypass]), switch((condition("HostWildcard", pattern), "vps"))))
    assert made.lines == [*lines, "MATCH,DIRECT"]
    if not lines:
        assert made.refused[0].startswith('"vps" sends some of its hosts direct')
        assert "sends sites through relays only" in made.warnings[0]


# -- profiles ----------------------------------------------------------------------------------------------------------


@each_row(
    ("profile", "url"),
    [
        (fixed(auth={"fallbackProxy": {"username": "me", "password": "a:b"}}), "socks5h://me:a%3Ab@vps.example:1080"),
        (fixed(fallbackProxy={"scheme": "https", "host": "h.example", "port": 443}), "https://h.example:443"),
        (fixed(fallbackProxy={"scheme": "http", "host": "[2a00:1450::1]", "port": 80}), "http://[2a00:1450::1]:80"),
        (
            fixed(fallbackProxy=None, proxyForHttps={"scheme": "socks4", "host": "h.example", "port": 1}),
            "socks4://h.example:1",
        ),
    ],
)
def test_a_profile_with_a_proxy_is_a_relay(profile: Mapping[str, object], url: str) -> None:
    assert planned(backup(profile, switch()), local=True).relays == [("vps", url)]


@each_row(
    ("profile", "why"),
    [
        (
            fixed(proxyForHttp={"scheme": "http", "host": "h.example", "port": 80}),
            "it has different proxies for http and",
        ),
        (fixed(fallbackProxy={"scheme": "quic", "host": "h.example", "port": 80}), "scheme quic is not supported"),
        (fixed(fallbackProxy={"scheme": "http", "port": 80}), "the host is missing"),
    ],
)
def test_a_profile_that_is_no_relay_is_told(profile: Mapping[str, object], why: str) -> None:
    made = planned(backup(profile, switch((condition("HostWildcard", "a.example"), "vps"))))
    assert made.relays == []
    assert made.entries[0][2].startswith(why)
    assert made.refused == ['"vps" is not taken']


def test_what_else_a_rule_may_lead_to() -> None:
    pac = {"name": "pac", "profileType": "PacProfile", "pacUrl": "file:///etc/passwd"}
    none = fixed("none", fallbackProxy=None)
    alias = {"name": "alias", "profileType": "VirtualProfile", "defaultProfileName": "vps"}
    hosts = {name: condition("HostWildcard", f"{name}.example") for name in ("pac", "none", "alias", "system", "gone")}
    made = planned(backup(fixed(), pac, none, alias, switch(*((it, name) for name, it in hosts.items()))))
    assert made.lines == ["DOMAIN,none.example,DIRECT", "MATCH,DIRECT"]
    assert made.refused == [
        '"pac": a profile of type PacProfile is not read',
        '"alias": a profile with rules of its own cannot stand behind a rule',
        '"system": it is the setting of the system, which is not in the backup',
        'the file does not say what "gone" is',
    ]


def test_a_default_with_rules_of_its_own_goes_on_with_these() -> None:
    second = switch((condition("HostWildcard", "b.example"), "vps"), name="second", default="alias")
    alias = {"name": "alias", "profileType": "VirtualProfile", "defaultProfileName": "vps"}
    first = switch((condition("HostWildcard", "a.example"), "direct"), default="second")
    assert planned(backup(fixed(), first, second, alias)).lines == [
        "DOMAIN,a.example,DIRECT",
        "DOMAIN,b.example,RELAY:vps",
        "MATCH,RELAY:vps",
    ]


def test_defaults_that_lead_to_each_other_end() -> None:
    made = planned(backup(switch(default="b", name="a"), switch(default="a", name="b"), start="a"))
    assert (made.lines, made.refused) == ([], ["its profiles lead to each other"])


def test_the_rule_list_of_a_switch_is_a_list_that_the_person_names() -> None:
    attached = {
        "name": "__ruleListOf_auto switch",
        "profileType": "RuleListProfile",
        "matchProfileName": "vps",
        "defaultProfileName": "direct",
        "format": "AutoProxy",
        "sourceUrl": "https://l.example/t?token=hunter2",
        "ruleList": "x",
    }
    text = backup(fixed(), attached, switch(default="__ruleListOf_auto switch"))
    made = planned(text)
    assert made.lines == ["MATCH,DIRECT"]
    assert made.warnings[0].startswith("1 rule that sends sites through relays only is not taken; ")
    assert planned(text, lists={"RULE-LIST,OMEGA": "gfw"}).lines == ["LIST,gfw,RELAY:vps", "MATCH,DIRECT"]


@each_row(
    ("start", "profile", "lines", "note"),
    [
        ("vps", None, ["MATCH,RELAY:vps"], "the profile used at the start"),
        ("one", None, ["DOMAIN,one.example,DIRECT", "MATCH,DIRECT"], "the profile used at the start"),
        ("", "two", ["DOMAIN,two.example,DIRECT", "MATCH,DIRECT"], ""),
        ("", None, [], 'it has 2 switch profiles: no rule is read. Choose one with --profile: "one", "two"'),
    ],
)
def test_the_profile_whose_rules_are_meant(start: str, profile: str | None, lines: list[str], note: str) -> None:
    switches = [switch((condition("HostWildcard", f"{it}.example"), "direct"), name=it) for it in ("one", "two")]
    made = planned(backup(fixed(), *switches, start=start), profile=profile)
    assert made.lines == lines
    assert note in "".join(made.found.notes)


def test_a_backup_without_rules_and_a_profile_that_is_not_there_are_told() -> None:
    assert planned(backup(fixed(), start="")).found.notes == ("it has no switch profile, and so no rules",)
    with pytest.raises(Unreadable, match='it has no profile "odd"; there is: "auto switch"'):
        planned(backup(switch()), profile="odd")
