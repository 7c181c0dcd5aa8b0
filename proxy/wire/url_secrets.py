"""Hides what may be a secret in the URLs of lists, and of what else has one.

Sources of lists for members take a token anywhere: before the host, in the query, in the fragment, or as a
long random part of the path. So of a query and a fragment only the names are shown, and of a path what can be
read. In doubt too much is hidden. The URL of a webhook, or of an encrypted DNS server that serves one person by a name
in its path, is a secret as a whole: `hide_paths`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

HIDDEN = "***"

_URL = re.compile(r"(https?://)([^/?#\s\"'<>]*)([^?#\s\"'<>]*)(?:\?([^#\s\"'<>]*))?(?:#([^\s\"'<>]*))?", re.IGNORECASE)

_RANDOM_LENGTH = 16
_MIXED_LENGTH = 8
"""A part of a path that is not a word, such as a token, the id of a member or of a commit: so many characters, and so
many of them in words that mix letters and digits."""

_SWITCHES = 3
"""A word of _MIXED_LENGTH that changes so often between letters and digits is random."""
_LONG_LENGTH = 24
"""A word of so many letters."""
_SWITCH = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])")

_SHARED_PATHS = frozenset({"", "dns-query", "resolve"})
"""Parts of a path that every user of an encrypted DNS server has (RFC 8484 section 4.1.1)."""

_SNI = re.compile(r"([?&]sni=)([^?&=.\s]++)(?=(?:\.[^?&=.\s]++){3})", re.IGNORECASE)
"""A name of four labels, the first of which may be a user: `?sni=ab12cd.dns.nextdns.io`."""

_NAMED = re.compile(r"\b((?:pass(?:word|wd)?|secret|token|key)[ \t]*+[=:][ \t]*+)[^\s\"']++", re.IGNORECASE)

_WORD = re.compile(r"[A-Za-z0-9]+")


def hide_secrets(text: str) -> str:
    """Returns a text with *** for each part of the http and https URLs in it that may be a secret."""
    return _URL.sub(_shown, text) if "://" in text else text


def hide_paths(text: str) -> str:
    """The same with *** for every part of a path, but those that all users of a DNS server have."""
    return _SNI.sub(_without_user, _URL.sub(partial(_shown, part=_shared), text)) if "://" in text else text


def hide_in_comment(text: str) -> str:
    """The same as `hide_secrets`, for what a person has noted: also with *** behind `password=` and the like."""
    return _NAMED.sub(rf"\1{HIDDEN}", hide_secrets(text))


def _without_user(sni: re.Match[str]) -> str:
    return sni[0] if sni[2].isalpha() else f"{sni[1]}{HIDDEN}"


def _shared(part: str) -> str:
    return part if part in _SHARED_PATHS else HIDDEN


def _shown(url: re.Match[str], part: Callable[[str], str] | None = None) -> str:
    scheme, authority, path, query, fragment = url.groups()
    user, at, host = authority.rpartition("@")
    shown = f"{scheme}{HIDDEN if user else ''}{at}{host}{'/'.join(map(part or _part, path.split('/')))}"
    if query is not None:
        shown += f"?{'&'.join(map(_field, query.split('&')))}"
    if fragment is not None:
        shown += f"#{HIDDEN if fragment else ''}"
    return shown


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
