"""Relay URLs, as users write them: `socks5h://user:pass@relay.example:1080`, `https://relay.example?pin=sha256:…`.

Strict, because a URL that is read wrongly sends a password to the wrong place. A password is never shown: not by str(),
not by repr(), and not by an error, which for that reason quotes nothing of the URL but its kind.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from proxy.model import Destination
from proxy.wire import names

URL_LIMIT = 2048
"""Characters of the longest relay URL."""

CHAIN_LIMIT = 8
"""Relays in the longest chain."""


class Kind(StrEnum):
    """What a relay speaks. `h` and `a`: it resolves names itself."""

    SOCKS5H = "socks5h"
    SOCKS5 = "socks5"
    SOCKS4A = "socks4a"
    SOCKS4 = "socks4"
    HTTP = "http"
    HTTPS = "https"
    ADDON = "addon"  # an addon of the user's opens the path; `host` is its name


_DEFAULT_PORTS = {Kind.HTTP: 8080, Kind.HTTPS: 443}  # and 1080 for SOCKS, its registered port
_KINDS = {kind.value: kind for kind in Kind} | {"socks": Kind.SOCKS5H}
_TLS_OPTIONS = ("sni", "ca", "pin")

_OTHER_CLIENTS = {
    "ss": "Shadowsocks",
    "ssr": "ShadowsocksR",
    "vmess": "VMess",
    "vless": "VLESS",
    "trojan": "Trojan",
    "hysteria": "Hysteria",
    "hysteria2": "Hysteria 2",
    "hy2": "Hysteria 2",
    "tuic": "TUIC",
    "anytls": "AnyTLS",
    "naive+https": "NaiveProxy",
    "wireguard": "WireGuard",
    "wg": "WireGuard",
    "juicity": "Juicity",
    "mieru": "mieru",
}
"""Kinds whose URL holds a secret anywhere in it, each with the name of its client."""

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)\Z", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[/?@\"<>\\]")
_ADDON = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_HEX_PIN = re.compile(r"[0-9A-Fa-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """Where a relay is, what it speaks, and what it must be told and shown."""

    kind: Kind
    host: str  # canonical
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    sni: str | None = None  # https: the name to ask for and to verify, in place of `host`
    ca: str | None = None  # https: a file with the certificates to trust, in place of the system's
    pin: bytes | None = None  # https: SHA-256 of the public key (SPKI)

    @property
    def endpoint(self) -> Destination:
        """Where the relay itself listens."""
        return Destination(self.host, self.port)

    @property
    def needs_address(self) -> bool:
        """It takes addresses only, so somebody would have to resolve names for it."""
        return self.kind in (Kind.SOCKS5, Kind.SOCKS4)

    @property
    def sends_credentials(self) -> bool:
        """Reaching it tells it a user or a password."""
        return bool(self.user or self.password)

    def __str__(self) -> str:
        """The URL with *** for a password."""
        if self.kind is Kind.ADDON:
            return f"{self.kind}://{self.host}"
        userinfo = quote(self.user, safe="") + (":***" if self.password else "")
        options = {
            "sni": self.sni,
            "ca": self.ca and quote(self.ca, safe="/"),
            "pin": self.pin and f"sha256:{self.pin.hex()}",
        }
        query = "&".join(f"{key}={value}" for key, value in options.items() if value)
        return f"{self.kind}://{userinfo}{'@' if userinfo else ''}{self.endpoint}{'?' if query else ''}{query}"


def parse(text: str) -> RelayUrl:
    """A relay URL, or a bare `host:port`, which is socks5h.

    Without a port: 1080 for SOCKS, 8080 for http, 443 for https. User, password and options are percent-decoded.
    Raises ValueError, with a sentence that says what to write instead and never holds a password.
    """
    text = text.strip()
    if not text:
        raise ValueError("the relay URL is empty")
    if len(text) > URL_LIMIT:
        raise ValueError(f"a relay URL has at most {URL_LIMIT} characters, not {len(text)}")
    if not text.isprintable() or " " in text or "#" in text:
        raise ValueError("the relay URL holds a space, a # or a control character: percent-encode it")
    match = _URL.match(text)
    if match is None:
        return _located(Kind.SOCKS5H, text, default_port=None)
    kind = _kind(match[1].lower())
    if kind is Kind.ADDON:
        return _of_addon(match[2].removesuffix("/"))
    rest, question, query = match[2].partition("?")
    url = _located(kind, rest.removesuffix("/"), default_port=_DEFAULT_PORTS.get(kind, 1080))
    return _with_options(url, query) if question else url


def parse_chain(text: str) -> tuple[str, ...]:
    """The items of `a>b`, first reached first: relay names or URLs, not yet looked at. Raises ValueError."""
    items = tuple(item.strip() for item in text.split(">"))
    if not all(items):
        raise ValueError("a chain of relays has a name or a URL on each side of every >")
    if len(items) > CHAIN_LIMIT:
        raise ValueError(f"a chain has at most {CHAIN_LIMIT} relays, not {len(items)}")
    return items


_SECRET_URL = re.compile(rf"\b({'|'.join(re.escape(kind) for kind in _OTHER_CLIENTS)})://[^\s\"<>]*", re.IGNORECASE)
_USERINFO = re.compile(r"(?<![^\s:/@\"'<>(=,])([^\s:/@\"'<>(=,]*):(?!//)[^\s\"<>]{0,2048}@")  # no userinfo holds " < >


def redact(text: str) -> str:
    """The same text with *** for every password in it; for whatever is printed or logged and may hold a relay URL.

    In doubt it hides too much: all up to the last @ of a word, and the whole of a URL whose user is a secret too.
    """
    return _USERINFO.sub(r"\1:***@", _SECRET_URL.sub(r"\1://***", text))


def _kind(scheme: str) -> Kind:
    if scheme in _KINDS:
        return _KINDS[scheme]
    if scheme == "ssh":
        raise ValueError(
            "Byway does not speak ssh itself: run `ssh -N -D 1080 USER@HOST` and add socks5h://127.0.0.1:1080"
        )
    if scheme in _OTHER_CLIENTS:
        raise ValueError(
            f"Byway does not speak {scheme}:// itself: start your {_OTHER_CLIENTS[scheme]} client and add the SOCKS "
            "port that it opens on this computer, for example socks5h://127.0.0.1:1080"
        )
    raise ValueError(f"Byway knows no relays of kind {scheme[:20]}://: it takes {', '.join(Kind)}")


def _of_addon(name: str) -> RelayUrl:
    """Whether there is such an addon shows when it is dialed: it may be edited or switched on at any time."""
    if not _ADDON.match(name):
        raise ValueError("a relay that an addon opens is written addon://NAME, with the name of its file without .py")
    return RelayUrl(Kind.ADDON, name, 0)


def _located(kind: Kind, text: str, *, default_port: int | None) -> RelayUrl:
    """`[user[:password]@]host[:port]`."""
    userinfo, at, location = text.rpartition("@")
    try:
        if _UNSAFE.search(userinfo):
            raise ValueError
        endpoint = names.authority(location, default_port)
    except ValueError:
        wanted = "host:port, or KIND://host:port" if default_port is None else f"{kind}://[USER:PASSWORD@]HOST[:PORT]"
        raise ValueError(
            f"the relay's host or port cannot be read: write {wanted}, with IPv6 in brackets, and any of / ? @ in a "
            "user or password percent-encoded"
        ) from None
    user, _, password = userinfo.partition(":")
    url = RelayUrl(kind, endpoint.host, endpoint.port, _decoded(user, "user"), _decoded(password, "password"))
    if at:
        _check_credentials(url)
    return url


def _check_credentials(url: RelayUrl) -> None:
    if not url.user:
        raise ValueError("the relay URL has an @ but no user before it")
    if url.kind in (Kind.SOCKS4, Kind.SOCKS4A) and url.password:
        raise ValueError("SOCKS4 knows a user id but no password")
    if url.kind in (Kind.HTTP, Kind.HTTPS) and ":" in url.user:
        raise ValueError("the user of an HTTP relay cannot hold a colon (RFC 7617)")
    if max(len(url.user.encode()), len(url.password.encode())) > 255:
        raise ValueError("a relay's user and password have at most 255 bytes each")


def _with_options(url: RelayUrl, query: str) -> RelayUrl:
    if url.kind is not Kind.HTTPS:
        raise ValueError(f"a relay of kind {url.kind} takes no options: ?sni=, ?ca= and ?pin= are for https")
    options: dict[str, str] = {}
    for item in query.split("&"):
        key, _, value = item.partition("=")
        if key not in _TLS_OPTIONS or not value:
            raise ValueError("the options of an https relay are sni=NAME, ca=FILE and pin=sha256:HASH")
        if key in options:
            raise ValueError(f"the relay URL gives {key}= twice")
        options[key] = _decoded(value, key)
    return RelayUrl(
        url.kind,
        url.host,
        url.port,
        url.user,
        url.password,
        sni=_sni(options["sni"]) if "sni" in options else None,
        ca=options.get("ca"),
        pin=_pin(options["pin"]) if "pin" in options else None,
    )


def _sni(text: str) -> str:
    try:
        return names.host(text)
    except ValueError:
        raise ValueError("sni= takes the name in the relay's certificate") from None


def _pin(text: str) -> bytes:
    """`sha256:` and the hash of the public key: 64 hexadecimal digits, or base64 as curl and HPKP write it."""
    prefix, digest = text[:7], text[7:]
    if prefix in ("sha256:", "sha256/"):
        digest = digest.removeprefix("/")
        if _HEX_PIN.match(digest):
            return bytes.fromhex(digest)
        try:
            pin = base64.b64decode(digest.replace("-", "+").replace("_", "/") + "=" * (-len(digest) % 4), validate=True)
        except (binascii.Error, ValueError):
            pin = b""
        if len(pin) == 32:
            return pin
    raise ValueError("pin= takes sha256: and the SHA-256 of the relay's public key, in 64 hex digits or in base64")


def _decoded(text: str, what: str) -> str:
    """Percent-decoded UTF-8 without control characters. Raises ValueError."""
    try:
        if _PERCENT.search(text):
            raise ValueError
        decoded = unquote_to_bytes(text).decode()
    except ValueError:
        raise ValueError(f"the relay's {what} is not percent-encoded UTF-8: write % as %25") from None
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in decoded):
        raise ValueError(f"the relay's {what} holds a control character, which no relay could be told safely")
    return decoded
