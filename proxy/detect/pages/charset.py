"""Decodes the text of a page in any encoding.

Block pages are old: many are in windows-1251, koi8-r or windows-874, and some name it only in the page. A label is
looked up in the table of the WHATWG Encoding Standard, and not in all of Python's codecs, some of which are slow or not
character sets. Nothing here raises: an invalid byte becomes U+FFFD.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SNIFFED = 1024
"""Bytes of a page in which its own `charset=` is searched, as in the WHATWG's encoding sniffing."""

_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_MARKS = tuple(_BOMS)
_LABEL = re.compile(r"charset[ \t]*+=[ \t]*+[\"']?+[ \t]*+([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_OWN_LABEL = re.compile(rb"(?:charset|encoding)\s{0,9}=\s{0,9}[\"']?\s{0,9}([a-z0-9_:.-]{1,40})")
"""The label in the page's `meta` or XML declaration, in lower case."""

_MORE_LABELS = {
    "win-1251": "windows-1251",
    "cp-1251": "windows-1251",
    "koi8r": "koi8-r",
    "tis620": "windows-874",
    "cp874": "windows-874",
}
"""Labels of old pages that the WHATWG Encoding Standard does not have → labels that it has."""

_NOT_OF_PAGES = ("replacement", "utf-16le", "utf-16be", "x-user-defined", "iso-2022-jp")
"""Encodings that no block page has, or that do not keep plain ASCII."""

_SUPERSETS = {"gbk": "gb18030"}
"""Encodings in whose place the standard decodes a superset, unlike Python's codecs."""


def decode(body: bytes, content_type: str = "") -> str:
    """Returns the text of `body`. The encoding is that of its byte order mark, else the charset of `content_type`, else
    the one that the page names, else UTF-8, else windows-1252, in which different bytes stay different."""
    if body.startswith(_MARKS):
        mark = next(mark for mark in _MARKS if body.startswith(mark))
        return body[len(mark) :].decode(_BOMS[mark], "replace")
    codec = ""
    if content_type and (label := _LABEL.search(content_type)):
        codec = _codec(label[1].lower())
    if not codec:
        start = body[:_SNIFFED].lower()
        # Most pages have neither word. This test takes a tenth of the time of the expression.
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
    """Returns Python's name of the codec for a label of the Encoding Standard; empty: there is none for pages."""
    import webencodings  # takes 5 to 10 ms, and a start does not need it

    encoding = webencodings.lookup(_MORE_LABELS.get(label, label))
    if encoding is None or encoding.name in _NOT_OF_PAGES:
        return ""
    codec: str = encoding.codec_info.name
    return _SUPERSETS.get(encoding.name, codec)
