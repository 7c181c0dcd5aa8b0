"""Hysteria 2, TUIC and AnyTLS: a password in QUIC or TLS, without transports of their own."""

from __future__ import annotations

from proxy.model import Destination
from proxy.wire.keys import streams
from proxy.wire.keys.fields import Fields, KeyRefused, Refused, Rows, Without, merged
from proxy.wire.keys.v2ray import is_uuid
from proxy.wire.keys.values import AnyTls, Hysteria2, Tls, Tuic

_RATE = Without("how fast to send, which each user knows of the own network")
_HOPS = Refused("hop ports name further servers, whose addresses Byway does not check")
_OF_HOPS = Without("only with hop ports, which are refused")
_OF_GECKO = Without("only of obfs=gecko, which is refused")
_OLD_TUIC = Refused("only version 5 of TUIC is supported", authenticates=True)
_REALM = Refused("a meeting point (realm) names a second server")
_ANYTLS_NETWORK = Refused("transports are not supported with AnyTLS", ("", "tcp", "raw", "none"))
_QUIC_NETWORK = Refused("transports are not supported over QUIC", ("", "tcp", "raw", "udp", "none", "hysteria2"))

_LINK_TLS: Rows = {
    field: row
    for field, row in streams.LINK.items()
    if row in ("security", "sni", "alpn", "client", "insecure", "pin", "ech", "name") or not isinstance(row, str)
}
_REALITY = Refused("REALITY is not supported with this protocol")
_NO_TRANSPORT: Rows = dict.fromkeys(
    ("host", "path", "headertype", "servicename", "authority", "mode", "encryption", "flow"),
    Refused("transports and flows are not supported with this protocol", ("", "none")),
) | {"pbk": _REALITY, "sid": _REALITY}

HYSTERIA2_LINK: Rows = merged(
    _LINK_TLS,
    _NO_TRANSPORT,
    {
        "type": _QUIC_NETWORK,
        "obfs": "obfs",
        "obfs-password": "obfs_password",
        "obfsparam": "obfs_password",
        "pinsha256": "pin",
        "auth": "password",
        "mport": _HOPS,
        "ports": _HOPS,
        **dict.fromkeys(("hop-interval", "hop_interval", "mporthopint"), _OF_HOPS),
        "minpacketsize": _OF_GECKO,
        "maxpacketsize": _OF_GECKO,
        "keepalive": streams.PACE,
        **dict.fromkeys(("up", "down", "upmbps", "downmbps"), _RATE),
    },
)
_QUIC_PACE = (
    "initial-stream-receive-window", "max-stream-receive-window", "initial-connection-receive-window",
    "max-connection-receive-window", "recv-window", "recv-window-conn", "cwnd", "udp-mtu", "handshake-timeout",
    "bbr-profile", "disable-mtu-discovery", "max-open-streams", "request-timeout", "heartbeat-interval",
    "max-udp-relay-packet-size", "max-datagram-frame-size",
)  # fmt: skip
_QUIC_CLASH: Rows = merged(
    streams.CLASH,
    streams.CLASH_TLS,
    dict.fromkeys(_QUIC_PACE, streams.PACE),
)
HYSTERIA2_CLASH: Rows = merged(
    _QUIC_CLASH,
    {
        "password": "password",
        "auth": "password",
        "obfs": "obfs",
        "obfs-password": "obfs_password",
        "obfs-min-packet-size": _OF_GECKO,
        "obfs-max-packet-size": _OF_GECKO,
        "up": _RATE,
        "down": _RATE,
        "ports": _HOPS,
        "hop-interval": _OF_HOPS,
        "realm-opts": _REALM,
    },
)
HYSTERIA2_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    {
        "password": "password",
        "obfs.type": "obfs",
        "obfs.password": "obfs_password",
        "server_ports": _HOPS,
        "hop_interval": _OF_HOPS,
        "hop_interval_max": _OF_HOPS,
        "up_mbps": _RATE,
        "down_mbps": _RATE,
        "brutal_debug": streams.PACE,
        "bbr_profile": streams.PACE,
        "realm": _REALM,
    },
)
_ZERO_RTT = Without("data in the first packet, which Byway never sends before the handshake")
TUIC_LINK: Rows = merged(
    _LINK_TLS,
    _NO_TRANSPORT,
    {
        "type": _QUIC_NETWORK,
        "congestion_control": "congestion",
        "congestion-control": "congestion",
        "congestion_controller": "congestion",
        "congestion-controller": "congestion",
        "udp_relay_mode": streams.NO_UDP,
        "udp-relay-mode": streams.NO_UDP,
        "disable_sni": "disable_sni",
        "disable-sni": "disable_sni",
        **dict.fromkeys(("reduce_rtt", "reduce-rtt", "zero_rtt_handshake"), _ZERO_RTT),
        "heartbeat": streams.PACE,
        "heartbeat_interval": streams.PACE,
        "udp_over_stream": streams.NO_UDP,
        "fast_open": streams.SOCKET,
        "version": Refused(_OLD_TUIC.reason, ("", "5")),
        "token": _OLD_TUIC,
    },
)
TUIC_CLASH: Rows = merged(
    _QUIC_CLASH,
    {
        "uuid": "user",
        "password": "password",
        "congestion-controller": "congestion",
        "disable-sni": "disable_sni",
        "reduce-rtt": _ZERO_RTT,
        "udp-relay-mode": streams.NO_UDP,
        "udp-over-stream": streams.NO_UDP,
        "udp-over-stream-version": streams.NO_UDP,
        "token": _OLD_TUIC,
        "ip": streams.SECOND_SERVER,
    },
)
TUIC_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    {
        "uuid": "user",
        "password": "password",
        "congestion_control": "congestion",
        "udp_relay_mode": streams.NO_UDP,
        "zero_rtt_handshake": _ZERO_RTT,
        "heartbeat": streams.PACE,
    },
)
ANYTLS_LINK: Rows = merged(
    _LINK_TLS,
    _NO_TRANSPORT,
    {"type": _ANYTLS_NETWORK, "hpkp": "pin"},
)
ANYTLS_CLASH: Rows = merged(
    streams.CLASH,
    streams.CLASH_TLS,
    {
        "password": "password",
        "idle-session-check-interval": streams.PACE,
        "idle-session-timeout": streams.PACE,
        "min-idle-session": streams.PACE,
        "client-metadata": Without("a remark to the server"),
    },
)
ANYTLS_SING_BOX: Rows = merged(
    streams.SING_BOX,
    streams.SING_BOX_TLS,
    {
        "password": "password",
        "idle_session_check_interval": streams.PACE,
        "idle_session_timeout": streams.PACE,
        "min_idle_session": streams.PACE,
    },
)


def hysteria2(fields: Fields, server: Destination, name: str) -> Hysteria2:
    """Reads a Hysteria 2 key."""
    password = fields.needed("password")
    obfs = fields.choice("obfs", {"": False, "none": False, "plain": False, "salamander": True}, ("gecko",))
    if obfs and not fields.has("obfs_password"):
        raise KeyRefused("the key has no password for obfs", field="obfs-password")
    obfs_password = fields.text("obfs_password") if obfs else ""
    return Hysteria2(server, name, password, obfs_password, _plain_tls(fields))


def tuic(fields: Fields, server: Destination, name: str) -> Tuic:
    """Reads a TUIC key of version 5."""
    user = fields.needed("user").strip()
    if not fields.has("password"):
        raise KeyRefused("the key has no password; version 4 of TUIC, with a token, is not supported", field="password")
    if not is_uuid(user):
        raise KeyRefused("the key's user is not a UUID", field="user")
    congestion = {word: word for word in ("", "cubic", "new_reno", "bbr")}
    controller = fields.choice("congestion", congestion, ("bbr2", "brutal"))
    return Tuic(server, name, user.lower(), fields.needed("password"), controller, _plain_tls(fields))


def anytls(fields: Fields, server: Destination, name: str) -> AnyTls:
    """Reads an AnyTLS key."""
    return AnyTls(server, name, fields.needed("password"), _plain_tls(fields))


def _plain_tls(fields: Fields) -> Tls:
    """No engine has REALITY with these."""
    tls = streams.needed_tls(fields)
    if tls.reality is not None:
        raise fields.unsupported("reality_key", "REALITY is not supported with this protocol")
    return tls
