"""Rule-sets of sing-box in source form: JSON of versions 1 to 4.

A rule matches if one of its domains, suffixes, keywords, expressions or prefixes does, and all its other conditions
hold. So a rule with a port, a program or another condition is skipped as a whole, and so is a logical or inverted one.
Of other rules, only the expressions are skipped. The values of a rule stay tokens until the rule ends, and are then
read a thousand names at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.script_tokens import Kind, Token, are_plain, names, tokens

VERSIONS = range(1, 5)
DEPTH_LIMIT = 32
"""Nested brackets at most. A logical rule may hold logical rules."""

_BEGINNING = re.compile(
    r"(?:[\ufeff\s]|//[^\n]*\n|#[^\n]*\n|/\*(?:[^*]|\*(?!/))*+\*/)*+\{[^}]{0,200}?\"(?:version|rules)\"\s*:"
)
_HOSTS = frozenset({"domain", "domain_suffix", "domain_keyword", "domain_regex", "ip_cidr"})
_OF_TYPES = dict.fromkeys(("type", "mode", "rules", "invert"), Skip.UNSUPPORTED_TYPE)
"""Keys that make a rule logical or inverted."""
_PROGRAMS = re.compile(r"process_.*|package_name.*|user.*")


def recognizes(text: str) -> bool:
    """Whether the beginning of a file is that of a rule-set."""
    return _BEGINNING.match(text) is not None


def parse_sing_box(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a rule-set, as `formats.ParseList` says. Also raises ConfigError for damaged JSON or another version."""
    _Parser(tokens(pieces, builder.source), builder).parse()


class _Parser:
    """Each method for a value gets the value's first token, and takes the rest of the value."""

    def __init__(self, token_iterator: Iterator[Token], builder: ListBuilder) -> None:
        self._tokens = token_iterator
        self._builder = builder
        self._depth = 0

    def parse(self) -> None:
        version = ""
        for key in self._members(self._expect("{")):
            token = next(self._tokens)
            if key.text == "version":
                version = token.text
            if key.text == "rules":
                self._rules(token)
            else:
                self._value(token)
        if next(self._tokens).kind is not Kind.END:
            raise ConfigError(f"{self._builder.source}: goes on after its last bracket")
        if version not in map(str, VERSIONS):
            fault = f"of version {version[:20]!a}" if version else "without a version"
            raise ConfigError(
                f"{self._builder.source}: is a rule-set {fault}; Byway reads versions 1 to {VERSIONS[-1]}"
            )

    def _rules(self, token: Token) -> None:
        if _is(token, "{"):  # one value may stand without its array
            self._rule(token)
            return
        if not _is(token, "["):
            raise self._wrong(token, "[")
        for item in self._items(token):
            if not _is(item, "{"):
                raise self._wrong(item, "{")
            self._rule(item)

    def _rule(self, opening: Token) -> None:
        hosts: dict[str, list[Token]] = {}
        reason: tuple[str, Skip] | None = None
        for key in self._members(opening):
            token = next(self._tokens)
            values = self._value(token)
            absent = ("null",) if key.text in _HOSTS else ("null", "false")
            if not values or (token.kind is Kind.WORD and token.text in absent):
                continue  # an empty array, or one of these, means the same as no key
            if key.text in _HOSTS:
                hosts.setdefault(key.text, []).extend(values)
            elif (key.text, token.text) not in (("type", "default"), ("type", "")):
                why = Skip.PROCESS if _PROGRAMS.fullmatch(key.text) else _OF_TYPES.get(key.text, Skip.CONDITION)
                text = f"{key.text}: {token.text}" if token.kind is not Kind.MARK else key.text
                reason = reason or (text, why)
        if reason is not None:
            self._builder.skip(opening.line, *reason)
            return
        for name, values in hosts.items():
            for value in values:
                if value.kind is Kind.STRING or value.kind is Kind.STRINGS:
                    self._add(name, value)
                else:
                    self._builder.skip(value.line, f"{name}: {value.text}", Skip.UNREADABLE)

    def _add(self, key: str, token: Token) -> None:
        builder = self._builder
        texts = names(token)
        if key in ("domain", "domain_suffix") and are_plain(texts, dots=True):
            covers = Covers.HOST if key == "domain" else Covers.SITE
            plain = [name for name in texts if not name.startswith(".")]
            builder.add_many(token.line, plain, covers)
            if len(plain) < len(texts) and key == "domain_suffix":
                builder.add_many(token.line, [name[1:] for name in texts if name.startswith(".")], Covers.SUBDOMAINS)
            elif len(plain) < len(texts):
                for name in texts:
                    if name.startswith("."):
                        builder.skip(token.line, name, Skip.UNREADABLE)
            return
        for name in texts:
            match key:
                case "domain":
                    builder.add(token.line, name, Covers.HOST)
                case "domain_suffix" if name.startswith("."):
                    builder.add(token.line, name[1:], Covers.SUBDOMAINS)
                case "domain_suffix":
                    builder.add(token.line, name)
                case "domain_keyword":
                    builder.add_keyword(token.line, name)
                case "domain_regex":
                    builder.skip(token.line, name, Skip.REGULAR_EXPRESSION)
                case _:
                    builder.add_prefix(token.line, name)

    # -- JSON ----------------------------------------------------------------------------------------------------------

    def _value(self, token: Token) -> list[Token]:
        """Reads a value. Returns its token; for an array the tokens of its items, for an object that of its bracket."""
        if _is(token, "{"):
            for _ in self._members(token):
                self._value(next(self._tokens))
            return [token]
        if _is(token, "["):
            return [one for item in self._items(token) for one in self._value(item)]
        if token.kind in (Kind.STRING, Kind.STRINGS, Kind.NUMBER) or token.text in ("true", "false", "null"):
            return [token]
        raise self._wrong(token, "a value")

    def _members(self, opening: Token) -> Iterator[Token]:
        """Yields the keys of an object. The caller reads the value of each before it takes the next key."""
        self._nest(opening, 1)
        key = next(self._tokens)
        while not _is(key, "}"):
            if key.kind is Kind.KEYS:  # an object of numbers, which no rule has
                key = next(self._tokens)
                continue
            if key.kind is not Kind.STRING:
                raise self._wrong(key, "a key")
            self._expect(":")
            yield key
            after = next(self._tokens)
            if _is(after, "}"):
                break
            if not _is(after, ","):
                raise self._wrong(after, ",")
            key = next(self._tokens)
        self._nest(opening, -1)

    def _items(self, opening: Token) -> Iterator[Token]:
        """Yields the first token of each item of an array. The caller reads the rest of it before it takes the next."""
        self._nest(opening, 1)
        item = next(self._tokens)
        while not _is(item, "]"):
            yield item
            after = next(self._tokens)
            if item.kind is Kind.STRINGS:  # with the comma after each
                item = after
                continue
            if _is(after, "]"):
                break
            if not _is(after, ","):
                raise self._wrong(after, ",")
            item = next(self._tokens)
        self._nest(opening, -1)

    def _nest(self, opening: Token, step: int) -> None:
        self._depth += step
        if self._depth > DEPTH_LIMIT:
            raise ConfigError(f"{self._builder.source}:{opening.line}: has more than {DEPTH_LIMIT} nested brackets")

    def _expect(self, mark: str) -> Token:
        token = next(self._tokens)
        if not _is(token, mark):
            raise self._wrong(token, mark)
        return token

    def _wrong(self, token: Token, wanted: str) -> ConfigError:
        text = ascii(token.text[:30]) if token.kind is not Kind.END else "the end of the file"
        return ConfigError(
            f"{self._builder.source}:{token.line}: the JSON is damaged: {wanted} was expected, not {text}"
        )


def _is(token: Token, mark: str) -> bool:
    return token.text == mark and token.kind is Kind.MARK
