"""WireGuard, AmneziaWG and SSH: protocols of whole computers, of which Byway uses one server and no more."""

from __future__ import annotations

import ipaddress
import itertools
import re

from proxy.model import Destination
from proxy.wire.keys import streams
from proxy.wire.keys.fields import Fields, KeyRefused, Refused, Rows, Without, merged
from proxy.wire.keys.values import Amnezia, Ssh, WireGuard

_DNS = Without("Byway resolves names itself, by its own encrypted DNS, and gives the engine addresses")
_SYSTEM = Without("of a network interface, which Byway does not make; commands are never run")
_ADDRESSES_LIMIT = 32
_JUNK_MAX, _SIZE_MAX = 128, 1280  # of AmneziaWG's own limits; a key that names another's server must not flood it
_RANDOM_MAX = 999  # bytes in one part of a packet, of the engine
_TYPES = ("1", "2", "3", "4")  # of WireGuard's messages, where AmneziaWG changes none
_PREFIXES_LIMIT = 256

AMNEZIA = (
    *("jc", "jmin", "jmax"), *(f"s{number}" for number in range(1, 5)), *(f"h{number}" for number in range(1, 5)),
    *(f"i{number}" for number in range(1, 6)),
)  # fmt: skip
"""The fields of AmneziaWG in the order of `Amnezia`."""

_NOISE = Refused("packets that hide WireGuard are supported as those of AmneziaWG only")
_AMNEZIA_OTHERS = Refused("only versions 1 and 2 of AmneziaWG are supported")
_OTHER_AMNEZIA = (
    "j1", "j2", "j3", "itime", "header-protection-key", "content-padding-addition", "rekey-after-time",
    "rekey-timeout", "reject-after-time", "keepalive-timeout", "max-handshake-attempts", "random-trailers",
    "disable-cookies",
)  # fmt: skip

WIREGUARD_LINK: Rows = {
    **dict.fromkeys(("publickey", "public-key", "public_key", "peer_public_key", "peer_pk"), "public_key"),
    **dict.fromkeys(("privatekey", "private-key", "private_key", "pk"), "private_key"),
    **dict.fromkeys(("presharedkey", "preshared-key", "pre_shared_key", "pre-shared-key", "psk"), "preshared_key"),
    **dict.fromkeys(("address", "ip", "local_address"), "addresses"),
    **dict.fromkeys(("allowedips", "allowed-ips", "allowed_ips"), "allowed_ips"),
    **dict.fromkeys(("keepalive", "persistentkeepalive", "persistent-keepalive"), "keepalive"),
    "reserved": "reserved",
    "mtu": "mtu",
    "udp": streams.NO_UDP,
    "workers": streams.PACE,
    "remarks": "name",
    "dns": _DNS,
    **{name: name for name in AMNEZIA},
    **dict.fromkeys(_OTHER_AMNEZIA, _AMNEZIA_OTHERS),
    **dict.fromkeys(("ifp", "ifps", "wnoise", "wnoisecount", "wnoisedelay", "wpayloadsize"), _NOISE),
}
WIREGUARD_CONF: Rows = {
    "privatekey": "private_key",
    "address": "addresses",
    "mtu": "mtu",
    "dns": _DNS,
    **dict.fromkeys(("listenport", "fwmark", "table", "preup", "postup", "predown", "postdown", "saveconfig"), _SYSTEM),
    "peer.publickey": "public_key",
    "peer.presharedkey": "preshared_key",
    "peer.allowedips": "allowed_ips",
    "peer.persistentkeepalive": "keepalive",
    "peer.reserved": "reserved",
    "reserved": "reserved",
    **{name: name for name in AMNEZIA},
    **dict.fromkeys((*_OTHER_AMNEZIA, "headerprotectionkey", "contentpaddingaddition"), _AMNEZIA_OTHERS),
}
_PEER_CLASH = {
    "server": "server",
    "port": "port",
    "public-key": "public_key",
    "pre-shared-key": "preshared_key",
    "reserved": "reserved",
    "allowed-ips": "allowed_ips",
}
WIREGUARD_CLASH: Rows = merged(
    streams.CLASH,
    {
        **_PEER_CLASH,
        **{f"peers.{field}": name for field, name in _PEER_CLASH.items()},
        "private-key": "private_key",
        "ip": "ip",
        "ipv6": "ipv6",
        "mtu": "mtu",
        "persistent-keepalive": "keepalive",
        "workers": streams.PACE,
        "ip-stack": streams.PACE,
        "refresh-server-ip-interval": streams.PACE,
        "dns": _DNS,
        "remote-dns-resolve": _DNS,
        "amnezia-wg-option.version": Refused(_AMNEZIA_OTHERS.reason, ("", "1", "2")),
        **{f"amnezia-wg-option.{name}": name for name in AMNEZIA},
        **{f"amnezia-wg-option.{name}": _AMNEZIA_OTHERS for name in _OTHER_AMNEZIA},
    },
)
WIREGUARD_SING_BOX: Rows = merged(
    streams.SING_BOX,
    {
        "private_key": "private_key",
        "local_address": "addresses",
        "address": "addresses",
        "peer_public_key": "public_key",
        "pre_shared_key": "preshared_key",
        "reserved": "reserved",
        "mtu": "mtu",
        "peers.server": "server",
        "peers.address": "server",
        "peers.server_port": "port",
        "peers.port": "port",
        "peers.public_key": "public_key",
        "peers.pre_shared_key": "preshared_key",
        "peers.allowed_ips": "allowed_ips",
        "peers.reserved": "reserved",
        "peers.persistent_keepalive_interval": "keepalive",
        "workers": streams.PACE,
        "udp_timeout": streams.PACE,
        **dict.fromkeys(("system", "system_interface", "interface_name", "name", "listen_port", "gso"), _SYSTEM),
    },
)

_ALGORITHMS = Without("the keys themselves say which they are")
_PRIVATE_KEY = Refused("a private key of SSH is taken as text, not by the name of a file", authenticates=True)
SSH_LINK: Rows = {
    "hk": "host_keys",
    "host-key": "host_keys",
    "pk": "private_key",
    "private-key": "private_key",
    "passphrase": "passphrase",
    "remarks": "name",
}
SSH_CLASH: Rows = merged(
    streams.CLASH,
    {
        "username": "user",
        "password": "password",
        "private-key": "private_key",
        "private-key-passphrase": "passphrase",
        "host-key": "host_keys",
        "host-key-algorithms": _ALGORITHMS,
    },
)
SSH_SING_BOX: Rows = merged(
    streams.SING_BOX,
    {
        "user": "user",
        "password": "password",
        "private_key": "private_key",
        "private_key_path": _PRIVATE_KEY,
        "private_key_passphrase": "passphrase",
        "host_key": "host_keys",
        "host_key_algorithms": _ALGORITHMS,
        "client_version": Without("a remark to the server"),
    },
)

_SIZE = re.compile(r"<(?:r|rc|rd) ([0-9]+)>")
_TYPE = re.compile(r"[0-9]{1,10}(?:-[0-9]{1,10})?\Z")
_PACKET = re.compile(r"(?:<(?:b 0x[0-9A-Fa-f]+|c|t|r [0-9]+|rc [0-9]+|rd [0-9]+|wt [0-9]+)>\s*)+\Z")
_HOST_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60} [A-Za-z0-9+/=]{16,2000}(?: .*)?\Z")
_PEM = "-----BEGIN "


def wireguard(fields: Fields, server: Destination, name: str) -> WireGuard:
    """Reads a key of WireGuard or AmneziaWG."""
    for each, words in (("private_key", "private key"), ("public_key", "public key of the server")):
        if not fields.has(each):
            raise KeyRefused(f"the key has no {words}", field=each)
    addresses = tuple(
        text for field in ("addresses", "ip", "ipv6") if fields.has(field) for text in _prefixes(fields, field)
    )
    if not addresses or len(addresses) > _ADDRESSES_LIMIT:
        raise KeyRefused("the key has no address, or too many, for this computer in the tunnel", field="address")
    return WireGuard(
        server,
        name,
        fields.binary("private_key", 32),
        fields.binary("public_key", 32),
        fields.binary("preshared_key", 32) or None,
        addresses,
        _prefixes(fields, "allowed_ips") or ("0.0.0.0/0", "::/0"),
        _reserved(fields),
        fields.number("mtu", least=0, most=9200),
        fields.number("keepalive", most=65535) if fields.text("keepalive") != "off" else 0,
        _amnezia(fields),
    )


def _prefixes(fields: Fields, name: str) -> tuple[str, ...]:
    found = []
    for word in fields.words(name):
        try:
            found.append(str(ipaddress.ip_interface(word)))
        except ValueError:
            raise fields.damaged(name, "a list of addresses") from None
    if len(found) > _PREFIXES_LIMIT:
        raise fields.damaged(name, f"a list of at most {_PREFIXES_LIMIT} addresses")
    return tuple(found)


def _reserved(fields: Fields) -> bytes:
    words = fields.words("reserved")
    if len(words) == 1 and not words[0].isdecimal():
        return fields.binary("reserved", 3)
    if words and (len(words) != 3 or not all(re.fullmatch(r"[0-9]{1,3}", word) and int(word) < 256 for word in words)):
        raise fields.damaged("reserved", "three numbers from 0 to 255, or base64 of three bytes")
    return bytes(map(int, words))


def _amnezia(fields: Fields) -> Amnezia | None:
    if not any(map(fields.has, AMNEZIA)):
        return None
    types, packets = AMNEZIA[7:11], AMNEZIA[11:]
    junk = fields.number("jc", most=_JUNK_MAX)
    sizes = [fields.number(name, most=_SIZE_MAX) for name in AMNEZIA[1:7]]
    if sizes[0] > sizes[1]:
        raise fields.damaged("jmin", f"a number of at most {fields.written('jmax')}")
    texts = [fields.text(name).strip() for name in (*types, *packets)]
    for name, text in zip(types, texts, strict=False):
        if text and (not _TYPE.match(text) or not _ends(text)[0] <= _ends(text)[1] < 2**32):
            raise fields.damaged(name, "a number or a range, below 4294967296")
    for name, text in zip(packets, texts[4:], strict=True):
        if text and not _PACKET.match(text):
            raise fields.damaged(name, "a packet in the notation of AmneziaWG")
        if any(int(size) > _RANDOM_MAX for size in _SIZE.findall(text)):
            raise fields.damaged(name, f"a packet with random parts of at most {_RANDOM_MAX} bytes")
    ranges = sorted(_ends(text or usual) for text, usual in zip(texts, _TYPES, strict=False))
    if any(high >= low for (_, high), (low, _) in itertools.pairwise(ranges)):
        raise KeyRefused("the types of packets (H1 to H4) are not four different ones", field="h1")
    if (given := [bool(text) for text in texts[4:]]) != sorted(given, reverse=True):
        raise KeyRefused("of the packets that are sent first (I1 to I5) one before the last is missing", field="i1")
    return Amnezia(
        (junk, sizes[0], sizes[1]),
        (sizes[2], sizes[3], sizes[4], sizes[5]),
        (texts[0], texts[1], texts[2], texts[3]),
        (texts[4], texts[5], texts[6], texts[7], texts[8]),
    )


def _ends(text: str) -> tuple[int, int]:
    """Returns the first and the last number of a range; a number is both."""
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def ssh(fields: Fields, server: Destination, name: str) -> Ssh:
    """Reads a key of SSH."""
    user = fields.needed("user")
    private_key = fields.lines("private_key")
    if private_key and not private_key.startswith(_PEM):
        raise fields.unsupported("private_key", _PRIVATE_KEY.reason)
    host_keys = fields.words("host_keys")
    if len(host_keys) > 16 or not all(map(_HOST_KEY.match, host_keys)):
        raise fields.damaged("host_keys", "a list of host keys, each as in known_hosts")
    return Ssh(server, name, user, fields.text("password"), private_key, fields.text("passphrase"), host_keys)
