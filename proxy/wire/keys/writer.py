"""Writes a key as a link, the one form in which keys are stored, whatever notation they were read from.

A link is taken only if `reader` reads it back to the same value: a key of which no link says all is refused, and what
is missing is named.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from urllib.parse import quote

from proxy.wire.keys.fields import Fault, KeyRefused
from proxy.wire.keys.reader import read_key
from proxy.wire.keys.tunnels import AMNEZIA
from proxy.wire.keys.values import (
    AnyTls,
    Grpc,
    Http2,
    HttpHeader,
    Hysteria2,
    Key,
    Obfs,
    OutlineAddress,
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

Query = Mapping[str, str]
"""The fields of a link, not encoded. An empty one is left out."""


def write_key(key: Key) -> str:
    """Returns the link of a key, with its name behind #: printable ASCII. `read_key` reads it to an equal value. Raises
    KeyRefused for a key of which no link says all."""
    link = _link(key)
    try:
        read = read_key(link)
    except KeyRefused as error:
        refused = KeyRefused(f"it cannot be stored as a link: {error}", Fault.UNSUPPORTED, error.field)
    else:
        if read == key:
            return link
        field = _difference(key, read)
        refused = KeyRefused(
            f"no link can say its {field.replace('_', ' ')}, and Byway stores keys as links", Fault.UNSUPPORTED, field
        )
    refused.protocol, refused.server, refused.name = key.protocol, key.server, key.name
    raise refused


def _difference(key: object, read: object) -> str:
    """Returns the name of the first field in which two values differ; empty for values without fields."""
    if not is_dataclass(key) or type(key) is not type(read):
        return ""
    for field in fields(key):
        pair = getattr(key, field.name), getattr(read, field.name)
        if pair[0] != pair[1]:
            return _difference(*pair) or field.name
    return ""


def _link(key: Key) -> str:
    path, query = "", dict[str, str]()
    match key:
        case Vless():
            user = _encoded(key.user)
            query |= {"encryption": key.encryption, "flow": "xtls-rprx-vision" if key.uses_vision else ""}
            query |= {**_tls(key.tls), **_transport(key.transport)}
        case Vmess():
            user = _encoded(key.user)
            query |= {"encryption": key.cipher, "aid": _number(key.alter_id)}
            query |= {**_tls(key.tls), **_transport(key.transport)}
        case Trojan():
            user = _encoded(key.password)
            query |= {**_tls(key.tls), **_transport(key.transport)}
        case Shadowsocks():
            user = f"{key.cipher}:{_encoded(key.password)}"
            if not key.cipher.startswith("2022-"):  # SIP002 has base64 for the others, and forbids it for these
                user = _base64_url(f"{key.cipher}:{key.password}".encode())
            query["plugin"] = _plugin(key.plugin)
        case Hysteria2():
            user = _encoded(key.password)
            query |= {"obfs": "salamander" if key.obfs_password else "", "obfs-password": key.obfs_password}
            query |= _tls(key.tls, pin="pinSHA256", says_tls=False)
        case Tuic():
            user = f"{key.user}:{_encoded(key.password)}"
            query |= {"congestion_control": key.congestion_control, "disable_sni": "" if key.tls.sends_sni else "1"}
            query |= _tls(key.tls, says_tls=False)
        case AnyTls():
            user = _encoded(key.password)
            query |= _tls(key.tls, pin="hpkp", says_tls=False)
        case WireGuard():
            user = _encoded(_base64(key.private_key))
            query |= _wireguard(key)
        case Ssh():
            user = _encoded(key.user) + (f":{_encoded(key.password)}" if key.password else "")
            query |= {"pk": key.private_key, "passphrase": key.passphrase, "host-key": ",".join(key.host_keys)}
        case OutlineAddress():
            user, path = "", key.path
        case _:
            raise AssertionError(type(key).__name__)
    written = "&".join(f"{field}={_encoded(value)}" for field, value in query.items() if value)
    at, question, mark = "@" if user else "", "?" if written else "", "#" if key.name else ""
    return f"{key.protocol}://{user}{at}{key.server}{path}{question}{written}{mark}{_encoded(key.name)}"


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _number(number: int) -> str:
    return str(number) if number else ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64_url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _tls(tls: Tls | None, *, pin: str = "pcs", says_tls: bool = True) -> Query:
    """Returns the fields of TLS. `pin` is the protocol's name for that of the certificate; without `says_tls` it has no
    form without TLS, nor with REALITY."""
    if tls is None:
        return {}
    reality = tls.reality
    return {
        "security": "reality" if reality is not None else "tls" if says_tls else "",
        "sni": tls.sni,
        "alpn": ",".join(tls.alpn),
        "fp": tls.client,
        pin: tls.pin.hex() if tls.pin is not None else "",
        "ech": _base64(tls.ech),
        "pbk": _base64_url(reality.public_key) if reality is not None else "",
        "sid": reality.short_id.hex() if reality is not None else "",
    }


def _transport(transport: Transport | None) -> Query:
    match transport:
        case None:
            return {}
        case WebSocket(host=host, path=path):
            early = {"ed": _number(transport.early_data), "eh": transport.early_data_header}
            return {"type": "httpupgrade" if transport.is_upgrade else "ws", "host": host, "path": path, **early}
        case Grpc(service=service):
            return {"type": "grpc", "serviceName": service}
        case Http2(hosts=hosts, path=path):
            return {"type": "http", "host": ",".join(hosts), "path": path}
        case HttpHeader(hosts=hosts, paths=paths, method=method):
            joined = {"host": ",".join(hosts), "path": ",".join(paths), "method": "" if method == "GET" else method}
            return {"type": "tcp", "headerType": "http", **joined}
        case Xhttp():
            return _xhttp(transport)


def _xhttp(transport: Xhttp) -> Query:
    """What Xray's links have no field for stands in `extra`, as JSON."""
    extra = {
        "headers": dict(transport.headers),
        "xPaddingBytes": transport.padding_bytes,
        "noGRPCHeader": not transport.has_grpc_header,
        "scMaxEachPostBytes": transport.max_post_bytes,
        "scMinPostsIntervalMs": transport.min_post_interval_ms,
    }
    given = {name: value for name, value in extra.items() if value}
    return {
        "type": "xhttp",
        "host": transport.host,
        "path": transport.path,
        "mode": transport.mode,
        "extra": json.dumps(given, separators=(",", ":")) if given else "",
    }


def _plugin(plugin: Obfs | V2rayPlugin | None) -> str:
    """Returns the name of a plugin and its options, as SIP003 has them."""
    if plugin is None:
        return ""
    flags = list[str]()
    if isinstance(plugin, Obfs):
        name, options = "obfs-local", {"obfs": plugin.mode, "obfs-host": plugin.host}
    else:
        path = plugin.socket.path.replace("\\", "\\\\").replace("=", "\\=").replace(",", "\\,")
        name, options = "v2ray-plugin", {"host": plugin.socket.host, "path": path}
        if plugin.socket.is_upgrade:
            flags.append("v2ray-http-upgrade")
        if (tls := plugin.tls) is not None:
            flags.append("tls")
            options |= {"sni": tls.sni, "fingerprint": tls.pin.hex() if tls.pin is not None else ""}
    return ";".join((name, *flags, *(f"{option}={value}" for option, value in options.items() if value)))


def _wireguard(key: WireGuard) -> Query:
    query = {
        "publickey": _base64(key.public_key),
        "presharedkey": _base64(key.preshared_key or b""),
        "address": ",".join(key.addresses),
        "allowedips": ",".join(key.allowed_ips),
        "reserved": ",".join(map(str, key.reserved)),
        "mtu": _number(key.mtu),
        "keepalive": _number(key.keepalive_s),
    }
    if (changed := key.amnezia) is not None:
        values = (*changed.junk, *changed.sizes, *changed.types, *changed.packets)
        query |= {name: str(value) for name, value in zip(AMNEZIA, values, strict=True)}
    return query
