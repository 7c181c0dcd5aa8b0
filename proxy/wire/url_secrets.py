"""Hides what may be a secret in the URL of a list.

Sources of lists for members take a token anywhere: before the host, in the query, in the fragment, or as a
long random part of the path. So of a query and a fragment only the names are shown, and of a path what can be
read. In doubt too much is hidden.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_URL = re.compile(r"(https?://)([^/?#\s\"'<>]*)([^?#\s\"'<>]*)(?:\?([^#\s\"'<>]*))?(?:#([^\s\"'<>]*))?", re.IGNORECASE)

_RANDOM_LENGTH = 16
_MIXED_LENGTH = 8
"""A part of a path that is not a word, such as a token, the id of a member or of a commit: so many characters, and so
many of them in words that mix letters and digits."""

_WORD = re.compile(r"[A-Za-z0-9]+")


def hide_secrets(text: str) -> str:
    """Returns a text with *** for each part of the http and https URLs in it that may be a secret."""
    return _URL.sub(_shown, text) if "://" in text else text


def _shown(url: re.Match[str]) -> str:
    scheme, authority, path, query, fragment = url.groups()
    user, at, host = authority.rpartition("@")
    shown = f"{scheme}{HIDDEN if user else ''}{at}{host}{'/'.join(map(_part, path.split('/')))}"
    if query is not None:
        shown += f"?{'&'.join(map(_field, query.split('&')))}"
    if fragment is not None:
        shown += f"#{HIDDEN if fragment else ''}"
    return shown


def _part(part: str) -> str:
    mixed = (len(word) for word in _WORD.findall(part) if not (word.isalpha() or word.isdigit()))
    return HIDDEN if len(part) >= _RANDOM_LENGTH and sum(mixed) >= _MIXED_LENGTH else part


def _field(field: str) -> str:
    name, equals, value = field.partition("=")
    if not equals:
        return HIDDEN if name else ""
    return f"{name}={HIDDEN if value else ''}"
