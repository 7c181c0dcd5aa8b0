"""What VLESS, VMess, Trojan and others have in common: TLS or REALITY to the server, and the transport in it.

The tables have the fields of both in each notation: links, Clash (also mihomo) and sing-box.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from proxy.wire.keys.fields import Fields, KeyRefused, Refused, Rows, Without
from proxy.wire.keys.notations import json_map, percent_decoded
from proxy.wire.keys.pasted import decoded
from proxy.wire.keys.values import Grpc, Http2, HttpHeader, Reality, Tls, Transport, WebSocket, Xhttp

NO_UDP = Without("Byway carries no UDP")
SOCKET = Without("of the socket to the server, which Byway opens")
PACE = Without("how an engine paces its work; no byte of the protocol changes")
SECOND_SERVER = Refused("it names a second server, whose address Byway does not check")
_FILE = Refused("it names a file", authenticates=True)
OWN_TRUST = Refused("it changes which certificates are accepted, or shows one of the client's", authenticates=True)
_CARRIER = Refused("another protocol between TLS and this one is not supported")
SHAPED = Refused("how the first packets are cut or disguised is not supported")
_MUX = Refused("connections in one another (mux) are not supported", ("", "0", "false"))
_OF_MUX = Without("only with connections in one another (mux), which are refused")
_OF_PANELS = Without("a mark of the panel that made the link")
_OF_QUIC = Without("only of type=quic and type=kcp, which are refused")

LINK: Rows = {
    "type": "network",
    "net": "network",
    "security": "security",
    "sni": "sni",
    "peer": "sni",
    "alpn": "alpn",
    "fp": "client",
    "allowinsecure": "insecure",
    "allow_insecure": "insecure",
    "allow-insecure": "insecure",
    "insecure": "insecure",
    "skip-cert-verify": "insecure",
    "pcs": "pin",
    "ech": "ech",
    "pbk": "reality_key",
    "sid": "reality_id",
    "host": "host",
    "path": "path",
    "headertype": "header_type",
    "servicename": "service",
    "authority": "authority",
    "mode": "mode",
    "extra": "extra",
    "ed": "early_data",
    "eh": "early_data_header",
    "x_padding_bytes": "padding_bytes",
    "method": "method",
    "spx": Without("a page that Xray's client asks for where it finds another server; no protocol changes"),
    "packetencoding": NO_UDP,
    "udp": NO_UDP,
    "xudp": NO_UDP,
    "tfo": SOCKET,
    "tcp-fast-open": SOCKET,
    "fastopen": SOCKET,
    "fast-open": SOCKET,
    "mptcp": SOCKET,
    "quicsecurity": _OF_QUIC,
    "key": _OF_QUIC,
    "seed": _OF_QUIC,
    "mtu": _OF_QUIC,
    "note": Without("a remark"),
    "remark": "name",
    "remarks": "name",
    "hiddify": _OF_PANELS,
    "core": _OF_PANELS,
    "heartbeatperiod": PACE,
    "cert": OWN_TRUST,
    "cs": Refused("a choice of ciphers is not supported"),
    "pqv": Refused("a second signature of the server (ML-DSA-65) is not checked by engines", authenticates=True),
    "vcn": Refused("another name in the certificate than the SNI is not supported", authenticates=True),
    **dict.fromkeys(("fm", "fragment", "fragment_v1", "mc", "padsize"), SHAPED),
    "mux": _MUX,
    "muxtype": _MUX,
    **dict.fromkeys(("muxmaxc", "muxsmax", "muxpad", "muxup", "muxdown"), _OF_MUX),
}
"""Fields of links of Xray's standard, which other protocols have taken over."""

CLASH: Rows = {
    "name": "name",
    "server": "server",
    "port": "port",
    "udp": NO_UDP,
    "ip-version": SOCKET,
    "interface-name": SOCKET,
    "routing-mark": SOCKET,
    "tfo": SOCKET,
    "mptcp": SOCKET,
    "fast-open": SOCKET,
    "dialer-proxy": SECOND_SERVER,
    "underlying-proxy": SECOND_SERVER,
    "smux": _MUX,
}

CLASH_TLS: Rows = {
    "tls": "tls",
    "sni": "sni",
    "servername": "sni",
    "alpn": "alpn",
    "fingerprint": "pin",
    "client-fingerprint": "client",
    "skip-cert-verify": "insecure",
    "reality-opts.public-key": "reality_key",
    "reality-opts.short-id": "reality_id",
    "reality-opts.support-x25519mlkem768": Refused("a key exchange of REALITY that not every engine has"),
    "ech-opts.enable": "ech_on",
    "ech-opts.config": "ech",
    "ech-opts.query-server-name": SECOND_SERVER,
    "name-cert-verify": OWN_TRUST,
    "certificate": OWN_TRUST,
    "private-key": OWN_TRUST,
    "ca": _FILE,
    "ca-str": OWN_TRUST,
    "shadow-tls-opts": _CARRIER,
    "restls-opts": _CARRIER,
    "jls-opts": _CARRIER,
    "tlsmirror-opts": _CARRIER,
}

_XHTTP_RANGES = {
    "x-padding-bytes": "padding_bytes",
    "sc-max-each-post-bytes": "max_post_bytes",
    "sc-min-posts-interval-ms": "min_post_interval_ms",
}

CLASH_TRANSPORT: Rows = {
    "network": "network",
    "ws-opts.path": "ws.path",
    "ws-opts.headers": "ws.headers",
    "ws-opts.max-early-data": "early_data",
    "ws-opts.early-data-header-name": "early_data_header",
    "ws-opts.v2ray-http-upgrade": "is_upgrade",
    "ws-opts.v2ray-http-upgrade-fast-open": PACE,
    "ws-path": "ws.path",
    "ws-headers": "ws.headers",
    "grpc-opts.grpc-service-name": "service",
    "grpc-opts._grpc-type": "mode",
    "grpc-opts._grpc-authority": "authority",
    "grpc-opts.grpc-user-agent": Without("a remark to the server"),
    "grpc-opts.ping-interval": PACE,
    "grpc-opts.max-connections": PACE,
    "grpc-opts.min-streams": PACE,
    "grpc-opts.max-streams": PACE,
    "h2-opts.host": "h2.host",
    "h2-opts.path": "h2.path",
    "http-opts.path": "http.path",
    "http-opts.method": "method",
    "http-opts.headers": "http.headers",
    "xhttp-opts.path": "xhttp.path",
    "xhttp-opts.host": "xhttp.host",
    "xhttp-opts.mode": "mode",
    "xhttp-opts.headers": "xhttp.headers",
    "xhttp-opts.no-grpc-header": "no_grpc_header",
    "xhttp-opts.reuse-settings": PACE,
    "xhttp-opts.download-settings": SECOND_SERVER,
    **{f"xhttp-opts.{field}": name for field, name in _XHTTP_RANGES.items()},
}

_DIAL = (
    "bind_interface", "inet4_bind_address", "inet6_bind_address", "bind_address_no_port", "routing_mark", "reuse_addr",
    "netns", "connect_timeout", "tcp_fast_open", "tcp_multi_path", "disable_tcp_keep_alive", "tcp_keep_alive",
    "tcp_keep_alive_interval", "udp_fragment", "domain_resolver", "domain_strategy", "network_strategy", "network_type",
    "fallback_network_type", "fallback_delay",
)  # fmt: skip
SING_BOX: Rows = {
    "tag": "name",
    "server": "server",
    "server_port": "port",
    "network": "carries",
    "detour": SECOND_SERVER,
    "multiplex": _MUX,
    "packet_encoding": NO_UDP,
    "udp_over_tcp": NO_UDP,
    "udp_over_stream": NO_UDP,
    **dict.fromkeys(_DIAL, SOCKET),
}

SING_BOX_TLS: Rows = {
    "tls.enabled": "tls",
    "tls.server_name": "sni",
    "tls.disable_sni": "disable_sni",
    "tls.insecure": "insecure",
    "tls.alpn": "alpn",
    "tls.utls.enabled": Without("where it is false, the map is not read"),
    "tls.utls.fingerprint": "client",
    "tls.reality.enabled": "reality",
    "tls.reality.public_key": "reality_key",
    "tls.reality.short_id": "reality_id",
    "tls.ech.enabled": "ech_on",
    "tls.ech.config": "ech",
    "tls.ech.config_path": _FILE,
    "tls.ech.query_server_name": SECOND_SERVER,
    "tls.ech.pq_signature_schemes_enabled": PACE,
    "tls.ech.dynamic_record_sizing_disabled": PACE,
    "tls.certificate": OWN_TRUST,
    "tls.certificate_path": _FILE,
    "tls.certificate_public_key_sha256": OWN_TRUST,
    "tls.client_certificate": OWN_TRUST,
    "tls.client_certificate_path": _FILE,
    "tls.client_key": OWN_TRUST,
    "tls.client_key_path": _FILE,
    "tls.min_version": Refused("limits of the TLS version are not supported"),
    "tls.max_version": Refused("limits of the TLS version are not supported"),
    "tls.cipher_suites": Refused("a choice of ciphers is not supported"),
    "tls.curve_preferences": Refused("a choice of key exchanges is not supported"),
    "tls.fragment": SHAPED,
    "tls.record_fragment": SHAPED,
    "tls.fragment_fallback_delay": Without("only with tls.fragment, which is refused"),
}

SING_BOX_TRANSPORT: Rows = {
    "transport.type": "network",
    "transport.host": "host",
    "transport.path": "path",
    "transport.method": "method",
    "transport.headers": "headers",
    "transport.service_name": "service",
    "transport.max_early_data": "early_data",
    "transport.early_data_header_name": "early_data_header",
    "transport.idle_timeout": PACE,
    "transport.ping_timeout": PACE,
    "transport.permit_without_stream": PACE,
}

# -- TLS ---------------------------------------------------------------------------------------------------------------

_CLIENTS = (
    "chrome", "firefox", "safari", "ios", "android", "edge", "360", "qq", "random", "randomized"
)  # fmt: skip
_HELLO = re.compile(r"hello(chrome|firefox|safari|ios|android|edge|360|qq)_")  # a browser and its version, of Xray
_ALPN = re.compile(r"[A-Za-z0-9./-]{1,32}\Z")
_PEM_LINE = re.compile(r"-----(?:BEGIN|END) ECH CONFIGS-----|\s+")
_ECH_NAME = re.compile(r"[A-Za-z0-9-]\.[A-Za-z]|://|\+https|\+udp")


def tls_of(fields: Fields, *, always: bool) -> Tls | None:
    """Reads TLS or REALITY; None for a key without. `always`: the protocol has no form without TLS. A key of REALITY in
    a link with security=tls has no effect: the server shows a certificate, and that is checked."""
    security = fields.choice(
        "security",
        {"": "tls" if always else "", "none": "none", "tls": "tls", "reality": "reality"},
        ("xtls",),
    )
    has_key = fields.has("reality_key")
    if not fields.has("security") and (always or fields.flag("tls")):
        security = "reality" if has_key or fields.has("reality_id") or fields.flag("reality") else "tls"
    if always and security == "none":
        raise fields.unsupported("security", "this protocol is used in TLS only")
    if security in ("", "none"):
        for name in ("reality_key", "pin", "ech"):
            if fields.has(name):
                raise fields.damaged(name, "of a key without TLS")
        return None
    if security == "reality" and not has_key:
        raise KeyRefused("the key has no public key of REALITY (pbk)", field="pbk")
    pin = fields.certificate_pin("pin")
    if pin is not None and fields.pin not in (None, pin):
        raise fields.damaged("pin", "the pin that was given for this key")
    if security == "tls" and fields.flag("insecure") and pin is None and fields.pin is None:
        raise fields.unsupported(
            "insecure",
            "the server's certificate would not be checked, so anyone on the way could read all of it; such a key is "
            "taken only with the pin of its certificate (`byway relay add --pin`)",
        )
    if fields.has("disable_sni") and fields.flag("disable_sni") and security == "reality":
        raise fields.damaged("disable_sni", "of a key with REALITY")
    return Tls(
        sni=fields.host("sni"),
        sends_sni=not fields.flag("disable_sni"),
        alpn=_alpn(fields),
        client=_client(fields),
        pin=pin or (fields.pin if security == "tls" else None),
        ech=_ech(fields),
        reality=_reality(fields) if security == "reality" else None,
    )


def needed_tls(fields: Fields) -> Tls:
    """As `tls_of`, for a protocol that has no form without TLS."""
    tls = tls_of(fields, always=True)
    assert tls is not None
    return tls


def _client(fields: Fields) -> str:
    """Any server takes any browser's ClientHello, and the engine knows one version of each."""
    if (match := _HELLO.match(fields.text("client").strip().lower())) is not None:
        return match[1]
    others = ("unsafe", "randomizednoalpn", "hellogolang")
    return fields.choice("client", {"": "", "none": ""} | {word: word for word in _CLIENTS}, others)


def _alpn(fields: Fields) -> tuple[str, ...]:
    """No protocol has a % in its name: with one, the list was percent-encoded twice."""
    alpn = fields.words("alpn")
    if any("%" in word for word in alpn):
        alpn = tuple(word for item in alpn for word in percent_decoded(item, "alpn").split(","))
    if len(alpn) > 8 or not all(map(_ALPN.match, alpn)):
        raise fields.damaged("alpn", "a list of protocols")
    return () if alpn == ("none",) else alpn


def _ech(fields: Fields) -> bytes:
    """An ECHConfigList begins with its length (RFC 9849 section 4)."""
    text = _PEM_LINE.sub("", "".join(fields.words("ech")) if fields.has("ech") else "")
    if not text:
        if fields.has("ech_on") and fields.flag("ech_on"):
            raise fields.unsupported("ech_on", "ECH whose configuration is asked for by DNS names a second server")
        return b""
    data = decoded(text)
    if data is None and _ECH_NAME.search(text):
        raise fields.unsupported("ech", "ECH by a name to ask for names a second server")
    if data is None or len(data) < 8 or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise fields.damaged("ech", "an ECH configuration in base64")
    return data


def _reality(fields: Fields) -> Reality:
    short_id = fields.text("reality_id").strip()
    if len(short_id) > 16 or len(short_id) % 2 or not re.fullmatch(r"[0-9A-Fa-f]*", short_id):
        raise fields.damaged("reality_id", "at most 16 hexadecimal digits, two for each byte")
    return Reality(fields.binary("reality_key", 32), bytes.fromhex(short_id))


# -- transports --------------------------------------------------------------------------------------------------------


class Network(StrEnum):
    """Transports by the word of mihomo, which reads no others of these names."""

    TCP = "tcp"
    HTTP = "http"
    H2 = "h2"
    WS = "ws"
    HTTP_UPGRADE = "httpupgrade"
    GRPC = "grpc"
    XHTTP = "xhttp"


_NETWORKS = {
    "": Network.TCP, "tcp": Network.TCP, "raw": Network.TCP, "none": Network.TCP, "ws": Network.WS,
    "websocket": Network.WS, "httpupgrade": Network.HTTP_UPGRADE, "grpc": Network.GRPC, "gun": Network.GRPC,
    "xhttp": Network.XHTTP, "splithttp": Network.XHTTP, "h2": Network.H2, "http": Network.H2,
}  # fmt: skip
_OTHER_NETWORKS = ("kcp", "mkcp", "quic", "meek", "mekya", "domainsocket", "hysteria", "dtls")
_XHTTP_MODES = {"": "auto", "auto": "auto"} | {mode: mode for mode in ("packet-up", "stream-up", "stream-one")}
_RANGE = re.compile(r"[0-9]{1,9}(?:-[0-9]{1,9})?\Z")
_METHOD = re.compile(r"[A-Z]{1,16}\Z")
_HOST_HEADER = re.compile(r"[^\s\x00-\x20\x7f/@\\\"<>]{0,255}\Z")
_EARLY_DATA_HEADER = "Sec-WebSocket-Protocol"
_EARLY_DATA = re.compile(r"([?&])ed=([0-9]{1,5})(&|\Z)")
_EXTRA_LIMIT = 4096


def transport_of(
    fields: Fields, networks: Collection[Network], tls: Tls | None, *, http: Network | None
) -> Transport | None:
    """Reads the transport; None for TCP. `networks` are those that engines have for this protocol, `http` is what the
    word http means in this notation; None: HTTP/2 in TLS, and else the head of a request."""
    http = http or (Network.H2 if tls is not None else Network.HTTP)
    network = fields.choice("network", _NETWORKS | {"http": http}, _OTHER_NETWORKS)
    header = fields.choice("header_type", {"": "", "none": "", "http": "http"}, ()) if network is Network.TCP else ""
    if header:
        network = Network.HTTP
    if network is Network.WS and fields.flag("is_upgrade"):
        network = Network.HTTP_UPGRADE
    if network not in networks:
        raise fields.unsupported("network", f"the transport {network} is not supported with this protocol")
    match network:
        case Network.TCP:
            return None
        case Network.WS | Network.HTTP_UPGRADE:
            return _web_socket(fields, network)
        case Network.GRPC:
            return _grpc(fields, tls)
        case Network.H2:
            return _http2(fields)
        case Network.HTTP:
            return _http_header(fields)
        case Network.XHTTP:
            return _xhttp(fields)


def _path(fields: Fields, *names: str) -> str:
    """A path that begins with a percent-encoded slash was encoded twice: every path begins with a slash."""
    path = fields.text(*names) or "/"
    if path[:3].lower() == "%2f":
        path = percent_decoded(path, "path")
        if not path.isprintable():
            raise fields.damaged(names[-1], "printable text")
    return path if path.startswith("/") else f"/{path}"


def _hosts(fields: Fields, headers: tuple[tuple[str, str], ...], *names: str) -> tuple[str, ...]:
    """As `_host`, for a request that names one of several."""
    hosts = fields.words(*names) or tuple(value for name, value in headers if name.lower() == "host")
    if len(hosts) > 16 or not all(map(_HOST_HEADER.match, hosts)):
        raise fields.damaged(next(filter(fields.has, names), names[-1]), "a host name")
    return hosts


def _host(fields: Fields, headers: tuple[tuple[str, str], ...], *names: str) -> str:
    """Returns the host that the request names; empty: the engine takes the SNI or the server."""
    host = fields.text(*names).strip() or next((value for name, value in headers if name.lower() == "host"), "")
    if not _HOST_HEADER.match(host):
        raise fields.damaged(next(filter(fields.has, names), names[-1]), "a host name")
    return host


def _others(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers if name.lower() != "host")


def _web_socket(fields: Fields, network: Network) -> WebSocket:
    """Xray writes the size of the early data into the path, as `?ed=2048`."""
    headers = fields.pairs("ws.headers" if fields.has("ws.headers") else "headers")
    path, early = _path(fields, "ws.path", "path"), fields.number("early_data", most=65535)
    header = fields.text("early_data_header")
    if (match := _EARLY_DATA.search(path)) is not None and not early:
        early = min(int(match[2]), 65535)
        path = path[: match.start()] + (match[1] if match[3] else "") + path[match.end() :]
    if early and not header:
        header = _EARLY_DATA_HEADER
    if header and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", header):
        raise fields.damaged("early_data_header", "the name of a header")
    is_upgrade = network is Network.HTTP_UPGRADE
    return WebSocket(
        _host(fields, headers, "host"),
        path,
        _others(headers),
        0 if is_upgrade else early,
        "" if is_upgrade else header,
        is_upgrade,
    )


def _grpc(fields: Fields, tls: Tls | None) -> Grpc:
    """Servers take mode multi and mode gun side by side. Engines send the SNI as authority."""
    fields.choice("mode", dict.fromkeys(("", "gun", "multi", "none", "auto"), ""))
    authority = fields.text("authority")
    if authority and (tls is None or authority != tls.sni):
        raise fields.unsupported("authority", "another authority than the SNI is not supported")
    return Grpc(fields.text("service"))


def _http2(fields: Fields) -> Http2:
    headers = fields.pairs("headers")
    if _others(headers):
        raise fields.unsupported("headers", "headers beside Host are not supported with HTTP/2")
    return Http2(_hosts(fields, headers, "h2.host", "host"), _path(fields, "h2.path", "path"))


def _http_header(fields: Fields) -> HttpHeader:
    headers = fields.pairs("http.headers" if fields.has("http.headers") else "headers")
    hosts = _hosts(fields, headers, "host")
    paths = tuple(path if path.startswith("/") else f"/{path}" for path in fields.words("http.path", "path"))
    method = fields.text("method").upper() or "GET"
    if not _METHOD.match(method):
        raise fields.damaged("method", "a method of HTTP")
    return HttpHeader(hosts, paths or ("/",), method, _others(headers))


_HIDING = (
    "xpaddingobfsmode", "xpaddingkey", "xpaddingheader", "xpaddingplacement", "xpaddingmethod", "uplinkhttpmethod",
    "sessionplacement", "sessionkey", "sessiontable", "sessionlength", "seqplacement", "seqkey", "uplinkdataplacement",
    "uplinkdatakey", "uplinkchunksize",
)  # fmt: skip
_OF_SERVERS = Without("only of servers")
_EXTRA: Rows = {
    "mode": "mode",
    "headers": "headers",
    "xpaddingbytes": "padding_bytes",
    "nogrpcheader": "no_grpc_header",
    "scmaxeachpostbytes": "max_post_bytes",
    "scminpostsintervalms": "min_post_interval_ms",
    "xmux": PACE,
    "scmaxconcurrentposts": PACE,
    "keepaliveperiod": PACE,
    "nosseheader": _OF_SERVERS,
    "scmaxbufferedposts": _OF_SERVERS,
    "scstreamupserversecs": _OF_SERVERS,
    "servermaxheaderbytes": _OF_SERVERS,
    "downloadsettings": SECOND_SERVER,
    **dict.fromkeys(_HIDING, Refused("how XHTTP hides its data is not supported")),
}


def _xhttp(fields: Fields) -> Xhttp:
    if fields.has("extra"):
        text = fields.text("extra")
        if len(text) > _EXTRA_LIMIT:
            raise fields.damaged("extra", f"JSON of at most {_EXTRA_LIMIT} characters")
        fields.take_nested("extra", json_map(text), _EXTRA)
    headers = fields.pairs("xhttp.headers" if fields.has("xhttp.headers") else "headers")
    ranges = {name: fields.text(name) for name in _XHTTP_RANGES.values()}
    for name, value in ranges.items():
        if value and not _RANGE.match(value):
            raise fields.damaged(name, "a number or a range")
    return Xhttp(
        _host(fields, headers, "xhttp.host", "host"),
        _path(fields, "xhttp.path", "path"),
        fields.choice("mode", _XHTTP_MODES),
        _others(headers),
        has_grpc_header=not fields.flag("no_grpc_header"),
        **ranges,
    )
