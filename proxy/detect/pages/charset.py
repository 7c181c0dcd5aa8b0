"""The text of a page, whatever bytes it came in.

Block pages are old: many are windows-1251, koi8-r or windows-874, and some say so only inside themselves. A label is
looked up in a table, never handed to the codecs at large, some of which are slow or no character sets at all. Nothing
here raises: a byte that means nothing becomes U+FFFD.
"""

from __future__ import annotations

import re

_SNIFFED = 1024
"""Bytes in which a page's own `charset=` is looked for: what the WHATWG's encoding sniffing asks for."""

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_LABEL = re.compile(r"charset[ \t]*=[ \t]*[\"']?[ \t]*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_OWN_LABEL = re.compile(rb"(?:charset|encoding)\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)

# The labels of the WHATWG Encoding Standard that pages use, to Python's names. As there, a superset stands for its
# subset: windows-1252 for ISO-8859-1, windows-874 for TIS-620, gb18030 for GB2312.
_CODECS = {
    **dict.fromkeys(("utf-8", "utf8", "unicode-1-1-utf-8"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "us-ascii", "ascii", "windows-1252", "cp1252"), "cp1252"),
    **dict.fromkeys(("windows-1251", "cp1251", "win-1251", "x-cp1251", "cp-1251"), "cp1251"),
    **dict.fromkeys(("koi8-r", "koi8r", "koi8", "koi"), "koi8_r"),
    **dict.fromkeys(("koi8-u", "koi8-ru"), "koi8_u"),
    **dict.fromkeys(("windows-874", "tis-620", "tis620", "iso-8859-11", "cp874"), "cp874"),
    **dict.fromkeys(("ibm866", "cp866", "866"), "cp866"),
    **dict.fromkeys(("windows-1250", "cp1250"), "cp1250"),
    **dict.fromkeys(("windows-1253", "cp1253"), "cp1253"),
    **dict.fromkeys(("windows-1254", "cp1254", "iso-8859-9", "latin5"), "cp1254"),
    **dict.fromkeys(("windows-1255", "cp1255", "iso-8859-8-i"), "cp1255"),
    **dict.fromkeys(("windows-1256", "cp1256"), "cp1256"),
    **dict.fromkeys(("windows-1257", "cp1257"), "cp1257"),
    **dict.fromkeys(("windows-1258", "cp1258"), "cp1258"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "x-gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "ksc5601", "windows-949"), "cp949"),
    **dict.fromkeys(("euc-jp", "x-euc-jp"), "euc_jp"),
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}


def decode(body: bytes, content_type: str = "") -> str:
    """The text of `body`: by its byte order mark, else the charset of `content_type`, else the one that the page itself
    names, else as UTF-8, else as windows-1252, whose bytes at least are all kept apart."""
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    codec = _declared(content_type) or _own(body)
    if codec:
        return body.decode(codec, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        cut = error.end == len(body) and error.reason == "unexpected end of data"  # in the middle of a character
        return body.decode("utf-8" if cut else "cp1252", "replace")


def _declared(content_type: str) -> str:
    label = _LABEL.search(content_type)
    return _CODECS.get(label[1].lower(), "") if label else ""


def _own(body: bytes) -> str:
    """As the page's `meta` or its XML declaration says."""
    label = _OWN_LABEL.search(body, 0, _SNIFFED)
    return _CODECS.get(label[1].decode().lower(), "") if label else ""
