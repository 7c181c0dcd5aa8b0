"""Subscriptions: what a file says, and the names of its relays."""

from __future__ import annotations

import base64

import pytest

from proxy.config.relays import relay_names
from proxy.config.schema import RelayConfig, Settings, SubscriptionConfig
from proxy.config.subscriptions import (
    MEMBERS_MAX,
    Entry,
    Quota,
    names_of,
    quota_of,
    read_entries,
    refusal,
    with_members,
)
from proxy.model.errors import ConfigError
from proxy.wire.keys.reader import read_collection
from tests.support.rows import each_row

LINKS = (
    "#profile-title: x\nsocks5h://me:pw@de.example:1080#DE 1\nhttps://nl.example:8443#NL\ntrojan://pw@k.example:443#K\n"
)
OF_LINKS = [
    ("DE 1", "socks5h://me:pw@de.example:1080"),
    ("NL", "https://nl.example:8443"),
    ("K", "trojan://pw@k.example:443"),
]
SING_BOX = (
    '{"outbounds": [{"type": "vless", "tag": "V", "server": "k.example", "server_port": 443, "uuid": "me", '
    '"tls": {"enabled": true, "server_name": "a.example"}}]}'
)
SIP008 = (
    '{"servers": [{"remarks": "S", "server": "k.example", "server_port": 8388, "password": "pw", '
    '"method": "aes-256-gcm"}]}'
)
CLASH_KEY = "proxies:\n  - {name: K, type: trojan, server: k.example, port: 443, password: pw}\n"
CLASH = "proxies:\n  - {name: DE 1, type: socks5, server: de.example, port: 1080, username: me, password: pw}\n"


def relays(text: str) -> list[tuple[str, str]]:
    return [(entry.label, entry.url) for entry in read_entries(text) if not entry.why]


@each_row(
    ("text", "found"),
    [
        (LINKS, OF_LINKS),
        (base64.b64encode(LINKS.encode()).decode(), OF_LINKS),
        ("trojan://pw@k.example:443#K", OF_LINKS[2:]),
        ("socks5h://de.example:1080#One\r\n", [("One", "socks5h://de.example:1080")]),
        ("socks5h://de.example:1080#One", [("One", "socks5h://de.example:1080")]),
        (CLASH, [("DE 1", "socks5h://me:pw@de.example:1080")]),
        (CLASH_KEY, [("K", "trojan://pw@k.example:443?security=tls")]),
        (SING_BOX, [("V", "vless://me@k.example:443?security=tls&sni=a.example")]),
        (SIP008, [("S", "ss://YWVzLTI1Ni1nY206cHc@k.example:8388")]),
    ],
)
def test_relays_of_a_file_in_each_notation(text: str, found: list[tuple[str, str]]) -> None:
    assert relays(text) == found


def test_an_entry_that_is_no_relay_has_the_reason() -> None:
    file = "proxies:\n  - {name: K, type: trojan, server: k.example, port: 443, password: pw, dialer-proxy: x}\n"
    (key,) = read_entries(file)
    assert (key.label, key.url) == ("K", "")
    assert key.why.startswith("this Trojan key for k.example:443 (K) is not supported: field dialer-proxy: ")
    assert "pw" not in repr(read_entries(LINKS))
    assert "pw" not in repr(read_collection(LINKS))


def test_keys_of_one_server_are_told_apart_by_all_but_their_names() -> None:
    links = [
        "trojan://pw@k.example:443#A",
        "trojan://other@k.example:443#B",
        "trojan://pw@k.example:443?sni=x.example#C",
    ]
    entries = read_entries("\n".join((*links, "trojan://pw@k.example:443#again")))
    assert [entry.why for entry in entries] == ["", "", "", "it is there twice"]
    assert len({entry.place for entry in entries[:3]}) == 3


def test_a_key_keeps_its_place_and_its_name_in_another_notation() -> None:
    """A shop may answer with another notation at any time."""
    (by_link,) = read_entries("trojan://pw@k.example:443#K")
    (by_clash,) = read_entries(CLASH_KEY)
    assert by_link.place == by_clash.place
    assert names_of("shop", [by_clash], {by_link.place: "shop/mine"}) == {by_clash.place: "shop/mine"}
    assert [entry.why for entry in read_entries(CLASH_KEY + CLASH_KEY.partition("\n")[2])] == ["", "it is there twice"]


def test_the_same_relay_counts_once_and_the_first_ones_are_used() -> None:
    twice = read_entries("socks5h://de.example:1080#A\nsocks5h://de.example:1080#B\n")
    assert [entry.why for entry in twice] == ["", "it is there twice"]
    many = read_entries("".join(f"socks5h://h{n}.example:1080#N{n}\n" for n in range(MEMBERS_MAX + 2)))
    assert [entry.why for entry in many[MEMBERS_MAX:]] == [
        f"only the first {MEMBERS_MAX} relays of a subscription are used"
    ] * 2
    with pytest.raises(ConfigError, match="at most 2000"):
        read_entries("socks5h://h.example:1080\n" * 2001)


def entry(host: str, label: str) -> Entry:
    return Entry(label, f"socks5h://{host}.example:1080")


def test_names_stay_while_the_place_or_the_label_stays() -> None:
    first = [entry("a", "DE 1"), entry("b", "DE 1"), entry("c", ""), entry("d", "NL")]
    names = names_of("shop", first, {})
    assert list(names.values()) == ["shop/DE-1", "shop/DE-1-2", "shop/c", "shop/NL"]
    relabelled = [entry("b", "DE (3 days left)"), entry("a", "FR"), entry("d", "NL")]
    assert [names_of("shop", relabelled, names)[it.place] for it in relabelled] == [
        "shop/DE-1-2",
        "shop/DE-1",
        "shop/NL",
    ]
    changed = [entry("x", "NL"), entry("a", "DE 1"), entry("y", "new")]
    assert [names_of("shop", changed, names)[it.place] for it in changed] == ["shop/NL", "shop/DE-1", "shop/new"]


def test_no_relay_gets_the_name_of_another_that_is_still_there() -> None:
    names = names_of("shop", [entry("a", "DE"), entry("b", "NL")], {})
    swapped = [entry("c", "DE"), entry("a", "NL"), entry("b", "DE")]
    after = names_of("shop", swapped, names)
    assert [after[it.place] for it in swapped] == ["shop/DE-2", "shop/DE", "shop/NL"]


def test_a_number_after_a_label_is_none_that_another_relay_had() -> None:
    names = names_of("shop", [entry("a", "DE"), entry("b", "DE")], {})
    after = names_of("shop", [entry("a", "DE"), entry("c", "DE")], names)
    assert list(after.values()) == ["shop/DE", "shop/DE-3"]


@each_row(
    ("count", "last", "smaller", "why"),
    [
        (5, 10, False, ""),
        (4, 10, False, "it has shrunk from 10 relays to 4"),
        (4, 10, True, ""),
        (0, 0, True, "it is empty"),
        (1, 0, False, ""),
    ],
)
def test_a_file_that_shrank_is_refused(count: int, last: int, smaller: bool, why: str) -> None:
    assert refusal([entry(str(n), "") for n in range(count)], last, accept_smaller=smaller) == why


def test_a_file_without_a_relay_is_refused_with_the_first_reason() -> None:
    assert refusal([Entry("K", "", "it is a key")], 0, accept_smaller=True) == (
        "none of its 1 entries is taken; the first: it is a key"
    )


def test_a_subscription_is_a_group_whose_choice_is_the_persons() -> None:
    shop = SubscriptionConfig("shop", "https://h.example/s", disabled=("shop/A",), order=("shop/C", "shop/gone"))
    none = SubscriptionConfig("none", "https://h.example/n", policy="select")
    settings = Settings(relay=(RelayConfig("tor", "socks5h://127.0.0.1:9050"),), subscription=(shop, none))
    files = {"shop": [entry("a", "A"), entry("b", "B"), entry("c", "C")], "none": []}
    made = with_members(settings, lambda item: (files[item.name], {}))
    assert [(it.name, it.enabled, it.public_only) for it in made.relay] == [
        ("tor", True, False), ("shop/C", True, True), ("shop/A", False, True), ("shop/B", True, True)
    ]  # fmt: skip
    assert [(it.name, it.relays, it.policy) for it in made.group] == [
        ("shop", ("shop/C", "shop/A", "shop/B"), "fallback"), ("none", (), "select")
    ]  # fmt: skip
    assert relay_names(made) == ("tor", "shop", "none")
    assert relay_names(settings) == ("tor", "shop", "none")


@each_row(
    ("text", "quota"),
    [
        ("upload=1; download=2; total=10; expire=1798761600", Quota(3, 10, 1798761600)),
        ("upload=1;download=2", Quota(3, 0, 0)),
        ("total=99999999999999999999; expire=99999999999999999999", Quota(0, 10**18, 0)),
        ("expire=; total=-1; upload=x", Quota()),
        ("", Quota()),
        ("<script>alert(1)</script>", Quota()),
    ],
)
def test_what_a_server_says_of_the_account_is_numbers(text: str, quota: Quota) -> None:
    assert quota_of(text) == quota
