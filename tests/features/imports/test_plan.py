"""Relays, groups and policies of another program, as those of Byway."""

from __future__ import annotations

from proxy.config.schema import GroupConfig, Listen, RelayConfig, Settings
from tests.features.imports.planned import clash, planned
from tests.support.rows import each_row

OTHERS = """\
  - {name: T, type: socks5, server: t.example, port: 1080}
  - {name: Key, type: trojan, server: k.example, port: 443, password: hunter2, skip-cert-verify: true}
"""


def group(name: str, kind: str, *members: str, more: str = "") -> str:
    return f"  - {{name: {name}, type: {kind}, proxies: [{', '.join(members)}]{more}}}\n"


@each_row(
    ("groups", "made", "said", "line"),
    [
        (group("G", "url-test", "S", "T"), [("G", ("S", "T"), "fastest")], "G: fastest of S, T", "RELAY:G"),
        (group("G", "fallback", "T", "S"), [("G", ("T", "S"), "fallback")], "G: fallback of T, S", "RELAY:G"),
        (group("G", "load-balance", "S", "T"), [("G", ("S", "T"), "sticky")], "G: sticky of S, T", "RELAY:G"),
        (
            group("G", "select", "S", "T", "DIRECT"),
            [("G", ("S", "T"), "select")],
            'G: select of S, T; without "DIRECT"',
            "RELAY:G",
        ),
        (group("G", "select", "DIRECT", "S"), [], 'DIRECT: its first choice, "DIRECT"', "DIRECT"),
        (group("G", "select", "REJECT", "S"), [], 'BLOCK: its first choice, "REJECT"', "BLOCK"),
        (group("G", "url-test", "S", "Key"), [("G", ("S",), "fastest")], 'G: fastest of S; without "Key"', "RELAY:G"),
        (
            group("G", "fallback", "S", "DIRECT"),
            [("G", ("S",), "fallback")],
            "G: fallback of S, then direct (PREFER-RELAY)",
            "PREFER-RELAY:G",
        ),
        (
            group("A", "url-test", "S", "T") + group("G", "select", "A", "S"),
            [("A", ("S", "T"), "fastest")],
            'RELAY:A: its first choice, "A"',
            "RELAY:A",
        ),
        (
            group("A", "url-test", "S", "T") + group("G", "fallback", "A", "S"),
            [("A", ("S", "T"), "fastest"), ("G", ("S", "T"), "fallback")],
            "G: fallback of S, T",
            "RELAY:G",
        ),
        (
            group("G", "select", "S", more=", use: [p]"),
            [("G", ("S",), "select")],
            "G: select of S; without those of its provider, whose file is not read",
            "RELAY:G",
        ),
    ],
)
def test_a_group_that_byway_has_too(
    groups: str, made: list[tuple[str, tuple[str, ...], str]], said: str, line: str
) -> None:
    found = planned(clash("DOMAIN,a.example,G", proxies=OTHERS, groups=groups))
    assert found.groups == made
    assert found.entries[-1][2] == said
    assert found.lines == [f"DOMAIN,a.example,{line}"]


@each_row(
    ("groups", "why"),
    [
        (group("G", "url-test", "S", "DIRECT"), 'it chooses between relays and "DIRECT", which no group of Byway does'),
        (group("G", "fallback", "DIRECT", "S"), 'it chooses between relays and "DIRECT", which no group of Byway does'),
        (group("G", "fallback", "S", "REJECT"), 'it chooses between relays and "REJECT", which no group of Byway does'),
        (group("G", "select", "Key"), "its member is not taken"),
        (group("G", "select", "Key", "Nowhere"), "none of its 2 members is taken"),
        (group("G", "smart", "S"), "its type is smart"),
        (group("G", "select", "G"), "its member is not taken"),
        ("  - {name: G, type: select, use: [p]}\n", "its members come from a provider, whose file is not read"),
        ("  - {name: G, type: select}\n", "its members come from nowhere"),
        (group("G", "relay", "S", "Key"), "Byway has no chain of these members: one of them is no relay that is taken"),
    ],
)
def test_a_group_that_is_not_taken_is_told_and_so_are_its_rules(groups: str, why: str) -> None:
    found = planned(clash("DOMAIN,a.example,G", "MATCH,DIRECT", proxies=OTHERS, groups=groups))
    assert found.groups == []
    assert found.entries[-1][1:] == ("not taken", why)
    assert (found.lines, found.refused) == (["MATCH,DIRECT"], ['group "G" is not taken'])
    assert found.warnings[-1].startswith("1 rule that sends sites through relays only is not taken; ")


def test_a_chain_is_a_relay() -> None:
    found = planned(clash("MATCH,C", proxies=OTHERS, groups=group("C", "relay", "T", "S")))
    assert found.relays[-1] == ("C", "T>S")
    assert found.lines == ["MATCH,RELAY:C"]


def test_groups_in_each_other_end() -> None:
    loop = group("A", "select", "B") + group("B", "select", "A")
    found = planned(clash("MATCH,A", groups=loop))
    assert (found.groups, found.lines) == ([], [])
    long = "".join(group(f"G{n}", "url-test", f"G{n + 1}") for n in range(300)) + group("G300", "url-test", "S")
    found = planned(clash("MATCH,G0", groups=long))
    assert found.lines == []
    assert "is not taken" in found.refused[0]


def test_two_entries_with_one_name() -> None:
    twice = group("G", "url-test", "S") + group("G", "fallback", "S") + group("S", "url-test", "T")
    found = planned(clash("MATCH,G", proxies=OTHERS, groups=twice))
    assert found.groups == [("G", ("S",), "fastest")]
    assert [text for _, taken, text in found.entries if taken == "not taken"][1:] == [
        "an entry before it has the same name"
    ] * 2


def test_a_relay_of_the_person_stands_in_the_place_of_those_that_are_not_taken() -> None:
    settings = Settings(relay=(RelayConfig("tor", "socks5h://127.0.0.1:9050"),))
    groups = group("G", "select", "Key", "Nowhere")
    text = clash("DOMAIN,a.example,G", "DOMAIN,b.example,Key", "MATCH,S", proxies=OTHERS, groups=groups)
    found = planned(text, settings=settings, relay="tor")
    assert found.lines == ["DOMAIN,a.example,RELAY:tor", "DOMAIN,b.example,RELAY:tor", "MATCH,RELAY:S"]
    assert found.partly[0] == 'DOMAIN,a.example,RELAY:tor (by tor, since group "G" is not taken)'


OWN = Settings(
    listen=Listen(port=8119),
    relay=(
        RelayConfig("mine", "socks5h://s.example:1080"),
        RelayConfig("off", "socks5h://t.example:1080", enabled=False),
    ),
    group=(GroupConfig("both", ("mine", "off"), "fastest"),),
)


def test_what_is_there_already_is_not_added_again() -> None:
    groups = group("G", "url-test", "S", "T") + group("both", "fallback", "S", "T")
    found = planned(clash("MATCH,G", "DOMAIN,a.example,both", proxies=OTHERS, groups=groups), settings=OWN)
    assert found.relays == []
    assert found.groups == [("both-2", ("mine", "off"), "fallback")]
    assert found.entries[0] == ("S", "is there already", "mine")
    assert found.entries[1] == ("T", "is there already", "off, which is disabled")
    assert found.entries[3] == ("G", "is there already", "both: fastest of mine, off")
    assert found.lines == ["MATCH,RELAY:both"]


@each_row(
    ("server", "port", "local", "why"),
    [
        ("192.168.1.5", 1080, False, "192.168.1.5:1080 is in the local network; to take it all the same: --local"),
        ("192.168.1.5", 1080, True, ""),
        ("printer.lan", 1080, False, "printer.lan:1080 is in the local network"),
        ("169.254.169.254", 80, True, "169.254.169.254"),
        ("0.0.0.0", 1080, True, "0.0.0.0"),
        ("127.0.0.1", 8119, True, "127.0.0.1:8119 is Byway itself; requests would loop"),
        ("127.0.0.1", 1080, False, ""),
    ],
)
def test_servers_at_addresses_of_this_network(server: str, port: int, local: bool, why: str) -> None:
    proxies = f"  - {{name: X, type: socks5, server: {server}, port: {port}}}\n"
    found = planned(clash("MATCH,X", proxies=proxies), local=local)
    name, taken, text = found.entries[1]
    assert (name, taken) == ("X", "not taken" if why else "taken")
    assert text.startswith(why)
    assert found.lines == ([] if why else ["MATCH,RELAY:X"])


def test_a_name_may_not_lead_into_the_local_network_unless_the_person_says_so() -> None:
    assert [relay.public_only for relay in planned(clash()).plan.relays] == [True]
    assert [relay.public_only for relay in planned(clash(), local=True).plan.relays] == [False]


def test_a_configuration_has_a_limit() -> None:
    proxies = "".join(f"  - {{name: N{n}, type: socks5, server: n{n}.example, port: 1080}}\n" for n in range(300))
    found = planned(clash("MATCH,N299", proxies=proxies))
    assert len(found.relays) == 256
    assert found.entries[-1][2] == "a configuration has at most 256 relays"
    assert found.refused == ['"N299" is not taken']


def test_credentials_that_would_not_be_sent_are_a_warning() -> None:
    proxies = "  - {name: X, type: socks5, server: x.example, port: 1080, username: me, password: hunter2}\n"
    (warning,) = planned(clash(proxies=proxies)).warnings
    assert warning.startswith("Byway does not send relay X its user and password")


def test_a_warning_names_some_rules_and_counts_the_others() -> None:
    (warning,) = planned(clash(*(f"GEOSITE,g{n},DIRECT" for n in range(40)))).warnings
    assert warning.startswith("40 rules that keep sites off relays are not taken; ")
    assert warning.endswith("\n  rule 12: GEOSITE,g11,DIRECT\n  and 28 more")
