"""Phrases: texts of Byway that people read, and that can be translated later.

A `Phrase` is its English text, so the log and JSON documents take it as it is. It also keeps its parts: the message
that the catalogues translate, and the values in it. `proxy.languages` translates it for a page or a terminal. Text from
outside (a host, an error of the system) is a plain `str` and stays as it is.

    _("Paused until {time}.", time=clock)
    ngettext("{count} site is blocked", "{count} sites are blocked", count)

The message is a literal: `make messages` collects it from the source. Never build a sentence from parts: another
language has another order. A phrase inside an f-string, `+` or `str.join` becomes plain English; `commas` and the like
join phrases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any


class Phrase(str):
    """A text in English that can be translated. Equal to its English text."""

    __slots__ = ("context", "message", "number", "plural", "values")

    message: str
    """The English message in the catalogues, with the names of its values in braces."""
    plural: str
    """The message for more than one; empty: the message does not depend on a number."""
    number: int
    """The number that decides between singular and plural."""
    context: str
    """Distinguishes equal messages that other languages translate differently; usually empty."""
    values: Mapping[str, object]
    """Numbers, phrases, and text from outside, by their names in the message."""

    def __new__(cls, message: str, plural: str, number: int, context: str, values: Mapping[str, object]) -> Phrase:
        chosen = plural if plural and number != 1 else message
        made = super().__new__(cls, chosen.format(**values) if values else chosen)
        made.message, made.plural, made.number, made.context = message, plural, number, context
        made.values = values
        return made

    def given(self, **values: object) -> Phrase:
        """Returns the phrase with more values: its message may stand in a table, without any."""
        return Phrase(self.message, self.plural, self.number, self.context, {**self.values, **values})

    def mapped(self, change: Callable[[str], str]) -> Phrase:
        """Returns the phrase with all texts in it changed, at any depth."""
        changed = {
            name: value.mapped(change)
            if isinstance(value, Phrase)
            else change(value)
            if isinstance(value, str)
            else value
            for name, value in self.values.items()
        }
        return Phrase(self.message, self.plural, self.number, self.context, changed)

    def __reduce__(self) -> tuple[Any, ...]:
        return Phrase, (self.message, self.plural, self.number, self.context, self.values)


def _(message: str, /, **values: object) -> Phrase:
    """Returns a phrase. The name is the one that gettext has in most languages."""
    return Phrase(message, "", 1, "", values)


def pgettext(context: str, message: str, /, **values: object) -> Phrase:
    """Returns a phrase whose message needs a context: a word alone, such as "none", which other languages inflect."""
    return Phrase(message, "", 1, context, values)


def ngettext(singular: str, plural: str, count: int, /, **values: object) -> Phrase:
    """Returns a phrase that depends on a number, which is its value `count`."""
    return Phrase(singular, plural, count, "", {"count": count, **values})


def commas(parts: Sequence[str]) -> str:
    """Returns a list: `a, b, c`."""
    return reduce(lambda first, rest: _("{first}, {rest}", first=first, rest=rest), parts) if parts else ""


def semicolons(parts: Sequence[str]) -> str:
    """Returns parts that may have commas of their own: `a; b; c`."""
    return reduce(lambda first, rest: _("{first}; {rest}", first=first, rest=rest), parts) if parts else ""


def all_of(parts: Sequence[str]) -> str:
    """Returns a list as a sentence names it: `a, b and c`."""
    *first, last = parts or [""]
    return _("{first} and {last}", first=commas(first), last=last) if first else last


def sentences(parts: Sequence[str]) -> str:
    """Returns sentences in a row; empty ones are left out."""
    present = [part for part in parts if part]
    return reduce(lambda first, rest: _("{first} {rest}", first=first, rest=rest), present) if present else ""
