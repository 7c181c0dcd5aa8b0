"""Relay URLs, as users write them: `socks5h://user:pass@relay.example:1080`, `https://relay.example?pin=sha256:…`,
or the link of a key, which `keys.reader` reads.

The parser is strict: a URL that is read wrongly sends a password to the wrong place. str(), repr() and errors never
show a password, so an error quotes only the scheme of a URL. For text that is not a relay URL, `keys.sentences` (for a
key that is not taken, or another text of people) or `url_spelling` (quotes, spaces, a missing colon) has the sentence.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable
from dataclasses import field, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_to_bytes

from proxy.model import Destination, literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase
from proxy.wire import hostnames as names

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed
    from proxy.wire.keys.values import Key

URL_LIMIT = 2048
"""Characters of the longest relay URL."""

CHAIN_LIMIT = 8
"""Relays in the longest chain."""

ALTERNATIVES_LIMIT = 8
"""Alternatives (`?alt=`) of one relay."""


class RelayKind(StrEnum):
    """The protocol of a relay. SOCKS5 and SOCKS4 take addresses only; relays of the other kinds resolve names."""

    SOCKS5H = "socks5h"
    SOCKS5 = "socks5"  # written socks5://HOST?resolve=local: plain socks5:// is SOCKS5H
    SOCKS4A = "socks4a"
    SOCKS4 = "socks4"
    HTTP = "http"
    HTTPS = "https"
    ADDON = "addon"  # an addon opens the path; `host` is its name
    KEY = "key"  # an engine speaks its protocol; the scheme is that of the protocol


_DEFAULT_PORTS = {RelayKind.HTTP: 8080, RelayKind.HTTPS: 443}  # and 1080 for SOCKS, its registered port
_KINDS = {kind.value: kind for kind in RelayKind if kind is not RelayKind.KEY} | {
    "socks": RelayKind.SOCKS5H,
    "socks5": RelayKind.SOCKS5H,
}
"""Kinds by scheme. Most clients call any SOCKS5 proxy `socks5://`, wherever names are resolved."""

_ADDRESSES_ONLY = {RelayKind.SOCKS5: "?resolve=local", RelayKind.SOCKS4: "socks4"}
_OPTIONS = {RelayKind.HTTPS: ("sni", "ca", "pin", "alpn"), RelayKind.SOCKS5H: ("resolve",)}
"""Options by kind, beside `alt`, which every relay has that is reached over the network."""

_OPTIONS_SENTENCE = {
    RelayKind.HTTPS: (
        "the options of an https relay are alt=HOST:PORT, sni=NAME, ca=FILE, pin=sha256:HASH and alpn=http/1.1: "
        "remove any other"
    ),
    RelayKind.SOCKS5H: (
        "the options of a SOCKS5 relay are alt=HOST:PORT, and socks5://HOST:PORT?resolve=local for one that takes "
        "addresses only: remove any other"
    ),
}

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)\Z", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[/?#@\"<>\\\s]")
_LOCATED = re.compile(r"@[^@/]+:[0-9]+/?\Z")  # user and host are complete
_ADDON = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_HEX_PIN = re.compile(r"[0-9A-Fa-f]{64}\Z")


@frozen_dataclass
class RelayUrl:
    """The address and protocol of a relay, with its credentials and options. Of a key, host and port are its
    server's."""

    kind: RelayKind
    host: str  # canonical
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    sni: str | None = None  # https: the name to send as SNI and to verify, in place of `host`
    ca: str | None = None  # https: a file with the certificates to trust, in place of the system's
    pin: bytes | None = None  # https: SHA-256 of the public key (SPKI)
    only_http1: bool = False  # https: HTTP/2 is not offered
    alternatives: tuple[
        Destination, ...
    ] = ()  # other addresses of the same relay; it must show the same certificate there
    key: Key | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> Destination:
        """The host and port of the URL, without alternatives."""
        return Destination(self.host, self.port)

    @property
    def endpoints(self) -> tuple[Destination, ...]:
        """`endpoint`, then the alternatives in their order."""
        return (self.endpoint, *self.alternatives)

    @property
    def addresses_only(self) -> str:
        """The part of the URL that says that the relay takes addresses only, "?resolve=local" or "socks4"; empty: it
        takes names too."""
        return _ADDRESSES_ONLY.get(self.kind, "")

    @property
    def needs_address(self) -> bool:
        """The relay takes addresses only. Byway never resolves names for it."""
        return self.kind in _ADDRESSES_ONLY

    @property
    def sends_credentials(self) -> bool:
        """A connection to the relay sends it a user or a password. That of a key is protected by its protocol."""
        return bool(self.user or self.password)

    @property
    def has_secret(self) -> bool:
        """Whether other users must not read the URL."""
        return bool(self.password) or self.key is not None

    def __str__(self) -> str:
        """Returns the URL with *** for a password; of a key, scheme and server."""
        if self.key is not None:
            return f"{self.key.protocol}://{self.endpoint}"
        if self.kind is RelayKind.ADDON:
            return f"{self.kind}://{self.host}"
        userinfo = quote(self.user, safe="") + (":***" if self.password else "")
        options = {
            "sni": self.sni,
            "ca": self.ca and quote(self.ca, safe="/"),
            "pin": self.pin and f"sha256:{self.pin.hex()}",
            "alpn": "http/1.1" if self.only_http1 else None,
            "resolve": "local" if self.kind is RelayKind.SOCKS5 else None,
        }
        query = "&".join(
            [f"{key}={value}" for key, value in options.items() if value]
            + [f"alt={alternative}" for alternative in self.alternatives]
        )
        return f"{self.kind}://{userinfo}{'@' if userinfo else ''}{self.endpoint}{'?' if query else ''}{query}"


def parse(text: str, allowed: Allowed | None = None) -> RelayUrl:
    """Parses a relay URL, a bare `host:port`, which is socks5h, or the link of a key. A `#name` at its end is ignored,
    but for a key, which has it. `allowed` is what the person says to keys.

    Default ports: 1080 for SOCKS, 8080 for http, 443 for https. User, password and options are percent-decoded. Raises
    ValueError with a sentence that says what to write instead. It never holds a password.
    """
    text = text.strip()
    if not text:
        raise ValueError("the relay URL is empty")
    if is_key(text):
        return _of_key(text, allowed)
    from proxy.wire.keys.sentences import explain  # a start without relays need not import it

    if sentence := explain(text):
        raise ValueError(sentence)
    if len(text) > URL_LIMIT:
        raise ValueError(f"a relay URL has at most {URL_LIMIT} characters, not {len(text)}")
    url, _ = without_label(text)
    if not url:
        raise ValueError("the relay URL is empty before its #")
    try:
        return _parse(url)
    except ValueError as error:
        from proxy.wire import url_spelling  # only for a URL with a fault

        raise ValueError(url_spelling.explain(url) or str(error)) from None


def is_key(text: str) -> bool:
    """Whether a text is the link of a key, by its scheme."""
    from proxy.wire.keys.pasted import KEY_SCHEMES, scheme_of

    return scheme_of(text) in KEY_SCHEMES and "\n" not in text


def shown(text: str, allowed: Allowed | None = None) -> str:
    """Returns a relay URL or a chain without its secrets: *** for a password; of a key, scheme and server, or *** where
    it cannot be read."""

    def item_shown(item: str) -> str:
        try:
            return str(parse(item, allowed)) if is_key(item) else redact(item)
        except ValueError:
            return redact(item)

    try:
        return ">".join(map(item_shown, parse_chain(text)))
    except ValueError:
        return redact(text)


def _of_key(text: str, allowed: Allowed | None) -> RelayUrl:
    """Raises ValueError for a key that is not taken."""
    from proxy.wire.keys import sentences  # these three: most relays are none
    from proxy.wire.keys.fields import NOTHING_ALLOWED, KeyRefused
    from proxy.wire.keys.reader import read_key

    if text.endswith("://***"):
        raise ValueError("this key was left out where it was shown or exported: write the key itself in its place")
    link, alternatives = _apart(text)
    try:
        key = read_key(link, allowed or NOTHING_ALLOWED)
    except KeyRefused as error:
        raise ValueError(sentences.of_refused(error)) from None
    if sentence := sentences.without_engine(key):
        raise ValueError(sentence)
    url = RelayUrl(RelayKind.KEY, key.server.host, key.server.port, key=key)
    found: list[Destination] = []
    for alternative in alternatives:
        found.append(_alternative(alternative, url, found))
    if key.protocol.is_over_udp and any(each.port != key.server.port for each in found):
        raise ValueError("alt= of a key over UDP has the port of its server: give another host alone")
    return replace(url, alternatives=tuple(found))


def _apart(link: str) -> tuple[str, list[str]]:
    """Returns the link of a key without the options alt=, which no client writes, and their values."""
    body, mark, name = link.partition("#")
    if "alt=" not in body:
        return link, []
    link, _, query = body.partition("?")
    items = query.split("&")
    own = "&".join(item for item in items if not item.startswith("alt="))
    alternatives = [item.removeprefix("alt=") for item in items if item.startswith("alt=")]
    return f"{link}{own and '?'}{own}{mark}{name}", alternatives


def without_label(text: str) -> tuple[str, str]:
    """Splits a URL from the `#name` that proxy clients put at its end. Returns the URL and the name, percent-decoded.
    The name may hold that of a channel (`#Berlin @proxies`). If the # may belong to a password, nothing is split."""
    url, _, label = text.partition("#")
    before, at, _ = label.partition("@")
    if at and " " not in before and not _LOCATED.search(url):
        return text, ""
    return url.rstrip(), unquote(label).strip()


def _parse(text: str) -> RelayUrl:
    """Raises ValueError."""
    if not text.isprintable() or " " in text:
        raise ValueError("the relay URL contains a space or a control character: remove it")
    match = _URL.match(text)
    if match is None:
        return _located(RelayKind.SOCKS5H, text, default_port=None)
    scheme = match[1].lower()
    kind = _KINDS.get(scheme)
    if kind is None:
        from proxy.wire import url_spelling

        raise ValueError(url_spelling.unknown_scheme(scheme))
    if kind is RelayKind.ADDON:
        return _of_addon(match[2].removesuffix("/"))
    rest, question, query = match[2].partition("?")
    if "@" in query and "@" not in rest:
        raise ValueError(_unsafe("?"))
    url = _located(kind, rest.removesuffix("/"), default_port=_DEFAULT_PORTS.get(kind, 1080))
    return _with_options(url, query, scheme) if question else url


def parse_chain(text: str) -> tuple[str, ...]:
    """Returns the items of `a>b`, the first relay first: names or URLs, not parsed. The `#name` of a key, which ends a
    chain, may have a > too. Raises ValueError."""
    chain, mark, label = text.partition("#")
    if mark and not is_key(chain.rpartition(">")[2].strip()):
        chain, mark, label = text, "", ""
    items = tuple(item.strip() for item in chain.split(">"))
    items = (*items[:-1], f"{items[-1]}{mark}{label}")
    if not all(items):
        raise ValueError("a chain of relays has a name or a URL on each side of every >")
    if len(items) > CHAIN_LIMIT:
        raise ValueError(f"a chain has at most {CHAIN_LIMIT} relays, not {len(items)}")
    return items


def parse_hops(chain: str, allowed: Allowed | None = None) -> tuple[str | RelayUrl, ...]:
    """Parses a relay URL or a chain. Returns the names of other relays in it as they are. `allowed` is what the user
    says to keys. Raises ValueError."""
    items = parse_chain(chain)
    return tuple(parse(item, allowed) if ":" in item else item for item in items)  # a bare host has a port


_SHOWN_KEY = r"(?:[a-z0-9_-]++(?:\.[a-z0-9_-]++)+|\[[0-9a-f:.]++\]):[0-9]{1,5}(?:[\s\"<>),;]|\Z)"
"""Host and port alone, as a key is shown: no key has so little."""


@functools.cache
def _secrets() -> tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]:
    """Returns patterns of text with a password, each with its replacement, in the order of use. They are compiled when
    `redact` first needs them, which most starts never do."""
    from proxy.wire.keys.pasted import SECRET_SCHEMES

    others = "|".join(map(re.escape, SECRET_SCHEMES))
    return (
        (re.compile(rf"\b({others})://(?=[^\s\"<>)])(?!{_SHOWN_KEY})[^\s\"<>]*", re.IGNORECASE), r"\1://***"),
        (
            re.compile(r"-----BEGIN [A-Z ]{0,40}KEY-----(?:(?!-----END )[^\"<>])*+(?:-----END [A-Z ]{0,40}-----)?"),
            "***",
        ),
        (re.compile(r"\bssh://[^\s\"<>]++", re.IGNORECASE), lambda match: "ssh://***" if "?" in match[0] else match[0]),
        (re.compile(r"\b(socks://)[A-Za-z0-9+/_=-]{4,}@", re.IGNORECASE), r"\1***@"),  # of v2rayN's links
        (re.compile(r"([?&](?:pass|secret)=)[^&\s\"<>]*", re.IGNORECASE), r"\1***"),  # of Telegram links
        (re.compile(r"[^\s\"<>]++"), _without_password),  # no userinfo holds " < >
    )


_USER = re.compile(r"(?<![^\s:/@\"'<>(=,])[^\s:/@\"'<>(=,]*+:(?!//|PASSWORD@HOST)")


def _without_password(word: re.Match[str]) -> str:
    """Returns a word with *** for the text from the colon after its first user to its last @."""
    text = word[0]
    end = text.rfind("@")
    user = _USER.search(text) if end > 0 else None
    return text if user is None or user.end() > end else f"{text[: user.end()]}***{text[end:]}"


def redact(text: str) -> str:
    """Returns text with *** for every password in it. Use it for all printed or logged text that may hold a relay URL.

    In doubt it hides too much: all up to the last @ of a word, and a whole URL whose user is also a secret. Our own
    `USER:PASSWORD@HOST`, which explains how to write a URL, stays.
    """
    if "@" not in text and "://" not in text and "=" not in text:
        return text  # like nearly every text: a page of 10,000 sites calls this for each
    if isinstance(text, Phrase):  # the message itself has no password
        return text.mapped(redact)
    for pattern, hidden in _secrets():
        text = pattern.sub(hidden, text)
    return text


def _of_addon(name: str) -> RelayUrl:
    """Does not check that the addon exists: it may be edited or switched on at any time. A dial shows it."""
    if not _ADDON.match(name):
        raise ValueError("a relay of an addon is written addon://NAME, with the name of its file without .py")
    return RelayUrl(RelayKind.ADDON, name, 0)


def _located(kind: RelayKind, text: str, *, default_port: int | None) -> RelayUrl:
    """Parses `[user[:password]@]host[:port]`. Raises ValueError."""
    userinfo, at, location = text.rpartition("@")
    if match := _UNSAFE.search(userinfo):
        raise ValueError(_unsafe(match[0]))
    endpoint = _endpoint(kind, location, default_port)
    user, _, password = userinfo.partition(":")
    number, colon, _ = password.partition(":")
    if number.isdecimal() and (literal(user) is not None or (colon and "." in user and ":" not in location)):
        raise ValueError(f"host and port stand before the user: write {kind}://USER:PASSWORD@HOST:PORT")
    url = RelayUrl(kind, endpoint.host, endpoint.port, _decoded(user, "user"), _decoded(password, "password"))
    if at:
        _check_credentials(url)
    return url


def _endpoint(kind: RelayKind, location: str, default_port: int | None) -> Destination:
    """Parses `host[:port]`. Raises ValueError with a sentence that names the faulty part and quotes nothing."""
    host, colon, port = location.rpartition(":")
    if location.endswith("]") or not colon:
        host, port = location, ""
    if not host:
        raise ValueError(f"the host is missing: write {kind}://HOST:PORT")
    if "/" in location or "\\" in location:
        raise ValueError("a relay URL has no path: remove / and all that follows the port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        from proxy.wire import url_spelling

        raise ValueError(url_spelling.many_colons(location, kind))
    if (colon and not port and not location.endswith("]")) or (not port and default_port is None):
        raise ValueError(f"the port is missing: write {kind}://HOST:PORT, for example {kind}://HOST:1080")
    try:
        number = names.port(port) if port else default_port
    except ValueError:
        raise ValueError("the port must be a number from 1 to 65535") from None
    assert number is not None
    try:
        return Destination(names.host(host), number)
    except ValueError:
        raise ValueError("the host is not a valid name or IP address: check its spelling") from None


def _unsafe(character: str) -> str:
    return f"the user or password contains {character}: write it as {quote(character, safe='')}"


def _check_credentials(url: RelayUrl) -> None:
    if not url.user:
        raise ValueError(f"the user is missing before @: write {url.kind}://USER:PASSWORD@HOST:PORT")
    if url.kind in (RelayKind.SOCKS4, RelayKind.SOCKS4A) and url.password:
        raise ValueError("SOCKS4 has no passwords: remove it, or write socks5h:// if the relay speaks SOCKS5")
    if url.kind in (RelayKind.HTTP, RelayKind.HTTPS) and ":" in url.user:
        raise ValueError("the user of an HTTP relay cannot contain a colon (RFC 7617): check the user")
    if max(len(url.user.encode()), len(url.password.encode())) > 255:
        raise ValueError("a relay's user and password have at most 255 bytes each")


def _with_options(url: RelayUrl, query: str, scheme: str) -> RelayUrl:
    sentence = _OPTIONS_SENTENCE.get(
        url.kind, f"the only option of a {url.kind}:// relay is alt=HOST:PORT: remove any other"
    )
    options: dict[str, str] = {}
    alternatives: list[Destination] = []
    for item in query.split("&"):
        key, _, value = item.partition("=")
        if key not in ("alt", *_OPTIONS.get(url.kind, ())) or not value:
            raise ValueError(sentence)
        if key == "alt":
            alternatives.append(_alternative(value, url, alternatives))
            continue
        if key in options:
            raise ValueError(f"the relay URL gives {key}= twice")
        options[key] = _decoded(value, key)
    url = replace(url, alternatives=tuple(alternatives))
    if "resolve" in options:
        if options["resolve"] != "local" or scheme == "socks5h":
            raise ValueError(_OPTIONS_SENTENCE[url.kind])
        return replace(url, kind=RelayKind.SOCKS5)
    return replace(
        url,
        sni=_sni(options["sni"]) if "sni" in options else None,
        ca=options.get("ca"),
        pin=_pin(options["pin"]) if "pin" in options else None,
        only_http1=_only_http1(options["alpn"]) if "alpn" in options else False,
    )


def _alternative(text: str, url: RelayUrl, others: list[Destination]) -> Destination:
    """Parses the value of `alt=`, another `HOST:PORT` of the same relay. Raises ValueError."""
    try:
        alternative = names.authority(_decoded(text, "alt"))
    except ValueError:
        raise ValueError("alt= takes HOST:PORT, another name or address of the same relay; IPv6 in brackets") from None
    if alternative == url.endpoint or alternative in others:
        raise ValueError(f"the relay URL gives {alternative} twice: remove one alt=")
    if len(others) >= ALTERNATIVES_LIMIT:
        raise ValueError(f"a relay has at most {ALTERNATIVES_LIMIT} alternatives (alt=)")
    return alternative


def _sni(text: str) -> str:
    try:
        return names.host(text)
    except ValueError:
        raise ValueError("sni= takes the name in the relay's certificate") from None


def _only_http1(text: str) -> bool:
    if text != "http/1.1":
        raise ValueError("alpn= takes http/1.1, for a relay that should not be used by HTTP/2: remove it otherwise")
    return True


def _pin(text: str) -> bytes:
    """Parses `sha256:` and the hash of a public key: 64 hexadecimal digits, or base64 as curl and HPKP write it. Raises
    ValueError."""
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
    """Decodes percent-encoded UTF-8. Raises ValueError, also for control characters."""
    try:
        if _PERCENT.search(text):
            raise ValueError
        decoded = unquote_to_bytes(text).decode()
    except ValueError:
        raise ValueError(f"the relay's {what} is not percent-encoded UTF-8: write % as %25") from None
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in decoded):
        raise ValueError(f"the relay's {what} contains a control character, such as %0D: remove it")
    return decoded
