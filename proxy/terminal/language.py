"""The language of a command: the setting `[ui] language`, else the locale of the terminal.

Most people have English, or no setting: then no catalogue is read, and no configuration parsed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from proxy.languages.language import Language, language_of_terminal

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.languages.catalogue import Catalogue

_VARIABLE = "BYWAY_UI__LANGUAGE"


def spoken_here(paths: Paths) -> Catalogue | None:
    """Returns the language in which a command speaks; None for English."""
    language = language_of_terminal(_setting(paths), os.environ)
    if language is Language.ENGLISH:
        return None
    from proxy.languages.catalogue import catalogue

    return catalogue(language).for_terminal()


def _setting(paths: Paths) -> str:
    """Returns the setting; empty where there is none, or the configuration cannot be used: `byway config check` says
    why."""
    if given := os.environ.get(_VARIABLE, ""):
        return given if given in list(Language) else ""
    try:
        text = paths.config_to_read.read_text("utf-8") if paths.config_to_read is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""
    if "language" not in text:
        return ""
    import tomllib

    try:
        section = tomllib.loads(text).get("ui")
    except tomllib.TOMLDecodeError:
        return ""
    chosen = section.get("language") if isinstance(section, dict) else ""
    return str(chosen) if chosen in list(Language) else ""
