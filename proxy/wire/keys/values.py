"""What a key says, as a frozen value for each protocol.

A key is a secret as a whole: str() and repr() of a value show its scheme, host and name, those of its parts nothing.
No value names a file, a command, a port to listen on or a second server: `fields` refuses such keys.
"""

from __future__ import annotations

from enum import StrEnum

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames


class KeyProtocol(StrEnum):
    """The protocols of keys, by the scheme of their links."""

    VLESS = "vless"
    VMESS = "vmess"
    TROJAN = "trojan"
    SHADOWSOCKS = "ss"
    HYSTERIA2 = "hysteria2"
    TUIC = "tuic"
    ANYTLS = "anytls"
    WIREGUARD = "wireguard"
    SSH = "ssh"
    OUTLINE = "ssconf"

    @property
    def words(self) -> str:
        """The protocol's name."""
        return _WORDS[self]

    @property
    def is_over_udp(self) -> bool:
        """Whether its packets are UDP, which Byway itself carries nowhere."""
        return self in (KeyProtocol.HYSTERIA2, KeyProtocol.TUIC, KeyProtocol.WIREGUARD)

    @property
    def needs_address(self) -> bool:
        """Whether it carries packets to addresses: its server resolves no names."""
        return self is KeyProtocol.WIREGUARD


_WORDS = {
    KeyProtocol.VLESS: "VLESS",
    KeyProtocol.VMESS: "VMess",
    KeyProtocol.TROJAN: "Trojan",
    KeyProtocol.SHADOWSOCKS: "Shadowsocks",
    KeyProtocol.HYSTERIA2: "Hysteria 2",
    KeyProtocol.TUIC: "TUIC",
    KeyProtocol.ANYTLS: "AnyTLS",
    KeyProtocol.WIREGUARD: "WireGuard",
    KeyProtocol.SSH: "SSH",
    KeyProtocol.OUTLINE: "Outline",
}


def _nothing(part: object) -> str:
    return f"<{type(part).__name__}>"


# -- TLS ---------------------------------------------------------------------------------------------------------------


@frozen_dataclass
class Reality:
    """REALITY in place of a certificate: the server's X25519 key (32 bytes), and its short id (0 to 8 bytes)."""

    public_key: bytes
    short_id: bytes

    __repr__ = _nothing


@frozen_dataclass
class Tls:
    """TLS to the server. Its certificate is checked by the system's roots, or is the one of `pin`."""

    sni: str = ""  # a host in canonical spelling; empty: the server's
    sends_sni: bool = True
    alpn: tuple[str, ...] = ()
    client: str = ""  # the browser whose ClientHello is sent (uTLS); empty: the engine's choice
    pin: bytes | None = None  # SHA-256 of the server's certificate, which is then the only one accepted
    ech: bytes = b""  # an ECHConfigList; empty: no ECH
    reality: Reality | None = None

    __repr__ = _nothing


# -- transports; None is TCP itself ------------------------------------------------------------------------------------


@frozen_dataclass
class WebSocket:
    """WebSocket, or with `is_upgrade` HTTP upgrade without frames. `early_data` bytes of the stream go into the header
    `early_data_header` of the request."""

    host: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    early_data: int = 0
    early_data_header: str = ""
    is_upgrade: bool = False

    __repr__ = _nothing


@frozen_dataclass
class Grpc:
    """gRPC, in mode gun."""

    service: str

    __repr__ = _nothing


@frozen_dataclass
class Http2:
    """Streams of HTTP/2."""

    hosts: tuple[str, ...]
    path: str

    __repr__ = _nothing


@frozen_dataclass
class HttpHeader:
    """TCP that begins with the head of an HTTP/1.1 request."""

    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    method: str
    headers: tuple[tuple[str, str], ...] = ()

    __repr__ = _nothing


@frozen_dataclass
class Xhttp:
    """XHTTP (SplitHTTP). A range is a number or two with a dash between them; empty: the engine's."""

    host: str
    path: str
    mode: str  # auto, packet-up, stream-up or stream-one
    headers: tuple[tuple[str, str], ...] = ()
    padding_bytes: str = ""
    has_grpc_header: bool = True
    max_post_bytes: str = ""
    min_post_interval_ms: str = ""

    __repr__ = _nothing


Transport = WebSocket | Grpc | Http2 | HttpHeader | Xhttp


@frozen_dataclass
class Obfs:
    """simple-obfs before Shadowsocks: mode http or tls."""

    mode: str
    host: str

    __repr__ = _nothing


@frozen_dataclass
class V2rayPlugin:
    """v2ray-plugin before Shadowsocks, by WebSocket."""

    socket: WebSocket
    tls: Tls | None

    __repr__ = _nothing


@frozen_dataclass
class Amnezia:
    """What AmneziaWG changes of WireGuard's packets: junk (Jc, Jmin, Jmax), sizes (S1 to S4), types (H1 to H4, each a
    number or a range) and the packets sent first (I1 to I5, each a text in AmneziaWG's own notation or empty)."""

    junk: tuple[int, int, int]
    sizes: tuple[int, int, int, int]
    types: tuple[str, str, str, str]
    packets: tuple[str, str, str, str, str]

    __repr__ = _nothing


# -- keys --------------------------------------------------------------------------------------------------------------


def _shown(key: Key) -> str:
    name = f" {key.name!r}" if key.name else ""
    return f"<{PROTOCOLS[type(key)]} {key.server.host}{name}>"


@frozen_dataclass
class Key:
    """Every key has one server, and a name of printable text, which may be empty."""

    server: Destination
    name: str

    __repr__ = _shown

    @property
    def protocol(self) -> KeyProtocol:
        """The protocol of this key."""
        return PROTOCOLS[type(self)]

    @property
    def outer_tls(self) -> Tls | None:
        """The TLS to the server, of the protocol or of its plugin; None: the key has none."""
        match self:
            case Vless() | Vmess() | Trojan() | Hysteria2() | Tuic() | AnyTls():
                return self.tls
            case Shadowsocks(plugin=V2rayPlugin(tls=tls)):
                return tls
            case _:
                return None

    @property
    def outer_transport(self) -> Transport | None:
        """The transport, of the protocol or of its plugin; None: TCP itself, or the protocol's own."""
        match self:
            case Vless() | Vmess() | Trojan():
                return self.transport
            case Shadowsocks(plugin=V2rayPlugin(socket=socket)):
                return socket
            case _:
                return None

    @property
    def tls_name(self) -> str:
        """The name that the TLS to the server asks for, and that its certificate must have: the SNI, else the host that
        the transport asks for, as other clients do, else the server's."""
        tls, transport = self.outer_tls, self.outer_transport
        if tls is not None and tls.sni:
            return tls.sni
        match transport:
            case WebSocket(host=host) | Xhttp(host=host) | Http2(hosts=(host, *_)) if host:
                try:
                    return hostnames.parse_host(host.rpartition(":")[0] or host)
                except ValueError:
                    return self.server.host
            case _:
                return self.server.host


@frozen_dataclass
class Vless(Key):
    """VLESS. `encryption` is empty or the text that Xray gives for it; `uses_vision`: flow xtls-rprx-vision."""

    user: str  # a UUID, or up to 30 bytes from which Xray makes one
    encryption: str
    uses_vision: bool
    tls: Tls | None
    transport: Transport | None

    __repr__ = _shown


@frozen_dataclass
class Vmess(Key):
    """VMess; with `alter_id` other than 0 in its form before 2021."""

    user: str  # as for VLESS
    alter_id: int
    cipher: str
    tls: Tls | None
    transport: Transport | None

    __repr__ = _shown


@frozen_dataclass
class Trojan(Key):
    """Trojan, always in TLS."""

    password: str
    tls: Tls
    transport: Transport | None

    __repr__ = _shown


@frozen_dataclass
class Shadowsocks(Key):
    """Shadowsocks with an AEAD cipher. `password` of a 2022 cipher is one or more keys in base64 with colons."""

    cipher: str
    password: str
    plugin: Obfs | V2rayPlugin | None

    __repr__ = _shown


@frozen_dataclass
class Hysteria2(Key):
    """Hysteria 2, over QUIC. `obfs_password` is that of Salamander; empty: none is used."""

    password: str
    obfs_password: str
    tls: Tls

    __repr__ = _shown


@frozen_dataclass
class Tuic(Key):
    """TUIC 5, over QUIC. `congestion_control` is cubic, new_reno, bbr or empty."""

    user: str  # a UUID
    password: str
    congestion_control: str
    tls: Tls

    __repr__ = _shown


@frozen_dataclass
class AnyTls(Key):
    """AnyTLS."""

    password: str
    tls: Tls

    __repr__ = _shown


@frozen_dataclass
class WireGuard(Key):
    """WireGuard or AmneziaWG with one peer. Keys are 32 bytes, addresses and allowed IPs have their prefix length."""

    private_key: bytes
    public_key: bytes
    preshared_key: bytes | None
    addresses: tuple[str, ...]
    allowed_ips: tuple[str, ...]
    reserved: bytes  # 3 bytes, or none
    mtu: int  # 0: the engine's
    keepalive_s: int  # 0: none
    amnezia: Amnezia | None

    __repr__ = _shown


@frozen_dataclass
class Ssh(Key):
    """SSH. Without `host_keys` the key does not say how to authenticate the server."""

    user: str
    password: str
    private_key: str  # PEM, or empty
    passphrase: str
    host_keys: tuple[str, ...]  # each a type and a key in base64, as in known_hosts

    __repr__ = _shown


@frozen_dataclass
class OutlineAddress(Key):
    """Where an Outline client fetches its key, by https; the path is a secret."""

    path: str

    __repr__ = _shown


PROTOCOLS: dict[type[Key], KeyProtocol] = {
    Vless: KeyProtocol.VLESS,
    Vmess: KeyProtocol.VMESS,
    Trojan: KeyProtocol.TROJAN,
    Shadowsocks: KeyProtocol.SHADOWSOCKS,
    Hysteria2: KeyProtocol.HYSTERIA2,
    Tuic: KeyProtocol.TUIC,
    AnyTls: KeyProtocol.ANYTLS,
    WireGuard: KeyProtocol.WIREGUARD,
    Ssh: KeyProtocol.SSH,
    OutlineAddress: KeyProtocol.OUTLINE,
}


@frozen_dataclass
class RelayLink:
    """A SOCKS or HTTP proxy among keys: an ordinary relay. `url` may have a password, and a #name where there is no
    `label`; `relay_url` checks it."""

    url: str
    label: str

    def __repr__(self) -> str:
        return f"<{self.url.partition('://')[0]} relay {self.label!r}>"
