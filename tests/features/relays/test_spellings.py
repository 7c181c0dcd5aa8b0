"""What people type and paste as a relay, through the real `byway relay add`: what is added, and the exact sentence for
what is not. One row a spelling: good, foreign, damaged."""

from __future__ import annotations

import base64
import tomllib

import pytest

from tests.support.command_line import Byway, Home
from tests.support.rows import each_row

SECRET = "hunter2hunter2"
LOCAL_PORT = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"
UUID = "b831b0c4-1111-4222-8333-0123456789ab"
BRIDGE = (
    "this is a Tor bridge line, not a relay: put it in the settings of Tor or Tor Browser and add Tor's port with "
    "`byway relay add socks5h://127.0.0.1:9050` (Tor Browser: 9150)"
)
PAGE = (
    "a relay URL has no path; this is a page, a subscription or a PAC file: `byway relay add` takes a subscription by "
    "https"
)
SETTING = (
    "this is a command or a setting of another program: give only the URL of its proxy; one without a scheme is "
    "http://HOST:PORT in nearly all of them"
)
BEFORE = "host and port stand before the user: write socks5h://USER:PASSWORD@HOST:PORT"
LIKE = "write it like socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT"
PORT = "the port must be a number from 1 to 65535"
V2RAYN = base64.b64encode(f"me:{SECRET}".encode()).decode()

SHADOWSOCKS = base64.b64encode(f"aes-256-gcm:{SECRET}".encode()).decode()
GOOD = [
    # typed, name, URL in the file
    ("socks5h://127.0.0.1:9050", "tor", "socks5h://127.0.0.1:9050"),
    ("socks5://127.0.0.1:7890", "clash", "socks5://127.0.0.1:7890"),
    ("socks://relay.example:1080", "relay", "socks://relay.example:1080"),
    ("SOCKS5://Relay.Example:1080", "relay", "SOCKS5://Relay.Example:1080"),
    ("socks5://relay.example", "relay", "socks5://relay.example"),
    ("socks5://192.0.2.1:1080?resolve=local", "relay-192-0-2-1", "socks5://192.0.2.1:1080?resolve=local"),
    ("socks4a://relay.example", "relay", "socks4a://relay.example"),
    ("http://relay.example", "relay", "http://relay.example"),
    ("http://192.0.2.1:3128/", "relay-192-0-2-1", "http://192.0.2.1:3128/"),
    (f"https://me:{SECRET}@relay.example", "relay", f"https://me:{SECRET}@relay.example"),
    ("https://bücher.example:8443", "xn--bcher-kva", "https://bücher.example:8443"),
    ("https://me@relay.example", "relay", "https://me@relay.example"),
    ("127.0.0.1:9050", "tor", "socks5h://127.0.0.1:9050"),
    (f"me:{SECRET}@relay.example:1080", "relay", f"socks5h://me:{SECRET}@relay.example:1080"),
    ("[2001:db8::1]:1080", "relay-2001-db8-1", "socks5h://[2001:db8::1]:1080"),
    ("  socks5://relay.example:1080\n", "relay", "socks5://relay.example:1080"),
    ("socks5://192.0.2.1:1080#My%20server", "My-server", "socks5://192.0.2.1:1080"),
    ("socks5://192.0.2.1:1080#🇩🇪 Frankfurt", "Frankfurt", "socks5://192.0.2.1:1080"),
    ("socks5://192.0.2.1:1080#Berlin @proxies", "Berlin-proxies", "socks5://192.0.2.1:1080"),
    (f"socks5://me:{SECRET}@192.0.2.1:1080#@proxies", "proxies", f"socks5://me:{SECRET}@192.0.2.1:1080"),
    ("socks5h://127.0.0.1:9050>https://relay.example", "relay", "socks5h://127.0.0.1:9050>https://relay.example"),
    (
        "socks5h://127.0.0.1:9050#first>https://relay.example#My exit",
        "My-exit",
        "socks5h://127.0.0.1:9050>https://relay.example",
    ),
    ("addon://tunnel", "tunnel", "addon://tunnel"),
    (f"tg://socks?server=192.0.2.1&port=1080&user=me&pass={SECRET}", "relay-192-0-2-1",
     f"socks5h://me:{SECRET}@192.0.2.1:1080"),
    ("https://t.me/socks?server=relay.example&port=443", "relay", "socks5h://relay.example:443"),
    ('"socks5://relay.example:1080"', "relay", "socks5://relay.example:1080"),
    ("“socks5://relay.example:1080”", "relay", "socks5://relay.example:1080"),
    ("'socks5://relay.example:1080'", "relay", "socks5://relay.example:1080"),
    ("«relay.example:1080»", "relay", "socks5h://relay.example:1080"),
    ("socks5://relay\u200b.example:1080", "relay", "socks5://relay.example:1080"),
    (f"socks://{V2RAYN}@192.0.2.1:1080#home", "home", f"socks5h://me:{SECRET}@192.0.2.1:1080"),
    (f"ss://{SHADOWSOCKS}@192.0.2.1:8388#My%20server", "My-server", f"ss://{SHADOWSOCKS}@192.0.2.1:8388"),
    (f"vless://{UUID}@192.0.2.1:443?security=tls&type=ws#x", "x",
     f"vless://{UUID}@192.0.2.1:443?security=tls&type=ws"),
    (f"vless://{UUID}@192.0.2.1:443#a>b", "a-b", f"vless://{UUID}@192.0.2.1:443"),
    (f"trojan://{SECRET}@relay.example:443#x y", "x-y", f"trojan://{SECRET}@relay.example:443"),
    (f"'hy2://{SECRET}@relay.example'", "relay", f"hy2://{SECRET}@relay.example"),
    (f"tuic://{UUID}:{SECRET}@relay.example:443", "relay", f"tuic://{UUID}:{SECRET}@relay.example:443"),
    (f"anytls://{SECRET}@192.0.2.1:443", "relay-192-0-2-1", f"anytls://{SECRET}@192.0.2.1:443"),
    (f"socks5h://127.0.0.1:9050>trojan://{SECRET}@relay.example:443", "relay",
     f"socks5h://127.0.0.1:9050>trojan://{SECRET}@relay.example:443"),
]  # fmt: skip


def refused(client: str, server: str, reason: str) -> str:
    instead = f"Ask for another key, or start your {client} client and {LOCAL_PORT}"
    return f"this {client} key for {server} is not supported: {reason}. {instead}"


def unreadable(client: str, server: str, reason: str) -> str:
    return f"this {client} key{f' for {server}' if server else ''} cannot be read: {reason}"


def configuration(form: str, result: str) -> str:
    return (
        f"this is {form} with 1 key: {result}. A relay is one link: put the text into a file, and run `byway relay add "
        "FILE`"
    )


WEAKER = "is not known to Byway, and without it the connection may be weaker"
UNCHECKED = (
    "the server's certificate would not be checked, so anyone on the way could read all of it; such a key is taken "
    "only with the pin of its certificate (`byway relay add --pin`)"
)
FOREIGN = [
    (
        f"ss://{V2RAYN}@192.0.2.1:8388#My%20server",
        refused("Shadowsocks", "192.0.2.1:8388 (My server)", "field cipher has a value that is not known to Byway"),
    ),
    (
        f"ssr://{V2RAYN}",
        f"Byway cannot use ShadowsocksR links (ssr://) directly: start your ShadowsocksR client and {LOCAL_PORT}",
    ),
    (
        f"vmess://{V2RAYN}",
        unreadable("VMess", "", "it is neither a link with UUID@HOST:PORT nor JSON in base64"),
    ),
    (
        f"vless://{UUID}@192.0.2.1:443?security=reality&pbk=x#x",
        unreadable("VLESS", "192.0.2.1:443 (x)", "field pbk is not base64 of 32 bytes"),
    ),
    (f"vless://{UUID}@192.0.2.1:443?lazy=1", refused("VLESS", "192.0.2.1:443", f"field lazy {WEAKER}")),
    (
        f"hysteria2://{SECRET}@relay.example:443/?insecure=1#x",
        refused("Hysteria 2", "relay.example:443 (x)", f"field insecure: {UNCHECKED}"),
    ),
    (
        f"wireguard://{SECRET}@relay.example:51820",
        unreadable("WireGuard", "relay.example:51820", "the key has no public key of the server"),
    ),
    (
        f"naive+https://me:{SECRET}@relay.example",
        f"Byway cannot use NaiveProxy links (naive+https://) directly: start your NaiveProxy client and {LOCAL_PORT}",
    ),
    (
        f"clash://install-config?url=http%3A%2F%2Frelay.example%2F{SECRET}",
        "this is a subscription link (clash://) whose address is http://, which anyone on the way can read and change: "
        "ask for one that begins with https://",
    ),
    (
        f"nekoray://sn/{SECRET}",
        "this is a subscription link (nekoray://), not a relay: import it in its own client, start that client and "
        f"{LOCAL_PORT}",
    ),
    (
        "ssh://me@relay.example",
        "this SSH key for relay.example:22 is not supported: it has no host key of its server, so anyone on the way "
        "could pretend to be the server. Add it to the link as host-key=TYPE%20KEY: `ssh-keygen -F HOST` prints the "
        "one that your ssh knows already, and `ssh-keyscan HOST` what it shows now, which you compare with the owner's",
    ),
    (
        "ssh -D 1080 me@relay.example",
        "this is a command, not a relay: run `ssh -N -D 1080 USER@HOST` and add it with "
        "`byway relay add socks5h://127.0.0.1:1080`",
    ),
    (
        f"https://t.me/proxy?server=relay.example&port=443&secret={SECRET}",
        "this is an MTProto proxy, which carries Telegram only: Byway cannot use it. Set it in Telegram itself",
    ),
    (
        f"tg://proxy?server=relay.example&port=443&secret={SECRET}",
        "this is an MTProto proxy, which carries Telegram only: Byway cannot use it. Set it in Telegram itself",
    ),
    (
        "tg://socks?server=relay.example",
        "this Telegram link names no server or no port: it reads https://t.me/socks?server=HOST&port=PORT",
    ),
    (f"obfs4 192.0.2.1:443 {SECRET} cert=x iat-mode=0", BRIDGE),
    (
        f'{{"outbounds": [{{"type": "vless", "uuid": "{SECRET}"}}]}}',
        configuration(
            "a sing-box configuration",
            "none understood and 1 not, the first of them number 1 (VLESS, the key has no host)",
        ),
    ),
    (
        f"{{name: x, type: ss, server: relay.example, port: 1, password: {SECRET}, cipher: aes-128-gcm}}",
        configuration("a Clash configuration", "1 understood (Shadowsocks 1)"),
    ),
    (f"192.0.2.1:443 {'4352E58420E68F5E40BA' * 2} cert={SECRET}", BRIDGE),
    (f"Bridge [2001:db8::1]:443 {'4352E58420E68F5E40BA' * 2}", BRIDGE),
    ("http://relay.example:8080/proxy.pac", PAGE),
    *(
        (written, SETTING)
        for written in (
            f"curl -x http://me:{SECRET}@192.0.2.1:8080 https://example.com",
            f'export https_proxy="http://me:{SECRET}@192.0.2.1:8080"',
            f"ALL_PROXY=socks5://me:{SECRET}@127.0.0.1:1080",
            '$env:HTTPS_PROXY="http://192.0.2.1:8080"',
            "http=192.0.2.1:80;https=192.0.2.1:80",
        )
    ),
    ("ftp://relay.example", 'unknown scheme "ftp"; use socks5h, http, https or socks4a'),
]

DAMAGED = [
    ("sock5://127.0.0.1:1080", 'unknown scheme "sock5"; did you mean socks5h?'),
    ("socks6://127.0.0.1:1080", 'unknown scheme "socks6"; did you mean socks5h?'),
    ("htps://relay.example", 'unknown scheme "htps"; did you mean https?'),
    ("socks5:/127.0.0.1:1080", "the URL lacks its ://; did you mean socks5h://127.0.0.1:1080?"),
    ("socks5;//127.0.0.1:1080", "the URL lacks its ://; did you mean socks5h://127.0.0.1:1080?"),
    ("socks5://relay.example:99999", PORT),
    ("socks5://relay.example:0", PORT),
    ("socks5://relay.example:http", PORT),
    ("socks5://relay.example:", "the port is missing: write socks5h://HOST:PORT, for example socks5h://HOST:1080"),
    ("relay.example", "the port is missing: write socks5h://HOST:PORT, for example socks5h://HOST:1080"),
    ("socks5://", "the host is missing: write socks5h://HOST:PORT"),
    ("http://:8080", "the host is missing: write http://HOST:PORT"),
    (f"socks5://me:{SECRET}@", "the host is missing: write socks5h://HOST:PORT"),
    ("<socks5://127.0.0.1:1080>", "the URL stands in brackets: remove them"),
    ("socks5://127.0.0.1:1080;", 'the URL ends with ";": remove it'),
    ("socks5://127.0.0.1:1080,", 'the URL ends with ",": remove it'),
    ("socks5://127.0.0.1:1080.", 'the URL ends with ".": remove it'),
    ("socks5://127.0.0.1 :1080", "the URL contains a space: remove it, or write it as %20 in a user or password"),
    ("socks5 127.0.0.1 1080", "the parts of a URL stand without spaces: write socks5h://HOST:PORT"),
    ("127.0.0.1 1080", "a colon stands between host and port: write socks5h://HOST:PORT"),
    (
        f"http relay.example 8080 me {SECRET}",
        "the parts of a URL stand without spaces: write http://USER:PASSWORD@HOST:PORT",
    ),
    ("socks5://2001:db8::1:1080", "an IPv6 address needs brackets: write it like socks5h://[2001:db8::1]:1080"),
    ("::1:1080", "an IPv6 address needs brackets: write it like socks5h://[2001:db8::1]:1080"),
    (
        f"192.0.2.1:1080:me:{SECRET}",
        "this reads HOST:PORT:USER:PASSWORD: write it as socks5h://USER:PASSWORD@HOST:PORT",
    ),
    (
        f"http://relay.example:8080:me:{SECRET}",
        "this reads HOST:PORT:USER:PASSWORD: write it as http://USER:PASSWORD@HOST:PORT",
    ),
    (
        f"me:{SECRET}:relay.example:1080",
        "this reads USER:PASSWORD:HOST:PORT: write it as socks5h://USER:PASSWORD@HOST:PORT",
    ),
    *(
        (written, f"this reads HOST:PORT{reads}: write it as {kind}://USER:PASSWORD@HOST:PORT")
        for written, reads, kind in (
            (f"192.0.2.1:1080:me:{SECRET}@x", ":USER:PASSWORD", "socks5h"),
            (f"192.0.2.1:1080:me:{SECRET}@relay.example:80", ":USER:PASSWORD", "socks5h"),
            (f"http://relay.example:8080:me:{SECRET}@x", ":USER:PASSWORD", "http"),
            (f"192.0.2.1:1080|me|{SECRET}", "|USER|PASSWORD", "socks5h"),
            (f"relay.example:1080;me;{SECRET}", ";USER;PASSWORD", "socks5h"),
        )
    ),
    (f"192.0.2.1:1080@me:{SECRET}", BEFORE),
    ("192.0.2.1:1080@me:12345", BEFORE),
    (f"socks5://192.0.2.1:1080@me:{SECRET}", BEFORE),
    ("PROXY 192.0.2.1:8080", "the parts of a URL stand without spaces: write http://HOST:PORT"),
    (f"socks5://me:{SECRET}@x@relay.example:1080", "the user or password contains @: write it as %40"),
    (f"socks5://me:{SECRET}/x@relay.example:1080", "the user or password contains /: write it as %2F"),
    (f"socks5://me:{SECRET}?x@relay.example:1080", "the user or password contains ?: write it as %3F"),
    (
        f"socks5://me:{SECRET}#x@relay.example:1080",
        "the URL contains #, which begins a name: in a user or password write # as %23",
    ),
    (
        f"socks5://me:1080#{SECRET}@relay.example:1080",
        "the URL contains #, which begins a name: in a user or password write # as %23",
    ),
    (
        f"socks5://me:{SECRET}%@relay.example:1080",
        "the relay's password is not percent-encoded UTF-8: write % as %25",
    ),
    (f"socks5://:{SECRET}@relay.example:1080", "the user is missing before @: write socks5h://USER:PASSWORD@HOST:PORT"),
    ("socks5://relay.example:1080/x", "a relay URL has no path: remove / and all that follows the port"),
    ("socks5://-relay.example:1080", "the host is not a valid name or IP address: check its spelling"),
    (
        f"socks4://me:{SECRET}@relay.example",
        "SOCKS4 has no passwords: remove it, or write socks5h:// if the relay speaks SOCKS5",
    ),
    ("http://relay.example?sni=x", "the only option of a http:// relay is alt=HOST:PORT: remove any other"),
    (
        "socks5h://relay.example?resolve=local",
        "the options of a SOCKS5 relay are alt=HOST:PORT, and socks5://HOST:PORT?resolve=local for one that takes "
        "addresses only: remove any other",
    ),
    (
        "socks5://a.example:1, socks5://b.example:1",
        "these are several URLs: add one at a time, or put one a line in a file and name the file",
    ),
    ("", "the relay URL is empty"),
]


@pytest.mark.uses("settings")
@pytest.mark.parametrize(("typed", "name", "url"), GOOD)
def test_a_good_spelling_is_added(byway: Byway, home: Home, typed: str, name: str, url: str) -> None:
    ran = byway("relay", "add", typed, "--no-test")
    assert ran.code == 0, ran.err
    assert ran.rows[1][:2] == [name, "not tested"]
    assert tomllib.loads(home.config.read_text())["relay"] == [{"name": name, "url": url}]
    assert SECRET not in ran.out + ran.err
    assert byway("config", "check").code == 0


@each_row(("typed", "sentence"), [*FOREIGN, *DAMAGED])
def test_anything_else_gets_its_sentence(byway: Byway, home: Home, typed: str, sentence: str) -> None:
    ran = byway("relay", "add", typed)
    assert (ran.code, ran.out, ran.err) == (2, "", f"byway: {sentence}\n")
    assert SECRET not in ran.err
    assert V2RAYN not in ran.err
    assert home.config.read_text() == "config_version = 1\n"


def test_there_are_enough_of_each_kind() -> None:
    assert len(GOOD) + len(FOREIGN) + len(DAMAGED) >= 40
    assert min(len(GOOD), len(FOREIGN), len(DAMAGED)) >= 15
