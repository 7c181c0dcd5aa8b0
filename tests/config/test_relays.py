"""Which relays are in use, and which passwords are not sent."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from proxy.config.relays import (
    LOST_SHOWN,
    Relay,
    check_selection,
    enabled_relays,
    expanded,
    group_to_select_in,
    has_keys,
    is_local_address,
    lost_overrides,
    names_in,
    relay_names,
    relays_of,
    shown_url,
    withheld_credentials,
)
from proxy.config.schema import GroupConfig, RelayConfig, Settings
from proxy.model import Action, GroupPolicy, Override, RelayGroup
from proxy.wire.relay_url import RelayKind
from tests.support.rows import each_row


def relay(name: str, url: str, *, enabled: bool = True, password_cmd: str = "", allow: bool = False) -> RelayConfig:
    return RelayConfig(
        name=name, url=url, enabled=enabled, password_cmd=password_cmd, allow_plaintext_credentials=allow
    )


def test_names_in_a_chain() -> None:
    assert names_in("a > socks5h://h:1>b") == ("a", "b")
    assert names_in("socks5h://h:1") == ()


def test_a_disabled_relay_takes_the_chains_with_it_that_name_it() -> None:
    relays = (
        relay("a", "h:1"),
        relay("b", "h:2", enabled=False),
        relay("ab", "a>b"),
        relay("far", "ab>h:3"),
        relay("own", "a>h:3"),
        relay("round", "round"),  # a fault, which is reported elsewhere
        relay("lost", "nobody>a"),
    )
    assert [each.name for each in enabled_relays(relays)] == ["a", "own", "round", "lost"]


@each_row(
    ("url", "kind"),
    [
        ("http://u:p@relay.example", "http"),
        ("socks5://u:p@192.0.2.1", "socks5h"),
        ("socks4a://me@relay.example", "socks4a"),
        ("https://u:p@relay.example>socks5h://u:p@h:1", "socks5h"),
        ("a>http://u:p@127.0.0.1:1", "http"),
    ],
)
def test_a_password_in_the_clear_is_withheld(url: str, kind: str) -> None:
    assert withheld_credentials(relay("r", url)) == (
        "Byway does not send relay r its user and password: they would cross the network unencrypted "
        f"({kind}://). Use https://, or set allow_plaintext_credentials = true for this relay"
    )
    assert withheld_credentials(relay("r", url, allow=True)) == ""


@each_row(
    "url",
    [
        "https://u:p@relay.example",
        "socks5h://u:p@127.0.0.1:1",
        "http://u:p@[::1]:1",
        "http://u:p@localhost:1>https://u:p@h",
        "socks5h://relay.example",
        "a>https://u:p@h",
        "addon://mine",
    ],
)
def test_a_password_that_is_safe_is_not(url: str) -> None:
    assert withheld_credentials(relay("r", url)) == ""


def test_the_password_of_a_command_is_the_last_relays() -> None:
    assert withheld_credentials(relay("r", "http://h", password_cmd="echo x"))
    assert withheld_credentials(relay("r", "http://h>https://i", password_cmd="echo x")) == ""


def test_the_password_is_the_last_hops() -> None:
    parsed = Relay.parse("c", "tor > https://me@relay.test").with_password("secret")
    name, hop = parsed.hops
    assert name == "tor"
    assert not isinstance(hop, str)
    assert (hop.kind, hop.user, hop.password) == (RelayKind.HTTPS, "me", "secret")
    assert "secret" not in repr(parsed)
    with pytest.raises(ValueError, match="password_cmd needs a URL at the end of the chain") as caught:
        Relay.parse("c", "http://me:hidden@192.0.2.1>tor").with_password("secret")
    assert str(caught.value).endswith("; http://me:***@192.0.2.1:8080>tor ends with relay tor")


def test_hosts_that_must_be_public_are_those_that_no_other_relay_has() -> None:
    settings = Settings(
        relay=(
            replace(relay("a", "socks5h://shared.test:1>http://page.test?alt=also.test:2"), public_only=True),
            relay("b", "socks5h://shared.test:3", enabled=False),
            replace(relay("c", "a>socks5h://off.test:1", enabled=False), public_only=True),
        )
    )
    assert relays_of(settings).public_only == {"page.test", "also.test", "off.test"}


GROUPED = Settings(
    relay=(relay("a", "h:1"), relay("b", "h:2", enabled=False), relay("c", "h:3"), relay("far", "http://vps:1 > eu>c")),
    group=(GroupConfig("eu", ("a", "b")), GroupConfig("us", ("b", "c"), "select")),
)


def test_a_chain_over_a_group_is_a_chain_for_each_member() -> None:
    chains = {each.name: each.url for each in expanded(GROUPED).relay}
    assert chains == {
        "a": "h:1", "b": "h:2", "c": "h:3", "far/a": "http://vps:1 >a>c", "far/b": "http://vps:1 >b>c"
    }  # fmt: skip
    assert relay_names(GROUPED) == ("a", "b", "c", "far", "eu", "us")
    without = Settings(relay=GROUPED.relay[:3])
    assert expanded(without) is without
    assert relays_of(without).groups == ()


def test_groups_have_the_members_in_use_and_one_to_select_from_has_all() -> None:
    relays = relays_of(GROUPED)
    assert relays.expanded == expanded(GROUPED)
    assert [each.name for each in relays.in_use] == ["a", "c", "far/a"]
    assert relays.groups == (
        RelayGroup("eu", ("a",), GroupPolicy.FALLBACK, ("a",), "eu"),
        RelayGroup("us", ("b", "c"), GroupPolicy.SELECT, ("b", "c"), "us"),
        RelayGroup("far", ("far/a",), GroupPolicy.FALLBACK, ("a",), "eu"),
    )


@each_row(
    ("group", "member", "sentence"),
    [
        ("eu", "a", 'group eu chooses by itself (fallback); to choose yourself, set policy = "select"'),
        ("us", "d", 'group us has no relay "d"; it can be b or c'),
        ("us", "b", "relay b is disabled: run `byway relay enable b` first"),
        ("uss", "c", 'there is no group "uss"; did you mean us?'),
        ("a", "c", "a is a relay, not a group"),
        ("far", "a", "far is a chain over group eu: run `byway relay use eu RELAY`"),
    ],
)
def test_what_cannot_be_selected(group: str, member: str, sentence: str) -> None:
    check_selection(GROUPED, "us", "c")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check_selection(GROUPED, group, member)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("d", 'no group with policy = "select" has a relay "d"; it can be b, c or a'),
        ("us", "us is a group: run `byway relay use us RELAY`"),
        ("b", "groups us and asia have b: run `byway relay use us b`"),
    ],
)
def test_a_relay_alone_is_selected_where_only_one_group_has_it(asked: str, sentence: str) -> None:
    groups = {"us": ("b", "c"), "asia": ("a", "b")}
    assert group_to_select_in(groups, "c") == "us"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        group_to_select_in(groups, asked)


def test_overrides_of_relays_that_are_gone() -> None:
    overrides = {
        "a.example": Override(Action.RELAY, "us"),
        "b.example": Override(Action.RELAY),
        "c.example": Override(Action.PREFER_RELAY, "gone"),
        **{f"{number}.example": Override(Action.RELAY, "old") for number in range(LOST_SHOWN)},
    }
    first, *others = lost_overrides(GROUPED, overrides)
    assert first == (
        "the override of c.example names relay gone, which is not configured: set another, or run "
        "`byway site forget c.example`"
    )
    assert len(others) == LOST_SHOWN - 1


@each_row(
    ("override", "said"),
    [
        (Override(Action.RELAY), "needs a relay, and none is in use, so a.example does not open: add one with "
         "`byway relay add URL`, or run `byway site forget a.example`"),
        (Override(Action.RELAY, "us"), "names relay us, which is disabled, so a.example does not open: run "
         "`byway relay enable us`, or run `byway site forget a.example`"),
        (Override(Action.RELAY, "eu"), "names relay eu, which is disabled, so a.example does not open: run "
         "`byway relay enable de fr`, or run `byway site forget a.example`"),
        (Override(Action.PREFER_RELAY, "us"), ""),
        (Override(Action.BLOCK), ""),
    ],
)  # fmt: skip
def test_overrides_without_a_relay_in_use(override: Override, said: str) -> None:
    relays = tuple(relay(name, f"socks5h://{name}.example:1", enabled=False) for name in ("us", "de", "fr"))
    settings = Settings(relay=relays, group=(GroupConfig(name="eu", relays=("de", "fr")),))
    told = lost_overrides(settings, {"a.example": override})
    assert told == ([f"the override of a.example {said}"] if said else [])
    one_more = replace(settings, relay=(*relays, relay("near", "socks5h://near.example:1")))
    assert (lost_overrides(one_more, {"a.example": override}) == told) is bool(override.relay or not said)


KEY = "trojan://correct-horse@relay.example:443"


def test_names_of_servers_of_keys_must_be_public_unless_the_user_said_otherwise() -> None:
    settings = Settings(
        relay=(
            relay("a", KEY),
            relay("b", "socks5h://h.example:1"),
            relay("c", "b>vless://x@c.example:2?alt=d.example:2"),
        )
    )
    assert relays_of(settings).public_only == {"relay.example", "c.example", "d.example"}
    local = replace(settings.relay[0], local=True)
    assert relays_of(replace(settings, relay=(local,))).public_only == frozenset()
    assert has_keys(settings)
    assert not has_keys(Settings(relay=(relay("b", "socks5h://h.example:1"),)))


def test_a_key_is_shown_as_scheme_and_server_also_with_a_field_that_is_ignored() -> None:
    key = RelayConfig(name="a", url=f"{KEY}?foo=1#x", ignore_fields=("FOO",))
    assert shown_url(key) == "trojan://relay.example:443"
    assert key.allowed is not None
    assert key.allowed.ignore == {"foo"}
    assert RelayConfig(name="a", url=KEY).allowed is None


@each_row(
    ("host", "is_local"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.1.1", True), ("100.64.0.1", True), ("169.254.169.254", True),
        ("0.0.0.0", True), ("224.0.0.1", True), ("168.63.129.16", True), ("::1", True), ("fd00::1", True),
        ("fe80::1", True), ("::ffff:10.0.0.1", True), ("64:ff9b::a00:1", True), ("2002:a00:1::", True),
        ("localhost", True), ("x.localhost", True),
        ("8.8.8.8", False), ("192.0.2.1", False), ("2001:db8::1", False), ("2606:4700::1111", False),
        ("relay.example", False),
    ],
)  # fmt: skip
def test_which_hosts_are_in_the_local_network(host: str, is_local: bool) -> None:
    assert is_local_address(host) is is_local
