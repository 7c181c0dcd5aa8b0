"""The confidence of a verdict, and its words."""

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
        """The value as a phrase."""
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
    """Returns a confidence in a document as a phrase. A word of another version is returned unchanged."""
    return Confidence(word).in_words if word in list(Confidence) else word
