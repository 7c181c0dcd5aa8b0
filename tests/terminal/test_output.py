"""What is printed, in which form, and what never reaches a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.terminal import output
from proxy.terminal.output import Output
from proxy.wire.inert_text import inert
from tests.support.rows import each_row


@each_row(
    ("text", "shown"),
    [
        ("example.org", "example.org"),
        ("пример ✓ →", "пример ✓ →"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\tb\nc\rd\x00", "a\\tb\\nc\\rd\\x00"),
        ("\u202eevil", "\\u202eevil"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\u2028", "\\u2028"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("socks5h://u:secret@h:1", "socks5h://u:***@h:1"),
    ],
)
def test_C10_what_could_act_on_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert inert(text) == shown


@given(st.text())
def test_C10_nothing_invisible_is_left(text: str) -> None:
    shown = inert(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)
    shown.encode()  # a lone surrogate would not go out


def test_elsewhere_than_on_a_terminal_lines_are_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("host", "port"), [("a\tb", 1), ("c", None), ("d", 0.5)])
    assert capsys.readouterr().out == "host\tport\na\\tb\t1\nc\t\nd\t0.5\n"


def test_an_empty_table_has_its_header_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("host",), [], empty="Nothing.")
    assert capsys.readouterr() == ("host\n", "Nothing.\n")
    Output(quiet=True).table(("host",), [], empty="Nothing.")
    assert capsys.readouterr() == ("host\n", "")


def test_on_a_terminal_there_are_columns_without_boxes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    Output().table(("host", "port"), [("[bold]x[/bold]\x1b[2J", 1)])
    Output().table(("host",), [], empty="Nothing.")
    said = capsys.readouterr()
    assert "[bold]x[/bold]\\x1b[2J  1" in said.out  # neither markup nor escapes act
    assert "\t" not in said.out
    assert "│" not in said.out
    assert said.err == "Nothing.\n"


def test_plain_is_plain_on_a_terminal_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Output(plain=True).table(("host", "port"), [("x", 1)])
    assert capsys.readouterr().out == "host\tport\nx\t1\n"


def test_json_is_one_ascii_line_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).document({"version": 2, "host": "\x1b\u202e"})
    said = capsys.readouterr().out
    assert said.isascii()
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert json.loads(said)["host"] == "\x1b\u202e"


def test_nothing_fails_without_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    Output().table(("a",), [("b",)])
    Output().document({})
    output.say("x")
