"""Cuts lists in JSON or JavaScript into tokens.

A list can have a million strings on one line, so tokens are made one after another, and many plain strings in a row are
one token: a few calls for a thousand names. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from proxy.model.errors import ConfigError
from proxy.routing.lists.lines import are_domains

STRINGS_AT_ONCE = 1000


class Kind(Enum):
    """The kinds of tokens."""

    STRINGS = auto()
    """Names in double quotes, each with a comma after it."""
    KEYS = auto()
    """Names in double quotes, each with a colon, a number and a comma after it."""
    STRING = auto()
    """A string without its quotes; escapes are not resolved."""
    NUMBER = auto()
    WORD = auto()
    """A name or a keyword, or true, false or null."""
    PATTERN = auto()
    """A regular expression."""
    MARK = auto()
    """An operator or a bracket."""
    END = auto()


class Token(NamedTuple):
    kind: Kind
    text: str
    line: int


_TOKEN = re.compile(
    rf"""(?P<space>[\s\ufeff]++ | //[^\n]*+ | \#[^\n]*+)
    | (?P<comment>/\*)
    | (?P<STRINGS>(?:"[a-z0-9._/:-]{{1,255}}"\s*+,\s*+){{2,{STRINGS_AT_ONCE}}}+)
    | (?P<KEYS>(?:"[a-z0-9._-]{{1,255}}"\s*+:\s*+[0-9]\s*+,\s*+){{2,{STRINGS_AT_ONCE}}}+)
    | (?P<STRING>"(?:[^"\\\n]|\\[^\n])*+" | '(?:[^'\\\n]|\\[^\n])*+' | `(?:[^`\\$]|\\.)*+`)
    | (?P<NUMBER>-?[0-9][0-9a-zA-Z.]*+(?:(?<=[eE])[+-][0-9]++)?)
    | (?P<WORD>[A-Za-z_$][\w$]*+)
    | (?P<MARK>===|!==|==|!=|<=|>=|=>|&&|\|\||\+\+|--|[-+*%&|^]=|[-+*%=<>!?:;,.(){{}}\[\]&|^~])
    | (?P<slash>/)""",
    re.VERBOSE | re.DOTALL,
)
_PATTERN = re.compile(r"/(?:[^/\\\[\n]|\\[^\n]|\[(?:[^\]\\\n]|\\[^\n])*+\])++/[a-z]*+")
_QUOTED = re.compile(r'"([^"]*+)"')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_BEFORE_PATTERN = frozenset(
    ["(", "[", "{", "}", ",", ";", ":", "=", "!", "&&", "||", "?", "==", "!=", "===", "!==", "return"]
)


def tokens(pieces: Iterable[str], source: str) -> Iterator[Token]:
    """Yields the tokens of a text, then END. `pieces` are whole lines; `source` is the file's name in messages. Raises
    ConfigError at text that is not a token."""
    line, before, in_comment = 1, "(", False
    for piece in pieces:
        at = counted = 0
        no_pattern_before = 0
        while at < len(piece):
            if in_comment:
                end = piece.find("*/", at)
                at = end + 2 if end >= 0 else len(piece)
                in_comment = end < 0
                continue
            match = _TOKEN.match(piece, at)
            kind = match.lastgroup if match else None
            line += piece.count("\n", counted, at)
            counted = at
            if kind == "slash":
                kind = "MARK"
                if before in _BEFORE_PATTERN and at >= no_pattern_before:
                    if pattern := _PATTERN.match(piece, at):
                        match, kind = pattern, "PATTERN"
                    else:  # a division; to try each later slash would read the line again and again
                        no_pattern_before = piece.find("\n", at) % (len(piece) + 1)
            if match is None or kind is None:
                raise ConfigError(
                    f"{source}:{line}: cannot be read at {piece[at : at + 30]!a}; it is damaged or cut short"
                )
            at = match.end()
            if kind == "comment":
                in_comment = True
            elif kind != "space":
                text = match[0]
                before = text if kind in ("MARK", "WORD") else ""
                yield Token(Kind[kind], text[1:-1] if kind == "STRING" else text, line)
        line += piece.count("\n", counted)
    yield Token(Kind.END, "", line)


def names(token: Token) -> list[str]:
    """Returns the names in STRINGS or KEYS, or the text of a STRING with its escapes resolved."""
    if token.kind is Kind.STRING:
        return [_ESCAPE.sub(_character, token.text) if "\\" in token.text else token.text]
    return _QUOTED.findall(token.text)


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1], 16) if escape[1] else 0
    if 0xD800 <= code < 0xE000:
        return escape[0]  # a surrogate, half of a character
    return chr(code) if code else escape[2] or ""


def are_plain(texts: Sequence[str], *, dots: bool) -> bool:
    """Returns whether all texts are domains in canonical spelling; with `dots`, each may begin with a dot."""
    lines = "\n".join([text.removeprefix(".") for text in texts] if dots else texts)
    return lines.count("\n") == len(texts) - 1 and are_domains(lines)
