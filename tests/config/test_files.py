"""Whatever a path names, reading ends and says what is wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from proxy.config import files
from proxy.config.files import decode, decode_pieces, read_bytes, read_text, shown
from proxy.model.errors import ConfigError
from tests.support.rows import each_row

LIMIT = 1000


def fault(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path, limit=LIMIT)
    (problem,) = caught.value.problems
    assert problem.startswith(shown(path))
    return problem.removeprefix(shown(path))


def test_G1_text_with_a_mark_crlf_or_nothing_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for data, text in ((b"\xef\xbb\xbfa\r\nb", "a\r\nb"), (b"", ""), ("ж".encode(), "ж"), (b"x" * LIMIT, "x" * LIMIT)):
        file.write_bytes(data)
        assert read_text(file, limit=LIMIT) == text
        assert read_bytes(file, limit=LIMIT) == data


def test_G1_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert read_text(tmp_path / "link", limit=LIMIT) == "x"
    (tmp_path / "broken").symlink_to("nowhere")
    assert fault(tmp_path / "broken") == ": no such file"
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be opened" in fault(tmp_path / "loop")


def test_G1_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert fault(tmp_path / "pipe") == ": is a named pipe, not a file"
    assert fault(tmp_path) == ": is a folder, not a file"
    for device in ("/dev/zero", "/dev/null"):
        assert fault(Path(device)) == ": is a device, not a file"
    assert fault(tmp_path / "missing") == ": no such file"


def test_G1_a_nul_in_the_path() -> None:
    with pytest.raises(ConfigError, match=r"^a\\x00b: cannot be opened: .*embedded null"):
        read_text(Path("a\0b"), limit=LIMIT)


def test_G1_what_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "f"
    with file.open("wb") as large:
        large.truncate(10 * 1024 * 1024)
    assert fault(file) == ": is larger than 1,000 bytes; is this the right file?"


def test_G1_what_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for data, problem in (
        (b"a\nb\n\xff", ":3: is not UTF-8 text (byte 0xff); if it is text, save it as UTF-8"),
        (b"a\n\0", ":2: contains a NUL character; is this a text file?"),
        ("a".encode("utf-16"), ": is UTF-16 text; save it as UTF-8"),
        (gzip.compress(b"a"), ": is compressed with gzip; unpack it first"),
        (b"PK\x03\x04\x14", ": is a zip archive; unpack it first"),
        (
            b"SRS\x01x\x9c",
            ": is a binary rule-set of sing-box; take its source (.json), or run: sing-box rule-set decompile",
        ),
        (b"MRS\1\0\2", ": is a binary rule provider of mihomo; take its source (.yaml or .list)"),
        (
            b"\x28\xb5\x2f\xfd\4\0e\1\0\x94\1MRS\1",  # as mihomo writes it
            ": is compressed with zstd: of a binary rule provider of mihomo (.mrs) take the source (.yaml or .list); "
            "unpack anything else first",
        ),
        (
            b"\n\xa7\x03\n\x02CN\x12\x0d\x08\x02\x12\x09a.example",
            ": is a binary collection of lists (geosite.dat, geoip.dat) of V2Ray; take one of its lists as text",
        ),
        (b"\x7fELF\x80", ":1: is not UTF-8 text (byte 0x80); if it is text, save it as UTF-8"),
    ):
        file.write_bytes(data)
        assert fault(file) == problem


@each_row("text", ["MRS.example\n", "SRS\n", "SRS-1.example\n", "\na\n\bCN.example\n"])
def test_text_that_begins_like_another_kind_of_file_is_text(text: str) -> None:
    assert decode(Path("f"), text.encode()) == text


def test_G1_an_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    file.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        assert fault(file) == ": cannot be opened: permission denied"
    finally:
        os.seteuid(user)


def test_G10_a_path_that_is_not_utf_8_is_shown_printably(tmp_path: Path) -> None:
    assert shown(Path(os.fsdecode(b"caf\xe9 \x1b[31m\n"))) == "caf� \\x1b[31m\\n"
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 f"))
    file.write_text("x")
    assert read_text(file, limit=LIMIT) == "x"


def test_pieces_are_whole_lines_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIECE", 8)
    text = "\ufeffaéж\nb\r\n\r\nc\rdd\reeee\r\r\n" * 20 + "f"
    pieces = list(decode_pieces(Path("f"), text.encode()))
    assert "".join(pieces) == text.removeprefix("\ufeff")
    assert [line for piece in pieces for line in piece.splitlines()] == text.removeprefix("\ufeff").splitlines()
    assert all(len(piece.encode()) <= 8 + 12 for piece in pieces), "and the rest of a line"
    assert len(pieces) > 20


def test_what_is_no_text_is_told_with_its_line_in_a_later_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE", 8)
    file = tmp_path / "f"
    for last, problem in (
        (b"\xff", "is not UTF-8 text (byte 0xff); if it is text, save it as UTF-8"),
        (b"\0", "contains a NUL character"),
    ):
        file.write_bytes(b"12345\n" * 30 + b"1" + last)
        assert fault(file).startswith(f":31: {problem}")
