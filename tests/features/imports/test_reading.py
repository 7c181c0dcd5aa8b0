"""Which program a configuration is from, and what a hostile one gets: a sentence."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Settings
from proxy.features.imports.foreign import Unreadable
from proxy.features.imports.plan import rows_of, warnings_of
from proxy.features.imports.reading import BACKUP_LIMIT, read_foreign
from proxy.features.imports.review import checked, new_lines
from proxy.routing.rules import Rules
from proxy.wire.keys.notations import YAML_MISSING
from proxy.wire.keys.pasted import TEXT_LIMIT
from proxy.wire.keys.reader import KEYS_LIMIT
from tests.features.imports.mutations import damaged, read
from tests.features.imports.planned import clash, planned, sing_box
from tests.support.rows import each_row

LINKS = "socks5h://h.example:1080#One\nss://YWVzLTI1Ni1nY206cHc@k.example:8388#Two\njunk\n"
BUNDLE = base64.b64encode(LINKS.encode()).decode()


@each_row(
    ("text", "form"),
    [
        (clash(), "a Clash configuration"),
        ("\ufeff" + clash().replace("\n", "\r\n"), "a Clash configuration"),
        ('{proxies: [], rules: ["MATCH,DIRECT"]}', "a Clash configuration"),
        ("rules: ['MATCH,DIRECT']", "a Clash configuration"),
        (sing_box(), "a sing-box configuration"),
        ('[{"type": "socks", "tag": "s", "server": "h.example", "server_port": 1}]', "a sing-box configuration"),
        ('[{"outboundTag": "proxy", "domain": ["full:a"]}]', "rules of v2rayN"),
        ('{"outbounds": [{"protocol": "freedom"}]}', "an Xray configuration"),
        ('[{"protocol": "freedom"}]', "an Xray configuration"),
        ('{"routing": {"rules": []}}', "an Xray configuration"),
        ('{"type": "socks", "bean": {}}', "a profile of nekoray"),
        ('{"def_outbound": "proxy"}', "routes of nekoray"),
        ('{"+a": {"name": "a", "profileType": "SwitchProfile"}}', "a backup of SwitchyOmega or ZeroOmega"),
        (
            '{"version": 1, "servers": [{"server": "h.example", "server_port": 1, "password": "p", "method": "none"}]}',
            "a list of Shadowsocks keys (SIP008)",
        ),
        (LINKS, "a list of links"),
        (BUNDLE, "a list of links"),
    ],
)
def test_the_program_is_found_by_the_text(text: str, form: str) -> None:
    assert read_foreign(text).form == form


def test_links_have_names_of_their_own() -> None:
    made = planned(f"{LINKS}socks5h://h2.example:1080#One\n")
    assert [(name, taken) for name, taken, _ in made.entries] == [
        ("One", "taken"),
        ("Two", "taken"),
        ("link 3", "not taken"),
        ("One (2)", "taken"),
    ]
    assert made.relays == [
        ("One", "socks5h://h.example:1080"),
        ("Two", "ss://YWVzLTI1Ni1nY206cHc@k.example:8388"),
        ("One-2", "socks5h://h2.example:1080"),
    ]
    assert made.entries[1][2] == "Two: ss://k.example:8388"


def test_a_key_on_this_computer_or_in_the_local_network_is_taken_if_the_person_says_so() -> None:
    for host in ("192.168.1.1", "127.0.0.1"):
        link = f"trojan://pw@{host}:443"
        made = planned(f"{link}#K\n")
        assert made.relays == []
        assert made.entries == [
            (
                "K",
                "not taken",
                f"the server of its key, {host}, is in the local network; to take it all the same: --local",
            )
        ]
        made = planned(f"{link}#K\n", local=True)
        assert made.relays == [("K", link)]


def test_a_link_names_no_file_and_no_addon() -> None:
    made = planned("https://h.example:443?ca=/etc/passwd#A\naddon://evil\nfile:///etc/passwd\nhttp://127.0.0.1:8119\n")
    assert made.relays == []
    assert [text for _, _, text in made.entries] == [
        "it names a file of this computer (ca=)",
        "it is neither a key nor a relay",
        "it is neither a key nor a relay",
        "127.0.0.1:8119 is Byway itself; requests would loop",
    ]


BOMB = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9)) + "proxies: [*a]\n"
DEEP = "rules: " + "[" * 40 + "]" * 40
DEEP_JSON = '{"rules":' + "[" * 100_000 + "]" * 100_000 + "}"


@each_row(
    ("text", "why"),
    [
        ("", "it is no configuration of Clash, sing-box"),
        ("hello", "it is no configuration of"),
        ("<html><body>proxies: no</body></html>", "it is n"),
        ("{}", "it is no configuration of"),
        ("[]", "it is no configuration of"),
        ('{"type": "http", "bean": {"v": -80, "username": "\\ud83d"}}', "it has half a character (a surrogate)"),
        ('{"def_outbound": "proxy", "custom": "{\\"rules\\": [\\"\\\\ud83d\\"]}"}', "it has half a character"),
        ("[1]", "it is no configuration of"),
        ('{"a": 1}', "it is no configuration of"),
        ('{"proxies": ', "it is not valid JSON: the fault is in line 1"),
        ("proxies:\n  - {name: a\nrules: []\n", "it is not valid YAML: the fault is in line 3"),
        (BOMB, "the YAML has an anchor (&) or an alias (*)"),
        ("proxies: !!python/object/apply:os.system [id]\n", "the YAML has a tag (!)"),
        ("proxies: []\nproxies: []\n", "the YAML gives a field twice"),
        ('{"proxies": [], "proxies": []}', "the JSON gives a field twice"),
        ("proxies: []\n---\nproxies: []\n", "the YAML has more than one document"),
        (DEEP, "the YAML has more than 32 lists and maps in each other"),
        (DEEP_JSON, "the JSON has too many brackets in each other"),
        ("proxies:\n" + "  - {}\n" * (KEYS_LIMIT + 1), "its proxies has 2,001 entries, and Byway takes at most 2,000"),
        ("ss://x\n" * (KEYS_LIMIT + 1), "it has 2,001 links, and Byway takes at most 2,000 at once"),
        ("rules: [" + "x" * TEXT_LIMIT + "]", "it is larger than 1,024 KiB"),
        ('{"profileType": "' + "x" * BACKUP_LIMIT + '"}', "it is larger than"),
        (
            "[SwitchyOmega Conditions]\n@with result\n*.a.example +direct\n",
            "it is a list of conditions: `byway rule import",
        ),
        (
            "DOMAIN,a.example,PROXY\nDOMAIN,b.example,PROXY\n",
            "it has rules alone: `byway rule import FILE --add` reads them",
        ),
    ],
)
def test_a_text_that_cannot_be_read_gets_a_sentence(text: str, why: str) -> None:
    with pytest.raises(Unreadable) as raised:
        read_foreign(text)
    assert str(raised.value).startswith(why)


def test_a_profile_is_for_backups() -> None:
    with pytest.raises(Unreadable, match="--profile is for backups"):
        read_foreign(clash(), profile="x")


def test_without_pyyaml_a_clash_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(Unreadable) as raised:
        read_foreign(clash())
    assert str(raised.value) == YAML_MISSING


HOSTILE = "\x1b[2J\u202e<b>&amp;\r\n" + "n" * 300


def test_names_are_inert_and_their_relays_have_plain_names() -> None:
    servers = [
        {"name": HOSTILE, "type": "socks5", "server": "h.example", "port": 1080},
        {"name": "../../etc", "type": "socks5", "server": "h2.example", "port": 1080},
        {"name": 'x"\nurl = "socks5h://evil.example:1', "type": "socks5", "server": "h3.example", "port": 1080},
        {"name": "direct", "type": "socks5", "server": "h4.example", "port": 1080},
    ]
    made = planned(json.dumps({"proxies": servers, "rules": [f"DOMAIN,a.example,{HOSTILE.split(chr(13))[0]}"]}))
    assert [name for name, _ in made.relays] == [
        "2J-b-amp-nnnnnnnnnnnnnnnnnnn",
        "etc",
        "x-url-socks5h-evil.example-1",
        "direct-relay",
    ]
    shown = [*(name for name, _, _ in made.entries), *made.refused]
    assert all(text.isprintable() and len(text) < 200 for text in shown)


@each_row(
    "value",
    [
        "a.example\nMATCH,DIRECT",
        "a.example,DIRECT\nDOMAIN,b.example",
        "a.example,DIRECT\r\nDOMAIN,b.example",
        "a.example,DIRECT #",
        "a.example,DIRECT //",
        "a.example\x00",
        "a.example,DIRECT",
        "a.example,RELAY,INSPECT",
        "x" * 2000,
        "../../etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_no_value_of_a_rule_changes_another_line(value: str) -> None:
    for rule in ({"domain": [value], "outbound": "b"}, {"rule_set": [value], "outbound": "b"}):
        made = planned(sing_box(rule))
        rules = checked(made.plan.rules, Settings(), Rules())
        assert [line for line in new_lines(rules, Rules()) if not line.startswith("MATCH,")] == []
        (warning,) = warnings_of(rules[:1], "AUTO")
        assert warning.replace("\n  ", "", 1).isprintable()
        assert all(row.name.isprintable() for row in rows_of(rules, frozenset()))


def test_a_thousand_damaged_texts_are_read_or_told() -> None:
    """`python -m tests.whole.mutations` does that with as many as one likes."""
    rng = random.Random(1)
    assert sum(read(damaged(rng)) for _ in range(1000)) > 100


_NESTED = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(["DIRECT", "true", "0", "S"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        "proxies",
        "proxy-groups",
        "rules",
        "outbounds",
        "route",
        "routing",
        "servers",
        "bean",
        "def_outbound",
        "custom",
        "direct_ip",
        "+a",
        "-startupProfileName",
        "type",
        "name",
        "tag",
        "protocol",
        "profileType",
        "condition",
        "mode",
    ]
)


@given(st.dictionaries(_FIELDS, _NESTED | st.dictionaries(_FIELDS, _NESTED, max_size=4), max_size=5))
def test_any_json_is_read_or_told(value: dict[str, object]) -> None:
    with contextlib.suppress(Unreadable):
        made = planned(json.dumps(value))
        assert all(text for _, _, text in made.entries)
        assert all(made.warnings)
