"""Hides possible secrets in URLs, such as those of lists.

A list for members may have a token anywhere in its URL: before the host, in the query, in the fragment, or as a long
random part of the path. So only the names of a query, and the readable parts of a path, are shown. In doubt too much is
hidden. `hide_paths` is for URLs whose whole path is a secret: of a webhook, or of an encrypted DNS server that
identifies its user by the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

HIDDEN = "***"

_URL = re.compile(r"(https?://)([^/?#\s\"'<>]*)([^?#\s\"'<>]*)(?:\?([^#\s\"'<>]*))?(?:#([^\s\"'<>]*))?", re.IGNORECASE)

_RANDOM_LENGTH = 16
_MIXED_LENGTH = 8
"""A part of a path is random, like a token or the id of a member or a commit, if it has _RANDOM_LENGTH characters and
_MIXED_LENGTH of them are in words that mix letters and digits."""

_SWITCHES = 3
"""A word of at least _MIXED_LENGTH characters with this many changes between letters and digits is random."""
_LONG_LENGTH = 24
"""A word of at least this many characters is random."""
_SWITCH = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")

_SHARED_PATHS = frozenset({"", "dns-query", "resolve"})
"""Parts of a path that are the same for every user of an encrypted DNS server (RFC 8484 section 4.1.1)."""

_SNI = re.compile(r"([?&]sni=)([^?&=.\s]++)(?=(?:\.[^?&=.\s]++){3})", re.IGNORECASE)
"""A name of at least four labels, of which the first may identify a user: `?sni=ab12cd.dns.nextdns.io`."""

_NAMED = re.compile(r"\b((?:pass(?:word|wd)?|secret|token|key)[ \t]*+[=:][ \t]*+)[^\s\"']++", re.IGNORECASE)

_WORD = re.compile(r"[A-Za-z0-9]+")


def hide_secrets(text: str) -> str:
    """Returns a text with *** for each part of its http and https URLs that may be a secret."""
    return _URL.sub(_redacted, text) if "://" in text else text


def hide_paths(text: str) -> str:
    """As `hide_secrets`, with *** for every part of a path that is not the same for all users of a DNS server."""
    return _SNI.sub(_without_user, _URL.sub(partial(_redacted, part=_shared), text)) if "://" in text else text


def hide_in_comment(text: str) -> str:
    """As `hide_secrets`, for a person's notes: also with *** after `password=` and similar words."""
    return _NAMED.sub(rf"\1{HIDDEN}", hide_secrets(text))


def _without_user(sni: re.Match[str]) -> str:
    return sni[0] if sni[2].isalpha() else f"{sni[1]}{HIDDEN}"


def _shared(part: str) -> str:
    return part if part in _SHARED_PATHS else HIDDEN


def _redacted(url: re.Match[str], part: Callable[[str], str] | None = None) -> str:
    scheme, authority, path, query, fragment = url.groups()
    user, at, host = authority.rpartition("@")
    redacted = f"{scheme}{HIDDEN if user else ''}{at}{host}{'/'.join(map(part or _part, path.split('/')))}"
    if query is not None:
        redacted += f"?{'&'.join(map(_field, query.split('&')))}"
    if fragment is not None:
        redacted += f"#{HIDDEN if fragment else ''}"
    return redacted


def _part(part: str) -> str:
    words = _WORD.findall(part)
    mixed = (len(word) for word in words if not (word.isalpha() or word.isdigit()))
    is_random = len(part) >= _RANDOM_LENGTH and sum(mixed) >= _MIXED_LENGTH
    return HIDDEN if is_random or any(map(_is_unreadable, words)) else part


def _is_unreadable(word: str) -> bool:
    return len(word) >= _LONG_LENGTH or (len(word) >= _MIXED_LENGTH and len(_SWITCH.findall(word)) >= _SWITCHES)


def _field(field: str) -> str:
    name, equals, value = field.partition("=")
    if not equals:
        return HIDDEN if name else ""
    return f"{name}={HIDDEN if value else ''}"
