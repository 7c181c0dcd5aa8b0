"""VLESS, VMess and Trojan: links of Xray's standard, VMess links of v2rayN, and both kinds of configurations."""

from __future__ import annotations

import re

from proxy.model import Destination
from proxy.wire.keys import streams
from proxy.wire.keys.fields import Fields, KeyRefused, Refused, Rows, Without, merged
from proxy.wire.keys.streams import Network
from proxy.wire.keys.values import Trojan, Vless, Vmess

_UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}\Z")
_ENCRYPTION = re.compile(r"mlkem768x25519plus\.[A-Za-z0-9_.=-]+\Z")
_USER_LIMIT = 30  # bytes of a user that is no UUID, as Xray takes it
_VISION = ("xtls-rprx-vision", "xtls-rprx-vision-udp443")
_OLD_FLOWS = (
    "xtls-rprx-origin", "xtls-rprx-origin-udp443", "xtls-rprx-direct", "xtls-rprx-direct-udp443", "xtls-rprx-splice",
    "xtls-rprx-splice-udp443",
)  # fmt: skip
_CIPHERS = {cipher: cipher for cipher in ("auto", "none", "zero", "aes-128-gcm", "chacha20-poly1305")} | {"": "auto"}
_OLD_CIPHERS = ("aes-128-cfb", "aes-256-gcm", "chacha20-ietf-poly1305", "aes-128-ctr")

_PADDING = Refused("options of VMess's lengths and padding are not supported")
VLESS_LINK: Rows = merged(
    streams.LINK,
    {"encryption": "encryption", "flow": "flow"},
)
VLESS_CLASH: Rows = merged(
    streams.CLASH,
    streams.CLASH_TLS,
    streams.CLASH_TRANSPORT,
    {"uuid": "user", "flow": "flow", "encryption": "encryption"},
    {"packet-encoding": streams.NO_UDP, "packet-addr": streams.NO_UDP, "xudp": streams.NO_UDP},
)
VLESS_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    streams.SING_BOX_TRANSPORT,
    {"uuid": "user", "flow": "flow"},
)
VMESS_LINK: Rows = merged(
    streams.LINK,
    {"encryption": "cipher", "aid": "alter_id", "alterid": "alter_id"},
)
VMESS_JSON: Rows = merged(
    {field: row for field, row in streams.LINK.items() if field not in ("type", "security", "remarks")},
    {"ps": "name", "remark": "name", "remarks": "name", "add": "server", "port": "port", "id": "user"},
    {"aid": "alter_id", "scy": "cipher", "security": "cipher", "type": "header_type", "tls": "security"},
    {"v": Without("the version of the notation"), "verify_cert": "verify"},
    {"extra": Without("only of type=xhttp, which no engine has with VMess")},
    dict.fromkeys(
        ("class", "level", "group", "file", "country", "nation", "protocol", "test_name", "flag", "_id", "ip"),
        Without("a remark of a list of keys"),
    ),
)
VMESS_CLASH: Rows = merged(
    streams.CLASH,
    streams.CLASH_TLS,
    streams.CLASH_TRANSPORT,
    {"uuid": "user", "alterid": "alter_id", "cipher": "cipher"},
    {"packet-encoding": streams.NO_UDP, "packet-addr": streams.NO_UDP, "xudp": streams.NO_UDP},
    {"global-padding": _PADDING, "authenticated-length": _PADDING},
)
VMESS_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    streams.SING_BOX_TRANSPORT,
    {"uuid": "user", "alter_id": "alter_id", "security": "cipher"},
    {"global_padding": _PADDING, "authenticated_length": _PADDING},
)
TROJAN_LINK: Rows = merged(
    streams.LINK,
    {
        "flow": Refused("flows are not supported with Trojan"),
        "encryption": Refused("Trojan has no encryption of its own", ("", "none")),
        "plugin": Refused("plugins are not supported with Trojan", ("", "none")),
    },
)
TROJAN_CLASH: Rows = merged(
    streams.CLASH,
    streams.CLASH_TLS,
    streams.CLASH_TRANSPORT,
    {"password": "password", "ss-opts": Refused("Shadowsocks in Trojan is not supported")},
)
TROJAN_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    streams.SING_BOX_TRANSPORT,
    {"password": "password"},
)


def vless(fields: Fields, server: Destination, name: str, *, http: Network | None) -> Vless:
    """Reads a VLESS key; `http` is what the word http means in its notation."""
    user = _user(fields)
    encryption = fields.text("encryption").strip()
    if encryption.lower() in ("", "none"):
        encryption = ""
    elif not _ENCRYPTION.match(encryption):
        raise fields.unsupported("encryption", "it is none of VLESS that Byway knows")
    flow = {"": False, "none": False} | dict.fromkeys(_VISION, True)
    uses_vision = fields.choice("flow", flow, _OLD_FLOWS)
    tls = streams.tls_of(fields, always=False)
    transport = streams.transport_of(fields, tuple(Network), tls, http=http)
    return Vless(server, name, user, encryption, uses_vision, tls, transport)


def vmess(fields: Fields, server: Destination, name: str, *, http: Network | None) -> Vmess:
    """Reads a VMess key."""
    user = _user(fields)
    if fields.has("verify") and not fields.flag("verify") and fields.pin is None:
        raise fields.unsupported("verify", "the server's certificate would not be checked")
    tls = streams.tls_of(fields, always=False)
    networks = (Network.TCP, Network.HTTP, Network.WS, Network.HTTP_UPGRADE, Network.GRPC, Network.H2)
    transport = streams.transport_of(fields, networks, tls, http=http)
    cipher = fields.choice("cipher", _CIPHERS, _OLD_CIPHERS)
    return Vmess(server, name, user, fields.number("alter_id", most=65535), cipher, tls, transport)


def trojan(fields: Fields, server: Destination, name: str) -> Trojan:
    """Reads a Trojan key."""
    password = fields.needed("password")
    tls = streams.needed_tls(fields)
    networks = (Network.TCP, Network.WS, Network.HTTP_UPGRADE, Network.GRPC)
    return Trojan(server, name, password, tls, streams.transport_of(fields, networks, tls, http=Network.H2))


def is_uuid(text: str) -> bool:
    """Whether a user is a UUID."""
    return _UUID.match(text) is not None


def _user(fields: Fields) -> str:
    user = fields.needed("user").strip()
    if not is_uuid(user) and (len(user.encode()) > _USER_LIMIT or not user.isprintable()):
        raise KeyRefused("the key's user is neither a UUID nor a text of at most 30 bytes", field="user")
    return user.lower() if is_uuid(user) else user


def as_link(json: dict[str, str]) -> dict[str, str]:
    """Returns the fields of a VMess link in JSON with the names that they have in a URL: host, path and type mean
    another thing with gRPC, and type is the mode of XHTTP."""
    network = json.get("net", "").lower()
    names = {"grpc": {"path": "servicename", "host": "authority", "type": "mode"}}.get(network, {})
    if network in ("xhttp", "splithttp"):
        names = {"type": "mode"}
    given = {field.lower() for field, value in json.items() if value}
    fields: dict[str, str] = {}
    for field, value in json.items():
        name = names.get(field.lower(), "")
        fields[name if name and name not in given else field] = value
    return fields
