"""Hosts files, as they stand on computers and as strangers publish them."""

from __future__ import annotations

from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.hosts import recognizes
from tests.routing.lists.reading import read, shown
from tests.support.calls import counting

PUBLISHED = """\
# Title: made up

127.0.0.1 localhost
127.0.0.1 localhost.localdomain
255.255.255.255 broadcasthost
::1 localhost
fe80::1%lo0 localhost
ff02::1 ip6-allnodes
0.0.0.0 0.0.0.0

0.0.0.0 ads.example
0.0.0.0 Tracker.Example # why
\t127.0.0.1\tone.example two.example\tthree.example#no space
:: six.example
0 zero.example
192.0.2.7 bücher.example com
2001:db8::7 v6.example
0.0.0.0 bad!name good.example
0.0.0.0
no.address.example
! Homepage: home.example
1.2.3.4.5 page.example
"""


def test_each_name_is_one_host() -> None:
    found = read(PUBLISHED)
    assert found.format == "hosts"
    assert shown(found.listed) == [
        "=ads.example", "=tracker.example", "=one.example", "=two.example", "=three.example", "=six.example",
        "=zero.example", "=xn--bcher-kva.example", "=com", "=v6.example", "=good.example",
    ]  # fmt: skip
    assert found.covering("www.ads.example") is None
    assert found.skips == {Skip.UNREADABLE: 5}
    assert [sentence.split(":")[1] for sentence in found.skipped] == ["18", "19", "20", "21", "22"]
    assert found.problem == ""


def test_it_reads_the_same_in_small_pieces() -> None:
    for text in (PUBLISHED, PUBLISHED.replace("\n", "\r\n")):
        whole = read(text)
        for size in (1, 7, 60):
            cut = read(text, format="hosts", piece=size)
            assert (shown(cut.listed), cut.skipped) == (shown(whole.listed), whole.skipped)


def test_what_it_recognizes() -> None:
    for text in (
        "127.0.0.1 localhost\n",
        "# c\n\n  0.0.0.0\ta.example\n",
        "::1 a\n",
        "fe80::1%lo0 x\n",
        "0 a.example\n",
        "0.0.0.0 0.0.0.0\n0.0.0.0 a.example\n",
    ):
        assert recognizes(text), text
    for text in (
        "",
        "0.0.0.0\n",
        "a.example b.example\n",
        "192.0.2.1/24 a\n",
        "a.example\n0.0.0.0 b.example\n",
        "1 a\n",
        "192.0.2.1\t7\n192.0.2.2\t6\n",  # addresses, each with its number of reports
    ):
        assert not recognizes(text), text


def test_usual_lines_are_read_by_few_calls() -> None:
    read("0.0.0.0 a.example\n")  # public suffixes are read once
    with counting() as calls:
        read("".join(f"0.0.0.0 Site{n}.example # {n}\n" for n in range(500)), format="hosts")
    with counting() as calls_for_one:
        read("0.0.0.0 a.example\n", format="hosts")
    assert calls.total() < calls_for_one.total() + 500 / 10, calls


def test_a_long_line_has_all_its_names_or_is_named() -> None:
    names = [f"site{number}.example" for number in range(1000)]
    whole = read(f"0.0.0.0 a.example\n0.0.0.0 {' '.join(names)}\n")
    assert len(whole.listed) == 1001
    assert whole.listed.contains(names[-1])
    cut = read(f"0.0.0.0 a.example\n0.0.0.0 {' '.join(names * 5)}\n")
    assert shown(cut.listed) == ["=a.example"], "no name that the cut made, and none of half a line"
    assert cut.skips == {Skip.UNREADABLE: 1}
