"""Files for dnsmasq."""

from __future__ import annotations

from proxy.routing.lists.dnsmasq import recognizes
from proxy.routing.lists.domain_list import Skip
from tests.routing.lists.reading import read, shown
from tests.support.calls import counting

PUBLISHED = """\

# ÜberProxy
server=/example.com/114.114.114.114
#server=/gone.example/114.114.114.114 # it works again
server=/two.example/Three.Example/192.0.2.1#53 # why
  address=/ads.example/0.0.0.0
address=/v6.example/2001:db8::1
address=/null.example/#
address=/nx.example/
local=/lan.example/
ipset=/set.example/other.example/vpn,vpn6
nftset=/nft.example/4#inet#fw4#vpn
--server=/dashed.example/192.0.2.1
server=/bücher.example/192.0.2.1
server=/.dot.example/192.0.2.1
server=/*star.example/192.0.2.1
server=/*.below.example/192.0.2.1
server=/back.example.com/#
local=/home.example.com/#
server=/com/192.0.2.1
server=/#/192.0.2.1
server=//192.0.2.1
server=192.0.2.1
bogus-nxdomain=192.0.2.2
cache-size=1000
domain-needed
server=/a b/192.0.2.1
what is this
server=/unclosed.example
"""


def test_each_domain_has_its_subdomains() -> None:
    found = read(PUBLISHED)
    assert found.format == "dnsmasq"
    assert shown(found.listed) == [
        "+example.com", "+two.example", "+three.example", "+ads.example", "+v6.example", "+null.example", "+nx.example",
        "+lan.example", "+set.example", "+other.example", "+nft.example", "+dashed.example", "+xn--bcher-kva.example",
        "+dot.example", ".below.example", "wildcard *star.example",
    ]  # fmt: skip
    assert shown(found.exceptions) == ["+back.example.com", "+home.example.com"]
    assert [found.covering(host) for host in ("www.example.com", "www.back.example.com", "superstar.example")] == [
        "example.com", None, "*star.example",
    ]  # fmt: skip
    assert found.skips == {Skip.SUFFIX: 1, Skip.NO_HOST: 2, Skip.UNSUPPORTED_TYPE: 4, Skip.UNREADABLE: 3}
    assert [sentence.split(":")[1] for sentence in found.skipped] == [str(line) for line in range(20, 30)]
    assert found.skipped[1] == 'l:21: "server=/#/192.0.2.1" names no host in a way that lists can use'


def test_it_reads_the_same_in_small_pieces() -> None:
    for text in (PUBLISHED, PUBLISHED.replace("\n", "\r\n")):
        whole = read(text)
        for size in (1, 7, 60):
            cut = read(text, format="dnsmasq", piece=size)
            assert shown(cut.listed) == shown(whole.listed)
            assert (shown(cut.exceptions), cut.skipped) == (shown(whole.exceptions), whole.skipped)


def test_what_it_recognizes() -> None:
    for text in (
        "server=/a.example/192.0.2.1\n",
        "# c\n\naddress=/a/\n",
        "ipset = /a/b\n",
        "bogus-nxdomain=192.0.2.1\n",
    ):
        assert recognizes(text), text
    for text in ("", "server=192.0.2.1\n", "a.example\nserver=/a.example/\n", "server: /a/\n",
                 "servers=/a/b\n"):  # fmt: skip
        assert not recognizes(text), text


def test_a_file_without_domains_says_what_it_holds() -> None:
    problem = read("bogus-nxdomain=192.0.2.1\nbogus-nxdomain=192.0.2.2\n").problem
    assert problem == (
        f'l:1: "bogus-nxdomain=192.0.2.1" {Skip.UNSUPPORTED_TYPE.sentence}; 0 lines read, 2 lines skipped. '
        "The file was read in the format dnsmasq"
    )


def test_usual_lines_are_read_by_few_calls() -> None:
    line = "server=/Site{}.example/114.114.114.114\n"
    read(line)  # public suffixes are read once
    with counting() as calls:
        read("".join(line.format(n) for n in range(300)), format="dnsmasq")
    with counting() as calls_for_one:
        read(line.format(1), format="dnsmasq")
    assert calls.total() < calls_for_one.total() + 300 / 10, calls


def test_a_long_line_has_all_its_domains_or_is_named() -> None:
    domains = [f"site{number}.example" for number in range(1000)]
    assert len(read(f"server=/{'/'.join(domains)}/192.0.2.1\n").listed) == 1000
    cut = read(f"server=/a.example/192.0.2.1\nserver=/{'/'.join(domains * 5)}/192.0.2.1\n")
    assert (len(cut.listed), cut.skips) == (1, {Skip.UNREADABLE: 1})
