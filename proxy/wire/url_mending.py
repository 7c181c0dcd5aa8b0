"""Mends relay URLs that people paste from a shop's page, a chat or a manual: sellers' notations, several on one line,
brackets, a comma at the end, a command with a proxy in it.

A person sees what was understood before it is used. What is a URL, a chain or a key as it is stays as it is; what could
be read in two ways is not mended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from proxy.wire.url_spelling import as_meant

LINE_LIMIT = 2048
"""Characters of a line that is mended."""

_KINDS = {
    "socks5h": "socks5h", "socks5": "socks5h", "socks": "socks5h", "socks4a": "socks4a", "socks4": "socks4",
    "http": "http", "https": "https", "proxy": "http",
}  # fmt: skip
_WIDE = str.maketrans("：／．＠＃？", ":/.@#?")
_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)+|localhost)"
_PORT = r"[0-9]{1,5}"
_PART = r"[^\s:|;,@/]+"
_SCHEME = r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9]*)://)?"
_WITH_ONE_SIGN = re.compile(
    rf"{_SCHEME}(?P<host>{_HOST}):(?P<port>{_PORT})(?P<s>[:|;,])(?P<user>{_PART})[:|;,](?P<password>\S+)\Z"
)
_WITH_AT = re.compile(rf"{_SCHEME}(?P<host>{_HOST}):(?P<port>{_PORT})@(?P<user>{_PART}):(?P<password>[^\s@]+)\Z")
_USER_FIRST = re.compile(rf"{_SCHEME}(?P<user>{_PART}):(?P<password>[^\s:@]+):(?P<host>{_HOST}):(?P<port>{_PORT})\Z")
_WORDS = re.compile(
    rf"(?:(?P<scheme>[A-Za-z0-9]+)\s+)?(?P<host>{_HOST})(?:\s+|\s*:\s*)(?P<port>{_PORT})"
    r"(?:\s+(?P<user>\S+)\s+(?P<password>\S+))?\Z"
)
_BROKEN_MARK = re.compile(
    r"(socks5h|socks5|socks4a|socks4|socks|https|http)(?:;//|//|:/|:\\\\|:)(?=[^/:])", re.IGNORECASE
)
_OF_COMMANDS = re.compile(
    r"(?:\s|\A)(?:-x|--proxy|--socks5-hostname|--socks5|(?:export\s+|set\s+)?[a-z]+_proxy)(?:\s+|\s*=\s*)"
    r"[\"']?(?P<url>[^\s\"']+)",
    re.IGNORECASE,
)
_OF_COMMAND = re.compile(r"(?:curl|wget|export|set|[a-z]+_proxy\s*=)", re.IGNORECASE)
_OPENING = "<({"
_SEVERAL = re.compile(r"(?<![\s,;|])[\s,;|]++(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def split_line(line: str) -> list[str]:
    """Returns the URLs on a line that has several, each with its scheme; any other line as it is."""
    text = as_meant(line)
    parts = [part.strip(" \t,;|") for part in _SEVERAL.split(text)]
    return parts if len(parts) > 1 and all("://" in part for part in parts) else [line]


def mended(line: str, is_read: Callable[[str], bool]) -> str:
    """Returns the relay URL that a refused line means; empty: it cannot be told. `is_read` returns whether a text is
    a relay."""
    if len(line) > LINE_LIMIT:
        return ""
    text = _unwrapped(line).translate(_WIDE)
    if _OF_COMMAND.match(text) and (found := _OF_COMMANDS.search(text)):
        text = found["url"]
        if "--socks5" in line and "://" not in text:
            text = f"socks5h://{text}"
    for change in (_bare, _of_seller, _of_words, _with_mark):
        changed = change(text)
        if changed and is_read(changed):
            return changed
    bare = _bare(text)
    return next((url for change in (_of_seller, _of_words, _with_mark) if (url := change(bare)) and is_read(url)), "")


def _unwrapped(line: str) -> str:
    """Returns a line without the quotation marks or brackets around it, and without punctuation behind them. The
    password of a line that begins with none may end with one."""
    text = as_meant(line)
    begins_quoted = text[:1] != next((each for each in line if each.isprintable() and not each.isspace()), "")
    for _ in range(8):
        if not begins_quoted and text[:1] not in _OPENING:
            break
        begins_quoted, text = False, as_meant(text.lstrip(_OPENING).rstrip(" .,;>)]}"))
        text = as_meant(text.rstrip(" .,;>)]}"))
    return text


def _bare(text: str) -> str:
    """Returns a text without punctuation behind it."""
    end = len(text)
    while end and (
        text[end - 1] in ";,"
        or (text[end - 1] in ".)" and text[max(end - 2, 0) : end - 1] in _BEFORE_DOT)
        or (text[end - 1] == ":" and text[max(end - 2, 0) : end - 1] in _DIGITS)
    ):
        end -= 1
    return text[:end]


_DIGITS = frozenset("0123456789")
_BEFORE_DOT = _DIGITS | {"/", "]"}


def _of_seller(text: str) -> str:
    """Returns the URL of host, port, user and password with one sign between them; empty for any other text."""
    found = _WITH_ONE_SIGN.match(text) or _WITH_AT.match(text) or _USER_FIRST.match(text)
    return "" if found is None else _url(found)


def _of_words(text: str) -> str:
    """Returns the URL of words such as `socks5 relay.example 1080`; empty for any other text."""
    found = _WORDS.match(text)
    return "" if found is None else _url(found)


def _with_mark(text: str) -> str:
    """Returns a URL with its ://."""
    found = _BROKEN_MARK.match(text)
    return "" if found is None else f"{_KINDS[found[1].lower()]}://{text[found.end() :]}"


def _url(found: re.Match[str]) -> str:
    kind = _KINDS.get((found["scheme"] or "socks5h").lower(), "")
    if not kind:
        return ""
    user, password = found["user"] or "", found["password"] or ""
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    return f"{kind}://{credentials}{found['host']}:{found['port']}"
