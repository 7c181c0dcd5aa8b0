"""How pages say phrases: in their language, with the commands as they are typed here."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.command_name import as_typed, typed_here
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language

Say = Callable[[str], str]


def speaker(language: Language) -> Say:
    """Returns what says a phrase in a language, and any other text as it is."""
    spoken = catalogue(language)
    return lambda text: as_typed(spoken.say(text), typed_here())
