"""Which rule of a file decides, and which never can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import UNKNOWN_NETWORK, Action, Destination
from proxy.routing.domain_set import DomainSet
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.matcher import Matcher
from proxy.routing.rule import Situation
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import _MADE_LIMIT, Rules
from tests.routing.reading import ALL_KINDS, LISTS, NETWORKS, decides, parsed
from tests.support.calls import counting
from tests.support.rows import each_row


@each_row(
    ("host", "port", "line"),
    [
        ("exact.example", 443, 2),
        ("www.exact.example", 443, 10),
        ("suffix.example", 443, 3),
        ("a.b.suffix.example", 443, 3),
        ("myblogs.example", 443, 4),
        ("cdn12.example", 443, 5),
        ("cdn1234.example", 443, 10),
        ("192.0.2.200", 443, 6),
        ("192.0.3.1", 443, 10),
        ("2001:db8::1", 443, 7),
        ("2001:db9::1", 443, 10),
        ("other.example", 8000, 8),
        ("other.example", 8100, 8),
        ("other.example", 8101, 10),
        ("www.news.example", 443, 9),
        ("203.0.113.9", 443, 9),
        ("203.0.113.8", 443, 10),
    ],
)
def test_each_kind_matches_what_it_says(host: str, port: int, line: int) -> None:
    assert decides(parsed(ALL_KINDS), host, port) == line


def test_the_first_rule_wins_whatever_its_kind() -> None:
    lines = [line for line in ALL_KINDS.splitlines() if not line.startswith("#")]
    assert decides(parsed("\n".join(["MATCH,BLOCK", *lines])), "exact.example") == 1
    assert decides(parsed("DOMAIN-KEYWORD,a,BLOCK\nDOMAIN,a.example,AUTO"), "a.example") == 1
    assert decides(parsed("DOMAIN,a.example,AUTO\nDOMAIN-KEYWORD,a,BLOCK"), "a.example") == 1
    assert decides(parsed("DST-PORT,443,BLOCK\nDOMAIN-SUFFIX,example,AUTO"), "a.example") == 1
    assert decides(parsed("DOMAIN-SUFFIX,example,AUTO\nDOMAIN-SUFFIX,b.example,BLOCK"), "a.b.example") == 1
    assert decides(parsed("IP-CIDR,10.0.0.0/8,AUTO\nIP-CIDR,10.1.0.0/16,BLOCK"), "10.1.0.1") == 1
    assert decides(parsed("IP-CIDR,10.1.0.0/16,AUTO\nIP-CIDR,10.0.0.0/8,BLOCK"), "10.2.0.1") == 2


def test_a_rule_that_decided_is_made_once() -> None:
    rules = parsed("DOMAIN-SUFFIX,a.example,DIRECT\nMATCH,AUTO")
    first = rules.match(Destination("x.a.example", 443))
    assert first is rules.match(Destination("y.a.example", 443))
    assert first == rules.rules[0]


def test_no_more_rules_are_kept_than_the_limit() -> None:
    text = "".join(f"DOMAIN,host{number}.example,DIRECT\n" for number in range(_MADE_LIMIT + 10))
    rules = parsed(text)
    for number in range(_MADE_LIMIT + 10):
        assert decides(rules, f"host{number}.example") == number + 1
    assert len(rules._made) <= _MADE_LIMIT
    assert decides(rules, "host0.example") == 1


def test_the_first_rule_that_closes_is_known() -> None:
    closing = parsed("DOMAIN,a.example,DIRECT\nDOMAIN,b.example,BLOCK\nDOMAIN,c.example,RELAY:tor").closing
    assert closing is not None
    assert closing.line == 2
    assert parsed("DOMAIN,a.example,DIRECT\nDOMAIN,b.example,PREFER-RELAY").closing is None


def test_nothing_matches_without_rules() -> None:
    assert Rules().match(Destination("example.org", 443)) is None
    assert decides(parsed("DOMAIN,a.example,BLOCK"), "b.example") is None


def test_the_name_in_the_flight_of_a_literal_counts_beside_the_literal() -> None:
    rules = parsed("DOMAIN-SUFFIX,a.example,RELAY\nIP-CIDR,192.0.2.0/24,BLOCK\nDOMAIN-SUFFIX,b.example,RELAY")
    literal = Destination("192.0.2.1", 443)

    def line(name: str | None) -> int | None:
        rule = rules.match(literal, name)
        return None if rule is None else rule.line

    assert line(None) == 2
    assert line("192.0.2.1") == 2
    assert line("www.a.example") == 1
    assert line("www.b.example") == 2  # the literal was named first


@each_row(
    "host", ["notexample.com", "example.com.evil", "example.com.evil.org", "xexample.com", "com", "example.co", "e"]
)
def test_C6_a_suffix_ends_at_a_dot(host: str) -> None:
    rules = parsed("DOMAIN-SUFFIX,example.com,RELAY\nDOMAIN,www.example.com,RELAY")
    assert decides(rules, host) is None
    assert decides(rules, "www.example.com") == 1


def test_keywords_and_patterns_do_not_match_addresses() -> None:
    rules = parsed("DOMAIN-KEYWORD,1,BLOCK\nDOMAIN-REGEX,.,BLOCK")
    assert decides(rules, "192.0.2.1") is None
    assert decides(rules, "2001:db8::1") is None
    assert decides(rules, "a1.example") == 1


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$"])
def test_G6_a_catastrophic_pattern_is_harmless(pattern: str) -> None:
    rules = parsed(f"DOMAIN-REGEX,{pattern},BLOCK")
    assert rules.match(Destination("a" * 63 + "." + "a" * 63 + "." + "a" * 63 + "!", 443)) is None


def test_what_can_never_act_or_has_no_effect_is_noticed() -> None:
    rules = parsed("DOMAIN,a.example,AUTO,INSPECT\nDOMAIN,A.example,BLOCK\nMATCH,AUTO\nDOMAIN,b.example,BLOCK\n")
    assert rules.notices == (
        "rules.txt:3: MATCH applies to everything, so rules below it are never used",
        "rules.txt:2: DOMAIN,a.example is never used: an earlier rule is the same",
    )
    assert not parsed(ALL_KINDS).notices


def test_trace_names_every_rule_that_speaks_of_a_destination() -> None:
    rules = parsed("DOMAIN-SUFFIX,example,AUTO\nDOMAIN,b.example,BLOCK\nDST-PORT,443,BLOCK\nMATCH,AUTO\n")
    assert [rule.line for rule in rules.trace(Destination("a.example", 443))] == [1, 3, 4]


# -- against going through the rules one by one ------------------------------------------------------------

labels = st.sampled_from(["a", "b", "c", "example"])


hosts = st.one_of(
    st.lists(labels, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["192.0.2.1", "192.0.2.77", "198.51.100.1", "2001:db8::1"]),
)


ports = st.sampled_from([80, 443, 8080])


matchers = st.one_of(
    st.builds("DOMAIN,{}".format, hosts),
    st.builds("DOMAIN-SUFFIX,{}".format, st.lists(labels, min_size=1, max_size=3).map(".".join)),
    st.builds("DOMAIN-KEYWORD,{}".format, st.sampled_from(["a.b", "c", "exam"])),
    st.builds("DOMAIN-REGEX,{}".format, st.sampled_from([r"^a\.", "b$", "a.*c"])),
    st.sampled_from(["IP-CIDR,192.0.2.0/24", "IP-CIDR,192.0.0.0/8", "IP-CIDR,2001:db8::/32", "IP-CIDR,192.0.2.1"]),
    st.builds("DST-PORT,{}".format, st.sampled_from(["80", "443", "80-8079"])),
    st.just("LIST,press"),
    st.just("MATCH"),
)


@given(st.lists(matchers, max_size=12), hosts, ports)
def test_the_index_finds_what_going_through_finds(lines: list[str], host: str, port: int) -> None:
    rules = parsed("\n".join(f"{line},AUTO" for line in lines))
    destination = Destination(host, port)
    spoken = rules.trace(destination)
    assert rules.match(destination) == (spoken[0] if spoken else None)


def test_a_list_that_no_rule_uses_names_what_is_likely_blocked() -> None:
    lists = LISTS | {"ads": DomainList(Matcher(DomainSet.of({"ads.example"})))}
    rules = parse_rules("LIST,ads,BLOCK", source="rules.txt", lists=lists)
    assert [rules.is_listed(host) for host in ("news.example", "www.news.example", "203.0.113.9")] == [True] * 3
    assert not rules.is_listed("ads.example")  # the rule says what that list is for
    assert not rules.is_listed("example")
    assert not Rules().is_listed("news.example")


def test_a_list_may_have_prefixes_patterns_and_exceptions() -> None:
    text = "payload:\n- '192.0.2.0/24'\n- 2001:db8::/32\n- DOMAIN-KEYWORD,blog\n- DOMAIN,host.example\n"
    listed = parse_list(iter([text]), size=len(text), source="clash.yaml")
    text = "||site.example^\n@@||fine.site.example^\n"
    excepted = parse_list(iter([text]), size=len(text), source="adblock.txt", format="adblock")
    lists = {"clash": listed, "adblock": excepted}
    rules = parse_rules("LIST,clash,DIRECT\nLIST,adblock,BLOCK", source="rules.txt", lists=lists)

    def actions(*hosts: str) -> list[str]:
        found = [rules.match(Destination(host, 443)) for host in hosts]
        return ["-" if rule is None else str(rule.action) for rule in found]

    assert actions("192.0.2.77", "192.0.3.1", "2001:db8:1::1", "2001:db9::1") == ["DIRECT", "-", "DIRECT", "-"]
    assert actions("myblog.test", "host.example", "www.host.example") == ["DIRECT", "DIRECT", "-"]
    assert actions("www.site.example", "fine.site.example", "a.fine.site.example") == ["BLOCK", "-", "-"]
    assert [rule.line for rule in rules.trace(Destination("192.0.2.77", 443))] == [1]


SITUATION_RULES = """\
DOMAIN,first.example,DIRECT
PROCESS-NAME,Transmission-GTK,DIRECT
PROCESS-NAME,firefox,RELAY
NETWORK,home,PREFER-RELAY
NETWORK,fedcba9876543210,BLOCK
PROCESS-NAME,curl,BLOCK
DOMAIN-SUFFIX,example,RELAY
"""


HOME, CAFE = NETWORKS["Home"], NETWORKS["cafe"]


@each_row(
    ("host", "situation", "line"),
    [
        ("first.example", Situation(HOME, "firefox"), 1),  # an earlier rule
        ("a.test", Situation(), None),
        ("a.test", Situation(program="transmission-gtk"), 2),
        ("a.test", Situation(program="firefox-bin"), None),  # exact
        ("a.test", Situation(HOME, "firefox"), 3),
        ("a.test", Situation(HOME), 4),
        ("a.test", Situation(CAFE), 5),  # by its id
        ("a.test", Situation(HOME, "curl"), 4),
        ("a.example", Situation(UNKNOWN_NETWORK, "curl"), 6),
        ("a.example", Situation(UNKNOWN_NETWORK, "wget"), 7),
    ],
)
def test_rules_about_programs_and_networks(host: str, situation: Situation, line: int | None) -> None:
    rules = parsed(SITUATION_RULES)
    destination = Destination(host, 443)
    rule = rules.match(destination, None, situation)
    assert (None if rule is None else rule.line) == line
    assert [each.line for each in rules.trace(destination, situation)][:1] == ([] if line is None else [line])


def test_a_program_that_is_not_known_may_be_one_that_shall_not_go_direct() -> None:
    unknown = Situation(program=None)
    rules = parsed("PROCESS-NAME,curl,DIRECT\nPROCESS-NAME,wget,AUTO\nPROCESS-NAME,firefox,RELAY:tor\nMATCH,DIRECT")
    rule = rules.match(Destination("a.test", 443), None, unknown)
    assert rule is not None
    assert (rule.line, rule.action, rule.relay) == (3, Action.RELAY, "tor")
    assert rule.why == "rules.txt:3 PROCESS-NAME,firefox,RELAY:tor, as it is not known which program asks"
    assert rule.text == "PROCESS-NAME,firefox,RELAY:tor"
    rule = parsed("PROCESS-NAME,firefox,BLOCK\nMATCH,DIRECT").match(Destination("a.test", 443), None, unknown)
    assert rule is not None
    assert rule.action is Action.BLOCK
    for harmless in ("PREFER-RELAY", "DIRECT", "AUTO"):
        rules = parsed(f"PROCESS-NAME,firefox,{harmless}\nMATCH,BLOCK")
        rule = rules.match(Destination("a.test", 443), None, unknown)
        assert (rule and rule.line) == 2


def test_of_two_rules_about_one_program_or_network_the_later_one_is_never_used() -> None:
    text = "PROCESS-NAME,curl,DIRECT\nPROCESS-NAME,CURL,BLOCK\nNETWORK,home,BLOCK\nNETWORK,0123456789abcdef,AUTO\n"
    assert [notice.partition(": ")[0] for notice in parsed(text).notices] == ["rules.txt:2", "rules.txt:4"]


@each_row("host", ["www.site7.example", "www.other.example", "10.7.0.1", "192.0.2.1"])
def test_a_look_up_through_all_rules_takes_a_call_for_each_list_and_two_more(host: str) -> None:
    names, networks = "".join(f"site{n}.example\n" for n in range(100)), "".join(f"10.{n}.0.0/16\n" for n in range(9))
    lists = {
        name: parse_list(iter([text]), size=len(text), source=name) for name, text in (("a", names), ("b", networks))
    }
    comments = "# comment\n" * 50
    text = "".join(f"{comments}DOMAIN,host{n}.example,DIRECT\n" for n in range(50))
    rules = parse_rules(f"{text}LIST,a,DIRECT\nLIST,b,AUTO\n", source="rules.txt", lists=lists)
    destination = Destination(host, 443)
    rules.match(destination)  # makes the rule, which is kept
    with counting() as calls:
        rule = rules.match(destination)
    line = {"www.site7.example": 2551, "10.7.0.1": 2552}.get(host)
    assert (rule and rule.line) == line
    assert calls.total() == (3 if line == 2551 else 4), calls
