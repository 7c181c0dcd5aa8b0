"""What people paste in place of a relay URL, recognized by how it begins: keys, which `reader` reads, and what is
neither a relay nor a key: Telegram's links, Tor's bridges, commands, settings, pages.

Telegram's links for SOCKS, and those of v2rayN, become relay URLs. For others there is a sentence that says what to do.
No sentence quotes the pasted text: it often has a secret. Every relay URL is looked at here, so nothing is imported.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from urllib.parse import parse_qs, quote, unquote, urlsplit

from proxy.model import bracketed

TEXT_LIMIT = 1024 * 1024
"""Bytes of the longest text with keys."""


class Form(StrEnum):
    """The notation of a text with keys, in words."""

    LINKS = "a list of keys"
    BUNDLE = "a base64 bundle of keys"
    CLASH = "a Clash configuration"
    SING_BOX = "a sing-box configuration"
    SHADOWSOCKS = "a list of Shadowsocks keys (SIP008)"
    WIREGUARD = "a WireGuard configuration"


OTHER_CLIENTS = {
    "ssr": "ShadowsocksR",
    "trojan-go": "Trojan-Go",
    "hysteria": "Hysteria",
    "naive+https": "NaiveProxy",
    "naive+quic": "NaiveProxy",
    "juicity": "Juicity",
    "mieru": "mieru",
    "mierus": "mieru",
    "snell": "Snell",
    "brook": "Brook",
    "vpn": "Amnezia VPN",
}
"""Schemes of keys that are not read, with the name of the client."""

KEY_SCHEMES = (
    "vless", "vmess", "trojan", "ss", "hysteria2", "hy2", "tuic", "anytls", "wireguard", "wg", "ssh", "ssconf"
)  # fmt: skip
"""Schemes of keys that are read."""

SECRET_SCHEMES = (*OTHER_CLIENTS, *(scheme for scheme in KEY_SCHEMES if scheme != "ssh"))
"""Schemes whose links are secrets as a whole."""

ADD_LOCAL = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"

_SUBSCRIPTIONS = (
    "clash", "clashmeta", "sing-box", "v2rayn", "v2rayng", "hiddify", "sub", "sn", "shadowrocket", "nekoray",
)  # fmt: skip
_TELEGRAM_HOSTS = ("t.me", "telegram.me", "telegram.dog")
_TOR_TRANSPORTS = ("obfs4", "webtunnel", "snowflake", "meek_lite", "obfs3", "bridge")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_PAGE = re.compile(r"https?://[^\s/?#@]+/+[^\s/?#@][^\s@]*\Z", re.IGNORECASE)
_BRIDGE = re.compile(r"(?:bridge\s+)?[\[\]0-9a-f.:]+:[0-9]{1,5}\s+[0-9a-f]{40}(?:\s|\Z)", re.IGNORECASE)
_SETTING = re.compile(
    r"(?:curl|wget|export|set|setx)\s|\$env:|[a-z_]*_proxy\s*=|(?:https?|ftp|socks)=|--?(?:x|[a-z-]*proxy(?:-server)?|socks[a-z0-9-]*)[\s=]",
    re.IGNORECASE,
)
_BASE64_USER = re.compile(r"socks5?://([A-Za-z0-9+/_-]{4,})={0,2}@([^@]*)\Z", re.IGNORECASE)
_BASE64_WHOLE = re.compile(
    r"socks5?://([A-Za-z0-9+/_-]{8,}+)(?:={1,2}+|%3D){0,2}+([#?].*)?\Z", re.IGNORECASE | re.DOTALL
)
_ENDS_WITH_PORT = re.compile(r"(?:\A|@)[^@/?#\s]+:[0-9]{1,5}\Z")
_YAML = re.compile(r"(?:(?<![^\s{,])|(?<=[\s{,]-)|(?<=^-))(?:proxies|outbounds|server|type)\s*+:\s", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]++={0,2}+\s*+\Z")
_REMARKS = re.compile(r"(?:(?:#|//)[^\n]*+\n\s*+)*+")
_OF_ACCOUNTS = ("STATUS=", "REMARKS=")  # lines of Shadowrocket's subscriptions
_OUTLINE = re.compile(r"""^[ \t{,]*+["']?(transport|error)["']?[ \t]*+:""", re.MULTILINE)
_BRACKETS = re.compile(r'"(outbounds|endpoints|server_port|proxies)"')


def form_of(text: str) -> Form | None:
    """Returns the notation of a text with keys; None: it has none, or it is one link."""
    text = body_of(text)
    first = next(iter(lines_of(text)), "")
    if first.lower() in ("[interface]", "[peer]"):
        return Form.WIREGUARD
    if text[:1] in ("{", "["):
        names = set(_BRACKETS.findall(text))
        if names <= {"server_port"} and ('"servers"' in text or ('"method"' in text and '"type"' not in text)):
            return Form.SHADOWSOCKS if names else None
        return Form.CLASH if "proxies" in names or is_yaml(text) else Form.SING_BOX if names else None
    if _SCHEME.match(first):
        return Form.LINKS if "\n" in text else None
    if _BASE64.match(text) and (bundle := decoded_text("".join(text.split()))) is not None:
        return Form.BUNDLE if _SCHEME.match(next(iter(lines_of(bundle)), "")) else None
    return Form.CLASH if is_yaml(text) else None


def outline_part(text: str) -> str:
    """Returns the first part of a file of Outline that is no key: "transport", its own notation, or "error", what the
    server says in place of a key. Empty for any other text."""
    found = _OUTLINE.search(text)
    return "" if found is None else found[1]


def body_of(text: str) -> str:
    """Returns a text without a byte order mark, and JSON or base64 without the remarks that panels write above it."""
    text = text.removeprefix("\ufeff").strip()
    remarks = _REMARKS.match(text)
    body = text[remarks.end() :] if remarks is not None else text
    return body if body[:1] in ("{", "[") or _BASE64.match(body) else text


def is_yaml(text: str) -> bool:
    """Whether a text has names as a configuration in YAML has them."""
    return _YAML.search(text) is not None


def lines_of(text: str) -> list[str]:
    """Returns the lines that are neither empty nor remarks."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", ";", "//", *_OF_ACCOUNTS))]


def decoded(text: str) -> bytes | None:
    """Decodes base64 of either alphabet, with or without padding; None for any other text."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def decoded_text(text: str) -> str | None:
    """As `decoded`, for base64 of UTF-8."""
    data = decoded(text)
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def explain(text: str) -> str:
    """Returns the sentence for a text that is neither a relay nor a key; empty for any other text."""
    scheme = scheme_of(text)
    if scheme in OTHER_CLIENTS:
        client = OTHER_CLIENTS[scheme]
        return f"Byway cannot use {client} links ({scheme}://) directly: start your {client} client and {ADD_LOCAL}"
    if scheme in _SUBSCRIPTIONS:
        return _explain_subscription(scheme, _inside(text))
    if text.lower().startswith("ssh "):
        return (
            "this is a command, not a relay: run `ssh -N -D 1080 USER@HOST` and add it with "
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
            "a relay URL has no path; this is a page, a subscription or a PAC file: `byway relay add` takes a "
            "subscription by https"
        )
    return ""


def subscription_of(text: str) -> str:
    """Returns the address of a subscription: https, with a path. That of an Outline key (ssconf) leads to a file with
    one key, and a link of another client (`clash://install-config?url=`, `sub://` and base64) has one inside. Empty for
    any other text, also for a link of Telegram."""
    scheme = scheme_of(text)
    if scheme == "ssconf":
        text = f"https://{text.partition('://')[2].partition('#')[0].rstrip()}"
    elif scheme in _SUBSCRIPTIONS:
        text = _inside(text)
    return text if scheme_of(text) == "https" and _telegram(text) is None and _PAGE.match(text) is not None else ""


def _inside(link: str) -> str:
    """Returns the address in a subscription link of another client, without its label; empty where there is none:
    `?url=` and the address, or behind `sub://` (in Shadowrocket's links `add/sub://`) the address in base64, or behind
    `import/` as it is."""
    body = link.partition("://")[2]
    rest = unquote(body.partition("#")[0])
    if scheme_of(link) == "sub" or "add/sub://" in body:
        found = decoded_text(rest.removeprefix("add/sub://").partition("?")[0]) or ""
    elif body.startswith("import/"):
        found = rest.removeprefix("import/")
    else:
        try:
            fields = parse_qs(body.partition("#")[0].partition("?")[2], max_num_fields=20)
        except ValueError:
            fields = {}
        found = fields.get("url", [""])[0]
    found = found.partition("#")[0].strip()
    return found if found.isprintable() else ""


def _explain_subscription(scheme: str, address: str) -> str:
    link = f"this is a subscription link ({scheme}://)"
    if scheme_of(address) == "https" and subscription_of(address):
        return f"{link}, not a relay: `byway relay add` takes it, and follows its address as a subscription"
    if scheme_of(address) == "http":
        return (
            f"{link} whose address is http://, which anyone on the way can read and change: ask for one that begins "
            "with https://"
        )
    return f"{link}, not a relay: import it in its own client, start that client and {ADD_LOCAL}"


def to_relay_url(text: str) -> str:
    """Returns a link of Telegram, v2rayN or Shadowrocket for a SOCKS proxy as a relay URL; any other text unchanged.

    Raises ValueError, with a sentence, for a Telegram link without a server or port."""
    telegram = _telegram(text)
    if telegram is not None and telegram[0] == "socks":
        return _of_telegram(telegram[1])
    if (whole := _BASE64_WHOLE.match(text)) is not None:
        location = decoded_text(whole[1]) or ""
        if _ENDS_WITH_PORT.search(location) is None or not location.isprintable():
            return text
        user, at, location = location.rpartition("@")
        name = whole[2] if whole[2] and whole[2].startswith("#") else ""
        return f"socks5h://{quote(user, safe=':')}{at}{location}{name}"
    match = _BASE64_USER.match(text)
    credentials = (decoded_text(match[1]) or "") if match is not None else ""
    user, colon, password = credentials.partition(":")
    if match is None or not colon or not user or not credentials.isprintable():
        return text
    return f"socks5h://{quote(user, safe='')}:{quote(password, safe='')}@{match[2]}"


def scheme_of(text: str) -> str:
    """Returns the scheme of a URL in lower case; empty for any other text."""
    match = _SCHEME.match(text)
    return match[1].lower() if match is not None else ""


def _telegram(text: str) -> tuple[str, str] | None:
    """Returns the kind of a Telegram link ("socks", "proxy") and its query; None for any other text."""
    if scheme_of(text) == "tg":
        word, _, query = text[len("tg://") :].partition("?")
        return word.strip("/").lower(), query
    bare = text if scheme_of(text) in ("http", "https") else f"https://{text}"
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
