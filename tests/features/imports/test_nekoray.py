"""Files and links of nekoray."""

from __future__ import annotations

import base64
import json

import pytest

from proxy.features.imports.foreign import Unreadable
from tests.features.imports.planned import planned
from tests.support.rows import each_row


def bean(**fields: object) -> dict[str, object]:
    return {"_v": 0, "name": "mine", "addr": "s.example", "port": 1080, "username": "", "password": "", **fields}


def link(kind: str, content: str) -> str:
    return f"nekoray://{kind}#{base64.urlsafe_b64encode(content.encode()).decode()}"


@each_row(
    ("kind", "fields", "url"),
    [
        ("socks", {"v": 5}, "socks5h://s.example:1080"),
        ("socks", {"v": 4}, "socks4://s.example:1080"),
        ("http", {"v": -80, "username": "me", "password": "a:b"}, "http://me:a%3Ab@s.example:1080"),
        ("http", {"v": -80, "stream": {"sec": "tls", "sni": "n.example"}}, "https://s.example:1080?sni=n.example"),
        ("socks", {"v": 5, "addr": "2a00:1450::1"}, "socks5h://[2a00:1450::1]:1080"),
    ],
)
def test_a_profile_and_its_link_are_a_relay(kind: str, fields: dict[str, object], url: str) -> None:
    file = planned(json.dumps({"type": kind, "id": 0, "gid": 0, "bean": bean(**fields)}), local=True)
    assert file.relays == [("mine", url)]
    assert planned(link(kind, json.dumps(bean(**fields))), local=True).relays == [("mine", url)]


@each_row(
    ("kind", "fields", "why"),
    [
        ("vmess", {}, "vmess is not read from nekoray's own files; copy its link there, and import that"),
        ("custom", {"core": "/bin/sh", "cmd": ["-c", "id"]}, "custom is not read from nekoray's own files"),
        ("chain", {"list": [1, 2]}, "chain is not read"),
        ("socks", {"v": 5, "stream": {"sec": "tls"}}, "SOCKS in TLS is not supported"),
        ("http", {"v": -80, "stream": {"sec": "tls", "insecure": True}}, "its certificate would not be checked"),
        ("socks", {"v": 5, "addr": "a/b"}, "a relay URL has no path"),
        ("socks", {"v": 5, "port": "x"}, "the port must be a number"),
    ],
)
def test_other_profiles_are_told(kind: str, fields: dict[str, object], why: str) -> None:
    made = planned(json.dumps({"type": kind, "bean": bean(**fields)}))
    assert made.relays == []
    assert made.entries[0][2].startswith(why)


def test_a_damaged_link_is_told_among_others() -> None:
    made = planned(f"{link('socks', '{')}\nsocks5h://h.example:1080#Other\n{link('socks', '[1]')}\n")
    assert made.relays == [("Other", "socks5h://h.example:1080")]
    assert [text for _, taken, text in made.entries if taken == "not taken"] == [
        "it is not valid JSON: the fault is in line 1",
        "the JSON is not a map",
    ]


ROUTES = {
    "block_domain": "geosite:ads\ndomain:b.example",
    "proxy_domain": "full:p.example\r\n# a comment\nbare.example",
    "proxy_ip": "192.0.2.7",
    "direct_domain": "regexp:^d\nkeyword:k",
    "direct_ip": "geoip:private",
    "def_outbound": "bypass",
    "custom": json.dumps({"rules": [{"outbound": "proxy", "domain": ["c.example"]}]}),
}


def test_routes_have_their_own_order() -> None:
    made = planned(json.dumps(ROUTES))
    assert [line for line in made.lines if not line.startswith("IP-CIDR")] == [
        "DOMAIN,c.example,RELAY",
        "DOMAIN-SUFFIX,b.example,BLOCK",
        "DOMAIN,p.example,RELAY",
        "DOMAIN-REGEX,^d,DIRECT",
        "DOMAIN-KEYWORD,k,DIRECT",
        "MATCH,DIRECT",
    ]
    assert [why.partition(" ")[0] for why in made.refused] == ["it", "a"]
    assert made.refused[1].startswith(
        "a name alone is one host to its sing-box core and a part of a name to its Xray core"
    )
    assert made.warnings[0].startswith("1 rule that blocks sites is not taken; ")


def test_own_rules_of_xray_and_others_of_routes() -> None:
    custom = json.dumps({"rules": [{"outboundTag": "block", "domain": ["full:c.example"]}]})
    assert planned(json.dumps({"def_outbound": "block", "custom": custom})).lines == [
        "DOMAIN,c.example,BLOCK",
        "MATCH,BLOCK",
    ]
    assert planned(json.dumps({"def_outbound": "else"})).refused == ["it is not known what that does"]
    with pytest.raises(Unreadable, match="its custom rules: it is not valid JSON"):
        planned(json.dumps({"def_outbound": "proxy", "custom": "{"}))
