"""The languages that Byway speaks, and which of them somebody wants: by the setting, a browser or a terminal.

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
    PSEUDO = "en-XA"  # English with accents, made by `pseudo`: what stays plain on a page is not translatable

    @property
    def direction(self) -> str:
        """How HTML names the direction in which it is written."""
        return "rtl" if self is Language.PERSIAN else "ltr"


_HEADER_MAX = 1_000
"""Characters of an Accept-Language that are read."""


def language_of_browser(setting: str, accepted: str) -> Language:
    """Returns the language of a page. `setting` is `[ui] language`; when it is empty the first language of ours in
    `accepted`, the header Accept-Language (RFC 9110, section 12.5.4), is taken; English when there is none."""
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
    """Returns the language of a terminal: that of the setting, else of the locale for messages (POSIX, chapter 8.2)."""
    if setting:
        return Language(setting)
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((value for name in names if (value := environment.get(name))), "")
    tag = locale.partition(".")[0].partition("@")[0].replace("_", "-")
    return _spoken(tag) or Language.ENGLISH


def _spoken(tag: str) -> Language | None:
    """The language of ours for a tag: the same, or the one of which it is a kind, as `fa-IR` is of `fa`."""
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
