"""The languages of Byway's texts, and which one a user wants: by the setting, the browser or the terminal.

Pure: the header and the environment are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Language(StrEnum):
    """A language, by its BCP 47 tag."""

    ENGLISH = "en"
    RUSSIAN = "ru"
    PERSIAN = "fa"
    PSEUDO = "en-XA"  # English with accents, made by `pseudo`: plain text on a page is not translatable

    @property
    def direction(self) -> str:
        """The direction of writing, as in HTML's `dir`: "ltr" or "rtl"."""
        return "rtl" if self is Language.PERSIAN else "ltr"


_HEADER_MAX = 1_000
"""Characters of an Accept-Language that are read."""


def language_of_browser(setting: str, accepted: str) -> Language:
    """Returns the language of a page: `setting`, the value of `[ui] language`; if it is empty, the preferred language
    of `accepted`, the header Accept-Language (RFC 9110, section 12.5.4), among ours; else English."""
    if setting:
        return Language(setting)
    wanted: list[tuple[float, int, Language]] = []
    for place, item in enumerate(accepted[:_HEADER_MAX].split(",")):
        tag, *parameters = (part.strip() for part in item.split(";"))
        language, quality = _spoken(tag), _quality(parameters)
        if language is not None and quality > 0:
            wanted.append((-quality, place, language))
    return min(wanted)[2] if wanted else Language.ENGLISH


def language_of_terminal(setting: str, environment: Mapping[str, str]) -> Language:
    """Returns the language of a terminal: the setting, else the locale for messages (POSIX, chapter 8.2), else
    English."""
    if setting:
        return Language(setting)
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((value for name in names if (value := environment.get(name))), "")
    tag = locale.partition(".")[0].partition("@")[0].replace("_", "-")
    return _spoken(tag) or Language.ENGLISH


def _spoken(tag: str) -> Language | None:
    """Returns our language for a tag, by the whole tag or by its first part: `fa` for `fa-IR`. None: we have none."""
    tag = tag.lower()
    by_tag = {language.lower(): language for language in Language}
    return by_tag.get(tag) or by_tag.get(tag.partition("-")[0])


def _quality(parameters: list[str]) -> float:
    """The weight of an item of a header; 0 for one that is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
