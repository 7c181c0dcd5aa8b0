"""A number that grows with each change, so that what was made from an answer can be kept while the number stays."""

from __future__ import annotations


class Versioned:
    """Something with a version. Its parts, which are given it, count their changes in it."""

    def __init__(self) -> None:
        self.version = 0
