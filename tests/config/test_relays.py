"""Which relays are in use, and which passwords are not sent."""

from __future__ import annotations

import pytest

from proxy.config.relays import enabled_relays, names_in, withheld_credentials
from proxy.config.schema import RelayConfig


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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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
