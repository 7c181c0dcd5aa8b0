"""Every word that people read about a site stands in docs/glossary.md, on a line of its own."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.detect.verdict import labels as words
from proxy.detect.verdict.site_status import SiteStatus
from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model import Action, Cause, Stage
from tests.support.rows import each_row

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text("utf-8")
DEFINED = re.findall(r"^\* (?:(\S) )?\*\*(.+?)\*\*(?: \(.+?\))?: \S", GLOSSARY, re.MULTILINE)


PLAIN = re.findall(r"^\| ([A-Z][^|]+?) \| [^|]+ \| ([^|]+?) \| ([^|]+?) \|$", GLOSSARY, re.MULTILINE)


def test_every_plain_word_for_a_cause_has_one_word_in_each_language() -> None:
    russian, persian = catalogue(Language.RUSSIAN), catalogue(Language.PERSIAN)
    used = dict.fromkeys(words.plain_cause(cause) for cause in Cause if cause)
    assert sorted(PLAIN) == sorted((word, russian.say(word), persian.say(word)) for word in used)
    for column in zip(*PLAIN, strict=True):
        assert len(set(column)) == len(used)


def test_every_line_defines_one_word_once() -> None:
    lines = [line for line in GLOSSARY.splitlines() if line.startswith("* ")]
    assert len(lines) == len(DEFINED)
    assert len({word for _, word in DEFINED if word not in ("no network",)}) == len(lines) - 2  # a status and a cause


@each_row("status", SiteStatus)
def test_every_status_with_its_glyph(status: SiteStatus) -> None:
    assert (status.glyph, str(status)) in DEFINED


TRANSLATED = re.findall(r"^\| (\S) (.+?) \| (.+?) \| (.+?) \|$", GLOSSARY, re.MULTILINE)


def test_every_status_has_one_word_in_each_language() -> None:
    """The catalogues say exactly what the glossary does, and no two statuses the same."""
    russian, persian = catalogue(Language.RUSSIAN), catalogue(Language.PERSIAN)
    said = [(it.glyph, str(it), russian.say(it.in_words), persian.say(it.in_words)) for it in SiteStatus]
    assert said == TRANSLATED
    for column in list(zip(*said, strict=True))[1:]:
        assert len(set(column)) == len(SiteStatus)


@each_row("cause", sorted(words._CAUSES))
def test_every_cause(cause: str) -> None:
    assert ("", words.cause_in_words(cause)) in DEFINED


@each_row("stage", Stage)
def test_every_stage(stage: Stage) -> None:
    assert ("", words.stage_in_words(stage)) in DEFINED


@each_row("action", Action)
def test_every_action(action: Action) -> None:
    assert ("", str(action)) in DEFINED


@each_row("term", ["ClientHello", "SNI", "encrypted DNS", "TLS interception", "override", "hedging",
                                  "residual blocking", "captive portal", "relay", "route", "plan", "flight", "signal",
                                  "scope", "network", "rule", "attempt", "outcome", "belief"])  # fmt: skip
def test_every_term_of_the_design(term: str) -> None:
    assert ("", term) in DEFINED


def test_words_of_the_code_name_what_there_is() -> None:
    sources = "".join(path.read_text("utf-8") for path in (Path(__file__).parents[2] / "proxy").rglob("*.py"))
    classes = re.findall(r"^\* \*\*.+?\*\* \(`(\w+)(?:\.(\w+))?`\)", GLOSSARY, re.MULTILINE)
    assert len(classes) > 15
    for name, field in classes:
        assert re.search(rf"^class {name}\b", sources, re.MULTILINE), name
        assert not field or re.search(rf"^    {field}: ", sources, re.MULTILINE), field
