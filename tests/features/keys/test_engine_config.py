"""The configuration that the engine gets for each protocol."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from proxy.features.keys.engine_config import KEYS_MAX, PLACE, Entry, configuration
from proxy.wire.keys.reader import read_key
from proxy.wire.keys.sentences import without_engine
from proxy.wire.keys.values import Key
from tests.support.rows import each_row
from tests.wire.keys.made_keys import ECH, GOOD, PBK, PIN, PSK_16, SECRET, SERVER, UUID, WG_KEY, WG_PEER

ADDRESS = "203.0.113.7"
WG_KEY_URL, WG_PEER_URL = quote(WG_KEY, safe=""), quote(WG_PEER, safe="")


def entry(number: int, key: Key) -> Entry:
    return Entry(f"k{number}", f"password{number}", key, ADDRESS if key.protocol.is_over_udp else "")


def outbound(link: str) -> dict[str, Any]:
    made = configuration([entry(1, read_key(link))], 1000, outward_port=2000)
    return {field: value for field, value in made["proxies"][-1].items() if field not in ("name", "udp")}


TO_BYWAY = {"server": PLACE, "dialer-proxy": "to-k1", "port": 443}
TLS = {"tls": True, "client-fingerprint": "chrome"}


@each_row(
    ("link", "fields"),
    [
        (
            f"vless://{SERVER}?security=reality&pbk={PBK}&sid=0123abcd&sni=www.example.com&flow=xtls-rprx-vision",
            {"type": "vless", "uuid": UUID, "encryption": "", "flow": "xtls-rprx-vision",
             "servername": "www.example.com", "reality-opts": {"public-key": PBK, "short-id": "0123abcd"},
             "network": "tcp"} | TO_BYWAY | TLS,
        ),
        (
            f"vless://{SERVER}?security=tls&type=ws&path=/w&ed=64&fp=firefox&ech={ECH}",
            {"type": "vless", "uuid": UUID, "encryption": "", "flow": "", "servername": "relay.example",
             "ech-opts": {"enable": True, "config": ECH}, "network": "ws",
             "ws-opts": {"path": "/w", "headers": {"Host": "relay.example"}, "max-early-data": 64,
                         "early-data-header-name": "Sec-WebSocket-Protocol"}}
            | TO_BYWAY | TLS | {"client-fingerprint": "firefox"},
        ),
        (
            f"vless://{SERVER}?security=tls&type=xhttp&path=%2Fx&mode=stream-one&sni=a.example.com",
            {"type": "vless", "uuid": UUID, "encryption": "", "flow": "", "servername": "a.example.com",
             "network": "xhttp",
             "xhttp-opts": {"host": "a.example.com", "path": "/x", "mode": "stream-one", "no-grpc-header": False}}
            | TO_BYWAY | TLS,
        ),
        (
            f"trojan://{SECRET}@relay.example:443?type=grpc&serviceName=tun&alpn=h2&pcs={PIN.hex()}",
            {"type": "trojan", "password": SECRET, "sni": "relay.example", "alpn": ["h2"], "fingerprint": PIN.hex(),
             "network": "grpc", "grpc-opts": {"grpc-service-name": "tun"}} | TO_BYWAY | TLS,
        ),
        (
            f"ss://2022-blake3-aes-128-gcm:{PSK_16}@relay.example:443",
            {"type": "ss", "cipher": "2022-blake3-aes-128-gcm", "password": PSK_16} | TO_BYWAY,
        ),
        (
            f"ss://aes-128-gcm:{SECRET}@relay.example:443?plugin=obfs-local%3Bobfs%3Dtls%3Bobfs-host%3Da.example.com",
            {"type": "ss", "cipher": "aes-128-gcm", "password": SECRET, "plugin": "obfs",
             "plugin-opts": {"mode": "tls", "host": "a.example.com"}} | TO_BYWAY,
        ),
        (f"anytls://{SECRET}@relay.example", {"type": "anytls", "password": SECRET, "sni": "relay.example"}
         | TO_BYWAY | TLS),
        (
            f"hy2://{SECRET}@relay.example?obfs=salamander&obfs-password=other",
            {"type": "hysteria2", "password": SECRET, "obfs": "salamander", "obfs-password": "other",
             "sni": "relay.example", "server": ADDRESS, "port": 443} | TLS,
        ),
        (
            f"tuic://{UUID}:{SECRET}@relay.example:443?congestion_control=bbr",
            {"type": "tuic", "uuid": UUID, "password": SECRET, "udp-relay-mode": "native",
             "congestion-controller": "bbr", "disable-sni": False, "sni": "relay.example", "server": ADDRESS,
             "port": 443} | TLS,
        ),
        (
            f"wireguard://{WG_KEY_URL}@relay.example:443?publickey={WG_PEER_URL}&presharedkey={WG_PEER_URL}"
            "&address=10.0.0.2/24,fd00::2&allowedips=0.0.0.0/1,10.1.2.3/8&reserved=1,2,3&mtu=1280&keepalive=25"
            "&dns=192.0.2.53",
            {"type": "wireguard", "private-key": WG_KEY, "ip": "10.0.0.2/24", "ipv6": "fd00::2/128",
             "peers": [{"server": ADDRESS, "port": 443, "public-key": WG_PEER, "pre-shared-key": WG_PEER,
                        "allowed-ips": ["0.0.0.0/1", "10.0.0.0/8"]}],
             "remote-dns-resolve": False, "reserved": [1, 2, 3], "mtu": 1280, "persistent-keepalive": 25,
             "server": ADDRESS, "port": 443},
        ),
        (
            f"wireguard://{WG_KEY_URL}@relay.example:443?publickey={WG_PEER_URL}&address=10.0.0.2"
            "&jc=4&jmin=40&jmax=70&s2=20&h1=5-9&i1=%3Cb%200xff%3E",
            {"type": "wireguard", "private-key": WG_KEY, "ip": "10.0.0.2/32",
             "peers": [{"server": ADDRESS, "port": 443, "public-key": WG_PEER, "allowed-ips": ["0.0.0.0/0", "::/0"]}],
             "remote-dns-resolve": False, "mtu": 1280,
             "amnezia-wg-option": {"jc": 4, "jmin": 40, "jmax": 70, "s2": 20, "h1": "5-9", "i1": "<b 0xff>"},
             "server": ADDRESS, "port": 443},
        ),
        (
            f"ssh://me:{SECRET}@relay.example?host-key=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA",
            {"type": "ssh", "username": "me", "password": SECRET,
             "host-key": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"]} | TO_BYWAY | {"port": 22},
        ),
    ],
)  # fmt: skip
def test_each_protocol_has_its_fields(link: str, fields: dict[str, Any]) -> None:
    assert outbound(link) == fields


@each_row(
    ("fields", "name"),
    [
        ("type=ws&host=cdn.example.com&path=/w", "cdn.example.com"),
        ("type=httpupgrade&host=cdn.example.com:8080", "cdn.example.com"),
        ("type=xhttp&host=cdn.example.com", "cdn.example.com"),
        ("type=h2&host=a.example.com,b.example.com", "a.example.com"),
        ("type=ws&host=cdn.example.com&sni=a.example.com", "a.example.com"),
        ("type=ws&host=not_a_host!", "192.0.2.7"),
        ("type=grpc&serviceName=s", "192.0.2.7"),
    ],
)
def test_the_name_in_tls_is_that_of_the_request_where_the_key_names_no_other(fields: str, name: str) -> None:
    """So do other clients: the server may be any address of a CDN."""
    assert outbound(f"vless://{UUID}@192.0.2.7:443?security=tls&{fields}")["servername"] == name


KEYS = [key for _, key in GOOD if not without_engine(key)]


def test_no_key_has_a_name_for_its_server_and_none_leads_past_byway() -> None:
    """So the engine resolves nothing, and dials nothing but Byway, or an address that Byway has checked."""
    assert len(KEYS) > 50
    for key in KEYS:
        made = configuration([entry(1, key)], 1000, outward_port=2000)
        *ways, proxy = made["proxies"]
        if key.protocol.is_over_udp:
            assert not ways
            assert proxy["server"] == ADDRESS
            assert "dialer-proxy" not in proxy
        else:
            assert [way["name"] for way in ways] == [proxy["dialer-proxy"]]
            assert (ways[0]["type"], ways[0]["server"], ways[0]["port"]) == ("socks5", "127.0.0.1", 2000)
            assert proxy["server"] == PLACE


def test_each_user_reaches_its_own_key_and_anything_else_is_rejected() -> None:
    made = configuration([entry(number, key) for number, key in enumerate(KEYS[:3])], 1000, outward_port=2000)
    assert made["rules"] == ["IN-USER,k0,k0", "IN-USER,k1,k1", "IN-USER,k2,k2", "MATCH,REJECT"]
    (listener,) = made["listeners"]
    assert (listener["type"], listener["listen"], listener["port"]) == ("mixed", "127.0.0.1", 1000)
    assert listener["users"] == [{"username": f"k{n}", "password": f"password{n}"} for n in range(3)]
    assert {"external-controller", "secret", "proxy-providers", "rule-providers", "script"}.isdisjoint(made)
    assert not any(made[off]["enable"] for off in ("dns", "sniffer", "ntp", "tun"))
    json.dumps(made)


def test_at_most_so_many_keys_are_in_one_configuration() -> None:
    many = [entry(number, KEYS[0]) for number in range(KEYS_MAX + 1)]
    assert len(configuration(many[:-1], 1, outward_port=2)["rules"]) == KEYS_MAX + 1
    with pytest.raises(ValueError, match="at most 64"):
        configuration(many, 1, outward_port=2)


def test_an_entry_shows_no_secret() -> None:
    assert repr(entry(1, read_key(f"trojan://{SECRET}@relay.example:443"))) == "<Entry k1 <trojan relay.example>>"
