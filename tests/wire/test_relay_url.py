"""Relay URLs: the grammar, a sentence for each thing it refuses, and passwords that never show."""

from __future__ import annotations

import base64
import re
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.wire.keys.fields import Allowed
from proxy.wire.keys.values import Trojan
from proxy.wire.relay_url import RelayKind, RelayUrl, is_key, parse, parse_chain, redact, shown
from tests.support.rows import each_row

DIGEST = bytes(range(32))
PEM = " ".join(("OPENSSH", "PRIVATE", "KEY"))
BASE64 = base64.b64encode(DIGEST).decode()


@each_row(
    ("text", "expected"),
    [
        ("socks5h://127.0.0.1:9050", RelayUrl(RelayKind.SOCKS5H, "127.0.0.1", 9050)),
        ("127.0.0.1:9050", RelayUrl(RelayKind.SOCKS5H, "127.0.0.1", 9050)),
        ("relay.example:1080", RelayUrl(RelayKind.SOCKS5H, "relay.example", 1080)),
        ("user:pw@relay.example:1080", RelayUrl(RelayKind.SOCKS5H, "relay.example", 1080, "user", "pw")),
        ("[::1]:1080", RelayUrl(RelayKind.SOCKS5H, "::1", 1080)),
        ("socks://relay.example", RelayUrl(RelayKind.SOCKS5H, "relay.example", 1080)),
        ("socks5://relay.example", RelayUrl(RelayKind.SOCKS5H, "relay.example", 1080)),
        ("SOCKS5://u:p@relay.example:99", RelayUrl(RelayKind.SOCKS5H, "relay.example", 99, "u", "p")),
        ("socks5://relay.example?resolve=local", RelayUrl(RelayKind.SOCKS5, "relay.example", 1080)),
        ("socks://u:p@relay.example:99/?resolve=local", RelayUrl(RelayKind.SOCKS5, "relay.example", 99, "u", "p")),
        ("socks5://relay.example:99#My%20server", RelayUrl(RelayKind.SOCKS5H, "relay.example", 99)),
        ("https://h?sni=a.example#Мой сервер", RelayUrl(RelayKind.HTTPS, "h", 443, sni="a.example")),
        ("socks4a://me@relay.example", RelayUrl(RelayKind.SOCKS4A, "relay.example", 1080, "me")),
        ("socks4://relay.example:99", RelayUrl(RelayKind.SOCKS4, "relay.example", 99)),
        ("http://relay.example", RelayUrl(RelayKind.HTTP, "relay.example", 8080)),
        ("https://relay.example/", RelayUrl(RelayKind.HTTPS, "relay.example", 443)),
        ("  HTTPS://Relay.Example.:8443\n", RelayUrl(RelayKind.HTTPS, "relay.example", 8443)),
        ("https://bücher.example", RelayUrl(RelayKind.HTTPS, "xn--bcher-kva.example", 443)),
        ("https://u@[2001:db8::1]", RelayUrl(RelayKind.HTTPS, "2001:db8::1", 443, "u")),
        ("socks5h://u:%3A%40%25%2F@h:1", RelayUrl(RelayKind.SOCKS5H, "h", 1, "u", ":@%/")),
        ("socks5h://u:a:b@h:1", RelayUrl(RelayKind.SOCKS5H, "h", 1, "u", "a:b")),
        ("socks5h://%D0%B8:%F0%9F%94%91@h:1", RelayUrl(RelayKind.SOCKS5H, "h", 1, "и", "🔑")),
        ("socks5h://u:a+b@h:1", RelayUrl(RelayKind.SOCKS5H, "h", 1, "u", "a+b")),
        ("https://h?sni=Front.Example", RelayUrl(RelayKind.HTTPS, "h", 443, sni="front.example")),
        ("https://h?ca=/etc/my%20ca.pem", RelayUrl(RelayKind.HTTPS, "h", 443, ca="/etc/my ca.pem")),
        (f"https://h?pin=sha256:{DIGEST.hex()}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        ("https://h?alpn=http/1.1", RelayUrl(RelayKind.HTTPS, "h", 443, only_http1=True)),
        ("https://h?alpn=http%2F1.1", RelayUrl(RelayKind.HTTPS, "h", 443, only_http1=True)),
        (f"https://h?pin=sha256:{DIGEST.hex().upper()}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        (f"https://h?pin=sha256:{BASE64}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        (f"https://h?pin=sha256//{BASE64}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        (f"https://h?pin=sha256/{BASE64}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        (f"https://h?pin=sha256:{BASE64.rstrip('=')}", RelayUrl(RelayKind.HTTPS, "h", 443, pin=DIGEST)),
        (
            "http://h?alt=192.0.2.7:99&alt=%5B2001%3Adb8%3A%3A7%5D%3A443&alt=Other.Example.:1",
            RelayUrl(
                RelayKind.HTTP,
                "h",
                8080,
                alternatives=(
                    Destination("192.0.2.7", 99),
                    Destination("2001:db8::7", 443),
                    Destination("other.example", 1),
                ),
            ),
        ),
        (
            f"https://u:p@h:8443/?sni=s.example&ca=ca.pem&pin=sha256%3A{DIGEST.hex()}",
            RelayUrl(RelayKind.HTTPS, "h", 8443, "u", "p", sni="s.example", ca="ca.pem", pin=DIGEST),
        ),
    ],
)
def test_urls(text: str, expected: RelayUrl) -> None:
    assert parse(text) == expected


@each_row(
    "text",
    [
        "socks5h://relay.example:1080",
        "socks4://127.0.0.1:1080",
        "socks5://u@relay.example:1080?resolve=local",
        "http://us%20er@[::1]:8080",
        "https://u@h:443?sni=s.example&ca=/etc/my%20ca.pem&pin=sha256:" + DIGEST.hex(),
        "https://h:443?sni=s.example&alt=192.0.2.7:99&alt=[2001:db8::7]:443",
        "socks5://h:1?resolve=local&alt=other.example:1",
        "socks4a://h:1?alt=other.example:1",
    ],
)
def test_str_is_a_url_again(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


def test_what_a_dialer_asks() -> None:
    url = parse("socks5://relay.example:99")
    assert url.endpoint == Destination("relay.example", 99)
    assert [kind for kind in RelayKind if RelayUrl(kind, "h", 1).needs_address] == [RelayKind.SOCKS5, RelayKind.SOCKS4]
    assert parse("socks5://h?resolve=local").addresses_only == "?resolve=local"
    assert parse("socks4://h").addresses_only == "socks4"
    assert url.addresses_only == parse("socks4a://h").addresses_only == ""
    assert not url.sends_credentials
    assert parse("socks4a://me@h").sends_credentials
    assert parse("https://u:p@h").sends_credentials


@each_row(
    ("scheme", "words"),
    [
        ("ss", "Shadowsocks client|is not a cipher and a password"),
        ("wireguard", "this WireGuard key for relay.example:443 cannot be read"),
        ("ssr", "ShadowsocksR client"),
        ("ssh", "Add it to the link as host-key=TYPE"),
        ("ftp", "use socks5h, http, https or socks4a"),
    ],
)
def test_kinds_we_do_not_speak_get_a_sentence(scheme: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse(f"{scheme}://hunter2@relay.example:443")
    assert "hunter2" not in str(caught.value)


OPTIONS = "the options of a SOCKS5 relay are alt=HOST:PORT, and socks5://HOST:PORT.resolve=local"
REFUSED = [
    ("", "empty"),
    ("#name", "empty before its #"),
    ("relay.example", "the port is missing: write socks5h://HOST:PORT"),
    ("relay", "the port is missing"),
    ("::1:1080", "an IPv6 address needs brackets"),
    ("socks5h://2001:db8:0:0:0:0:0:1:1080", "an IPv6 address needs brackets"),
    ("socks5://", "the host is missing: write socks5h://HOST:PORT"),
    ("socks5://:1080", "the host is missing"),
    ("socks5://u:p@:1080", "the host is missing"),
    ("socks5://h:", "the port is missing"),
    ("socks5://h:0", "the port must be a number from 1 to 65535"),
    ("socks5://h:65536", "the port must be a number from 1 to 65535"),
    ("socks5://h:http", "the port must be a number from 1 to 65535"),
    ("socks5://h/path", "has no path"),
    ("socks5://h//", "has no path"),
    ("socks5://-h:1", "the host is not a valid name or IP address"),
    ("socks5://a b", "contains a space"),
    ("socks5://h\r\n", None),
    ("socks5://h\r\nx", "invisible character .U.000D."),
    ("socks5://h\u200b:1080", "invisible character .U.200B."),
    ("socks5://u\u200b@h:1080", "invisible character .U.200B."),
    ("socks5://h?sni=a", OPTIONS),
    ("socks5://h?resolve=remote", OPTIONS),
    ("socks5h://h?resolve=local", OPTIONS),
    ("socks5://h?resolve=local&resolve=local", "twice"),
    ("http://h?pin=sha256:aa", "the only option of a http:// relay is alt=HOST:PORT"),
    ("socks4://h?resolve=local", "the only option of a socks4:// relay is alt=HOST:PORT"),
    ("socks5://h?alt=", OPTIONS),
    ("socks5://h?alt=other.example", "alt= takes HOST:PORT"),
    ("https://u:p@h?alt=u:hunter2@other.example:1", "alt= takes HOST:PORT"),
    ("socks5://h?alt=2001:db8::7:1", "alt= takes HOST:PORT"),
    ("socks5://h?alt=other.example:0", "alt= takes HOST:PORT"),
    ("socks5://h:1?alt=H.:1", "gives h:1 twice"),
    ("socks5://h?alt=a:1&alt=a:1", "gives a:1 twice"),
    ("socks5://h?" + "&".join(f"alt=a:{port}" for port in range(1, 10)), "at most 8 alternatives"),
    ("https://h?", "options"),
    ("https://h?sni", "options"),
    ("https://h?sni=", "options"),
    ("https://h?insecure=1", "options"),
    ("https://h?sni=a&sni=b", "twice"),
    ("https://h?sni=a..b", "sni="),
    ("https://h?ca=%zz", "percent"),
    ("https://h?pin=sha1:aa", "pin="),
    ("https://h?pin=sha256:aa", "pin="),
    ("https://h?pin=sha256:" + "z" * 64, "pin="),
    ("https://h?pin=" + DIGEST.hex(), "pin="),
    (f"https://h?pin=sha256:{BASE64[:9]}!{BASE64[9:]}", "pin="),
    ("socks5://h:" + "1" * 3000, "2048"),
]


@each_row(("text", "words"), REFUSED)
def test_urls_that_are_none(text: str, words: str | None) -> None:
    if words is None:
        assert parse(text).host == "h"
        return
    with pytest.raises(ValueError, match=words):
        parse(text)


@each_row(
    "text",
    [
        "socks5://user:hunter2@",
        "socks5://user:hunter2",
        "socks5://user:hunter2@h:0",
        "socks5://user:hunter2@h:hunter2",
        "socks5://user:a@hunter2@h:1",
        "socks5://user:a/hunter2@h:1",
        "socks5://user:a?hunter2@h:1",
        "https://user:a?hunter2@h:1",
        "https://user?hunter2@h:1",
        "https://user:x@h?hunter2",
        "https://user:x@h?hunter2=1",
        "https://user:x@h?sni=hunter2..x",
        "https://user:x@h?pin=hunter2",
        "socks5://user:a#hunter2@h:1",
        "socks5://user:a hunter2@h:1",
        "socks5://user:hunter2%@h:1",
        "socks5://user:hunter2%zz@h:1",
        "socks5://user:hunter2%ff@h:1",
        "socks5://user:hunter2%0d%0aX@h:1",
        "socks5://user:hunter2%00@h:1",
        "socks5://user:hunter2" + "x" * 250 + "@h:1",
        "socks5://:hunter2@h:1",
        "socks4://user:hunter2@h:1",
        "http://us%3Aer:hunter2@h:1",
        "user:hunter2@h",
        "hunter2",
        "hunter2:hunter2:1",
        "ss://aGVsbG86hunter2@h:1",
        'socks5://user:a"hunter2@h:1',
        "socks5://user:a>hunter2@h:1",
        "socks5://user:a\\hunter2@h:1",
    ],
)
def test_E28_no_error_shows_a_password(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"write|remove|must be|has no|check|needs|holds|at most|takes|cannot"
    ) as caught:
        parse(text)
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_limits() -> None:
    longest = parse(f"socks5://{'u' * 255}:{'p' * 255}@h:1")
    assert (len(longest.user), len(longest.password)) == (255, 255)
    for credentials in (f"{'u' * 256}:p", f"u:{'p' * 256}", f"u:{'%C3%A4' * 128}"):
        with pytest.raises(ValueError, match="255 bytes"):
            parse(f"socks5://{credentials}@h:1")
    assert len(parse_chain(">".join("abcdefgh"))) == 8


def test_E28_a_url_does_not_show_its_password() -> None:
    url = parse("https://us%20er:hunter2@relay.example:8443?sni=s.example")
    assert url.password == "hunter2"
    assert str(url) == "https://us%20er:***@relay.example:8443?sni=s.example"
    assert "hunter2" not in repr(url)
    assert f"{url}" == str(url)


@each_row(
    ("text", "redacted"),
    [
        ("socks5://user:hunter2@relay.example:1080", "socks5://user:***@relay.example:1080"),
        ("socks5://:hunter2@h", "socks5://:***@h"),
        ("bad relay: https://u:hunter2@h?sni=x, try again", "bad relay: https://u:***@h?sni=x, try again"),
        ("u:hunter2@h:1", "u:***@h:1"),
        ("ssh://me@h.example, ssh://me@h?pk=hunter2 x", "ssh://me@h.example, ssh://*** x"),
        (f"pk=-----BEGIN {PEM}-----\nhunter2\n-----END {PEM}-----&x", "pk=***&x"),
        (f'"ssh://h?pk=-----BEGIN {PEM}-----\nhunter2" is cut', '"ssh://***" is cut'),
        ("http://u:p@hunter2@h:1", "http://u:***@h:1"),
        ("http://a@b:hunter2@h:1", "http://a@b:***@h:1"),
        ("http://u:hunter2/x@h:1", "http://u:***@h:1"),
        ("http://a,b:hunter2@h", "http://a,b:***@h"),
        ("http://u:hunter2@a>socks5://v:hunter2@b:1", "http://u:***@a>socks5://v:***@b:1"),
        ("tor>v:hunter2@b:1", "tor>v:***@b:1"),
        ('{"url":"https://u:hunter2@h","x":"a@b"}', '{"url":"https://u:***@h","x":"a@b"}'),
        ("url = 'https://u:hunter2@h'", "url = 'https://u:***@h'"),
        ("ss://aGVsbG8hunter2@h:1#x and more", "ss://*** and more"),
        ("(trojan://hunter2@h:1)", "(trojan://***"),
        ("vmess://hunter2", "vmess://***"),
        ("tg://socks?server=a&port=1&user=u&pass=hunter2", "tg://socks?server=a&port=1&user=u&pass=***"),
        ("https://t.me/proxy?secret=hunter2&server=a", "https://t.me/proxy?secret=***&server=a"),
        ("socks://aHVudGVyMg==@h:1", "socks://***@h:1"),
        # nothing to hide
        ("start it (vless://) and write socks5h://USER:PASSWORD@HOST:PORT",) * 2,
        ("https://relay.example:443", "https://relay.example:443"),
        ("https://user@relay.example:443", "https://user@relay.example:443"),
        ("rules.txt:12: DOMAIN,example.org,RELAY", "rules.txt:12: DOMAIN,example.org,RELAY"),
        ("wss://h and socks5h://127.0.0.1:9050", "wss://h and socks5h://127.0.0.1:9050"),
        ("at 12:30 mail me@example.org", "at 12:30 mail me@example.org"),
        ("", ""),
    ],
)
def test_redact(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted
    assert "hunter2" not in redacted


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("tor", ("tor",)),
        ("vps>tor", ("vps", "tor")),
        (" https://u:p@h:1 > socks5://127.0.0.1:9050 ", ("https://u:p@h:1", "socks5://127.0.0.1:9050")),
    ],
)
def test_chains(text: str, items: tuple[str, ...]) -> None:
    assert parse_chain(text) == items


@each_row("text", ["", " ", ">", "a>", ">a", "a>>b", ">".join("abcdefghi")])
def test_chains_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="chain"):
        parse_chain(text)


ALPHABET = "abc019.:/@?#&=%[]>-_ socks5https\\\"'é\r\n\0"


@given(st.text() | st.text(ALPHABET) | st.text(ALPHABET).map("https://".__add__))
def test_fuzz_parse(text: str) -> None:
    try:
        url = parse(text)
    except ValueError:
        return
    assert len(url.host) <= 253
    assert 1 <= url.port <= 65535
    if not url.password:
        assert parse(str(url)) == url


SECRET = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=6, max_size=40)


@given(SECRET, st.sampled_from([kind for kind in RelayKind if kind not in (RelayKind.ADDON, RelayKind.KEY)]))
def test_E28_fuzz_any_password_survives_and_none_shows(password: str, kind: RelayKind) -> None:
    if kind in (RelayKind.SOCKS4, RelayKind.SOCKS4A) or len(password.encode()) > 255:
        return
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    url = parse(f"{kind}://user:{encoded}@relay.example:1")
    assert url.password == password
    other = parse(f"{kind}://user:another@relay.example:1")
    assert str(url) + repr(url) == str(other) + repr(other), "a password may be a word that stands there anyway: socks5"
    assert encoded not in redact(f"{kind}://user:{encoded}@relay.example:1")


@given(st.text(ALPHABET, max_size=60))
def test_fuzz_redact_hides_what_parse_takes(password: str) -> None:
    text = f"socks5h://user:{password}@relay.example:1"
    try:
        url = parse(text)
    except ValueError:
        return
    if len(password) > 3:
        assert redact(text) == str(url)


def test_a_relay_may_be_an_addon() -> None:
    url = parse("addon://my_ways-2")
    assert url == RelayUrl(RelayKind.ADDON, "my_ways-2", 0)
    assert str(url) == "addon://my_ways-2"
    assert parse("addon://ways/") == RelayUrl(RelayKind.ADDON, "ways", 0)


@each_row("text", ["addon://", "addon://9", "addon://a.py", "addon://u:p@a", "addon://a:80", "addon://a?b=c"])
def test_an_addon_has_a_name_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="written addon://NAME") as caught:
        parse(text)
    assert "u:p" not in str(caught.value)


KEY = "trojan://correct-horse@relay.example:443?sni=a.example#Berlin"


def test_the_link_of_a_key_is_a_relay_and_shows_only_its_server() -> None:
    url = parse(KEY)
    assert (url.kind, url.endpoint, url.user, url.password) == (
        *(RelayKind.KEY, Destination("relay.example", 443)),
        *("", ""),
    )
    assert isinstance(url.key, Trojan)
    assert (url.key.password, url.key.name) == ("correct-horse", "Berlin")
    assert (url.has_secret, url.sends_credentials) == (True, False)
    assert str(url) == "trojan://relay.example:443"
    assert "correct-horse" not in repr(url)
    assert redact(f"relay {KEY} fails") == "relay trojan://*** fails"
    assert redact(f"relay {url} fails, a>{url}") == f"relay {url} fails, a>{url}"


@each_row(
    "text",
    ["trojan://a.b:1@h.example:443", "vless://h.example:443?x=secret", "vless://h.example:443#secret", "ss://QUJD",
     "vless://b831b0c4-1111-4222-8333-0123456789ab:443", "trojan://h.example:443/secret",
     "ssh://me@h.example:22?host-key=x&pk=secret"],
)  # fmt: skip
def test_only_a_host_and_a_port_are_not_hidden_of_a_key(text: str) -> None:
    assert redact(text) == f"{text.partition(':')[0]}://***"


def test_what_is_wrong_with_a_key_is_said_without_its_secret() -> None:
    with pytest.raises(ValueError, match="field foo is not known to Byway") as refused:
        parse(f"{KEY.partition('#')[0]}&foo=1")
    assert "correct-horse" not in str(refused.value)
    with pytest.raises(ValueError, match="this key was left out where it was shown or exported"):
        parse("trojan://***")


def test_the_person_may_say_that_a_field_is_ignored_and_which_certificate_is_right() -> None:
    text = "trojan://correct-horse@relay.example:443?foo=1&allowInsecure=1"
    allowed = Allowed(frozenset({"foo"}), DIGEST)
    key = parse(text, allowed).key
    assert isinstance(key, Trojan)
    assert key.tls.pin == DIGEST
    assert shown(text, allowed) == "trojan://relay.example:443"
    assert shown(text) == "trojan://***"  # it cannot be read so


@each_row(
    ("text", "items", "bare"),
    [
        (f"vps>{KEY}", ("vps", KEY), "vps>trojan://relay.example:443"),
        (f"{KEY}>>x", (f"{KEY}>>x",), "trojan://relay.example:443"),
        ("socks5h://a:x@h:1>vless://x@h:2#a>b", ("socks5h://a:x@h:1", "vless://x@h:2#a>b"),
         "socks5h://a:***@h:1>vless://h:2"),
        ("a#b>c", ("a#b", "c"), "a#b>c"),
    ],
)  # fmt: skip
def test_a_chain_may_end_with_a_key_whose_name_may_be_anything(text: str, items: tuple[str, ...], bare: str) -> None:
    assert parse_chain(text) == items
    assert shown(text) == bare


def test_a_text_of_several_lines_is_no_key() -> None:
    assert is_key(KEY)
    assert not is_key(f"{KEY}\n{KEY}")
    assert not is_key("socks5h://h:1")


# -- alternatives of keys ----------------------------------------------------------------------------------------------


@each_row(
    ("link", "alternatives"),
    [
        ("trojan://correct-horse@relay.example:443?alt=192.0.2.1:8443#Berlin", ["192.0.2.1:8443"]),
        ("trojan://correct-horse@relay.example:443?sni=a.example&alt=[2001:db8::1]:443&alt=b.example:1",
         ["[2001:db8::1]:443", "b.example:1"]),
        ("hy2://correct-horse@relay.example:443?alt=192.0.2.1:443", ["192.0.2.1:443"]),
        ("vmess://eyJhZGQiOiAicmVsYXkuZXhhbXBsZSIsICJwb3J0IjogIjQ0MyIsICJpZCI6ICJhYmMifQ==?alt=b.example:443",
         ["b.example:443"]),
        ("trojan://correct-horse@relay.example:443?sni=a.example#alt=b.example:443", []),
    ],
)  # fmt: skip
def test_alternatives_of_a_key(link: str, alternatives: list[str]) -> None:
    url = parse(link)
    assert [str(each) for each in url.alternatives] == alternatives
    assert url.endpoints == (Destination("relay.example", 443), *url.alternatives)
    body, mark, name = link.partition("#")
    alone = re.sub("&?alt=[^&]*", "", body).removesuffix("?")
    assert url.key == parse(f"{alone}{mark}{name}").key, "they are no part of it"
    assert str(url).endswith("://relay.example:443"), "a key shows its server alone"


@each_row(
    ("link", "said"),
    [
        (f"{KEY.partition('#')[0]}&alt=relay.example:443", "gives relay.example:443 twice"),
        (f"{KEY.partition('#')[0]}&alt=b.example", "alt= takes HOST:PORT"),
        (f"{KEY.partition('#')[0]}&alt=b.example:0", "alt= takes HOST:PORT"),
        (f"{KEY.partition('#')[0]}" + "".join(f"&alt=b{number}.example:1" for number in range(9)), "at most 8 altern"),
        (
            "hy2://correct-horse@relay.example:443?alt=b.example:444",
            "alt= of a key over UDP has the port of its server",
        ),
    ],
)
def test_an_alternative_of_a_key_that_cannot_be(link: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse(link)
    assert "correct-horse" not in str(caught.value)
