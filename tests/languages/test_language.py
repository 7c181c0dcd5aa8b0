"""Which language somebody wants: the setting first, then the browser or the terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.languages.language import Language, language_of_browser, language_of_terminal
from tests.support.rows import each_row


@each_row(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("fa-IR,fa;q=0.9,en;q=0.8", "fa"),
        ("RU-ru", "ru"),
        ("de,kk;q=0.9,ru;q=0.5,en;q=0.3", "ru"),
        ("en;q=0.5, fa;q=0.9", "fa"),
        ("ru;q=0, en", "en"),
        ("ru;q=x", "en"),
        ("en-GB,ru;q=0.9", "en"),
        ("en-XA", "en-XA"),
        ("en-US", "en"),
        ("de, *", "en"),
        (",;;q,=,", "en"),
        ("de," * 400 + "ru", "en"),
    ],
)
def test_the_first_language_of_ours_that_a_browser_accepts(accepted: str, language: str) -> None:
    assert language_of_browser("", accepted) == language


@given(st.text())
def test_any_header_gives_a_language(accepted: str) -> None:
    assert language_of_browser("", accepted) in Language


@each_row(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "fa_IR"}, "fa"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "fa_IR", "LC_ALL": "C"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": ""}, "ru"),
        ({"LANG": "fa@calendar"}, "fa"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_of_a_terminal(environment: dict[str, str], language: str) -> None:
    assert language_of_terminal("", environment) == language


@each_row("setting", list(Language))
def test_the_setting_is_first(setting: Language) -> None:
    assert language_of_browser(setting, "ru, fa;q=0.5") is setting
    assert language_of_terminal(setting, {"LC_ALL": "ru_RU.UTF-8"}) is setting


def test_persian_alone_is_written_from_right_to_left() -> None:
    assert {language.direction for language in Language if language is not Language.PERSIAN} == {"ltr"}
    assert Language.PERSIAN.direction == "rtl"
