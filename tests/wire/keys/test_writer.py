"""Keys as links: each is read back to its value, and what no link says is refused by name."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.wire.keys.fields import Fault, KeyRefused, clean_name
from proxy.wire.keys.reader import read_key
from proxy.wire.keys.values import (
    PROTOCOLS,
    Amnezia,
    AnyTls,
    Grpc,
    Http2,
    HttpHeader,
    Hysteria2,
    Key,
    Obfs,
    OutlineAddress,
    Reality,
    Shadowsocks,
    Ssh,
    Tls,
    Transport,
    Trojan,
    Tuic,
    V2rayPlugin,
    Vless,
    Vmess,
    WebSocket,
    WireGuard,
    Xhttp,
)
from proxy.wire.keys.writer import write_key
from tests.support.rows import each_row
from tests.wire.keys.made_keys import AT, GOOD, MLKEM, PLAIN_TLS, REALITY, SECRET, UUID, ss, vless
from tests.wire.keys.test_collections import BY_LINK, CLASH_KEYS, PEM

HEADERS = (("X-A", "b"),)
KEYS = [
    *(key for _, key in GOOD),
    *(key for _, key in CLASH_KEYS if getattr(getattr(key, "transport", None), "headers", ()) != HEADERS),
    *(read_key(link) for _, _, link in BY_LINK),
    ss("aes-128-gcm", plugin=V2rayPlugin(WebSocket("", r"/a\\b\=c,d"), None)),
]


@each_row("key", KEYS)
def test_a_key_is_read_back_from_its_link(key: Key) -> None:
    assert read_key(write_key(key)) == key


def test_the_links_are_those_of_other_clients() -> None:
    """So that a key can be taken out again."""
    tls = Tls("a.example", alpn=("h2", "http/1.1"), client="chrome", reality=REALITY)
    key = vless("My server", uses_vision=True, tls=tls, transport=Grpc("tun"))
    assert write_key(key) == (
        f"vless://{UUID}@relay.example:443?flow=xtls-rprx-vision&security=reality&sni=a.example&alpn=h2%2Chttp%2F1.1"
        "&fp=chrome&pbk=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8&sid=0123abcd&type=grpc&serviceName=tun#My%20server"
    )
    assert write_key(ss("aes-256-gcm", "pw")) == "ss://YWVzLTI1Ni1nY206cHc@relay.example:8388"


# -- made by Hypothesis ------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)
secrets = texts.filter(bool)
words = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters='/@\\"<>,;'), max_size=12)
paths = st.builds("/{}".format, texts).filter(lambda path: "ed=" not in path and path == path.strip())
several_paths = st.lists(paths.filter(lambda path: "," not in path), min_size=1, max_size=3).map(tuple)
several_hosts = st.lists(words.filter(bool), max_size=3).map(tuple)
names = st.text(max_size=80).map(clean_name)
ports = st.integers(1, 65535)
hosts = st.sampled_from(["relay.example", "192.0.2.7", "2001:db8::1", "xn--bcher-kva.example"])
servers = st.builds(Destination, hosts, ports)
keys_32 = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 65535)
ranges = st.just("") | numbers.map(str) | st.builds("{}-{}".format, numbers, numbers)
ascending = st.lists(st.integers(5, 2**32 - 1), min_size=8, max_size=8, unique=True).map(sorted)
types = ascending.map(lambda n: (f"{n[0]}-{n[1]}", f"{n[6]}", "", f"{n[3]}-{n[5]}"))
users = st.uuids().map(str) | words.filter(lambda user: 0 < len(user.encode()) <= 30)

plain_tls = st.builds(
    Tls,
    sni=st.sampled_from(["", "a.example", "xn--bcher-kva.example", "192.0.2.1"]),
    alpn=st.lists(st.sampled_from(["h2", "http/1.1", "h3"]), max_size=3).map(tuple),
    client=st.sampled_from(["", "chrome", "360", "randomized"]),
    pin=st.none() | keys_32,
    ech=st.just(b"") | st.binary(min_size=6, max_size=40).map(lambda data: len(data).to_bytes(2, "big") + data),
)
realities = st.builds(Reality, keys_32, st.binary(max_size=8))
tls = plain_tls | st.builds(lambda made, reality: replace(made, reality=reality), plain_tls, realities)
web_sockets = st.builds(WebSocket, words, paths, early_data=st.integers(1, 65535), early_data_header=st.just("X-Early"))
web_sockets |= st.builds(WebSocket, words, paths, is_upgrade=st.booleans())
headers = st.dictionaries(st.sampled_from(["X-A", "User-Agent", "x.y"]), words).map(lambda made: tuple(made.items()))
xhttp = st.builds(
    Xhttp,
    words,
    paths,
    st.sampled_from(["auto", "packet-up", "stream-up", "stream-one"]),
    headers,
    ranges,
    st.booleans(),
    ranges,
    ranges,
)
http_headers = st.builds(HttpHeader, several_hosts, several_paths, st.sampled_from(["GET", "POST"]))
transports: st.SearchStrategy[Transport | None] = st.none() | web_sockets | st.builds(Grpc, texts)
of_vmess = transports | st.builds(Http2, several_hosts, paths) | http_headers

of_plugins = texts.filter(lambda text: ";" not in text)
plugins = st.builds(Obfs, st.sampled_from(["http", "tls"]), of_plugins) | st.builds(
    V2rayPlugin,
    st.builds(WebSocket, of_plugins, of_plugins.filter(bool), is_upgrade=st.booleans()),
    st.none() | st.builds(Tls, sni=st.sampled_from(["", "a.example"]), pin=st.none() | keys_32),
)
psk = keys_32.map(lambda data: base64.b64encode(data).decode())
ciphers = st.sampled_from(["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"])
addresses = st.lists(
    st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen}"), min_size=1, max_size=3
).map(tuple)
packets = st.integers(0, 5).map(lambda count: ("<b 0xff><r 16><t>",) * count + ("",) * (5 - count))
sizes = st.integers(0, 1280)
amnezia = st.builds(
    Amnezia,
    st.tuples(st.integers(0, 128), sizes, sizes).map(lambda junk: (junk[0], *sorted(junk[1:]))),
    st.tuples(sizes, sizes, sizes, sizes),
    types,
    packets,
)
host_keys = st.lists(
    st.just("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA") | st.just("ssh-rsa AAAAB3NzaC1yc2EAAAA me@h"), max_size=3
)
BY_PROTOCOL: dict[type[Key], st.SearchStrategy[Key]] = {
    Vless: st.builds(
        Vless, servers, names, users, st.sampled_from(["", MLKEM]), st.booleans(), st.none() | tls, of_vmess | xhttp
    ),
    Vmess: st.builds(
        Vmess, servers, names, users, numbers, st.sampled_from(["auto", "none", "zero"]), st.none() | tls, of_vmess
    ),
    Trojan: st.builds(Trojan, servers, names, secrets, tls, transports),
    Shadowsocks: st.builds(Shadowsocks, servers, names, ciphers, secrets, st.none() | plugins)
    | st.builds(
        Shadowsocks,
        servers,
        names,
        st.just("2022-blake3-aes-256-gcm"),
        st.lists(psk, min_size=1, max_size=2).map(":".join),
        st.none(),
    ),
    Hysteria2: st.builds(Hysteria2, servers, names, secrets, texts, plain_tls),
    Tuic: st.builds(
        Tuic,
        servers,
        names,
        st.uuids().map(str),
        secrets,
        st.sampled_from(["", "bbr", "cubic"]),
        st.builds(lambda made, sends: replace(made, sends_sni=sends), plain_tls, st.booleans()),
    ),
    AnyTls: st.builds(AnyTls, servers, names, secrets, plain_tls),
    WireGuard: st.builds(
        WireGuard,
        servers,
        names,
        keys_32,
        keys_32,
        st.none() | keys_32,
        addresses,
        addresses,
        st.just(b"") | st.binary(min_size=3, max_size=3),
        st.integers(0, 9200),
        numbers,
        st.none() | amnezia,
    ),
    Ssh: st.builds(
        Ssh,
        servers,
        names,
        secrets.filter(lambda user: ":" not in user),
        texts,
        st.sampled_from(["", PEM]),
        texts,
        host_keys.map(tuple),
    ),
    OutlineAddress: st.builds(
        OutlineAddress, servers, names, st.text("ab1-._~/%", max_size=20).map(lambda path: f"/{path}?k=1")
    ),
}


def test_values_of_every_protocol_are_made() -> None:
    assert set(BY_PROTOCOL) == set(PROTOCOLS)


@each_row("kind", list(PROTOCOLS))
@settings(max_examples=100)
@given(st.data())
def test_any_value_is_read_back_from_its_link(kind: type[Key], data: st.DataObject) -> None:
    key = data.draw(BY_PROTOCOL[kind])
    link = write_key(key)
    assert read_key(link) == key
    assert link.isascii()
    assert link.isprintable()
    assert not set(link) & set(" \"'<>")  # what ends a URL in a file of lines, or a hop of a chain


# -- what no link says -------------------------------------------------------------------------------------------------


@each_row(
    ("key", "what"),
    [
        (vless(transport=WebSocket("", "/", HEADERS)), "no link can say its headers"),
        (vless(transport=HttpHeader((), ("/",), "GET", HEADERS)), "no link can say its headers"),
        (vless(transport=WebSocket("", "/?ed=5")), "no link can say its path"),
        (vless(transport=Http2(("a.example,b.example",), "/")), "no link can say its hosts"),
        (vless(transport=HttpHeader((), ("/a,b",), "GET")), "no link can say its paths"),
        (vless(transport=HttpHeader(("a b",), ("/",), "GET")), "it cannot be stored as a link: field host is not"),
        (vless(tls=Tls(sends_sni=False)), "no link can say its sends sni"),
        (ss("aes-128-gcm", plugin=Obfs("tls", "a;b")), "it cannot be stored as a link: field plugin.b is not known"),
        (
            ss("aes-128-gcm", plugin=V2rayPlugin(WebSocket("", "/", HEADERS), PLAIN_TLS)),
            "no link can say its headers",
        ),
        (Ssh(AT, "", "a:b", SECRET, "", "", ()), "no link can say its user"),
        (Trojan(AT, "", "é" * 4000, PLAIN_TLS, None), "it cannot be stored as a link: it is not a link of at most"),
    ],
)
def test_what_no_link_says_is_refused_by_name(key: Key, what: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        write_key(replace(key, name="Mine"))
    assert str(caught.value).startswith(what)
    assert caught.value.fault is Fault.UNSUPPORTED
    assert (caught.value.protocol, caught.value.server, caught.value.name) == (key.protocol, key.server, "Mine")
    assert SECRET not in str(caught.value)
