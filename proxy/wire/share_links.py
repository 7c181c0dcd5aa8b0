"""Links and configuration of other clients, which people paste in place of a relay URL.

Byway speaks SOCKS and HTTP CONNECT. For a link of another protocol there is a sentence that names the client to start
and the port to add. Telegram's links for SOCKS, and those of v2rayN, become relay URLs. No sentence quotes the pasted
text: in most of these formats it is a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import parse_qs, quote, urlsplit

from proxy.model import bracketed

OTHER_CLIENTS = {
    "ss": "Shadowsocks",
    "ssconf": "Outline",
    "ssr": "ShadowsocksR",
    "vmess": "VMess",
    "vless": "VLESS",
    "trojan": "Trojan",
    "trojan-go": "Trojan-Go",
    "hysteria": "Hysteria",
    "hysteria2": "Hysteria 2",
    "hy2": "Hysteria 2",
    "tuic": "TUIC",
    "anytls": "AnyTLS",
    "naive+https": "NaiveProxy",
    "naive+quic": "NaiveProxy",
    "wireguard": "WireGuard",
    "wg": "WireGuard",
    "juicity": "Juicity",
    "mieru": "mieru",
    "mierus": "mieru",
    "snell": "Snell",
    "brook": "Brook",
    "vpn": "Amnezia VPN",
}
"""Schemes whose links hold a secret, with the name of the client."""

_SUBSCRIPTIONS = ("clash", "sing-box", "v2rayn", "v2rayng", "hiddify", "sub", "sn", "shadowrocket", "nekoray")
_TELEGRAM_HOSTS = ("t.me", "telegram.me", "telegram.dog")
_TOR_TRANSPORTS = ("obfs4", "webtunnel", "snowflake", "meek_lite", "obfs3", "bridge")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_YAML = re.compile(r"(?:(?<![^\s{,])|(?<=[\s{,]-)|(?<=^-))(?:proxies|outbounds|server|type)\s*+:\s", re.IGNORECASE)
_PAGE = re.compile(r"https?://[^\s/?#@]+/+[^\s/?#@][^\s@]*\Z", re.IGNORECASE)
_BRIDGE = re.compile(r"(?:bridge\s+)?[\[\]0-9a-f.:]+:[0-9]{1,5}\s+[0-9a-f]{40}(?:\s|\Z)", re.IGNORECASE)
_SETTING = re.compile(
    r"(?:curl|wget|export|set|setx)\s|\$env:|[a-z_]*_proxy\s*=|(?:https?|ftp|socks)=|--?(?:x|[a-z-]*proxy(?:-server)?|socks[a-z0-9-]*)[\s=]",
    re.IGNORECASE,
)
_BASE64_USER = re.compile(r"socks5?://([A-Za-z0-9+/_-]{4,})={0,2}@([^@]*)\Z", re.IGNORECASE)

_ADD_LOCAL = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"


def explain(text: str) -> str:
    """Returns the sentence for a link or a configuration of another client; empty for any other text."""
    scheme = _scheme(text)
    if scheme in OTHER_CLIENTS:
        client = OTHER_CLIENTS[scheme]
        return f"Byway cannot use {client} links ({scheme}://) directly: start your {client} client and {_ADD_LOCAL}"
    if scheme in _SUBSCRIPTIONS:
        return (
            f"this is a subscription link ({scheme}://), not a relay: import it in its own client, start that client "
            f"and {_ADD_LOCAL}"
        )
    if scheme == "" and "://" in _decoded_base64("".join(text.split()), printable=False):
        return (
            "this is a subscription, not a list of relays: import it in its own client, start that client and "
            f"{_ADD_LOCAL}"
        )
    if scheme == "ssh" or text.lower().startswith("ssh "):
        return (
            "Byway does not use SSH itself: run `ssh -N -D 1080 USER@HOST` and add it with "
            "`byway relay add socks5h://127.0.0.1:1080`"
        )
    if _SETTING.match(text):
        return (
            "this is a command or a setting of another program: give only the URL of its proxy; one without a scheme "
            "is http://HOST:PORT in nearly all of them"
        )
    if (telegram := _telegram(text)) is not None:
        return _explain_telegram(telegram)
    first = next(iter(text.lower().split(maxsplit=1)), "")
    if (first in _TOR_TRANSPORTS and first != text.lower()) or _BRIDGE.match(text):
        return (
            "this is a Tor bridge line, not a relay: put it in the settings of Tor or Tor Browser and add Tor's port "
            "with `byway relay add socks5h://127.0.0.1:9050` (Tor Browser: 9150)"
        )
    if _PAGE.match(text):
        return (
            "a relay URL has no path; this is a page, a subscription or a PAC file: import it in its own client, start "
            f"that client and {_ADD_LOCAL}"
        )
    if text.startswith(("{", "[{", "[Interface]", "[Proxy]")) or (scheme == "" and _YAML.search(text)):
        return (
            "this is a configuration of another client (Clash, sing-box, Xray, WireGuard), not a relay URL: start that "
            f"client and {_ADD_LOCAL} (Clash: 7890, v2rayN: 10808)"
        )
    return ""


def to_relay_url(text: str) -> str:
    """Returns a link of Telegram or v2rayN for a SOCKS proxy as a relay URL; any other text unchanged.

    Raises ValueError, with a sentence, for a Telegram link without a server or port."""
    telegram = _telegram(text)
    if telegram is not None and telegram[0] == "socks":
        return _of_telegram(telegram[1])
    match = _BASE64_USER.match(text)
    credentials = _decoded_base64(match[1]) if match is not None else ""
    user, colon, password = credentials.partition(":")
    if match is None or not colon or not user:
        return text
    return f"socks5h://{quote(user, safe='')}:{quote(password, safe='')}@{match[2]}"


def _scheme(text: str) -> str:
    match = _SCHEME.match(text)
    return match[1].lower() if match is not None else ""


def _telegram(text: str) -> tuple[str, str] | None:
    """Returns the kind of a Telegram link ("socks", "proxy") and its query; None for any other text."""
    if _scheme(text) == "tg":
        word, _, query = text[len("tg://") :].partition("?")
        return word.strip("/").lower(), query
    bare = text if _scheme(text) in ("http", "https") else f"https://{text}"
    try:
        split = urlsplit(bare)
        host = split.hostname or ""
    except ValueError:
        return None
    if host.removeprefix("www.") not in _TELEGRAM_HOSTS:
        return None
    return split.path.strip("/").lower(), split.query


def _explain_telegram(link: tuple[str, str]) -> str:
    word, _ = link
    if word == "socks":
        return "this is a Telegram link: `byway relay add` reads it; here, write socks5h://USER:PASSWORD@HOST:PORT"
    if word == "proxy":
        return "this is an MTProto proxy, which carries Telegram only: Byway cannot use it. Set it in Telegram itself"
    return "this Telegram link names no SOCKS proxy: links that Byway can read begin with https://t.me/socks?server="


def _of_telegram(query: str) -> str:
    try:
        fields = {key: values[0] for key, values in parse_qs(query, max_num_fields=20).items()}
    except ValueError:
        fields = {}
    server, port = fields.get("server", ""), fields.get("port", "")
    if not server or not port:
        raise ValueError(
            "this Telegram link names no server or no port: it reads https://t.me/socks?server=HOST&port=PORT"
        )
    user, password = quote(fields.get("user", ""), safe=""), quote(fields.get("pass", ""), safe="")
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"socks5h://{credentials}{bracketed(server)}:{port}"


def _decoded_base64(text: str, *, printable: bool = True) -> str:
    """Decodes base64 text; empty when it is not base64 of UTF-8. `printable`: also empty for text of several lines."""
    try:
        data = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
        decoded = data.decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded if decoded.isprintable() or not printable else ""
