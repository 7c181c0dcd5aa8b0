"""What `byway relay add` is given: one URL, or lines of a file."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import pytest

from proxy.config.edit import NewRelay
from proxy.features.relays.input import FILE_LIMIT, ask_password, read_given, read_piped, subscription_in
from proxy.model.errors import ConfigError
from proxy.terminal.exit_codes import Misused
from tests.support.rows import each_row


@each_row(
    ("text", "expected"),
    [
        ("socks5://h:1", NewRelay("socks5://h:1")),
        (" h:1 ", NewRelay("socks5h://h:1")),
        ("socks5://h:1 #a name", NewRelay("socks5://h:1", label="a name")),
        ("a>socks5://h:1#x", NewRelay("a>socks5://h:1", label="x")),
        ("socks5://h:1#x>b", NewRelay("socks5://h:1>b")),
        ("a>b", NewRelay("a>b")),
        ("tg://socks?server=h&port=1", NewRelay("socks5h://h:1")),
    ],
)
def test_one_url(text: str, expected: NewRelay) -> None:
    given = read_given(text)
    assert given.relays == (expected,)
    assert given.problems == ()
    assert given.from_arguments


@each_row(
    ("text", "sentence"),
    [
        ("tor", "the port is missing"),
        ("a>>b", "a chain of relays has a name or a URL on each side of every >"),
        ("a>socks5://h:x", "the port must be a number"),
        ("relays.txt", "there is no file relays.txt; as a URL of a relay: the port is missing"),
        ("relays.yaml", "there is no file relays.yaml; as"),
        ("folder/relays", "there is no file folder/relays; as a URL of a relay: "),
        ("a" * 300, "the port is missing"),
    ],
)
def test_what_is_none(text: str, sentence: str) -> None:
    with pytest.raises(Misused, match=r".") as caught:
        read_given(text)
    assert sentence in str(caught.value)


def test_a_base64_bundle_is_taken_as_it_is(tmp_path: Path) -> None:
    bundle = base64.b64encode(b"trojan://pw@h.example:443#One\nsocks5h://h.example:1#Two\nsnell://x\n").decode()
    relays = (NewRelay("trojan://pw@h.example:443", label="One"), NewRelay("socks5h://h.example:1", label="Two"))
    given = read_given(bundle)
    assert (given.relays, given.from_arguments) == (relays, True)
    assert given.problems == ("the bundle: number 3: Snell is not supported",)
    (file := tmp_path / "bundle.txt").write_text(f"{bundle}\n")
    given = read_given(str(file))
    assert (given.relays, given.from_arguments) == (relays, False)
    assert given.problems == (f"{file}: number 3: Snell is not supported",)


def test_lines_of_a_file_with_windows_ends_and_a_mark_of_order(tmp_path: Path) -> None:
    file = tmp_path / "relays.txt"
    file.write_bytes("\ufeffsocks5://h:1\r\n\r\n// no\r\n\thttp://h:2\t# yes\r\nnonsense\r\n".encode())
    given = read_given(str(file))
    assert given.relays == (NewRelay("socks5://h:1"), NewRelay("http://h:2"))
    assert given.problems == (
        f"{file}:5: the port is missing: write socks5h://HOST:PORT, for example socks5h://HOST:1080",
    )
    assert not given.from_arguments


def test_a_url_is_one_also_where_a_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "socks5:").mkdir()
    (tmp_path / "socks5:" / "h:1").write_text("socks5://other:1\n")
    monkeypatch.chdir(tmp_path)
    assert read_given("socks5://h:1").relays == (NewRelay("socks5://h:1"),)


def test_what_is_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "relays.txt"
    file.write_text("#" * (FILE_LIMIT + 1))
    with pytest.raises(ConfigError, match=r"relays\.txt"):
        read_given(str(file))
    monkeypatch.setattr(sys, "stdin", io.StringIO("#" * (FILE_LIMIT + 1)))
    with pytest.raises(ConfigError, match="standard input: no relay URL in it"):
        read_given("-", piped=read_piped("-"))


def test_nobody_is_asked_without_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    new = NewRelay("https://me@h")
    assert ask_password(new) is new


@each_row(
    ("text", "address"),
    [
        ("https://shop.example/sub/TOKEN", "https://shop.example/sub/TOKEN"),
        (" https://shop.example/sub/TOKEN?a=1\r\n", "https://shop.example/sub/TOKEN?a=1"),
        ("\u200b“https://shop.example/sub/TOKEN”", "https://shop.example/sub/TOKEN"),
        ("ssconf://shop.example/sub/TOKEN#Mine\n", "https://shop.example/sub/TOKEN"),
        ("https://shop.example/a\nhttps://shop.example/b", ""),
        ("https://shop.example", ""),
        ("http://shop.example/sub/TOKEN", ""),
        ("https://t.me/socks?server=h.example&port=1", ""),
        ("socks5h://h.example:1", ""),
        ("", ""),
    ],
)
def test_what_is_the_address_of_a_subscription(text: str, address: str) -> None:
    assert subscription_in(text) == address
