"""Wraps the lines that `byway run` prints at a terminal between words; the terminal itself would break words."""

from __future__ import annotations

import os
from typing import TextIO


def fitted(text: str, stream: TextIO | None) -> str:
    """Returns a text in lines that fit the terminal of `stream`; unchanged when that is no terminal. A longer word,
    such as a URL, has its own line."""
    if stream is None or not stream.isatty():
        return text
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # its window is gone
        return text
    if columns <= 0:
        return text
    import textwrap  # only needed at a terminal

    wrapper = textwrap.TextWrapper(columns, break_long_words=False, break_on_hyphens=False)
    return "\n".join(part for line in text.split("\n") for part in wrapper.wrap(line) or [""])
