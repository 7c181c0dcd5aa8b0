"""Shadowsocks: links by SIP002 and of the time before, SIP008 lists, Outline's links, and both configurations."""

from __future__ import annotations

from proxy.model import Destination
from proxy.wire.keys import streams
from proxy.wire.keys.fields import Fields, KeyRefused, Refused, Rows, Value, Without, merged
from proxy.wire.keys.pasted import decoded
from proxy.wire.keys.values import Obfs, Shadowsocks, V2rayPlugin, WebSocket

_REMARK = Without("a remark of a list of keys")
_PREFIX = Refused("bytes of Outline before the first packet are not supported")
_APART = Refused("transports beside plugins are not supported with Shadowsocks")

_CIPHERS = {
    cipher: cipher
    for cipher in (
        "aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-ietf-poly1305", "xchacha20-ietf-poly1305",
        "2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm", "2022-blake3-chacha20-poly1305",
    )
} | {
    "chacha20-poly1305": "chacha20-ietf-poly1305", "aead_chacha20_poly1305": "chacha20-ietf-poly1305",
    "aead_aes_128_gcm": "aes-128-gcm", "aead_aes_192_gcm": "aes-192-gcm", "aead_aes_256_gcm": "aes-256-gcm",
}  # fmt: skip
_KEY_BYTES = {
    "2022-blake3-aes-128-gcm": 16, "2022-blake3-aes-256-gcm": 32, "2022-blake3-chacha20-poly1305": 32,
}  # fmt: skip
_UNSAFE_CIPHERS = (
    "none", "plain", "table", "rc4", "rc4-md5", "bf-cfb", "salsa20", "chacha20", "chacha20-ietf", "xchacha20",
    *(f"{name}-{bits}-{mode}" for name in ("aes", "camellia") for bits in (128, 192, 256) for mode in ("cfb", "ctr")),
)  # fmt: skip
_OTHER_CIPHERS = (
    "aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm-siv", "aes-256-gcm-siv", "chacha8-ietf-poly1305",
    "xchacha8-ietf-poly1305", "lea-128-gcm", "lea-192-gcm", "lea-256-gcm", "rabbit128-poly1305", "aegis-128l",
    "aegis-256", "aez-384", "deoxys-ii-256-128",
)  # fmt: skip

_PLUGINS = {"": "", "none": "", "obfs": "obfs", "obfs-local": "obfs", "simple-obfs": "obfs", "v2ray-plugin": "v2ray"}
_OTHER_PLUGINS = (
    "shadow-tls", "restls", "kcptun", "gost-plugin", "gost", "jls", "cloak", "ck-client", "xray-plugin", "goquiet",
    "gq-client", "mos-tls-tunnel", "simple-tls", "rabbit-plugin", "shadowtls", "obfs-server", "go-shadowsocks2",
)  # fmt: skip

_OF_OTHERS = Without("only of plugins that are refused")
OPTIONS: Rows = {
    "obfs": "plugin_mode",
    "mode": "plugin_mode",
    "obfs-host": "plugin_host",
    "host": "plugin_host",
    "path": "plugin_path",
    "tls": "tls",
    "mux": Without("connections of the plugin in one another, which its servers take as well as single ones"),
    "loglevel": _REMARK,
    "sni": "sni",
    "peer": "sni",
    "skip-cert-verify": "insecure",
    "allowinsecure": "insecure",
    "fingerprint": "pin",
    "headers": "headers",
    "v2ray-http-upgrade": "is_upgrade",
    "v2ray-http-upgrade-fast-open": Without("only with v2ray-http-upgrade"),
    "fast-open": streams.SOCKET,
    "obfs-uri": Refused("a path of simple-obfs is not supported", ("", "/")),
    "cert": streams.OWN_TRUST,
    "certraw": streams.OWN_TRUST,
    "certificate": streams.OWN_TRUST,
    "private-key": streams.OWN_TRUST,
    "name-cert-verify": streams.OWN_TRUST,
    "ech-opts": Refused("ECH of a plugin is not supported"),
    **dict.fromkeys(("password", "version", "version-hint", "restls-script", "key", "crypt"), _OF_OTHERS),
}
"""Options of a plugin in a text, behind its name and a semicolon, or in Clash's map."""

_TEXT_OPTIONS = {f"plugin.{option}": row for option, row in OPTIONS.items()}

LINK: Rows = merged(
    _TEXT_OPTIONS,
    {
        "plugin": "plugin",
        "outline": Without("the mark of a link that Outline made"),
        "prefix": _PREFIX,
        "uot": streams.NO_UDP,
        "udp-over-tcp": streams.NO_UDP,
        "udp": streams.NO_UDP,
        "tfo": streams.SOCKET,
        "group": _REMARK,
        "note": _REMARK,
        "os": _REMARK,
        "remark": "name",
        "remarks": "name",
        "hiddify": _REMARK,
        "type": Refused(_APART.reason, ("", "tcp", "raw", "none")),
        "security": Refused(_APART.reason, ("", "none")),
        "headertype": Refused(_APART.reason, ("", "none")),
        "header": Refused(_APART.reason, ("", "none")),
        "encryption": Refused(_APART.reason, ("", "none")),
        **dict.fromkeys(
            ("host", "path", "sni", "alpn", "fp", "allowinsecure", "insecure", "peer", "obfsparam"),
            Without("only with a transport or TLS, which are refused"),
        ),
        "fragment": streams.SHAPED,
        **dict.fromkeys(
            ("shadow-tls", "gost", "obfs"), Refused("a plugin by this field is not supported", ("", "none"))
        ),
    },
)
LIST: Rows = merged(
    _TEXT_OPTIONS,
    {
        "server": "server",
        "server_port": "port",
        "password": "password",
        "method": "cipher",
        "plugin": "plugin",
        "remarks": "name",
        "tag": "name",
        "name": "name",
        "prefix": _PREFIX,
        **dict.fromkeys(("id", "group", "owner", "timeout", "udp_over_tcp"), _REMARK),
    },
)
"""Of SIP008, and of the JSON that an Outline address answers."""

CLASH: Rows = merged(
    streams.CLASH,
    {f"plugin-opts.{option}": row for option, row in OPTIONS.items()},
    {"cipher": "cipher", "password": "password", "plugin": "plugin"},
    {"udp-over-tcp": streams.NO_UDP, "udp-over-tcp-version": streams.NO_UDP},
    {"client-fingerprint": Without("only of shadow-tls and restls, which are refused")},
)
SING_BOX: Rows = merged(
    streams.SING_BOX,
    _TEXT_OPTIONS,
    {"method": "cipher", "password": "password", "plugin": "plugin"},
)


def shadowsocks(fields: Fields, server: Destination, name: str) -> Shadowsocks:
    """Reads a Shadowsocks key."""
    fields_cipher = fields.text("cipher").strip().lower()
    if fields_cipher in _UNSAFE_CIPHERS:
        reason = f"{fields_cipher} does not protect what is sent: anyone on the way can read or change it"
        raise fields.unsupported("cipher", reason)
    cipher = fields.choice("cipher", _CIPHERS, _OTHER_CIPHERS)
    password = fields.needed("password")
    if (size := _KEY_BYTES.get(cipher)) is not None:
        for key in password.split(":"):
            if len(decoded(key) or b"") != size:
                raise KeyRefused(f"a password of {cipher} is base64 of {size} bytes", field="password")
    plugin = fields.choice("plugin", _PLUGINS, _OTHER_PLUGINS)
    if plugin == "obfs":
        mode = fields.choice("plugin_mode", {"http": "http", "tls": "tls"})
        return Shadowsocks(server, name, cipher, password, Obfs(mode, fields.text("plugin_host")))
    return Shadowsocks(server, name, cipher, password, _v2ray(fields) if plugin else None)


def _v2ray(fields: Fields) -> V2rayPlugin:
    fields.choice("plugin_mode", {"": "", "websocket": ""}, ("quic", "grpc"))
    path = fields.text("plugin_path").replace("\\=", "=").replace("\\,", ",").replace("\\\\", "\\") or "/"
    headers = tuple((name, value) for name, value in fields.pairs("headers") if name.lower() != "host")
    socket = WebSocket(fields.text("plugin_host"), path, headers, is_upgrade=fields.flag("is_upgrade"))
    return V2rayPlugin(socket, streams.tls_of(fields, always=False))


def with_options(fields: dict[str, Value], options: str) -> dict[str, Value]:
    """Returns fields with the options of the plugin as fields: those in a text of its own, or behind the semicolon of
    the plugin's name (SIP003)."""
    plugin = fields.get("plugin", "")
    if not isinstance(plugin, str):
        raise KeyRefused("field plugin is not a text", field="plugin")
    name, _, behind = plugin.partition(";")
    items = [item for item in f"{behind};{options}".split(";") if item]
    if len(items) > 32:
        raise KeyRefused("a plugin has at most 32 options", field="plugin")
    given: dict[str, Value] = {field: value for field, value in fields.items() if field != "plugin"}
    if name:
        given["plugin"] = name
    for item in items:
        option, equals, value = item.partition("=")
        given[f"plugin.{option}"] = value if equals else "true"
    return given
