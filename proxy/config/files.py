"""Reads the user's files with bounded time and memory, and reports their faults.

A path may lead to a folder, a pipe, a device or ten gigabytes: opening does not block, and reading has a limit.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from proxy.model.errors import ConfigError, reason_of

PIECE = 24 * 1024
"""Bytes of a piece of text. A list parser takes a millisecond for one."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

_NO_TEXT = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "is a zip archive; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed with zstd: of a binary rule provider of mihomo (.mrs) take the source (.yaml or .list); unpack "
        "anything else first",
    ),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (
        tuple(b"SRS%c" % version for version in range(1, 10)),
        "is a binary rule-set of sing-box; take its source (.json), or run: sing-box rule-set decompile",
    ),
    (b"MRS\1", "is a binary rule provider of mihomo; take its source (.yaml or .list)"),
    (b"SQLite format 3\0", "is a database, not a text file"),
)
"""The first bytes of other file formats, some of which contain lines of text, and the rest of the error message."""

_V2RAY = rb"\n[\x80-\xff]{0,4}[\0-\x7f]\n[\1-\x40][!-~]{1,64}\x12"
"""The first bytes of a geosite.dat or geoip.dat (protobuf): a list, and in it its name and its first entry."""


def shown(path: Path) -> str:
    """Returns the path for messages, with escapes for characters that are not printable."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Returns the content of a regular file of at most `limit` bytes. Follows symbolic links. Raises ConfigError."""
    return read_file(path, limit=limit)[0]


def read_file(path: Path, *, limit: int) -> tuple[bytes, os.stat_result]:
    """As `read_bytes`; also returns the status of the file that was read."""
    try:
        # O_NONBLOCK: opening a FIFO without a writer would wait for one.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise ConfigError(f"{shown(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"{shown(path)}: cannot be opened: {_reason(error)}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
            raise ConfigError(f"{shown(path)}: is {kind}, not a file")
        data = _read(descriptor, limit + 1, at_once=status.st_size + 1)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ConfigError(f"{shown(path)}: is larger than {limit:,} bytes; is this the right file?")
    return data, status


def read_own_file(path: Path, *, limit: int, of_this_user: bool = False) -> bytes:
    """Returns at most `limit` bytes of a file that Byway wrote, such as one of the state folder. Does not wait for a
    pipe. Raises FileNotFoundError when it is missing, and OSError when it is no regular file or cannot be read, with
    `of_this_user` also when it belongs to another user or others may write to it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
            raise OSError(errno.EINVAL, f"is {kind}, not a file")
        if of_this_user and os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise OSError(errno.EPERM, "is not of this user alone")
        return _read(descriptor, limit, at_once=status.st_size + 1)
    finally:
        os.close(descriptor)


def read_text(path: Path, *, limit: int) -> str:
    """Reads a file as `read_bytes` does. Returns its UTF-8 text without a byte order mark. Raises ConfigError, with the
    line for bytes that are not text."""
    return decode(path, read_bytes(path, limit=limit))


def decode(path: Path, data: bytes) -> str:
    """Returns the content of a file as text. Raises ConfigError, with the line, for bytes that are not text."""
    return "".join(decode_pieces(path, data))


def decode_pieces(path: Path, data: bytes, *, pause_s: float = 0.0) -> Iterator[str]:
    """Yields the content of a file as text, in pieces of whole lines: decoding or parsing a piece blocks the other
    threads. Sleeps `pause_s` after each piece, so that they get their turn. Raises ConfigError, with the line, for
    bytes that are not text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{shown(path)}: is UTF-16 text; save it as UTF-8")
    if kind := next((sentence for begins, sentence in _NO_TEXT if data.startswith(begins)), ""):
        raise ConfigError(f"{shown(path)}: {kind}")
    if data.startswith(b"\n") and re.match(_V2RAY, data):
        told = "is a binary collection of lists (geosite.dat, geoip.dat) of V2Ray; take one of its lists as text"
        raise ConfigError(f"{shown(path)}: {told}")
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    while start < len(data):
        end = _end_of_line(data, start + PIECE)
        try:
            text = data[start:end].decode()
        except UnicodeDecodeError as error:
            place = start + error.start
            line = data.count(b"\n", 0, place) + 1
            raise ConfigError(
                f"{shown(path)}:{line}: is not UTF-8 text (byte 0x{data[place]:02x}); if it is text, save it as UTF-8"
            ) from None
        if "\0" in text:
            line = data.count(b"\n", 0, data.index(b"\0", start)) + 1
            raise ConfigError(f"{shown(path)}:{line}: contains a NUL character; is this a text file?")
        yield text
        if pause_s:
            time.sleep(pause_s)
        start = end


def _end_of_line(data: bytes, place: int) -> int:
    """Returns the offset of the line after the one at `place`. A whole file may be one line, and `find` takes a tenth
    of the time of a regular expression."""
    line_feed = data.find(b"\n", place)
    end = line_feed if line_feed >= 0 else len(data)
    carriage_return = data.find(b"\r", place, end)
    if carriage_return >= 0 and carriage_return + 1 != line_feed:
        return carriage_return + 1
    return end + 1 if line_feed >= 0 else end


def _read(descriptor: int, limit: int, *, at_once: int) -> bytes:
    """Returns at most `limit` bytes, also of a file that grows while it is read. The first call reads `at_once` bytes,
    the size of the file: joining pieces blocks the other threads."""
    pieces, remaining = [], limit
    while remaining > 0:
        piece = os.read(descriptor, min(remaining, at_once))
        if not piece:
            break
        pieces.append(piece)
        remaining -= len(piece)
    return b"".join(pieces)


def _reason(error: Exception) -> str:
    return reason_of(error) if isinstance(error, OSError) else str(error)
