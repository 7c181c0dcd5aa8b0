"""What a person reads of a key or of a text with keys."""

from __future__ import annotations

from urllib.parse import quote

from proxy.wire.keys.sentences import explain
from tests.support.rows import each_row
from tests.wire.keys.made_keys import SECRET, SERVER, UUID, WG_KEY, WG_PEER, b64
from tests.wire.keys.test_collections import CLASH_SERVER, CONF, clash

LOCAL = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"
IN_A_FILE = "A relay is one link: put the text into a file, and run `byway relay add FILE`"
SSH = "Run `ssh -N -D 1080 USER@HOST` and add it with `byway relay add socks5h://127.0.0.1:1080`"
HOST_KEY = (
    "Add it to the link as host-key=TYPE%20KEY: `ssh-keygen -F HOST` prints the one that your ssh knows already, and "
    "`ssh-keyscan HOST` what it shows now, which you compare with the owner's"
)
WIREGUARD = (
    f"wireguard://{quote(WG_KEY, safe='')}@relay.example:51820?publickey={quote(WG_PEER, safe='')}&address=10.0.0.2/32"
)


def instead(words: str) -> str:
    return f"Ask for another key, or start your {words} client and {LOCAL}"


@each_row(
    ("text", "sentence"),
    [
        (f"vless://{SERVER}?security=tls#Berlin", ""),
        (f"vless://{UUID}@[2001:db8::1]:8443", ""),
        (f"hy2://{SECRET}@192.0.2.1", ""),
        (
            f"ssh://me:{SECRET}@relay.example",
            "this SSH key for relay.example:22 is not supported: it has no host key of its server, so anyone on the "
            f"way could pretend to be the server. {HOST_KEY}",
        ),
        (
            "ssh://me@relay.example?host-key=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA",
            "this SSH key for relay.example:22 is not supported: it has neither a password nor a private key. " + SSH,
        ),
        (f"{WIREGUARD},fd00::2/128&jc=4&jmax=50&dns=192.0.2.53", ""),
        (
            f"{WIREGUARD},10.0.0.3/32",
            "this WireGuard key for relay.example:51820 is not supported: it has two addresses of one family for this "
            f"computer, and the engine takes one. {instead('WireGuard')}",
        ),
        (
            f"{WIREGUARD}&s1=20&reserved=1,2,3",
            "this WireGuard key for relay.example:51820 is not supported: AmneziaWG and reserved bytes are not "
            f"supported together. {instead('WireGuard')}",
        ),
        (
            f"ss://aes-128-gcm:{SECRET}@relay.example:443?plugin=v2ray-plugin%3Btls%3Bhost%3Da.test%3Bsni%3Db.test",
            "this Shadowsocks key for relay.example:443 is not supported: another SNI than the host is not supported "
            f"with v2ray-plugin. {instead('Shadowsocks')}",
        ),
        (
            f"ssconf://relay.example/{SECRET}#Out",
            "this address of an Outline key for relay.example:443 (Out) is understood. It names a file with one key: "
            "`byway relay add` fetches that, and follows it as a subscription",
        ),
        (
            f"vless://{SERVER}?foo=1#Berlin",
            "this VLESS key for relay.example:443 (Berlin) is not supported: field foo is not known to Byway, and "
            f"without it the connection may be weaker. {instead('VLESS')}",
        ),
        (
            f"trojan://{SECRET}@relay.example:x",
            "this Trojan key cannot be read: the host or the port of the key is not valid: check its spelling",
        ),
        ("vmess://!", "this VMess key cannot be read: it is neither a link with UUID@HOST:PORT nor JSON in base64"),
        (
            clash(CLASH_SERVER | {"type": "vless", "uuid": UUID}, CLASH_SERVER | {"type": "trojan", "password": SECRET},
                  CLASH_SERVER | {"type": "vless", "uuid": UUID, "name": "b"}),
            f"this is a Clash configuration with 3 keys: 3 understood (VLESS 2, Trojan 1). {IN_A_FILE}",
        ),
        (
            b64(f"vless://{SERVER}\nvless://{SERVER}?foo=1\nssr://{SECRET}\n"),
            "this is a base64 bundle of keys with 3 keys: 1 understood (VLESS 1) and 2 not, the first of them number 2 "
            "(VLESS, field foo is not known to Byway, and without it the connection may be weaker). " + IN_A_FILE,
        ),
        (
            f"vless://{SERVER}\nvless://{SERVER}\n",
            f"this is a list of keys with 2 keys: 2 understood (VLESS 2). {IN_A_FILE}",
        ),
        (CONF, f"this is a WireGuard configuration with 1 key: 1 understood (WireGuard 1). {IN_A_FILE}"),
        (
            f'{{"outbounds": [{{"type": "vless", "uuid": "{UUID}"}}]}}',
            "this is a sing-box configuration with 1 key: none understood and 1 not, the first of them number 1 "
            f"(VLESS, the key has no host). {IN_A_FILE}",
        ),
        (
            f"proxies: &a [{{password: {SECRET}}}]",
            "this is a Clash configuration, and it cannot be read: the YAML has an anchor (&) or an alias (*), which "
            f"Byway does not read. Start that client and {LOCAL} (Clash: 7890, v2rayN: 10808)",
        ),
    ],
)  # fmt: skip
def test_each_text_gets_its_sentence(text: str, sentence: str) -> None:
    assert explain(text) == sentence
    assert not any(secret in sentence for secret in (SECRET, UUID, WG_KEY))


@each_row("text", ["", "socks5h://h:1", "h:1", "tor", "https://relay.example", "a>b", "addon://x"])
def test_what_may_be_a_relay_gets_none(text: str) -> None:
    assert explain(text) == ""
