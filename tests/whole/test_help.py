"""What help shows, and how a value that an option cannot take is refused."""

from __future__ import annotations

import re

import pytest

from tests.support.command_line import Byway
from tests.support.rows import each_row
from tests.whole.test_commands import COMMANDS

PYTHON = re.compile(r"<[a-z]|\b(int|str|float|bool) range|list\[|<=x|\(dynamic\)|\[\[|…\]")


@each_row("words", ["", "log", "relay", "rule", "site", "addons", "config", "ca", *COMMANDS])
def test_help_shows_what_a_person_types_and_no_type_of_pythons(byway: Byway, words: str) -> None:
    ran = byway(*words.split(), "--help")
    assert ran.code == 0
    assert not PYTHON.search(ran.out), ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_arguments_are_named_by_their_own_words(byway: Byway) -> None:
    assert byway("test", "--help").out.startswith("Usage: byway test [OPTIONS] [URL]...\n")
    assert byway("site", "set", "--help").out.startswith("Usage: byway site set [OPTIONS] SITE ACTION\n")
    assert "--port PORT" in byway("run", "--help").out


@pytest.mark.parametrize("words", ["", "help", "-h", "--help"])
def test_byway_alone_prints_the_help_and_ends_with_0(byway: Byway, words: str) -> None:
    ran = byway(*words.split())
    assert (ran.code, ran.err) == (0, "")
    assert "  status " in ran.out


def test_help_of_one_command(byway: Byway) -> None:
    assert byway("help", "site", "set").out == byway("site", "set", "--help").out
    ran = byway("help", "odd")
    assert ran.code == 2
    assert "No such command 'odd'" in ran.err


@each_row(
    ("words", "sentence"),
    [
        ("log --limit x", '"x" is not a whole number from 1 to 10000'),
        ("log --limit 0", '"0" is not a whole number from 1 to 10000'),
        ("run --port 99999", '"99999" is not a whole number from 0 to 65535'),
        ("test --jitter nan x.org", '"nan" is not a number from 0 to 60'),
        ("report --format oni", 'unknown value "oni"; did you mean ooni?'),
        ("report --redact some", 'unknown value "some"; it can be full, relay or none'),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(byway: Byway, words: str, sentence: str) -> None:
    ran = byway(*words.split())
    assert ran.code == 2
    assert sentence in ran.err
    assert "Input should" not in ran.err
    assert "Value error" not in ran.err


@each_row("words", COMMANDS)
def test_verbose_is_a_flag_of_every_command(byway: Byway, words: str) -> None:
    assert "-v, --verbose  Verbose output (-vv: debug)." in byway(*words.split(), "--help").out


def test_verbose_names_the_instance_and_debug_shows_where_an_error_arose(byway: Byway) -> None:
    ran = byway("status", "-vv")
    assert ran.code == 3
    assert "Traceback" in ran.err
    assert "Traceback" not in byway("status", "-v").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("service start", "there is no `byway service start`; there is install, uninstall or status"),
        ("service stauts", "there is no `byway service stauts`; there is install, uninstall or status"),
        ("config sett log.keep_days", "there is show, set, unset, check, path, export or import"),
        ("odd", "No such command 'odd'"),
    ],
)
def test_a_command_that_there_is_not_is_answered_with_those_there_are(byway: Byway, words: str, said: str) -> None:
    ran = byway(*words.split())
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("relay", "add", "socks5://u:pa", "s3cret@h.test:1080"),
        ("relay", "add", "socks5://u:pa", "s3cret", "x@h.test:1080", "--no-test"),
        ("relay", "add", "h.test:1080:u:pa", "s3cret"),
        ("relay", "add", "socks5://u:pa", "-s3cret@h.test:1080"),
        ("relay", "add", "socks5://u:pa", "--s3cret@h.test:1080"),
    ],
)
def test_the_rest_of_a_url_that_a_space_cut_is_not_repeated(byway: Byway, words: tuple[str, ...]) -> None:
    ran = byway(*words)
    assert ran.code == 2
    assert "needs quotation marks" in ran.err
    assert "s3cret" not in ran.out + ran.err


def test_an_unknown_option_beside_a_url_is_named(byway: Byway) -> None:
    ran = byway("relay", "add", "socks5://u:p@h.test:1080", "--nam", "x")
    assert "No such option: --nam" in ran.err
