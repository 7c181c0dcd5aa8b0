"""The confidence of a verdict, and its words."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from proxy.model.phrase import pgettext


class Confidence(StrEnum):
    in_words: str  # the value as a phrase

    def __new__(cls, word: str, in_words: str = "") -> Self:
        confidence = str.__new__(cls, word)
        confidence._value_, confidence.in_words = word, in_words
        return confidence

    HIGH = "high", pgettext("confidence", "high")
    MEDIUM = "medium", pgettext("confidence", "medium")
    LOW = "low", pgettext("confidence", "low")
    NONE = "none", pgettext("confidence", "none")  # nothing was concluded


def confidence_in_words(word: str) -> str:
    """Returns a confidence in a document as a phrase. A word of another version is returned unchanged."""
    return Confidence(word).in_words if word in list(Confidence) else word
