"""`why`, `status`, `doctor` and `report` speak the language of the terminal; what programs read is English."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from proxy.languages.catalogue import catalogue
from proxy.languages.language import Language
from proxy.model.phrase import _
from proxy.terminal.output import Output
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import rescued

BLOG = "blog.example.net"

_RUSSIAN = re.compile("[а-я]")


@pytest.fixture
def russian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "ru_RU.UTF-8")


@pytest.mark.uses("sites", "today")
@pytest.mark.usefixtures("person", "russian")
def test_status_speaks_the_language_of_the_terminal(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    out = byway("status").out
    assert "Проблемные сайты в этой сети" in out
    assert re.search(r"~ вероятно,.*\n +заблокирован ", out)
    assert "2 открытых соединения" in out
    assert BLOG in out


@pytest.mark.uses("sites", "traffic")
@pytest.mark.usefixtures("person", "russian")
def test_why_says_what_the_running_byway_found_in_the_language_of_the_terminal(byway: Byway, running: Running) -> None:
    ran = byway("why", "never.example")
    lines = ran.out.splitlines()
    assert lines[0] == "↓ сайт не работает: https://never.example/"
    assert "причина   Не открывается ничем" in lines
    assert any(line.startswith("direct ") and "✗ соединение TCP: nobody answers" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "измерено" in byway("why", "never.example", "-vv").out


@pytest.mark.uses("doctor")
@pytest.mark.usefixtures("person", "russian")
def test_doctor_speaks_the_language_of_the_terminal(byway: Byway) -> None:
    ran = byway("doctor")
    assert _RUSSIAN.search(ran.out + ran.err)
    assert "Byway не запущен" in ran.err


@pytest.mark.uses("today")
@pytest.mark.usefixtures("person", "russian")
def test_a_command_fails_in_the_language_of_the_terminal(byway: Byway) -> None:
    ran = byway("status")
    assert ran.code == 3
    assert ran.err.startswith("byway: Byway не запущен")
    assert "Byway is not running" in byway("status", "--json").err


@pytest.mark.uses("sites")
@pytest.mark.usefixtures("person")
def test_a_persian_terminal_gets_no_escapes_of_ours(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "fa_IR.UTF-8")
    out = byway("why", "never.example").out
    assert out.startswith("↓ سایت از کار افتاده: https://never.example/")
    assert "\\u" not in out


@pytest.mark.uses("sites", "today")
@pytest.mark.usefixtures("person", "russian")
def test_text_from_outside_is_inert_in_every_language(byway: Byway, running: Running) -> None:
    running.see(rescued(host="evil\u202e.example.org", at=time.time()))
    out = byway("status").out
    assert "\u202e" not in out
    assert "\\u202e" in out


def test_values_of_a_phrase_are_inert_and_the_joiners_of_persian_stay() -> None:
    shown = Output(spoken=catalogue(Language.PERSIAN).for_terminal()).shown
    assert shown(_("{host} answered", host="evil\u202e.example")) == "evil\\u202e.example پاسخ داد"
    assert "\u200c" in shown(_("Nothing: it opens."))
    assert shown("a\u200cb") == "a\\u200cb", "text from outside"


@pytest.mark.uses("sites", "today")
@pytest.mark.usefixtures("russian")
@pytest.mark.parametrize("words", [("status",), ("why", "never.example"), ("doctor",)])
def test_what_programs_read_is_never_translated(byway: Byway, running: Running, words: tuple[str, ...]) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    for flags in (("--json",), ("--plain",)):
        ran = byway(*words, *flags)
        assert not _RUSSIAN.search(ran.out)
    assert json.loads(byway(*words, "--json").out)["version"]


@pytest.mark.uses("today")
@pytest.mark.usefixtures("person", "russian")
def test_the_setting_is_stronger_than_the_locale(
    byway: Byway, home: Home, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.config.write_text('[ui]\nlanguage = "en"\n')
    assert "No problem sites on this network." in byway("status").out
    home.config.write_text('[ui]\nlanguage = "fa"\n')
    assert "سایت مشکل‌داری در این شبکه نیست." in byway("status").out
    home.config.write_text("[ui\n# language")
    assert "Проблемных сайтов" in byway("status").out, "a broken file: the locale"
    monkeypatch.setenv("BYWAY_UI__LANGUAGE", "en")
    assert "No problem sites on this network." in byway("status").out


@pytest.mark.uses("sites", "today")
def test_no_catalogue_is_loaded_for_english() -> None:
    code = (
        "import sys, proxy.cli.commands, proxy.features.doctor.command;"
        "import proxy.features.today.commands, proxy.features.sites.why_command;"
        "from pathlib import Path; from proxy.config.paths import Paths;"
        "from proxy.terminal.command import spoken_here;"
        "assert spoken_here(Paths.locate({'HOME': '/nowhere'})) is None;"
        "assert 'proxy.languages.catalogue' not in sys.modules and 'tomllib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={"HOME": "/nowhere", "LANG": "C.UTF-8"})
