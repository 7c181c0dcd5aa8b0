"""Changes to a list as a diff of its own text: applied, they make exactly the list that is meant."""

from __future__ import annotations

import base64
import itertools
import random
import re
import textwrap
from collections.abc import Sequence

import pytest

from proxy.config.schema import ListFormatName
from proxy.routing.lists.changes import write_diff
from proxy.routing.lists.formats import parse_list
from tests.routing.lists.patching import patched
from tests.support.rows import each_row

PLAIN = "# a list\na.test\nb.test # why\n\n*.c.test\n"


def entries(text: str, list_format: ListFormatName) -> set[str]:
    return {entry.text for entry in parse_list(iter([text]), size=len(text), source="", format=list_format).entries()}


@each_row(
    ("list_format", "text", "shown"),
    [
        ("plain", PLAIN, "+new.test"),
        ("adblock", "! title\n||a.test^\n||b.test^\n||c.test^\n@@||x.a.test^\n", "+||new.test^"),
        ("autoproxy", "[AutoProxy 0.2.9]\n||a.test\n||b.test\n||c.test\n/regex/\n", "+||new.test"),
        (
            "clash",
            "payload:\n  - '+.a.test'\n  - \"+.b.test\" # why\n  - x.test\n  - +.c.test\n+.d.test\n",
            "+  - '+.new.test'",
        ),
        ("clash", "DOMAIN-SUFFIX,a.test,PROXY\nDOMAIN-SUFFIX,b.test\n", "+DOMAIN-SUFFIX,new.test,PROXY"),
        ("v2fly", "domain:a.test\nb.test @ads\nfull:f.test\ndomain:c.test\nregexp:^x\n", "+domain:new.test"),
    ],
)
def test_a_line_goes_and_one_comes_in_the_lists_own_format(list_format: ListFormatName, text: str, shown: str) -> None:
    made = write_diff("gfw", text, list_format, remove={"b.test"}, add=["new.test"])
    assert made.unwritten == ()
    assert made.text.splitlines()[:2] == ["--- gfw", "+++ gfw"]
    assert made.text.splitlines()[-1] == shown
    after = patched(text, made.text)
    assert entries(after, list_format) == entries(text, list_format) - {"b.test"} | {"new.test"}
    assert [line for line in after.splitlines() if line != shown[1:]] == [
        line for line in text.splitlines() if "b.test" not in line or "a.test" in line
    ]


@each_row(
    ("list_format", "text", "shown"),
    [
        ("plain", "a.test # since 2014, as Joe says\nb.test\nc.test\nd.test # why\n", "+new.test"),
        ("plain", "za.test   # South Africa\nke.test\t// Kenya\n", "+new.test"),
        ("v2fly", "full:x.za.test\nza.test @a # South Africa\nke.test @a # Kenya\n", "+new.test @a"),
        ("v2fly", "a.test @cn # in China\nfull:x.test\nb.test\nc.test\n", "+new.test"),
        ("v2fly", "a.test\nb.test @ads\nc.test @ads\n", "+new.test @ads"),
        ("hosts", "0.0.0.0 a.test # spies\n0.0.0.0 b.test\n0.0.0.0 c.test\n", "+0.0.0.0 new.test"),
    ],
)
def test_a_new_line_is_like_most_and_says_nothing_of_another_domain(
    list_format: ListFormatName, text: str, shown: str
) -> None:
    made = write_diff("l", text, list_format, remove=(), add=["new.test"])
    assert (made.unwritten, made.text.splitlines()[-1]) == ((), shown)


@each_row("address", ["0.0.0.0", "127.0.0.1", "::", "::1", "0"])
def test_a_hosts_file_gets_the_domain_itself(address: str) -> None:
    text = f"127.0.0.1 localhost\n{address} a.test\n0.0.0.0\tb.test\n{address} c.test d.test\n{address} e.test\n"
    made = write_diff("l", text, "hosts", remove={"b.test", "c.test"}, add=["new.test"])
    assert made.unwritten == ("c.test",)
    assert patched(text, made.text) == text.replace("0.0.0.0\tb.test\n", "") + f"{address} new.test\n"


def test_a_list_of_addresses_gets_no_domain_and_one_without_entries_does() -> None:
    made = write_diff("l", "192.0.2.0/24\n198.51.100.7\n", "plain", remove=(), add=["new.test"])
    assert (made.text, made.unwritten) == ("", ("new.test",))
    for text in ("", "# mine\n", "full:a.test\n"):
        made = write_diff("l", text, "v2fly", remove=(), add=["new.test"])
        assert patched(text, made.text) == f"{text}new.test\n"


def test_a_hosts_file_with_addresses_of_servers_gets_nothing() -> None:
    made = write_diff("l", "127.0.0.1 localhost\n192.0.2.7 a.test\n", "hosts", remove={"a.test"}, add=["new.test"])
    assert made.unwritten == ("new.test",)
    assert made.text.splitlines()[-1] == "-192.0.2.7 a.test"


@pytest.mark.parametrize(
    ("list_format", "text", "end"),
    [
        ("switchyomega", "[SwitchyOmega Conditions]\n@with result\n*.a.test +proxy\n*.b.test +proxy\n", "* +direct\n"),
        ("clash", "payload:\n  - '+.a.test'\n  - '+.b.test'\n", "other: 1"),
    ],
)
def test_what_must_be_last_stays_last(list_format: ListFormatName, text: str, end: str) -> None:
    made = write_diff("l", f"{text}{end}", list_format, remove={"b.test"}, add=["new.test", "newer.test"])
    assert made.unwritten == ()
    after = patched(f"{text}{end}", made.text)
    assert after.endswith(end)
    assert entries(after, list_format) == {"a.test", "new.test", "newer.test"}


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (
            "dns:\n  filter:\n  - +.a.test\nrules:\n  - DOMAIN-SUFFIX,a.test,P\nmore:\n  - +.a.test\n",
            "dns:\n  filter:\n  - +.a.test\nrules:\n  - DOMAIN-SUFFIX,new.test,P\nmore:\n  - +.a.test\n",
        ),
        ("other:\n  - '+.a.test'\npayload:\n  - +.a.test\n", "other:\n  - '+.a.test'\npayload:\n  - +.new.test\n"),
    ],
)
def test_of_lists_of_other_keys_no_line_goes_or_comes(text: str, after: str) -> None:
    made = write_diff("l", text, "clash", remove={"a.test"}, add=["new.test"])
    assert (made.unwritten, patched(text, made.text)) == ((), after)


@pytest.mark.parametrize(
    ("list_format", "text"),
    [
        ("adblock", "||a.test^\n!#if env_firefox\n||b.test^\n"),
        ("switchyomega", "[Wildcard]\n*.a.test\n[Regexp]\n*.b.test\n"),
        ("clash", "other:\n  - '+.a.test'\npayload:\n"),
    ],
)
def test_a_line_that_the_whole_list_reads_otherwise_is_left_out(list_format: ListFormatName, text: str) -> None:
    made = write_diff("l", text, list_format, remove=(), add=["new.test"])
    assert (made.text, made.unwritten) == ("", ("new.test",))


def test_nothing_to_change_is_no_diff() -> None:
    made = write_diff("gfw", PLAIN, "plain", remove=(), add=())
    assert (made.text, made.unwritten) == ("", ())


@each_row("text", ["0.0.0.0 a.test b.test\n", "a.testb.test\n", "x.a.test\n", "# a.test\n"])
def test_a_line_that_is_not_about_the_domain_alone_stays(text: str) -> None:
    made = write_diff("gfw", text, "plain", remove={"a.test"}, add=())
    assert (made.text, made.unwritten) == ("", ("a.test",))


@pytest.mark.parametrize(
    ("list_format", "text"),
    [
        ("sing-box", '{"version": 1, "rules": [{"domain_suffix": ["a.test",\n"b.test"]}]}\n'),
        ("clash", "payload: ['+.a.test',\n'+.b.test']\n"),
    ],
)
def test_a_list_without_lines_has_no_diff(list_format: ListFormatName, text: str) -> None:
    made = write_diff("gfw", text, list_format, remove={"a.test"}, add=["new.test"])
    assert (made.text, set(made.unwritten)) == ("", {"a.test", "new.test"})


def test_of_a_list_in_base64_it_is_the_diff_of_its_filters() -> None:
    filters = "[AutoProxy 0.2.9]\n||a.test\n||b.test\n"
    packed = textwrap.fill(base64.b64encode(filters.encode()).decode(), 17)
    made = write_diff("gfw", packed, "autoproxy", remove={"a.test"}, add=["new.test"])
    assert made.text.splitlines()[:2] == ["--- gfw (decoded from base64)", "+++ gfw (decoded from base64)"]
    assert made.unwritten == ()
    assert patched(filters, made.text) == "[AutoProxy 0.2.9]\n||b.test\n||new.test\n"


def test_lines_of_windows_stay_so() -> None:
    text = "a.test\r\nb.test\r\n"
    made = write_diff("gfw", text, "plain", remove={"a.test"}, add=["new.test"])
    assert patched(text, made.text) == "b.test\r\nnew.test\r\n"


def test_an_entry_that_stands_twice_goes_twice() -> None:
    text = "a.test\nb.test\nA.Test\n"
    assert patched(text, write_diff("gfw", text, "plain", remove={"a.test"}, add=()).text) == "b.test\n"


@each_row(("is_ended", "size"), list(itertools.product((True, False), (1, 2, 3, 40))))
def test_whatever_goes_and_comes(is_ended: bool, size: int) -> None:
    rng = random.Random(size)
    names = [f"site{number}.test" for number in range(size)]
    text = "\n".join(names) + ("\n" if is_ended else "")
    for _ in range(40):
        remove = set(rng.sample(names, rng.randrange(size + 1)))
        add = [f"new{number}.test" for number in range(rng.randrange(3))]
        made = write_diff("gfw", text, "plain", remove=remove, add=add)
        assert made.unwritten == ()
        after = patched(text, made.text)
        assert _lines(after) == [name for name in names if name not in remove] + add


def _lines(text: str) -> Sequence[str]:
    return [line for line in text.split("\n") if line]


def test_only_lines_of_a_diff_are_written() -> None:
    made = write_diff("gfw", PLAIN, "plain", remove={"a.test", "c.test"}, add=["new.test"])
    form = re.compile(r"--- gfw|\+\+\+ gfw|@@ -\d+(,\d+)? \+\d+(,\d+)? @@|[-+].*|\\ No newline at end of file")
    assert all(form.fullmatch(line) for line in made.text.splitlines())
