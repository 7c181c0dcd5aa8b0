"""Which rules can never decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.routing.coverage import covered, covering
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules
from tests.support.rows import each_row


def some(*, with_exception: bool) -> DomainList:
    builder = ListBuilder("some.txt")
    for name, covers in zip(("host", "below", "children", "site"), (1, 2, 4, 3), strict=True):
        builder.add(1, f"{name}.example", Covers(covers))
    if with_exception:
        builder.add(2, "x.site.example", exception=True)
    return builder.build()


LISTS = {
    "gfw": parse_list(iter(["listed.example\n192.0.2.7\n"]), size=0, source="gfw.txt"),
    "some": some(with_exception=False),
    "excepted": some(with_exception=True),
}


def rules(*lines: str) -> Rules:
    return parse_rules("\n".join(f"{line},AUTO" for line in lines), source="rules.txt", lists=LISTS)


@each_row(
    ("earlier", "later", "covers"),
    [
        ("MATCH", "DST-PORT,1-65535", True),
        ("DOMAIN-SUFFIX,example", "DOMAIN,a.example", True),
        ("DOMAIN-SUFFIX,example", "DOMAIN-SUFFIX,a.example", True),
        ("DOMAIN-SUFFIX,a.example", "DOMAIN-SUFFIX,ba.example", False),
        ("DOMAIN-SUFFIX,a.example", "DOMAIN-SUFFIX,example", False),
        ("DOMAIN-SUFFIX,example", "DOMAIN-KEYWORD,example", False),
        ("DOMAIN,a.example", "DOMAIN,a.example", True),
        ("DOMAIN,a.example", "DOMAIN-SUFFIX,a.example", False),
        ("DOMAIN-KEYWORD,ads", "DOMAIN,ads.example", True),
        ("DOMAIN-KEYWORD,ads", "DOMAIN-SUFFIX,ads.example", True),
        ("DOMAIN-KEYWORD,ads", "DOMAIN-KEYWORD,myads1", True),
        ("DOMAIN-KEYWORD,ads", "DOMAIN-KEYWORD,ad", False),
        ("DOMAIN-KEYWORD,192", "DOMAIN,192.0.2.7", False),  # a keyword is not for addresses
        ("DOMAIN-REGEX,^a", "DOMAIN,a.example", True),
        ("DOMAIN-REGEX,^a", "DOMAIN-SUFFIX,a.example", False),  # b.a.example
        ("LIST,gfw", "DOMAIN-SUFFIX,x.listed.example", True),
        ("LIST,gfw", "DOMAIN,192.0.2.7", True),
        ("LIST,gfw", "DOMAIN-SUFFIX,example", False),
        ("LIST,gfw", "LIST,gfw", True),
        ("LIST,some", "DOMAIN,host.example", True),
        ("LIST,some", "DOMAIN-SUFFIX,host.example", False),
        ("LIST,some", "DOMAIN-SUFFIX,below.example", False),
        ("LIST,some", "DOMAIN-SUFFIX,x.below.example", True),
        ("LIST,some", "DOMAIN-SUFFIX,x.children.example", False),
        ("LIST,some", "DOMAIN-SUFFIX,site.example", True),
        ("LIST,excepted", "DOMAIN-SUFFIX,site.example", False),
        ("IP-CIDR,10.0.0.0/8", "IP-CIDR,10.1.0.0/16", True),
        ("IP-CIDR,10.1.0.0/16", "IP-CIDR,10.0.0.0/8", False),
        ("IP-CIDR,10.0.0.0/8", "IP-CIDR,fd00::/8", False),
        ("IP-CIDR,192.0.2.0/24", "DOMAIN,192.0.2.7", True),
        ("DST-PORT,8000-8100", "DST-PORT,8080", True),
        ("DST-PORT,8080", "DST-PORT,8080-8081", False),
        ("DST-PORT,443", "DOMAIN,a.example", False),
    ],
)
def test_an_earlier_rule_covers_a_later_one(earlier: str, later: str, *, covers: bool) -> None:
    both = rules(earlier, later)
    assert (covering(both, 1) is not None) is covers
    assert covered(both, 0) == ([both.rules[1]] if covers else [])
    assert covering(both, 0) is None


def test_the_first_that_covers_is_named_and_no_rule_is_covered_twice() -> None:
    three = rules("DOMAIN-SUFFIX,example", "DOMAIN-SUFFIX,a.example", "DOMAIN,b.a.example")
    assert covering(three, 2) == three.rules[0]
    assert covered(three, 0) == [three.rules[1], three.rules[2]]
    assert covered(three, 1) == []  # the first rule had covered the third one already


LABEL = st.sampled_from(["a", "b", "ab", "listed"])
HOST = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "example"]))
PREFIX = st.sampled_from(["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7/32"])
RULE = st.one_of(
    HOST.map("DOMAIN,{}".format),
    HOST.map("DOMAIN-SUFFIX,{}".format),
    LABEL.map("DOMAIN-KEYWORD,{}".format),
    st.sampled_from(["LIST,gfw", "MATCH", "DOMAIN-REGEX,^a", "DST-PORT,80", "DST-PORT,1-500", "DOMAIN,192.0.2.7"]),
    PREFIX.map("IP-CIDR,{}".format),
)
DESTINATION = st.builds(Destination, st.one_of(HOST, st.just("192.0.2.7")), st.sampled_from([80, 443, 8080]))


@given(st.lists(RULE, min_size=1, max_size=5), st.lists(DESTINATION, min_size=1, max_size=20))
def test_a_covered_rule_never_decides(lines: list[str], destinations: list[Destination]) -> None:
    made = rules(*lines)
    for number, rule in enumerate(made.rules):
        if covering(made, number) is not None:
            assert all(made.match(destination) is not rule for destination in destinations)
