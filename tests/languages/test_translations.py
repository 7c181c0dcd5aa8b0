"""The catalogues hold every message of the source, translated whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from proxy.languages.catalogue import FORMS_COUNT, Message, read_messages
from proxy.languages.language import Language
from tests.languages.messages import FILES, SOURCE, Collected, collect, updated
from tests.support.rows import each_row

_VALUE = re.compile(r"\{[^}]*\}")
_COMMAND = re.compile(r"`[^`]*`|\bbyway(?: [\w-]+)+")
_CODE = re.compile(r"`([^`]*)`")


@pytest.fixture(scope="module")
def collected() -> list[Collected]:
    return collect()


def _read(language: Language) -> list[Message]:
    return list(read_messages(FILES[language].read_text(encoding="utf-8")))


@pytest.mark.parametrize("language", list(FILES))
def test_a_catalogue_has_the_messages_of_the_source(language: Language, collected: Sequence[Collected]) -> None:
    ours = {(each.context, each.message, each.plural) for each in _read(language)}
    source = {(each.context, each.message, each.plural) for each in collected}
    assert ours == source, "run `make messages`, and translate what is new"
    assert len(source) == len({(context, message) for context, message, _ in source}), "one with and without a number"


@pytest.mark.parametrize("language", list(FILES))
def test_every_message_is_translated(language: Language) -> None:
    missing = [each.message for each in _read(language) if len(each.translations) != _forms(language, each)]
    assert not missing
    assert not [each.message for each in _read(language) if each.fuzzy]


@pytest.mark.parametrize("language", list(FILES))
def test_translations_have_the_values_and_commands_of_their_message(language: Language) -> None:
    for each in _read(language):
        for translation in each.translations:
            assert not wrong(each, translation), (each.message, translation)


def test_a_wrong_translation_is_found() -> None:
    """The control: what the test above looks for."""
    message = Message("", "{count} of {all}: `byway run`.", "", (), fuzzy=False)
    assert not wrong(message, "{all}, {count}: `byway run`")
    for translation in ("{count}: `byway run`", "{count} {alle}: `byway run`", "{count} {all}: `byway ran`"):
        assert wrong(message, translation)
    assert wrong(Message("", "none", "", (), fuzzy=False), " нет")


def wrong(message: Message, translation: str) -> bool:
    """Whether a translation does not fit its message."""
    singular, plural = ({*_VALUE.findall(text)} for text in (message.message, message.plural or message.message))
    values = {*_VALUE.findall(translation)}
    return (
        not (values == plural or (message.plural and values in (singular, plural - {"{count}"})))
        or sorted(_CODE.findall(translation)) != sorted(_CODE.findall(message.plural or message.message))
        or translation != translation.strip()
    )


def _forms(language: Language, message: Message) -> int:
    return FORMS_COUNT[language] if message.plural else 1


_CALLS = {"_": 1, "pgettext": 2, "ngettext": 2}
"""How many of their first arguments are messages, or the context of one."""


def _unfit(source: str) -> list[str]:
    """The calls in a module whose message is no literal, so that nobody can translate it, and the phrases within
    f-strings: they become plain English, and before Python 3.12 Babel does not find them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            given = node.args[: _CALLS[node.func.id]]
            if not all(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in given):
                found.append(ast.unparse(node))
        if isinstance(node, ast.FormattedValue):
            found += [ast.unparse(inner) for inner in ast.walk(node.value) if _is_message(inner)]
    return found


def _is_message(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS


def test_every_message_is_a_literal_and_no_phrase_stands_in_an_f_string() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "proxy.model.phrase import" in text:
            assert _unfit(text) == [], path


def test_what_cannot_be_translated_is_found() -> None:
    """The control."""
    assert _unfit('_("a {b}", b=c)') == []
    assert _unfit("_(word)") == ["_(word)"]
    assert _unfit('_(f"{a}")') == ["_(f'{a}')"]
    assert _unfit("f\"{_('x')}\"") == ["_('x')"]
    assert _unfit("f\"{say(_('x'))}\"") == ["_('x')"]
    assert _unfit('ngettext("a", b, 2)') == ["ngettext('a', b, 2)"]


def test_messages_are_collected_from_python_and_from_templates(tmp_path: Path) -> None:
    folder = tmp_path / "proxy"
    (folder / "templates").mkdir(parents=True)
    (folder / "a.py").write_text('x = _("One {a}", a=1), pgettext("c", "one"), ngettext("{count} b", "{count} bs", 2)')
    (folder / "templates" / "t.html").write_text('<p title="{{ _("Two") }}">{{ _("One {a}", a=view.x) | prose }}</p>')
    found = collect(folder)
    assert [(each.context, each.message, each.plural) for each in found] == [
        ("", "One {a}", ""),
        ("c", "one", ""),
        ("", "{count} b", "{count} bs"),
        ("", "Two", ""),
    ]
    assert found[0].files == ("proxy/a.py", "proxy/templates/t.html")


def test_an_update_keeps_translations_and_drops_what_is_gone() -> None:
    header = 'msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=(n > 1);\\n"\n\n'
    old = header + 'msgid "a"\nmsgstr "b"\n\nmsgid "gone"\nmsgstr "x"\n'
    new = [Collected("", "a", "", ("a.py",)), Collected("", "{count} s", "{count} p", ("b.py",))]
    text = updated(Language.PERSIAN, new, old)
    assert [(each.message, each.translations) for each in read_messages(text)] == [("a", ("b",)), ("{count} s", ())]
    assert updated(Language.PERSIAN, new, text) == text


TERMS: Mapping[str, Mapping[Language, str]] = {
    r"relays?": {Language.RUSSIAN: "етрансл", Language.PERSIAN: "رله"},
    r"overrides?": {Language.RUSSIAN: "учн", Language.PERSIAN: "تنظیم"},
    r"captive portal": {Language.RUSSIAN: "ортал авторизации", Language.PERSIAN: "درگاه ورود"},
    r"certificates?": {Language.RUSSIAN: "ертификат", Language.PERSIAN: "گواهی"},
    r"block page": {Language.RUSSIAN: "траниц", Language.PERSIAN: "صفحهٔ مسدودسازی"},
    r"encrypted DNS": {Language.RUSSIAN: "ашифрованн", Language.PERSIAN: "رمزگذاری‌شده"},
    r"the log": {Language.RUSSIAN: "урнал", Language.PERSIAN: "رویدادنامه"},
    r"reports?": {Language.RUSSIAN: "тчёт", Language.PERSIAN: "گزارش"},
    r"addons?": {Language.RUSSIAN: "ополнени", Language.PERSIAN: "افزونه"},
}
"""A part of the one word that each language has for a term of the glossary."""


@each_row("language", list(FILES))
@each_row("term", TERMS)
def test_a_term_has_one_word_in_a_language(language: Language, term: str) -> None:
    word = TERMS[term][language]
    pattern = re.compile(rf"\b{term}\b", re.IGNORECASE)
    found = [each for each in _read(language) if pattern.search(_COMMAND.sub("", _VALUE.sub("", each.message)))]
    assert found
    for each in found:
        assert all(word in translation for translation in each.translations), (each.message, each.translations)
