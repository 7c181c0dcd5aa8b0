"""What only makes sense beside another setting."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.checks import faults, notices
from proxy.config.read_settings import read_settings
from proxy.config.schema import Settings
from tests.support.rows import each_row


def found(*, relays: tuple[tuple[str, str], ...] = (), **sections: Any) -> list[str]:
    relay = tuple({"name": name, "url": url} for name, url in relays)
    settings = read_settings({"relay": relay, **sections})
    assert isinstance(settings, Settings), settings
    return [f"{'.'.join(map(str, fault.path))}: {fault.sentence}" for fault in faults(settings)]


def noticed(**sections: Any) -> list[str]:
    settings = read_settings(sections)
    assert isinstance(settings, Settings), settings
    return [f"{'.'.join(map(str, notice.path))}: {notice.sentence}" for notice in notices(settings)]


@each_row("address", ["0.0.0.0", "::", "192.168.1.5", "fd00::1", "203.0.113.7"])
def test_G3_listening_beyond_this_computer_needs_a_user(address: str) -> None:
    (fault,) = found(listen={"address": address})
    assert fault.startswith(f"listen.address: listening on {address} lets everyone")
    assert found(listen={"address": address, "user": "anna", "password_cmd": "echo x"}) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_G3_loopback_needs_none(address: str) -> None:
    assert found(listen={"address": address}) == []


def test_a_user_needs_a_password_and_the_other_way_round() -> None:
    assert found(listen={"user": "anna"}) == [
        "listen.user: listen.user needs listen.password_cmd, a command that prints the password"
    ]
    assert found(listen={"password_cmd": "echo"}) == ["listen.password_cmd: listen.password_cmd needs listen.user"]
    assert "cannot contain a colon" in found(listen={"user": "a:b", "password_cmd": "echo"})[0]


@each_row(
    "url",
    [
        "socks5h://127.0.0.1:8119",
        "127.1:8119",
        "http://localhost:8119",
        "http://x.localhost:8119",
        "http://localhost.localdomain:8119",
        "https://[::1]:8119",
        "socks5://0.0.0.0:8119",
        "socks5://[::]:8119",
        "socks5://[::ffff:127.0.0.1]:8119",
        "socks5://127.0.0.2:8119",
        "other>socks5h://127.0.0.1:8119",
    ],
)
def test_E29_a_relay_that_is_byway_itself(url: str) -> None:
    fault = found(relays=(("loop", url), ("other", "socks5h://h:1")))[0]
    assert fault.startswith("relay.0.url: relay loop is Byway itself")


def test_E29_our_own_address_in_the_lan() -> None:
    listen = {"address": "192.168.1.5", "user": "anna", "password_cmd": "echo"}
    assert "is Byway itself" in found(relays=(("loop", "http://192.168.1.5:8119"),), listen=listen)[0]
    everywhere = {**listen, "address": "0.0.0.0"}
    assert "is Byway itself" in found(relays=(("loop", "http://127.0.0.1:8119"),), listen=everywhere)[0]


@pytest.mark.parametrize("url", ["socks5h://127.0.0.1:9050", "http://relay.example:8119", "http://192.168.1.6:8119"])
def test_other_relays_are_fine(url: str) -> None:
    assert found(relays=(("r", url),)) == []


def test_chains_of_names_and_urls() -> None:
    relays = (("a", "socks5h://h:1"), ("b", "a > https://h.example"), ("c", "b>a"))
    assert found(relays=relays) == []


@each_row(
    ("relays", "says"),
    [
        ((("a", "a"),), "relay.0.url: relay a: the chain contains itself"),
        ((("a", "b"), ("b", "a>h:1")), "relay.0.url: relay a: the chain contains itself"),
        ((("a", "b>c"), ("b", "h:1")), 'relay.0.url: relay a: unknown relay "c"; it can be b'),
        ((("a", "tro>h:1"), ("tor", "h:1")), 'relay.0.url: relay a: unknown relay "tro"; did you mean tor?'),
        ((("a", "relay.example"),), 'relay.0.url: relay a: unknown relay "relay.example"; a host needs a port'),
        ((("a", "a>>b"),), "relay.0.url: relay a: a chain of relays has a name or a URL on each side of every >"),
        ((("a", "vmess://x"),), "relay.0.url: relay a: this VMess key cannot be read: it is neither"),
        ((("a", "sock5://h:1"),), 'relay.0.url: relay a: unknown scheme "sock5"; did you mean socks5h?'),
        ((("a", "h:1"), ("a", "h:2")), 'relay.1.name: two [[relay]] tables have the name "a"'),
        ((("Direct", "h:1"),), 'relay.0.name: "Direct" is reserved; choose another name'),
    ],
)
def test_relays_that_cannot_work(relays: tuple[tuple[str, str], ...], says: str) -> None:
    assert found(relays=relays)[0].startswith(says)


def test_a_cycle_further_on_is_not_held_against_whoever_leads_to_it() -> None:
    relays = (("a", "b"), ("b", "c"), ("c", "b"))
    assert [fault.split(":")[0] for fault in found(relays=relays)] == ["relay.1.url", "relay.2.url"]


def test_lists() -> None:
    twice = {"name": "l", "source": "l.txt", "format": "plain"}
    assert found(list=(twice, twice)) == ['list.1.name: two [[list]] tables have the name "l"']


@each_row(
    ("source", "says"),
    [
        (
            {"source": "https://me:sesame@lists.example/l.txt"},
            "source: the source of a list is a file or an https:// URL",
        ),
        ({"source": "http://lists.example/l.txt"}, "source: the source of a list cannot be http://"),
        ({"source": "ftp://lists.example/l.txt"}, "source: the source of a list is a file or an https:// URL"),
        ({"source": "https://"}, "source: the source of a list is a file or an https:// URL"),
        ({"source": "l.txt", "refresh": "1d"}, "refresh: refresh is for https:// sources"),
        ({"source": "l.txt", "via": "direct"}, "via: via is for https:// sources"),
    ],
)
def test_sources_that_cannot_be_fetched(source: dict[str, str], says: str) -> None:
    (fault,) = found(list=({"name": "l", **source},))
    assert fault.startswith(f"list.0.{says}")
    assert "sesame" not in fault


def test_a_list_can_be_fetched() -> None:
    source = {"name": "l", "source": "https://lists.example/l.txt", "refresh": "6h", "via": "direct"}
    assert found(list=(source,)) == []


def test_a_list_that_no_relay_can_fetch_is_a_notice() -> None:
    source = {"name": "l", "source": "https://lists.example/l.txt"}
    (notice,) = noticed(list=(source,))
    assert notice.startswith("list.0.via: list l is fetched through relays only, and there is none")
    off = {"name": "a", "url": "socks5h://h:1", "enabled": False}
    assert noticed(list=(source,), relay=(off,)) == [notice]
    assert noticed(list=(source,), relay=({**off, "enabled": True},)) == []
    assert noticed(list=({**source, "via": "direct"},)) == []


@pytest.mark.parametrize("key", ["emudhra", "emudhra_ca"])
def test_options_of_the_published_authority_are_refused_for_every_addon(key: str) -> None:
    (fault,) = found(addons={"a": {"enabled": True, key: True}})
    assert fault == f'addons.a.{key}: "{key}" trusts a CA whose private key is public, and is not allowed'
    assert found(addons={"a": {"enabled": True, "other": True}}) == []


# -- groups of relays --------------------------------------------------------------------------------------------------

TWO = (("a", "socks5h://h:1"), ("b", "socks5h://h:2"))


def groups(*named: tuple[str, tuple[str, ...]], relays: tuple[tuple[str, str], ...] = TWO) -> list[str]:
    return found(relays=relays, group=tuple({"name": name, "relays": members} for name, members in named))


def test_groups_of_relays_and_chains_over_one() -> None:
    assert groups(("eu", ("a", "b")), ("us", ("b",)), relays=(*TWO, ("far", "a>eu"))) == []


@each_row(
    ("members", "sentence"),
    [
        (("a", "c"), 'group eu: unknown relay "c"; it can be a or b'),
        (("a", "us"), 'group eu: "us" is a group; name its relays instead'),
        (("eu",), 'group eu: "eu" is a group; name its relays instead'),
        (("a", "b", "a"), 'group eu names relay "a" more than once'),
        ((), "group eu has no relays; name at least one"),
    ],
)
def test_what_a_group_may_not_have(members: tuple[str, ...], sentence: str) -> None:
    assert groups(("eu", members), ("us", ("a",))) == [f"group.0.relays: {sentence}"]


def test_relays_and_groups_share_their_names() -> None:
    assert groups(("a", ("b",))) == ["group.0.name: group a has the name of a relay; choose another name"]
    assert groups(("eu", ("a",)), ("eu", ("b",)))[0] == 'group.1.name: two [[group]] tables have the name "eu"'
    assert groups(("Direct", ("a",))) == ['group.0.name: "Direct" is reserved; choose another name']


def test_a_chain_names_one_group_and_is_named_nowhere_else() -> None:
    far = (*TWO, ("far", "a>eu"))
    assert groups(("eu", ("b",)), ("us", ("b",)), relays=(*TWO, ("far", "eu>us"))) == [
        "relay.2.url: relay far: the chain names more than one group; it may name one"
    ]
    assert groups(("eu", ("b",)), relays=(*far, ("farther", "b>far"))) == [
        "relay.3.url: relay farther: far is a chain over group eu, so no chain may name it"
    ]
    assert groups(("eu", ("b",)), ("us", ("far",)), relays=far) == [
        "group.1.relays: group us: relay far is a chain over group eu, so no group may have it"
    ]
    assert groups(("eu", ("b", "far")), relays=far) == [
        "group.0.relays: group eu: relay far is a chain over group eu, so no group may have it"
    ]


def test_the_policy_of_a_group_is_one_of_four() -> None:
    (fault,) = read_settings({"group": ({"name": "eu", "relays": ("a",), "policy": "fastes"},)})  # type: ignore[misc]
    assert fault.sentence.endswith('or "select"; did you mean "fastest"?')


@each_row("host", ["127.0.0.1", "192.168.1.7", "[::ffff:10.0.0.1]", "localhost"])
@each_row("link", ["trojan://x@{}:443", "trojan://x@a.example:443?alt={}:8443", "hy2://x@a.example:443?alt={}:443"])
def test_no_address_of_a_key_is_in_the_local_network_unless_the_user_says_so(link: str, host: str) -> None:
    key = {"name": "mine", "url": link.format(host)}
    settings = read_settings({"relay": (key,)})
    assert isinstance(settings, Settings)
    (fault,) = faults(settings)
    assert fault.path == ("relay", 0, "url")
    assert fault.sentence == (
        "relay mine: the server of its key is in the local network; to allow that, set local = true"
    )
    allowed = read_settings({"relay": ({**key, "local": True},)})
    assert isinstance(allowed, Settings)
    assert list(faults(allowed)) == []


def test_a_field_that_is_ignored_and_a_pin_make_a_key_valid() -> None:
    key = {"name": "mine", "url": "trojan://hunter2@relay.example:443?foo=1&allowInsecure=1"}
    refused = read_settings({"relay": (key,)})
    assert isinstance(refused, Settings)
    assert "field foo is not known" in next(iter(faults(refused))).sentence
    taken = read_settings({"relay": ({**key, "ignore_fields": ("foo",), "pin": "AB" * 32},)})
    assert isinstance(taken, Settings)
    assert list(faults(taken)) == []
    assert taken.relay[0].pin == "ab" * 32
