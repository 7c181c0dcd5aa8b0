"""The text of a page, whatever bytes it came in.

Block pages are old: many are windows-1251, koi8-r or windows-874, and some say so only inside themselves. A label is
looked up in the table of the WHATWG Encoding Standard, never handed to the codecs at large, some of which are slow or
no character sets at all. Nothing here raises: a byte that means nothing becomes U+FFFD.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SNIFFED = 1024
"""Bytes in which a page's own `charset=` is looked for: what the WHATWG's encoding sniffing asks for."""

_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_MARKS = tuple(_BOMS)
_LABEL = re.compile(r"charset[ \t]*+=[ \t]*+[\"']?+[ \t]*+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_OWN_LABEL = re.compile(rb"(?:charset|encoding)\s{0,9}=\s{0,9}[\"']?\s{0,9}([a-z0-9_:.-]{1,40})")
"""In small letters: as the page's `meta` or its XML declaration says."""

_MORE_LABELS = {
    "win-1251": "windows-1251",
    "cp-1251": "windows-1251",
    "koi8r": "koi8-r",
    "tis620": "windows-874",
    "cp874": "windows-874",
}
"""Labels that old pages use, though the WHATWG Encoding Standard does not list them, to those that it lists."""

_NOT_OF_PAGES = ("replacement", "utf-16le", "utf-16be", "x-user-defined", "iso-2022-jp")
"""Encodings that no block page has, or that turn plain ASCII into something else."""

_SUPERSETS = {"gbk": "gb18030"}
"""Encodings whose superset the standard decodes in their place, which their codec in Python does not."""


def decode(body: bytes, content_type: str = "") -> str:
    """The text of `body`: by its byte order mark, else the charset of `content_type`, else the one that the page itself
    names, else as UTF-8, else as windows-1252, whose bytes at least are all kept apart."""
    if body.startswith(_MARKS):
        mark = next(mark for mark in _MARKS if body.startswith(mark))
        return body[len(mark) :].decode(_BOMS[mark], "replace")
    codec = ""
    if content_type and (label := _LABEL.search(content_type)):
        codec = _codec(label[1].lower())
    if not codec:
        start = body[:_SNIFFED].lower()
        # Most pages have neither word, which takes a tenth of the time to see.
        if (b"charset" in start or b"encoding" in start) and (own := _OWN_LABEL.search(start)):
            codec = _codec(own[1].decode())
    if codec:
        return body.decode(codec, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        cut = error.end == len(body) and error.reason == "unexpected end of data"  # in the middle of a character
        return body.decode("utf-8" if cut else "cp1252", "replace")


@lru_cache(maxsize=256)
def _codec(label: str) -> str:
    """Python's name of the codec for a label of the Encoding Standard; empty: there is none for pages."""
    import webencodings  # 5 to 10 ms, which a start without such a page does not need

    encoding = webencodings.lookup(_MORE_LABELS.get(label, label))
    if encoding is None or encoding.name in _NOT_OF_PAGES:
        return ""
    codec: str = encoding.codec_info.name
    return _SUPERSETS.get(encoding.name, codec)
