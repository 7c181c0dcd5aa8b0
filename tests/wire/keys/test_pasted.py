"""What people paste that is neither a relay nor a key: which links are read, and the sentence for each other text."""

from __future__ import annotations

import base64
import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import relay_url
from proxy.wire.keys.pasted import OTHER_CLIENTS, SECRET_SCHEMES, decoded, explain, subscription_of, to_relay_url
from tests.support.rows import each_row

SECRET = "hunter2"
ADD = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"


@each_row(
    ("link", "sentence"),
    [
        (
            f"ssr://{SECRET}",
            f"Byway cannot use ShadowsocksR links (ssr://) directly: start your ShadowsocksR client and {ADD}",
        ),
        (
            f"clash://install-config?url=https%3A%2F%2Fh%2F{SECRET}",
            "this is a subscription link (clash://), not a relay: `byway relay add` takes it, and follows its address "
            "as a subscription",
        ),
        (
            f"clash://install-config?url=http%3A%2F%2Fh%2F{SECRET}",
            "this is a subscription link (clash://) whose address is http://, which anyone on the way can read and "
            "change: ask for one that begins with https://",
        ),
        (
            f"clash://install-config?name={SECRET}",
            "this is a subscription link (clash://), not a relay: import it in its own client, start that client and "
            f"{ADD}",
        ),
        (
            f"ssh -D 1080 {SECRET}@h",
            "this is a command, not a relay: run `ssh -N -D 1080 USER@HOST` and add it with "
            "`byway relay add socks5h://127.0.0.1:1080`",
        ),
        (
            f"https://t.me/proxy?server=h&port=443&secret={SECRET}",
            "this is an MTProto proxy, which carries Telegram only: Byway cannot use it. Set it in Telegram itself",
        ),
        (
            "https://t.me/durov",
            "this Telegram link names no SOCKS proxy: links that Byway can read begin with https://t.me/socks?server=",
        ),
        (
            f"tg://socks?server=h&port=1&user=u&pass={SECRET}",
            "this is a Telegram link: `byway relay add` reads it; here, write socks5h://USER:PASSWORD@HOST:PORT",
        ),
        (
            f"obfs4 192.0.2.1:443 {SECRET} cert=x iat-mode=0",
            "this is a Tor bridge line, not a relay: put it in the settings of Tor or Tor Browser and add Tor's port "
            "with `byway relay add socks5h://127.0.0.1:9050` (Tor Browser: 9150)",
        ),
    ],
)
def test_each_kind_of_link_gets_its_sentence(link: str, sentence: str) -> None:
    assert explain(link) == sentence
    with pytest.raises(ValueError, match=r".") as caught:
        relay_url.parse(link)
    assert str(caught.value) == sentence
    assert SECRET not in sentence


@each_row("option", ["-x h:1", "--proxy h:1", "--socks5-hostname h:1", "--proxy-server=socks5://h:1"])
def test_an_option_of_another_program_is_told_as_such(option: str) -> None:
    """In a file or in pasted text; the shell's arguments know no such option."""
    assert explain(option).startswith("this is a command or a setting of another program: give only the URL")


def test_every_client_is_named() -> None:
    for scheme, client in OTHER_CLIENTS.items():
        sentence = explain(f"{scheme}://{SECRET}@h:443#name")
        assert f"start your {client} client" in sentence
        assert SECRET not in sentence
    for scheme in SECRET_SCHEMES:
        assert relay_url.redact(f"{scheme}://{SECRET}@h:443") == f"{scheme}://***"


@each_row(
    "text", ["", "socks5h://h:1", "h:1", "tor", "https://relay.example", "https://t.me.example", "obfs4", "type:1"]
)
def test_a_relay_is_no_link(text: str) -> None:
    assert explain(text) == ""
    assert to_relay_url(text) == text


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SHOP = "https://shop.example/sub/TOKEN?a=b"
IN_QUERY = quote(SHOP, safe="")


@each_row(
    "link",
    [
        SHOP,
        f"sub://{encoded(SHOP)}",
        f"sub://{encoded(SHOP).rstrip('=')}#Shop",
        f"SUB://{quote(encoded(SHOP))}?remarks=x",
        f"sub://{base64.urlsafe_b64encode((SHOP + '#Shop').encode()).decode()}",
        f"clash://install-config?url={IN_QUERY}",
        f"clash://install-config/?name=Shop&url={IN_QUERY}",
        f"clashmeta://install-config?url={IN_QUERY}%23Shop",
        f"sing-box://import-remote-profile?url={IN_QUERY}#Shop",
        f"v2rayng://install-sub?url={IN_QUERY}&name=Shop",
        f"hiddify://import/{SHOP}#Shop",
        f"shadowrocket://add/sub://{encoded(SHOP)}?remark=Shop",
        f"sn://subscription?url={IN_QUERY}",
        "ssconf://shop.example/sub/TOKEN?a=b#Shop",
    ],
)
def test_the_links_of_other_clients_lead_to_the_address_of_a_subscription(link: str) -> None:
    assert subscription_of(link) == SHOP


@each_row(
    "link",
    [
        "sub://!!!", "sub://", "clash://install-config", "clash://install-config?url=", "clash://x?url=ss%3A%2F%2Fx",
        f"sub://{encoded('http://shop.example/x')}", "clash://install-config?url=http%3A%2F%2Fshop.example%2Fx",
        f"sub://{encoded('file:///etc/passwd')}", "clash://install-config?url=file%3A%2F%2F%2Fetc%2Fpasswd",
        f"sub://{encoded('https://a.example/x' + chr(27) + '[2J')}",
        "clash://install-config?url=https%3A%2F%2Fa.example%2Fx%0d%0aX-A%3A%20b",
        "clash://install-config?url=https%3A%2F%2Fme%3Apw%40a.example%2Fx",
        "clash://install-config?url=https%3A%2F%2Fa.example", "clash://install-config?url=https%3A%2F%2Ft.me%2Fx",
        f"sub://{encoded('clash://install-config?url=https://a.example/x')}",
        "clash://install-config?" + "&".join(f"a{n}=1" for n in range(30)) + "&url=https://a.example/x",
    ],
)  # fmt: skip
def test_a_link_of_another_client_without_an_https_address_is_none(link: str) -> None:
    assert subscription_of(link) == ""
    assert explain(link).startswith("this is a subscription link (")
    assert "takes it" not in explain(link)


UNPRINTABLE = encoded("me:p\x07")


@each_row(
    ("link", "url"),
    [
        ("tg://socks?server=h.example&port=1080", "socks5h://h.example:1080"),
        ("https://t.me/socks?server=192.0.2.1&port=1080&user=u%40x&pass=a%3Ab", "socks5h://u%40x:a%3Ab@192.0.2.1:1080"),
        ("t.me/socks?server=2001:db8::1&port=1080&user=u", "socks5h://u@[2001:db8::1]:1080"),
        ("HTTPS://Telegram.me/socks?port=1&server=h", "socks5h://h:1"),
        ("tg://socks?server=h&server=other&port=1&port=2", "socks5h://h:1"),
        (f"socks://{encoded('me:p@ss')}@h:1080#name", "socks5h://me:p%40ss@h:1080#name"),
        (f"socks5://{encoded('me:p@ss').rstrip('=')}@h:1080", "socks5h://me:p%40ss@h:1080"),
        # these are users, not base64 of a user and a password
        ("socks://alice@h:1080", "socks://alice@h:1080"),
        ("socks5h://bWU6cEBzcw==@h:1", "socks5h://bWU6cEBzcw==@h:1"),
        (f"socks://{encoded('nobody')}@h:1", f"socks://{encoded('nobody')}@h:1"),
        (f"socks://{encoded(':x')}@h:1", f"socks://{encoded(':x')}@h:1"),
        (f"socks://{UNPRINTABLE}@h:1", f"socks://{UNPRINTABLE}@h:1"),
    ],
)
def test_links_for_a_socks_proxy_are_read(link: str, url: str) -> None:
    assert to_relay_url(link) == url
    relay_url.parse(url)


@each_row(
    ("text", "data"),
    [
        ("YWI_", b"ab?"), ("YWI/", b"ab?"), ("YWJj", b"abc"), ("YQ==", b"a"), ("YQ", b"a"), ("YWI=", b"ab"),
        ("", b""), ("Y", None), ("Y Q", None), ("é", None), ("a=b", None),
    ],
)  # fmt: skip
def test_base64_in_every_spelling(text: str, data: bytes | None) -> None:
    assert decoded(text) == data


@each_row("link", ["tg://socks", "https://t.me/socks?server=h", "tg://socks?port=1", "tg://socks?server=&port=1"])
def test_a_link_without_server_or_port_says_so(link: str) -> None:
    with pytest.raises(ValueError, match="names no server or no port"):
        to_relay_url(link)


@given(st.text() | st.text("tg:/.me?socks=server&port#@ []{}"))
def test_fuzz(text: str) -> None:
    explain(text)
    with contextlib.suppress(ValueError):
        to_relay_url(text)
