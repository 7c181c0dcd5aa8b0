"""How sure a verdict is, and the word for it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from proxy.model.phrase import Phrase, pgettext


class Confidence(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"  # nothing was concluded

    @property
    def in_words(self) -> str:
        """The value, to be said in any language."""
        return _CONFIDENCES[self]


_CONFIDENCES: Mapping[Confidence, Phrase] = MappingProxyType(
    {
        Confidence.HIGH: pgettext("confidence", "high"),
        Confidence.MEDIUM: pgettext("confidence", "medium"),
        Confidence.LOW: pgettext("confidence", "low"),
        Confidence.NONE: pgettext("confidence", "none"),
    }
)


def confidence_in_words(word: str) -> str:
    """The word of a confidence in a document, to be said in any language. One of another version stays as it is."""
    return Confidence(word).in_words if word in list(Confidence) else word
