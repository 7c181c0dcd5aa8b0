"""Translates phrases: takes the translation of the message from a catalogue, and inserts the values.

A catalogue is a gettext file (`ru.po`). It is read when its language is first used, and it is not compiled, so a
translator sees a change at the next start. A message without a translation stays English. The pseudo-locale is English
with accents, made from each message: text without accents was never wrapped in `_()`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase

FOLDER = Path(__file__).parent
"""The folder of the catalogues."""

_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
"""Around a value whose direction may differ from that of the sentence (UAX #9): a host in a Persian sentence."""

_ACCENTED = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "àƀçđéƒğĥîĵķļɱñöþǫŕšţûṽŵẋýžÀƁÇĐÉƑĞĤÎĴĶĻṀÑÖÞǪŔŠŢÛṼŴẊÝŽ",
)

_KEPT = re.compile(r"(\{[^{}]*\}|`[^`]*`)")
"""Values and commands, which no translation changes."""

_PERSIAN_DIGITS = str.maketrans("0123456789.", "۰۱۲۳۴۵۶۷۸۹٫")
_DECIMAL_COMMA = str.maketrans(".", ",")


def _english_form(count: int) -> int:
    return int(count != 1)


def _russian_form(count: int) -> int:
    if count % 10 == 1 and count % 100 != 11:
        return 0
    return 1 if 2 <= count % 10 <= 4 and not 12 <= count % 100 <= 14 else 2


def _persian_form(count: int) -> int:
    return int(count > 1)


_FORMS: Mapping[Language, Callable[[int], int]] = {
    Language.ENGLISH: _english_form,
    Language.RUSSIAN: _russian_form,
    Language.PERSIAN: _persian_form,
    Language.PSEUDO: _english_form,
}
"""The index of the plural form for a number, by language (Unicode CLDR)."""

FORMS_COUNT: Mapping[Language, int] = {Language.RUSSIAN: 3, Language.PERSIAN: 2}
"""The number of plural forms, by language."""

_DIGITS: Mapping[Language, Mapping[int, int | str | None]] = {
    Language.RUSSIAN: _DECIMAL_COMMA,
    Language.PERSIAN: _PERSIAN_DIGITS,
}


@frozen_dataclass
class Message:
    """An entry of a catalogue. `translations` are its plural forms: one for a message without a number, none if the
    message is not translated or a person has to check the translation (`fuzzy`)."""

    context: str
    message: str
    plural: str
    translations: tuple[str, ...]
    fuzzy: bool


class Catalogue:
    """The translations into one language, with its digits and plural forms."""

    def __init__(
        self, language: Language, messages: Mapping[tuple[str, str], tuple[str, ...]], *, isolates: bool = True
    ) -> None:
        """`messages` are the translations by context and message. `isolates`: Unicode characters keep the direction of
        values, in languages that need it; terminals show them as boxes."""
        self.language = language
        self._messages = messages
        self._isolates = isolates and language in (Language.PERSIAN, Language.PSEUDO)

    def for_terminal(self) -> Catalogue:
        """Returns the same catalogue without isolates."""
        return Catalogue(self.language, self._messages, isolates=False)

    def say(self, text: str, *, escape: Callable[[str], str] = str) -> str:
        """Returns a phrase in this language; any other text unchanged.

        With `markupsafe.escape` as `escape`, values may be markup, and the result is markup."""
        if not isinstance(text, Phrase):
            return text
        if self.language is Language.ENGLISH and escape is str:
            return str(text)
        return (
            escape("`").join(
                escape(part).format(
                    **{name: self._value(value, escape, is_code=bool(place % 2)) for name, value in text.values.items()}
                )
                for place, part in enumerate(self.translation(text).split("`"))
            )
            if text.values
            else escape(self.translation(text))
        )

    def translation(self, phrase: Phrase) -> str:
        """Returns the message of a phrase in this language, in its plural form, without its values."""
        form = _FORMS[self.language](phrase.number)
        if self.language is not Language.PSEUDO:
            forms = self._messages.get((phrase.context, phrase.message))
            if forms is not None:
                return forms[form] if phrase.plural else forms[0]
            form = _english_form(phrase.number)
        english = phrase.plural if phrase.plural and form else phrase.message
        return _pseudo(english) if self.language is Language.PSEUDO else english

    def number(self, text: str) -> str:
        """Returns an English number with the digits and the decimal sign of this language."""
        return text.translate(_DIGITS.get(self.language, {}))

    def _value(self, value: object, escape: Callable[[str], str], *, is_code: bool) -> object:
        if isinstance(value, Phrase):
            return self.say(value, escape=escape)
        if isinstance(value, bool) or is_code:
            return value
        if isinstance(value, int | float):
            return _Number(value, self)
        if self._isolates and isinstance(value, str):
            return _FIRST_STRONG_ISOLATE + value + _POP_ISOLATE
        return value


@frozen_dataclass
class _Number:
    """A number in a sentence. The message may give it a format."""

    value: int | float
    catalogue: Catalogue

    def __format__(self, form: str) -> str:
        return self.catalogue.number(format(self.value, form))


@lru_cache(maxsize=len(Language))
def catalogue(language: Language) -> Catalogue:
    """Returns the catalogue of a language. The first call reads its file."""
    if language not in FORMS_COUNT:
        return Catalogue(language, {})
    messages = read_messages((FOLDER / f"{language}.po").read_text(encoding="utf-8"))
    return Catalogue(
        language, {(each.context, each.message): each.translations for each in messages if each.translations}
    )


def read_messages(text: str) -> Iterator[Message]:
    """Yields the entries of a gettext catalogue (PO) without its header. Raises ValueError, with the number of the
    line, if the text cannot be parsed."""
    fields: dict[str, str] = {}
    name, is_fuzzy = "", False
    for number, line in enumerate((*text.splitlines(), ""), 1):
        try:
            if line.startswith("#"):
                is_fuzzy = is_fuzzy or (line.startswith("#,") and "fuzzy" in line)
            elif line.startswith('"'):
                fields[name] += json.loads(line)
            elif line:
                name, _, value = line.partition(" ")
                fields[name] = json.loads(value)
            elif fields:
                if fields["msgid"]:
                    yield _message(fields, is_fuzzy=is_fuzzy)
                fields, name, is_fuzzy = {}, "", False
        except (KeyError, ValueError):
            raise ValueError(f"line {number} is not of a catalogue: {line!r}") from None


def _message(fields: Mapping[str, str], *, is_fuzzy: bool) -> Message:
    plural = fields.get("msgid_plural", "")
    forms = (
        [fields["msgstr"]] if not plural else [value for name, value in fields.items() if name.startswith("msgstr[")]
    )
    is_translated = all(forms) and not is_fuzzy
    return Message(fields.get("msgctxt", ""), fields["msgid"], plural, tuple(forms) if is_translated else (), is_fuzzy)


def _pseudo(message: str) -> str:
    """Returns a message in the pseudo-locale: `⟦Šîţéš · · ⟧`. One without letters of its own stays as it is.
    It is longer, as translations are, so that a page shows where its layout cuts them."""
    parts = _KEPT.split(message)
    letters = sum(letter.isalpha() for part in parts[::2] for letter in part)
    if not letters:
        return message
    parts[::2] = [part.translate(_ACCENTED) for part in parts[::2]]
    return f"⟦{''.join(parts)}{' ·' * max(1, letters // 8)}⟧"
