"""Explains the fault of a relay URL in one sentence: which part is wrong, and what to write instead.

It gets only text that `relay_url` has refused. Any part of it may be a password, so a sentence quotes only punctuation,
or a host and port if there is nothing else.
"""

from __future__ import annotations

import re
import unicodedata

_QUOTES = "\"'`´“”„‟‘’‚‛«»‹›＂＇「」"
_SCHEMES = ("socks5h", "socks5", "socks", "socks4a", "socks4", "http", "https", "addon")
_NAME_OR_LITERAL = re.compile(r"[A-Za-z0-9._-]+\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+\Z")
_AT_THE_END = re.compile(r"(?:([;,)])|(?<=[0-9/\]])(\.))\Z")
_BROKEN_MARK = re.compile(
    r"(socks5h|socks5|socks4a|socks4|socks|https|http)(?::/?|;//|//|：//|:\\\\)(?=[^/:])", re.IGNORECASE
)
_SELLERS = re.compile(
    r"(?:([a-z][a-z0-9]*)://)?(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+:[0-9]{1,5}([:|;,])|[0-9.]+:[0-9]{1,5}(@))"
    r"[^:|;,]+[:|;,].",
    re.IGNORECASE,
)
_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{1,45}\]):[0-9]{1,5}\Z")
_KINDS = {"proxy": "http", "socks": "socks5h", "socks5": "socks5h"}
_WRITE_LIKE = "write it like socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT"


def as_meant(text: str) -> str:
    """Returns pasted text without spaces and quotation marks around it, and without invisible characters (Unicode Cf:
    zero widths, directions, soft hyphens)."""
    visible = "".join(each for each in text if unicodedata.category(each) != "Cf")
    return visible.strip().strip(_QUOTES).strip()


def explain(text: str) -> str:
    """Returns the sentence for a fault in the form of a URL or in the text around it; empty: its parts must be parsed
    to find the fault."""
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "the URL stands in quotation marks: remove them"
    if text[0] in "<(" or text[-1] == ">":
        return "the URL stands in brackets: remove them"
    if text.count("://") > 1 and re.search(r"[\s,;|]", text):
        return "these are several URLs: add one at a time, or put one a line in a file and name the file"
    if (character := _invisible(text)) is not None:
        return f"the URL contains an invisible character (U+{ord(character):04X}): type it again by hand"
    if match := _SELLERS.match(text):
        scheme, between, at = match.groups()
        kind = _KINDS.get((scheme or "socks5").lower(), scheme.lower() if scheme else "")
        if at:
            return f"host and port stand before the user: write {kind}://USER:PASSWORD@HOST:PORT"
        return f"this reads HOST:PORT{between}USER{between}PASSWORD: write it as {kind}://USER:PASSWORD@HOST:PORT"
    if " " in text:
        return _with_spaces(text.split())
    if match := _AT_THE_END.search(text):
        return f'the URL ends with "{match[1] or match[2]}": remove it'
    if match := _BROKEN_MARK.match(text):
        kind, rest = _KINDS.get(match[1].lower(), match[1].lower()), text[match.end() :].rstrip("/")
        if not match[0].endswith(":") and _HOST_AND_PORT.match(rest):  # nothing else, so no password
            return f"the URL lacks its ://; did you mean {kind}://{rest}?"
        return f"the URL lacks its ://; write it like {kind}://HOST:PORT or {kind}://USER:PASSWORD@HOST:PORT"
    if "#" in text:
        return "the URL contains #, which begins a name: in a user or password write # as %23"
    return ""


def unknown_scheme(scheme: str) -> str:
    """Returns the sentence for a scheme that no relay has."""
    from difflib import get_close_matches  # only mistakes need it

    similar = get_close_matches(scheme, _SCHEMES, n=1, cutoff=0.6)
    if not similar:
        return f'unknown scheme "{scheme[:20]}"; use socks5h, http, https or socks4a'
    return f'unknown scheme "{scheme[:20]}"; did you mean {_KINDS.get(similar[0], similar[0])}?'


def many_colons(location: str, kind: str) -> str:
    """Returns the sentence for a `location`, in place of host:port, with two or more colons outside of brackets."""
    parts = location.split(":")
    if len(parts) == 4 and _NAME_OR_LITERAL.match(parts[0]) and _PORT.match(parts[1]) and not _IPV6.match(location):
        return f"this reads HOST:PORT:USER:PASSWORD: write it as {kind}://USER:PASSWORD@HOST:PORT"
    if len(parts) == 4 and _NAME_OR_LITERAL.match(parts[2]) and _PORT.match(parts[3]) and not _IPV6.match(location):
        return f"this reads USER:PASSWORD:HOST:PORT: write it as {kind}://USER:PASSWORD@HOST:PORT"
    if (_IPV6.match(location) and len(parts) > 4) or "::" in location:
        return f"an IPv6 address needs brackets: write it like {kind}://[2001:db8::1]:1080"
    if len(parts) == 4 and "." in parts[0]:
        return f"this reads HOST:PORT:USER:PASSWORD: write it as {kind}://USER:PASSWORD@HOST:PORT"
    return f"there is more than one colon after the host: {_WRITE_LIKE}"


def _with_spaces(words: list[str]) -> str:
    if len(words) == 2 and _PORT.match(words[1]):
        return "a colon stands between host and port: write socks5h://HOST:PORT"
    if words and (kind := _KINDS.get(words[0].lower(), words[0].lower())) in _SCHEMES:
        credentials = "USER:PASSWORD@" if len(words) > 3 else ""
        return f"the parts of a URL stand without spaces: write {kind}://{credentials}HOST:PORT"
    return "the URL contains a space: remove it, or write it as %20 in a user or password"


def _invisible(text: str) -> str | None:
    """Returns the first character that is invisible in a terminal or cannot stand in a URL: tabs, zero widths, …"""
    for character in text:
        if character != " " and unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cs", "Cn"):
            return character
    return None
