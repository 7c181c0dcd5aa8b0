"""How phrases are said in a language, and how its catalogue is read: as Babel reads it."""

from __future__ import annotations

from io import BytesIO

import pytest
from babel import Locale
from babel.messages.pofile import read_po
from markupsafe import Markup, escape

from proxy.languages.catalogue import _FORMS, Catalogue, Message, catalogue, read_messages
from proxy.languages.language import Language
from proxy.model.phrase import _, commas, ngettext, pgettext
from tests.languages.messages import FILES
from tests.support.rows import each_row

RUSSIAN = Catalogue(
    Language.RUSSIAN,
    {
        ("", "{count} site"): ("{count} сайт", "{count} сайта", "{count} сайтов"),
        ("", "Open {site} by {route}."): ("Через {route} откройте {site}.",),
        ("faults", "none"): ("нет",),
        ("", "in {seconds:.1f} s"): ("через {seconds:.1f} с",),
    },
)
PERSIAN = Catalogue(
    Language.PERSIAN,
    {
        ("", "Run `byway why {site}` for {site}, {count} times."): ("برای {site} {count} بار `byway why {site}`.",),
        ("", "{first}, {rest}"): ("{first}، {rest}",),
    },
)
ENGLISH, PSEUDO = catalogue(Language.ENGLISH), catalogue(Language.PSEUDO)


def test_the_order_of_values_is_that_of_the_language() -> None:
    assert RUSSIAN.say(_("Open {site} by {route}.", site="a.example", route="tor")) == "Через tor откройте a.example."


def test_a_context_tells_equal_messages_apart() -> None:
    assert RUSSIAN.say(pgettext("faults", "none")) == "нет"
    assert RUSSIAN.say(_("none")) == "none", "without a translation it is English"


def test_numbers_are_written_as_the_language_writes_them() -> None:
    assert RUSSIAN.say(_("in {seconds:.1f} s", seconds=1.25)) == "через 1,2 с"
    assert PERSIAN.say(_("{count} of {all}", count=12, all=345.5)) == "۱۲ of ۳۴۵٫۵"
    assert RUSSIAN.say(ngettext("{count} site", "{count} sites", 21)) == "21 сайт"


@each_row("language", list(_FORMS))
def test_plural_forms_are_those_of_the_cldr(language: Language) -> None:
    """Babel's data has more categories than forms are used: decimals have one of their own."""
    chosen = Locale.parse(language.replace("-XA", "")).plural_form
    for count in range(300):
        category = {"one": 0, "few": 1, "many": 2, "other": 1}[chosen(count)]
        assert _FORMS[language](count) == category, count


def test_phrases_in_phrases_are_said_too() -> None:
    inner = ngettext("{count} site", "{count} sites", 3)
    assert RUSSIAN.say(_("Open {site} by {route}.", site=inner, route="x")) == "Через x откройте 3 сайта."
    assert PERSIAN.say(commas(["a", "b"])) == "\u2068a\u2069، \u2068b\u2069"


def test_a_value_keeps_its_direction_and_a_command_stays_as_it_is_typed() -> None:
    said = PERSIAN.say(_("Run `byway why {site}` for {site}, {count} times.", site="a.example", count=2))
    assert said == "برای \u2068a.example\u2069 ۲ بار `byway why a.example`."


def test_text_from_outside_is_never_translated() -> None:
    assert RUSSIAN.say("none") == "none"
    assert PSEUDO.say("a {b} <c>") == "a {b} <c>"


def test_values_are_escaped_and_markup_stays() -> None:
    for spoken in (ENGLISH, RUSSIAN, PERSIAN, PSEUDO):
        said = spoken.say(_("<{a}> & {b}", a="<script>", b=Markup("<b>x</b>")), escape=escape)
        assert isinstance(said, Markup)
        assert "<script>" not in said
        assert "&lt;script&gt;" in said
        assert "<b>x</b>" in said
        assert "&lt;" in said[:6]


def test_the_pseudo_locale_changes_all_letters_but_those_of_values_and_commands() -> None:
    said = PSEUDO.say(_("Run `byway why {site}` for {site}", site="x.example"))
    assert said == "⟦Ŕûñ `byway why x.example` ƒöŕ \u2068x.example\u2069 ·⟧"
    assert PSEUDO.say(_("{first}, {rest}", first="a", rest="b")) == "\u2068a\u2069, \u2068b\u2069"


@pytest.mark.parametrize("language", list(FILES))
def test_a_catalogue_is_read_as_babel_reads_it(language: Language) -> None:
    text = FILES[language].read_text(encoding="utf-8")
    theirs = read_po(BytesIO(text.encode()))
    expected = {(it.context or "", it.id if isinstance(it.id, str) else it.id[0], it.string) for it in theirs if it.id}
    ours = {
        (each.context, each.message, each.translations if each.plural else each.translations[0])
        for each in read_messages(text)
        if each.translations
    }
    assert ours == {(context, id_, tuple(text) if isinstance(text, list) else text) for context, id_, text in expected}
    assert theirs.num_plurals == {Language.RUSSIAN: 3, Language.PERSIAN: 2}[language]


def test_the_format_of_a_catalogue() -> None:
    text = (
        'msgid ""\nmsgstr "Language: ru\\n"\n\n'
        '#: a.py\n#, python-brace-format, fuzzy\nmsgid "a"\nmsgstr "b"\n\n'
        'msgctxt "c"\nmsgid ""\n"one "\n"\\"two\\"\\n"\nmsgstr "x"\n\n'
        'msgid "{count} s"\nmsgid_plural "{count} p"\nmsgstr[0] "1"\nmsgstr[1] ""\n\n'
        '#~ msgid "gone"\n#~ msgstr "weg"\n\n'
        'msgid "last"\nmsgstr "z"'
    )
    assert list(read_messages(text)) == [
        Message("", "a", "", (), fuzzy=True),
        Message("c", 'one "two"\n', "", ("x",), fuzzy=False),
        Message("", "{count} s", "{count} p", (), fuzzy=False),
        Message("", "last", "", ("z",), fuzzy=False),
    ]


@each_row("line", ["msgid a", '"lost"', "words", 'msgid "a" b'])
def test_what_is_no_catalogue_is_told_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not of a catalogue"):
        list(read_messages(f"# a comment\n{line}\n"))
