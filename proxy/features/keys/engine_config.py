"""The configuration of the engine (mihomo), made from keys. Pure.

The engine gets one listener on loopback, one user for each key, and for each key one outbound. It resolves no name and
opens no TCP connection but to Byway: a key over TCP has an address for documentation (RFC 5737) in place of its server,
which the engine asks Byway's own listener for, and Byway dials the server. A key over UDP has an address that Byway has
resolved and checked. No text of a key names anything in the configuration but its own fields.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from typing import Any

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.keys.tunnels import AMNEZIA
from proxy.wire.keys.values import (
    AnyTls,
    Grpc,
    Http2,
    HttpHeader,
    Hysteria2,
    Key,
    Obfs,
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

KEYS_MAX = 64
"""Keys in one configuration."""

PLACE = "192.0.2.1"
"""Stands in place of the server of a key over TCP."""

_AMNEZIA_MTU = 1280  # where a key says none: the packets are larger than WireGuard's, for which the engine has 1408

_Fields = dict[str, Any]  # JSON


@frozen_dataclass
class Entry:
    """A key in the configuration. `user` is its name there; `password` is that of its user at the engine's listener,
    and of the engine at Byway's. `address` is that of its server, for a key over UDP."""

    user: str
    password: str
    key: Key
    address: str = ""

    def __repr__(self) -> str:
        return f"<Entry {self.user} {self.key!r}>"


def is_pooled(key: Key) -> bool:
    """Whether the engine carries several openings in one connection to the key's server."""
    return isinstance(key, AnyTls | Ssh) or isinstance(key.outer_transport, Grpc | Http2 | Xhttp)


READY = "ready"
"""The user whose request the engine hands to Byway: it shows that the engine has begun to work."""


def configuration(entries: Sequence[Entry], port: int, *, outward_port: int, ready_password: str = "") -> _Fields:
    """Returns the configuration. The engine listens on `port`, and Byway on `outward_port`. `ready_password` is that of
    READY; empty: there is no such user. Raises ValueError for more than KEYS_MAX entries."""
    if len(entries) > KEYS_MAX:
        raise ValueError(f"at most {KEYS_MAX} keys are in use at once")
    proxies: list[_Fields] = []
    for entry in entries:
        if not entry.address:
            proxies.append(_to_byway(entry.user, entry.password, outward_port))
        proxies.append(_outbound(entry))
    users = [{"username": entry.user, "password": entry.password} for entry in entries]
    rules = [f"IN-USER,{entry.user},{entry.user}" for entry in entries]
    if ready_password:
        proxies.append(_to_byway(READY, ready_password, outward_port))
        users.append({"username": READY, "password": ready_password})
        rules.append(f"IN-USER,{READY},to-{READY}")
    return {
        "listeners": [
            {
                "name": "byway",
                "type": "mixed",
                "listen": "127.0.0.1",
                "port": port,
                "udp": False,
                "users": users,
            }
        ],
        "proxies": proxies,
        "rules": [*rules, "MATCH,REJECT"],
        "mode": "rule",
        "log-level": "warning",
        "allow-lan": False,
        "ipv6": True,
        "find-process-mode": "off",
        "geo-auto-update": False,
        "unified-delay": False,
        "tcp-concurrent": False,
        "profile": {"store-selected": False, "store-fake-ip": False},
        "dns": {"enable": False},
        "sniffer": {"enable": False},
        "ntp": {"enable": False},
        "tun": {"enable": False},
    }


def _to_byway(user: str, password: str, port: int) -> _Fields:
    """Returns the outbound that leads to Byway's listener."""
    return {
        "name": f"to-{user}",
        "type": "socks5",
        "server": "127.0.0.1",
        "port": port,
        "username": user,
        "password": password,
        "udp": False,
    }


def _outbound(entry: Entry) -> _Fields:
    key = entry.key
    where: _Fields = (
        {"server": entry.address} if entry.address else {"server": PLACE, "dialer-proxy": f"to-{entry.user}"}
    )
    fields = _wireguard(key, entry.address) if isinstance(key, WireGuard) else _protocol(key)
    return {"name": entry.user, "port": key.server.port, "udp": False, **where, **fields}


def _protocol(key: Key) -> _Fields:
    server = key.server
    match key:
        case Vless():
            return {
                "type": "vless",
                "uuid": key.user,
                "encryption": key.encryption,
                "flow": "xtls-rprx-vision" if key.uses_vision else "",
                **_tls(key.tls, key.tls_name, "servername"),
                **_transport(key.transport, key.tls_name),
            }
        case Vmess():
            return {
                "type": "vmess",
                "uuid": key.user,
                "alterId": key.alter_id,
                "cipher": key.cipher,
                **_tls(key.tls, key.tls_name, "servername"),
                **_transport(key.transport, key.tls_name),
            }
        case Trojan():
            return {
                "type": "trojan",
                "password": key.password,
                **_tls(key.tls, key.tls_name, "sni"),
                **_transport(key.transport, key.tls_name),
            }
        case Shadowsocks():
            return {"type": "ss", "cipher": key.cipher, "password": key.password, **_plugin(key.plugin, server)}
        case AnyTls():
            return {"type": "anytls", "password": key.password, **_tls(key.tls, key.tls_name, "sni")}
        case Hysteria2():
            obfs = {"obfs": "salamander", "obfs-password": key.obfs_password} if key.obfs_password else {}
            return {"type": "hysteria2", "password": key.password, **obfs, **_tls(key.tls, key.tls_name, "sni")}
        case Tuic():
            fields: _Fields = {"type": "tuic", "uuid": key.user, "password": key.password, "udp-relay-mode": "native"}
            if key.congestion_control:
                fields["congestion-controller"] = key.congestion_control
            return {**fields, "disable-sni": not key.tls.sends_sni, **_tls(key.tls, key.tls_name, "sni")}
        case Ssh():
            secret = {"private-key": key.private_key, "private-key-passphrase": key.passphrase}
            return {
                "type": "ssh",
                "username": key.user,
                **({"password": key.password} if key.password else {}),
                **(secret if key.private_key else {}),
                "host-key": list(key.host_keys),
            }
    raise ValueError(f"the engine gets no keys of {key.protocol.words}")


def _wireguard(key: WireGuard, address: str) -> _Fields:
    """Returns the fields of WireGuard. The server is a peer, since the engine takes allowed IPs of peers alone. It
    listens nowhere, makes no network interface, and gets no DNS: Byway asks it for addresses."""
    peer: _Fields = {
        "server": address,
        "port": key.server.port,
        "public-key": base64.b64encode(key.public_key).decode(),
        "allowed-ips": [str(ipaddress.ip_interface(allowed).network) for allowed in key.allowed_ips],
    }
    if key.preshared_key is not None:
        peer["pre-shared-key"] = base64.b64encode(key.preshared_key).decode()
    own = {ipaddress.ip_interface(own).version: own for own in key.addresses}
    fields: _Fields = {
        "type": "wireguard",
        "private-key": base64.b64encode(key.private_key).decode(),
        "peers": [peer],
        "remote-dns-resolve": False,
        **({"ip": own[4]} if 4 in own else {}),
        **({"ipv6": own[6]} if 6 in own else {}),
    }
    if key.reserved:
        fields["reserved"] = list(key.reserved)
    if key.mtu or key.amnezia is not None:
        fields["mtu"] = key.mtu or _AMNEZIA_MTU
    if key.keepalive_s:
        fields["persistent-keepalive"] = key.keepalive_s
    if (changed := key.amnezia) is not None:
        values = (*changed.junk, *changed.sizes, *changed.types, *changed.packets)
        fields["amnezia-wg-option"] = {name: value for name, value in zip(AMNEZIA, values, strict=True) if value}
    return fields


def _tls(tls: Tls | None, name: str, name_field: str) -> _Fields:
    """Returns the fields of TLS. The name is always given, since the engine has another server in its place."""
    if tls is None:
        return {"tls": False}
    fields: _Fields = {"tls": True, name_field: name, "client-fingerprint": tls.client or "chrome"}
    if tls.alpn:
        fields["alpn"] = list(tls.alpn)
    if tls.pin is not None:
        fields["fingerprint"] = tls.pin.hex()
    if tls.ech:
        fields["ech-opts"] = {"enable": True, "config": base64.b64encode(tls.ech).decode()}
    if tls.reality is not None:
        public_key = base64.urlsafe_b64encode(tls.reality.public_key).decode().rstrip("=")
        fields["reality-opts"] = {"public-key": public_key, "short-id": tls.reality.short_id.hex()}
    return fields


def _transport(transport: Transport | None, name: str) -> _Fields:
    """Returns the fields of a transport. A host is always given, as the name in `_tls`: `name`, if the key has none."""
    match transport:
        case None:
            return {"network": "tcp"}
        case WebSocket():
            options: _Fields = {
                "path": transport.path,
                "headers": {**dict(transport.headers), "Host": transport.host or name},
            }
            if transport.is_upgrade:
                options["v2ray-http-upgrade"] = True
            if transport.early_data:
                options["max-early-data"] = transport.early_data
                options["early-data-header-name"] = transport.early_data_header
            return {"network": "ws", "ws-opts": options}
        case Grpc():
            return {"network": "grpc", "grpc-opts": {"grpc-service-name": transport.service}}
        case Http2():
            return {"network": "h2", "h2-opts": {"host": list(transport.hosts) or [name], "path": transport.path}}
        case HttpHeader():
            headers = {header: [value] for header, value in transport.headers}
            headers["Host"] = list(transport.hosts) or [name]
            options = {"method": transport.method, "path": list(transport.paths), "headers": headers}
            return {"network": "http", "http-opts": options}
        case Xhttp():
            options = {
                "host": transport.host or name,
                "path": transport.path,
                "mode": transport.mode,
                "no-grpc-header": not transport.has_grpc_header,
            }
            ranges = {
                "x-padding-bytes": transport.padding_bytes,
                "sc-max-each-post-bytes": transport.max_post_bytes,
                "sc-min-posts-interval-ms": transport.min_post_interval_ms,
            }
            options |= {field: value for field, value in ranges.items() if value}
            if transport.headers:
                options["headers"] = dict(transport.headers)
            return {"network": "xhttp", "xhttp-opts": options}


def _plugin(plugin: Obfs | V2rayPlugin | None, server: Destination) -> _Fields:
    if plugin is None:
        return {}
    if isinstance(plugin, Obfs):
        return {"plugin": "obfs", "plugin-opts": {"mode": plugin.mode, "host": plugin.host or server.host}}
    socket, tls = plugin.socket, plugin.tls
    options: _Fields = {
        "mode": "websocket",
        "host": socket.host or (tls.sni if tls is not None else "") or server.host,
        "path": socket.path,
        "tls": tls is not None,
        "mux": False,
    }
    if socket.headers:
        options["headers"] = dict(socket.headers)
    if socket.is_upgrade:
        options["v2ray-http-upgrade"] = True
    if tls is not None and tls.pin is not None:
        options["fingerprint"] = tls.pin.hex()
    return {"plugin": "v2ray-plugin", "plugin-opts": options}
