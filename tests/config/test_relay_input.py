"""Pasted relays, beside what `byway relay add` reads: see tests/features/relays/test_input.py."""

from __future__ import annotations

import json

import pytest

from proxy.config.edit import NewRelay, identity
from proxy.config.relay_input import RELAYS_MAX, read_lines, relay_of
from proxy.model.errors import ConfigError
from proxy.wire.keys.fields import Allowed, KeyRefused
from proxy.wire.keys.pasted import Form
from proxy.wire.keys.reader import read_collection, read_entry
from proxy.wire.keys.values import Key, RelayLink
from tests.support.rows import each_row
from tests.wire.keys.made_keys import GOOD, PIN, SECRET, b64
from tests.wire.keys.test_collections import BY_LINK, CLASH_SERVER, CONF, SING_BOX_SERVER, SIP008, clash, sing_box


def test_lines_that_are_none_are_given_back() -> None:
    given = read_lines("h:1\n # comment\nnonsense # why\n\nhttp://h:x\n", "here")
    assert given.relays == (NewRelay("socks5h://h:1"),)
    assert given.refused == ("nonsense", "http://h:x")
    assert [problem.partition(" ")[0] for problem in given.problems] == ["here:3:", "here:5:"]


def test_what_is_pasted_is_bounded() -> None:
    with pytest.raises(ConfigError, match=f"at most {RELAYS_MAX} relays can be added at once"):
        read_lines("h:1\n" * (RELAYS_MAX + 1), "here")
    with pytest.raises(ConfigError, match="here: no relay URL in it"):
        read_lines("# nothing\n", "here")


def test_an_entry_is_a_relay_or_why_it_is_none() -> None:
    """A key that is no link becomes one. The sentence for an entry is the one of `relay add`."""
    relay, key, other = read_collection("socks5h://h.example:1#One\ntrojan://pw@h.example:443#Two\nsnell://x\n").items
    assert isinstance(relay, RelayLink)
    assert relay_of(relay) == NewRelay("socks5h://h.example:1", label="One")
    assert isinstance(key, Key)
    assert relay_of(key) == NewRelay("trojan://pw@h.example:443?security=tls", label="Two")
    assert relay_of(key, "trojan://pw@h.example:443#Two") == NewRelay("trojan://pw@h.example:443", label="Two")
    assert isinstance(other, KeyRefused)
    with pytest.raises(ValueError, match=r"^Snell is not supported$"):
        relay_of(other)
    for chain in ("socks5h://h.example:1>tor", "https://h.example:8>443?ca=/etc/passwd"):
        with pytest.raises(ValueError, match="it is a chain"):
            relay_of(RelayLink(chain, ""))
    damaged = read_entry(Form.CLASH, {"type": "trojan", "server": "h.example", "port": "443"})
    assert isinstance(damaged, KeyRefused)
    with pytest.raises(ValueError, match=r"this Trojan key for h\.example:443 cannot be read: the key has no password"):
        relay_of(damaged)


@each_row(("proxy", "outbound", "link"), BY_LINK)
def test_a_key_in_any_notation_is_the_relay_of_its_link(
    proxy: dict[str, object], outbound: dict[str, object], link: str
) -> None:
    for text in (clash(CLASH_SERVER | proxy), sing_box(SING_BOX_SERVER | outbound), b64(f"{link}\n")):
        given = read_lines(text, "here")
        (relay,) = given.relays
        assert (identity(relay.url), relay.label, relay.allowed) == (identity(link), "One", None)
        assert given.problems == ()


def test_a_list_by_sip008() -> None:
    given = read_lines(json.dumps(SIP008), "here")
    assert [(relay.label, relay.url.partition("://")[0]) for relay in given.relays] == [("One", "ss")]
    (problem,) = given.problems
    assert problem.startswith("here: number 2: this Shadowsocks key for other.example:1 is not supported: ")


def test_the_keys_of_a_bundle_stay_as_they_are_written() -> None:
    links = [link for link, key in GOOD if key.protocol in ("vless", "trojan", "hysteria2") and link.isascii()]
    given = read_lines(b64("\n".join(links)), "here")
    assert [relay.url for relay in given.relays] == [link.partition("#")[0] for link in links]


def test_what_the_person_allows_holds_for_keys_in_files() -> None:
    unchecked = CLASH_SERVER | {"type": "trojan", "password": SECRET, "skip-cert-verify": True, "foo": 1}
    allowed = Allowed(frozenset(("foo",)), PIN)
    with pytest.raises(ConfigError, match=r"here: number 1: .* field foo is not known"):
        read_lines(clash(unchecked), "here", Allowed(pin=PIN))
    with pytest.raises(ConfigError, match=r"here: number 1: .* field skip-cert-verify: the server's certificate"):
        read_lines(clash(unchecked), "here", Allowed(frozenset(("foo",))))
    (relay,) = read_lines(clash(unchecked), "here", allowed).relays
    link = f"trojan://{SECRET}@relay.example:443?security=tls&pcs={PIN.hex()}"
    assert relay == NewRelay(link, label="One"), "what is allowed is in the link"
    link = f"trojan://{SECRET}@relay.example:443?foo=1"
    assert read_lines(b64(f"{link}\n"), "here", allowed).relays == (NewRelay(link, allowed=allowed),)


def test_names_of_a_file_are_kept_as_harmless_text() -> None:
    key = CLASH_SERVER | {"type": "trojan", "password": SECRET}
    hostile = [key | {"name": name} for name in ("\u202eDE\x1b[31m\r\n1", "<script>x</script>", "a>b#c")]
    relays = read_lines(json.dumps({"proxies": hostile}), "here").relays
    assert [relay.label for relay in relays] == ["DE[31m 1", "<script>x</script>", "a>b#c"]
    assert {relay.url for relay in relays} == {f"trojan://{SECRET}@relay.example:443?security=tls"}


def test_entries_that_are_not_taken_are_told_each_or_by_their_number() -> None:
    good = SING_BOX_SERVER | {"type": "trojan", "password": SECRET}
    bad = good | {"detour": "x"}
    three = read_lines(sing_box(bad, good, bad, bad), "here")
    assert [problem.partition(": this")[0] for problem in three.problems] == [
        "here: number 1",
        "here: number 3",
        "here: number 4",
    ]
    four = read_lines(sing_box(good, bad, bad, bad, bad), "here")
    assert len(four.relays) == 1
    (problem,) = four.problems
    assert problem.startswith(
        "here: 4 of 5 entries of a sing-box configuration are not taken. The first, number 2: this Trojan key for "
    )
    with pytest.raises(
        ConfigError, match=r"number 1: this WireGuard key for relay\.example:443 .* it has two addresses"
    ):
        read_lines(CONF.replace("ListenPort = 51820", "Address = 10.0.0.3"), "here")
    nameless = good | {"tls": {"enabled": True, "disable_sni": True}}
    with pytest.raises(ConfigError, match=r"leaving out the name \(SNI\) is not supported with this protocol"):
        read_lines(sing_box(nameless), "here")
    assert SECRET not in str((three.problems, four.problems))
