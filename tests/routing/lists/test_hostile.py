"""Lists come from strangers: none takes long to read, and none raises what its caller does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.first_match import COMPARED_LIMIT, OrderedExceptions
from proxy.routing.lists.formats import FORMATS, ListFormat, parse_list
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.url_filters import HostFilter
from tests.routing.lists.hostile import TEXTS, jobs

ROOT = Path(__file__).parents[3]


def _read(text: str, source: str = "l") -> DomainList:
    return parse_list(iter([text]), size=len(text), source=source)


@pytest.mark.slow
def test_no_text_takes_long_to_read() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.routing.lists.hostile"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    told = dict(json.loads(line) for line in done.stdout.splitlines())
    assert len(told) == len({name for name, *_ in jobs()})
    assert {name: fault for name, fault in told.items() if fault} == {}


@pytest.mark.parametrize("name", ["members", "differences"])
def test_a_script_with_a_long_chain_is_refused_with_its_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^l:2: has more than 50 nested statements or brackets$"):
        _read("\n" + TEXTS[name])


def test_a_remainder_of_a_string_is_no_remainder() -> None:
    with pytest.raises(ConfigError, match="is a script of which nothing is understood"):
        _read(TEXTS["remainder"])


def test_functions_that_ask_each_other_many_times_are_read_once_each() -> None:
    assert [entry.text for entry in _read(TEXTS["functions"]).entries()] == ["a.example"]


@pytest.mark.parametrize("name", ["omega-exceptions", "pac-exceptions"])
def test_more_exceptions_than_can_be_compared_are_refused_with_the_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^l:\d+: too many exceptions and patterns to compare"):
        _read(TEXTS[name])


def test_exceptions_are_compared_up_to_the_limit() -> None:
    exceptions = OrderedExceptions("l")
    for number in range(1000):
        exceptions.add(5000, HostFilter(EntryKind.KEYWORD, (f"y{number}",)), "y")
    for place in range(COMPARED_LIMIT // 1000):
        exceptions.note(place, HostFilter(EntryKind.DOMAIN, (f"x{place}.example",)))
    with pytest.raises(ConfigError, match=r"^l:4000: too many"):
        exceptions.note(4000, HostFilter(EntryKind.DOMAIN, ("x.example",)))


@pytest.mark.parametrize("fault", [IndexError("x"), RecursionError(), ZeroDivisionError(), MemoryError()])
def test_whatever_a_reader_raises_is_a_fault_of_the_list(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def parse(_: object, builder: ListBuilder) -> None:
        builder.add(3, "a.example")
        raise fault

    monkeypatch.setitem(FORMATS, "plain", ListFormat(lambda text: True, parse))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        _read("a.example\n", source="list mine")
    assert str(caught.value) == (
        f"list mine:3: Byway cannot read the list from here on ({type(fault).__name__}, in the reader of plain lists). "
        "This is a fault of Byway: please report it, with the list"
    )


def test_whatever_a_format_raises_that_looks_at_a_text_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def recognizes(_: str) -> bool:
        raise IndexError("x")

    monkeypatch.setitem(FORMATS, "pac", ListFormat(recognizes, FORMATS["pac"].parse))
    with pytest.raises(ConfigError, match=r"^l:1: Byway cannot read the list from here on \(IndexError, "):
        _read("a.example\n")
