"""Lists of v2fly's domain-list-community, which include each other. The rows follow its README and FORMAT.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists import v2fly
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.v2fly import inline_includes, parse_v2fly
from tests.support.calls import counting
from tests.support.rows import each_row


def read(text: str, files: Mapping[str, str] | None = None) -> DomainList:
    def sibling(name: str) -> tuple[str, Iterator[str]] | None:
        return (f"lists/{name}", iter([files[name]])) if files and name in files else None

    builder = ListBuilder("lists/main", size=1000, format="v2fly", siblings=sibling)
    parse_v2fly(iter(text.splitlines(keepends=True)), builder)
    return builder.build()


def listed(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.entries()}


def test_each_type_of_rule() -> None:
    found = read(
        "# comment\n\nexample.com\ndomain:Example.net # why\nfull:www.example.org @cn @ads\nkeyword:word &other\n"
        "regexp:^odd[1-7]\\.example\\.org$\nbücher.example\n\ttab.example\t@!cn\t# x\ngeosite:cn\ntwo words\n"
        "192.0.2.1\n"
    )
    assert listed(found) == {
        "example.com": Covers.SITE,
        "example.net": Covers.SITE,
        "www.example.org": Covers.HOST,
        "xn--bcher-kva.example": Covers.SITE,
        "tab.example": Covers.SITE,
        "192.0.2.1": Covers.HOST,
        "word": Covers.HOST,
    }
    assert found.skips == {Skip.REGULAR_EXPRESSION: 1, Skip.UNSUPPORTED_TYPE: 1, Skip.UNREADABLE: 1}
    assert found.covering("a.www.example.org") is None
    assert found.covering("x-word-y.test") == "word"
    assert found.lines_read == 7


FILES = {
    "ads": "full:a.example @ads\nb.example @ads @cn\nc.example\nkeyword:kkk @cn\ninclude:more @ads\n",
    "more": "d.example @ads\ne.example @ads @cn\nf.example @cn\n",
}


@each_row(
    ("include", "expected"),
    [
        ("include:ads", "a.example b.example c.example d.example e.example kkk"),
        ("include:ads @ads", "a.example b.example d.example e.example"),
        ("include:ads @cn", "b.example e.example kkk"),
        ("include:ads @ads @cn", "b.example e.example"),
        ("include:ads @-cn", "a.example c.example d.example"),
        ("include:ads @ads @-cn # no more", "a.example d.example"),
        ("include:ads @!cn", ""),
        ("include:ads @ads\ninclude:ads @cn\nz.example", "a.example b.example d.example e.example kkk z.example"),
    ],
)
def test_an_include_takes_what_is_marked_through_all_that_is_included(include: str, expected: str) -> None:
    found = read(f"{include}\n", FILES)
    assert sorted(listed(found)) == expected.split()
    assert found.included == ("ads", "more")
    assert found.lines_skipped == 0


@each_row("name", ["not-there", "../secrets", "a/b", "a.txt", "", "x" * 65, "é"])
def test_an_include_that_leads_nowhere_is_skipped_by_name(name: str) -> None:
    found = read(
        f"include:{name} @cn\nexample.com\n", {"../secrets": "s.example", "a/b": "s.example", "a.txt": "s.example"}
    )
    assert listed(found) == {"example.com": Covers.SITE}
    assert found.lines_skipped == 1
    if name:
        assert found.skips == {Skip.INCLUDE: 1}


def test_lists_that_include_each_other_in_a_circle_are_read_once() -> None:
    found = read("include:a\n", {"a": "a.example\ninclude:b\n", "b": "b.example\ninclude:a\n"})
    assert set(listed(found)) == {"a.example", "b.example"}
    assert found.lines_read == 2
    assert found.skipped == (
        'lists/b:2: "include:a" includes a list that is not beside this one, or includes this one in turn',
    )


def test_includes_are_bounded_in_depth_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = {f"l{n}": f"n{n}.example\ninclude:l{n + 1}\n" for n in range(50)}
    found = read("include:l0\n", deep)
    assert len(found.listed) == v2fly.DEPTH_LIMIT
    assert found.skips == {Skip.INCLUDE: 1}
    monkeypatch.setattr(v2fly, "INCLUDES_LIMIT", 10)
    found = read("include:l49\n" * 30, {"l49": "x.example\n"})
    assert found.skips == {Skip.INCLUDE: 20}


def test_what_is_skipped_is_shown_with_its_own_file() -> None:
    found = read("regexp:a\ninclude:b\nregexp:c\n", {"b": "regexp:b\nok.example\n"})
    assert [sentence.partition(" ")[0] for sentence in found.skipped] == [
        "lists/main:1:",
        "lists/b:1:",
        "lists/main:3:",
    ]
    assert found.lines_read == 1


def test_a_file_that_may_not_be_read_refuses_the_list() -> None:
    def sibling(name: str) -> tuple[str, Iterator[str]] | None:
        raise ConfigError(f"{name}: not used")

    with pytest.raises(ConfigError, match="b: not used"):
        parse_v2fly(iter(["include:b\n"]), ListBuilder("l", siblings=sibling))


def test_usual_lines_are_read_by_few_calls() -> None:
    text = "".join(f"Site{n}.example @ads\nfull:www.site{n}.example # x\n" for n in range(500))
    read(text)  # public suffixes are read once
    builder = ListBuilder("l", size=len(text))
    with counting() as calls:
        parse_v2fly(iter([text]), builder)
    assert calls["proxy.routing.domain_set.DomainSetBuilder.add"] == 1
    assert calls.total() < 30, calls
    assert builder.build().lines_read == 1000


@each_row("main", ["include:ads", "include:ads @ads", "include:ads @cn @-ads", "x.example\ninclude:more @-cn"])
def test_a_list_with_its_includes_in_place_means_the_same(main: str) -> None:
    def sibling(name: str) -> tuple[str, Iterator[str]] | None:
        return (name, iter([FILES[name]])) if name in FILES else None

    alone = inline_includes(f"# mine\n{main}  # why\n", sibling)
    assert alone.startswith("# mine\n")
    assert listed(read(alone)) == listed(read(main, FILES))
    assert not read(alone).included


def test_an_include_that_leads_nowhere_or_in_a_circle_stays() -> None:
    files = {"a": "a.example\ninclude:b\n", "b": "include:a\n"}
    alone = inline_includes(
        "include:none @cn # x\ninclude:a\n", lambda n: (n, iter([files[n]])) if n in files else None
    )
    assert alone == "include:none @cn # x\n# include:a\na.example\n# include:b\ninclude:a\n"


def test_an_exported_list_has_its_marks_behind_a_colon() -> None:
    exported = "domain:a.example:@ads,@cn\nfull:www.b.example:@ads\nkeyword:yard\nc.example:@cn\n"
    found = read(exported)
    assert listed(found) == listed(read("a.example @ads @cn\nfull:www.b.example @ads\nkeyword:yard\nc.example @cn\n"))
    assert not found.lines_skipped
    assert listed(read("include:all @ads", {"all": exported})) == listed(read("a.example\nfull:www.b.example\n"))


def test_an_expression_with_marks_behind_a_colon_is_shown() -> None:
    found = read("regexp:^ads[0-9]+\\.example$:@ads,@cn\n")
    assert found.skipped[0].startswith(r'lists/main:1: "regexp:^ads[0-9]+\.example$ @ads,@cn" is a regular expression')
