"""Rules of v2rayN and configurations of Xray."""

from __future__ import annotations

import json
from collections.abc import Mapping

from proxy.features.imports.foreign import ADDRESSES_ONLY, PRIVATE
from tests.features.imports.planned import planned
from tests.support.rows import each_row

TAKEN: list[tuple[Mapping[str, object], list[str]]] = [
    (
        {
            "outboundTag": "direct",
            "domain": ["domain:a.example", "full:b.example", "keyword:k", "regexp:^c", "plain", "#x"],
        },
        [
            "DOMAIN-SUFFIX,a.example,DIRECT",
            "DOMAIN,b.example,DIRECT",
            "DOMAIN-KEYWORD,k,DIRECT",
            "DOMAIN-REGEX,^c,DIRECT",
            "DOMAIN-KEYWORD,plain,DIRECT",
        ],
    ),
    ({"OutboundTag": "block", "Domain": ["geosite:ads"], "Enabled": True}, ["LIST,ads,BLOCK"]),
    ({"outboundTag": "proxy", "port": "22,80-90", "network": "tcp,udp"}, ["DST-PORT,22,RELAY", "DST-PORT,80-90,RELAY"]),
    ({"outboundTag": "direct", "process": ["curl"]}, ["PROCESS-NAME,curl,DIRECT"]),
    ({"remarks": "all else", "port": "0-65535", "outboundTag": "proxy"}, ["MATCH,RELAY"]),
]


@each_row(("rule", "lines"), TAKEN)
def test_a_rule_that_byway_has_too_is_taken_whole(rule: Mapping[str, object], lines: list[str]) -> None:
    made = planned(json.dumps([rule]), lists={"GEOSITE,ADS": "ads"})
    assert (made.lines, made.refused, made.partly, made.warnings) == (lines, [], [], [])


REFUSED: list[tuple[Mapping[str, object], str, str]] = [
    (
        {"outboundTag": "direct", "domain": ["full:a.example"], "ip": ["192.0.2.1"]},
        "Byway has no rules for several",
        "keeps",
    ),
    ({"outboundTag": "block", "protocol": ["bittorrent"]}, "Byway has no rules about protocol", "blocks"),
    ({"outboundTag": "direct", "ip": ["geoip:!cn"]}, "Byway has no rules for all but some addresses", "keeps"),
    ({"outboundTag": "direct", "domain": ["ext:file.dat:cn"]}, "Byway has no rules about ext:", "keeps"),
    ({"outboundTag": "direct", "domain": ["dotless:x"]}, "Byway has no rules about dotless:", "keeps"),
    ({"outboundTag": "direct", "domain": ["# nothing"]}, "it names no site", "keeps"),
    ({"outboundTag": "my server", "domain": ["full:a.example"]}, 'the file does not say what "my server" is', "does"),
    ({"domain": ["full:a.example"], "outboundTag": ""}, "it has no outboundTag", "does"),
]


@each_row(("rule", "why", "warned"), REFUSED)
def test_a_rule_that_byway_does_not_have_is_listed_and_warned_of(
    rule: Mapping[str, object], why: str, warned: str
) -> None:
    made = planned(json.dumps([rule]))
    assert made.lines == []
    assert made.refused[0].startswith(why)
    assert made.warnings[0].startswith(f"1 rule that {warned}")


@each_row(
    "rule",
    [
        {"outboundTag": "block", "port": "443", "network": "udp"},
        {"outboundTag": "block", "domain": ["full:a.example"], "enabled": False},
        {"outboundTag": "block", "domain": ["full:a.example"], "ruleType": "DNS"},
    ],
)
def test_what_has_no_effect_is_not_needed(rule: Mapping[str, object]) -> None:
    made = planned(json.dumps([rule]))
    assert (made.lines, len(made.idle), made.warnings) == ([], 1, [])


def test_a_name_of_another_server_is_the_relay_that_the_person_names() -> None:
    rules = [{"outboundTag": "proxy", "domain": ["full:a.example"]}]
    assert planned(json.dumps(rules), relay="tor").lines == ["DOMAIN,a.example,RELAY:tor"]


CONFIG = {
    "outbounds": [
        {
            "tag": "up",
            "protocol": "socks",
            "settings": {"servers": [{"address": "s.example", "port": 1080, "users": [{"user": "me", "pass": "a/b"}]}]},
        },
        {"tag": "flat", "protocol": "http", "settings": {"address": "2a00:1450::1", "port": 8080}},
        {"tag": "key", "protocol": "vless", "settings": {"vnext": []}},
        {
            "tag": "tls",
            "protocol": "http",
            "settings": {"servers": [{"address": "t.example", "port": 1}]},
            "streamSettings": {"security": "tls"},
        },
        {
            "tag": "behind",
            "protocol": "socks",
            "settings": {"servers": [{"address": "t.example", "port": 1}]},
            "proxySettings": {"tag": "up"},
        },
        {"tag": "two", "protocol": "socks", "settings": {"servers": [{"address": "t.example", "port": 1}] * 2}},
        {"tag": "none", "protocol": "socks", "settings": {}},
        {"tag": "out", "protocol": "freedom"},
        {"tag": "hole", "protocol": "blackhole"},
    ],
    "routing": {
        "domainStrategy": "AsIs",
        "rules": [
            {"type": "field", "ip": ["geoip:private"], "outboundTag": "out"},
            {"type": "field", "domain": ["domain:a.example"], "outboundTag": "hole"},
            {"type": "field", "domain": ["domain:b.example"], "outboundTag": "key"},
        ],
    },
}


def test_a_configuration_of_xray_has_relays_rules_and_a_first_outbound() -> None:
    made = planned(json.dumps(CONFIG))
    assert made.relays == [("up", "socks5h://me:a%2Fb@s.example:1080"), ("flat", "http://[2a00:1450::1]:8080")]
    assert made.lines == [*(f"{test},DIRECT" for test in PRIVATE), "DOMAIN-SUFFIX,a.example,BLOCK", "MATCH,RELAY:up"]
    said = {name: text for name, _, text in made.entries}
    assert said["key"] == "vless is not read from a configuration of Xray; import the link of the key"
    assert said["tls"].startswith("TLS around a proxy is not read")
    assert said["behind"] == "it names a second server or an address of this computer"
    assert said["two"] == "it has several servers in one entry"
    assert "host is missing" in said["none"]
    assert made.refused == ['"key" is not taken']


def test_where_names_are_resolved_rules_on_addresses_are_taken_in_part() -> None:
    routing = {**CONFIG["routing"], "domainStrategy": "IPIfNonMatch"}  # type: ignore[dict-item]
    made = planned(json.dumps({**CONFIG, "routing": routing}))
    assert made.partly[0] == f"IP-CIDR,10.0.0.0/8,DIRECT ({ADDRESSES_ONLY})"
