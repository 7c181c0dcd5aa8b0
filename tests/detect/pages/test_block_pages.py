"""Fingerprints of block pages: rows of the OONI format, made up here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.detect.pages import block_pages
from proxy.detect.pages.block_pages import BlockPages, Imported, parse_fingerprints
from proxy.model.errors import ConfigError
from tests.support.rows import each_row

HEAD = "name,scope,other_names,location_found,pattern_type,pattern,confidence_no_fp,expected_countries,source,notes"


def rows(*lines: str) -> Imported:
    return parse_fingerprints("\r\n".join((HEAD, *lines)) + "\r\n", "list.csv")


def pages(*lines: str) -> BlockPages:
    imported = rows(*lines)
    assert not imported.refused
    return BlockPages(imported.fingerprints)


def row(pattern: str, kind: str = "contains", place: str = "body", scope: str = "isp", name: str = "made.up_1") -> str:
    quoted = pattern.replace('"', '""')
    return f'{name},{scope},,{place},{kind},"{quoted}",5,"KZ,RU",made up,'


@each_row(
    ("line", "headers", "body", "found"),
    [
        (row("stop.example/why"), {}, "see http://stop.example/why?x", True),
        (row("stop.example/why"), {"location": "http://stop.example/why"}, "", False),
        (row("<title>STOP", "prefix"), {}, "<title>STOP</title>", True),
        (row("<title>STOP", "prefix"), {}, "<html><title>STOP</title>", False),
        (row("http://stop.example/", "prefix", "header.location"), {"location": "http://stop.example/x"}, "", True),
        (row("http://stop.example/", "prefix", "header.location"), {"location": "x?http://stop.example/"}, "", False),
        (row("StopBox", "full", "header.server"), {"server": "StopBox"}, "", True),
        (row("StopBox", "full", "header.server"), {"server": "StopBox 2"}, "", False),
        (row("x-stop.example", "contains", "header.x-app-url"), {"x-app-url": "a.x-stop.example"}, "", True),
        (row('says "no",\r\nand ends'), {}, 'it says "no",\r\nand ends', True),
        (row("URL .* Sp.*er Gate", "regexp"), {}, "this URL is shut by Spider Gate", True),
        (row("URL .* Sp.*er Gate", "regexp"), {}, "this URL is\nshut by Spider Gate", False),
        (row("URL .* Sp.*er Gate", "regexp"), {}, "Spider Gate shut this URL ", False),
        (row(r"no\.sa.*out", "regexp"), {}, "no.sa and so out", True),
        (row(r"no\.sa.*out", "regexp"), {}, "no-sa and so out", False),
        (row("don.t go", "regexp"), {}, "don’t go", True),
        (row('{"msg":.*"id":', "regexp"), {}, '{"msg":1,"id":', True),
    ],
)
def test_a_row_holds_where_it_says(line: str, headers: dict[str, str], body: str, found: bool) -> None:
    assert pages(line).match(headers, body) == ("made.up_1" if found else "")
    assert pages(line).match_head(headers) == ("made.up_1" if found and not body else "")


def test_a_false_positive_is_a_veto() -> None:
    both = pages(row("access denied"), row("Ray ID: access denied", scope="fp", name="made.up_fp"))
    assert both.match({}, "access denied by law") == "made.up_1"
    assert both.match({}, "Ray ID: access denied") == ""


def test_the_more_specific_one_decides() -> None:
    both = pages(row("http://stop.example/blocked"), row("redirect", scope="fp", name="made.up_fp"))
    assert both.match({}, "redirect to http://stop.example/blocked") == "made.up_1"
    equal = pages(row("exactly8"), row("as long!", scope="fp", name="made.up_fp"))
    assert equal.match({}, "exactly8 as long!") == ""


def test_of_two_block_pages_the_more_specific_one_is_named() -> None:
    both = pages(row("stop", name="short"), row("stop.example", name="long"))
    assert both.match({}, "stop.example") == "long"


def test_vague_words_and_harmless_notices_are_left_out() -> None:
    imported = rows(*(row("Website Blocked", scope=scope) for scope in ("vbw", "injb", "prov")), row("stop.example"))
    assert (len(imported.fingerprints), imported.vague, imported.refused) == (1, 3, ())


@each_row(
    ("line", "says"),
    [
        (row("a+b", "regexp"), "may use only text"),
        (row("(a|b)cd", "regexp"), "may use only text"),
        (row(r"abc\d", "regexp"), "may use only text"),
        (row("abc.{9}", "regexp"), "may use only text"),
        (row(".*a.*b.*", "regexp"), "too short"),
        (row("abc"), "too short"),
        (row(""), "too short"),
        (row("<html><body></body></html>"), "matches every empty page"),
        (row("x" * (block_pages.PATTERN_LIMIT + 1)), "longer than"),
        (row("stop", "glob"), "pattern_type 'glob'"),
        (row("stop", place="title"), "location_found 'title'"),
        (row("stop", place="header.Server"), "location_found 'header.Server'"),
        (row("stop", scope="planet"), "scope 'planet'"),
        (row("stop", name=""), "no name"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_place(line: str, says: str) -> None:
    imported = rows(row("stop.example", name="good"), line)
    assert [fingerprint.id for fingerprint in imported.fingerprints] == ["good"]
    (told,) = imported.refused
    assert told.startswith("list.csv:3: ")
    assert says in told


def test_a_row_that_is_cut_short_is_refused() -> None:
    assert len(rows("made.up,isp").refused) == 1


@each_row("text", ["", "just some text\n", "name,scope,pattern\na,b,c\n", '"never closed'])
def test_what_is_no_list_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match=r"list\.csv:1: not an OONI fingerprint CSV"):
        parse_fingerprints(text, "list.csv")


def test_a_field_without_end_is_no_list() -> None:
    with pytest.raises(ConfigError, match="not a CSV file"):
        parse_fingerprints(f'{HEAD}\nx,isp,,body,contains,"{"y" * 200_000}', "list.csv")
    with pytest.raises(ConfigError, match="not a CSV file"):
        parse_fingerprints("y" * 200_000, "list.csv")


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_pages, "ROWS_LIMIT", 2)
    with pytest.raises(ConfigError, match=r"list\.csv:4: more than 2 rows"):
        rows(*(row("stop", name=f"n{number}") for number in range(3)))


def test_a_page_is_looked_at_as_far_as_the_limit() -> None:
    known = pages(row("stop.example"))
    assert known.match({}, " " * (block_pages.PAGE_LIMIT - 12) + "stop.example")
    assert not known.match({}, " " * (block_pages.PAGE_LIMIT - 11) + "stop.example")


def test_nothing_known_matches_nothing() -> None:
    assert BlockPages().match({"server": "x"}, "blocked") == ""
    assert repr(pages(row("stop.example"))) == "<BlockPages 1 fingerprints>"


@given(st.text(max_size=400))
def test_any_text_is_a_list_or_is_none(text: str) -> None:
    """It parses, or raises what the docstring says."""
    try:
        imported = parse_fingerprints(f"{HEAD}\n{text}", "list.csv")
    except ConfigError:
        return
    BlockPages(imported.fingerprints).match({}, text)


@given(st.text(alphabet="ab.*\\+(){}[]^$|9,", max_size=12), st.text(alphabet="ab9\n", max_size=40))
def test_a_regular_expression_means_what_python_says(pattern: str, body: str) -> None:
    import re

    imported = rows(row(pattern, "regexp"))
    if imported.fingerprints:
        assert BlockPages(imported.fingerprints).match({}, body) == ("made.up_1" if re.search(pattern, body) else "")
