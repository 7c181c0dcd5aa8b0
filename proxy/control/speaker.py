"""Translates phrases for pages, with commands in the form that works in this user's shell."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.command_name import as_typed, typed_here
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language

Say = Callable[[str], str]


def speaker(language: Language) -> Say:
    """Returns a function that translates a phrase into a language, and returns any other text unchanged."""
    spoken = catalogue(language)
    return lambda text: as_typed(spoken.say(text), typed_here())
