"""rules.txt: what it says, what is wrong with it, and which rule comes first."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import UNKNOWN_NETWORK, Action, Destination, NetworkId
from proxy.model.errors import ConfigError
from proxy.routing.domain_set import DomainSet
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.matcher import Matcher
from proxy.routing.pattern import WORK_LIMIT, Pattern
from proxy.routing.rules import (
    LINE_LIMIT,
    PROBLEMS_SHOWN,
    REGEX_RULES_LIMIT,
    REGEX_WORK_LIMIT,
    RULES_LIMIT,
    Rules,
    RuleType,
    Situation,
    parse_action,
    parse_rules,
)
from proxy.wire import hostnames as names
from tests.support.calls import counting

NETWORKS = {"Home": NetworkId("0123456789abcdef"), "cafe": NetworkId("fedcba9876543210")}
LISTS = {"press": parse_list(iter(["news.example\n203.0.113.9\n"]), size=0, source="press.txt")}


def read(text: str, source: str, *, allow_empty: bool = False) -> DomainList:
    return parse_list(iter([text]), size=len(text), source=source, format="plain", allow_empty=allow_empty)


RELAYS = ("tor", "vps")


def parsed(text: str) -> Rules:
    return parse_rules(text, source="rules.txt", lists=LISTS, relays=RELAYS, networks=NETWORKS)


def decides(rules: Rules, host: str, port: int = 443) -> int | None:
    """The line that decides."""
    rule = rules.match(names.destination(host, port))
    return None if rule is None else rule.line


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return caught.value.problems


ALL_KINDS = """\
# what Clash users know
DOMAIN,exact.example,DIRECT
DOMAIN-SUFFIX,suffix.example,RELAY:tor
DOMAIN-KEYWORD,blog,PREFER-RELAY
DOMAIN-REGEX,^cdn[0-9]{1,3}\\.example$,BLOCK
IP-CIDR,192.0.2.0/24,RELAY,no-resolve
IP-CIDR6,2001:db8::/32,BLOCK
DST-PORT,8000-8100,DIRECT
LIST,press,PREFER-RELAY:vps
MATCH,AUTO
"""


@pytest.mark.parametrize(
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


def test_what_a_rule_consists_of() -> None:
    rules = parsed(ALL_KINDS)
    suffix = rules.rules[1]
    assert (suffix.type, suffix.value, suffix.action, suffix.relay) == (
        RuleType.DOMAIN_SUFFIX,
        "suffix.example",
        Action.RELAY,
        "tor",
    )
    assert suffix.why == "rules.txt:3 DOMAIN-SUFFIX,suffix.example,RELAY:tor"
    assert str(suffix) == "DOMAIN-SUFFIX,suffix.example,RELAY:tor"
    assert not suffix.intercept
    assert rules.texts[0] == "rules.txt:2 DOMAIN,exact.example,DIRECT"
    assert len(rules.texts) == len(rules) == 9


@pytest.mark.parametrize(
    "line",
    [
        "DOMAIN-SUFFIX,a.example,DIRECT",
        "DOMAIN-KEYWORD,news,PREFER-RELAY:tor",
        "IP-CIDR,192.0.2.0/24,RELAY,INSPECT",
        "DST-PORT,8000-8100,BLOCK",
        "MATCH,AUTO",
        "MATCH,RELAY:tor,INSPECT",
    ],
)
def test_a_rule_in_canonical_spelling_keeps_no_text_of_its_own(line: str) -> None:
    (rule,) = parsed(line).rules
    assert rule.written == ""
    assert (rule.text, rule.why) == (line, f"rules.txt:1 {line}")


@pytest.mark.parametrize(
    "line",
    [
        "domain-suffix,a.example,DIRECT",
        "DOMAIN-SUFFIX, a.example, DIRECT",
        "DOMAIN,Bücher.Example.,RELAY:tor",
        "IP-CIDR6,2001:db8::/32,DIRECT,no-resolve",
        "DOMAIN,a.example,DIRECT,inspect",
        "DST-PORT,443-443,BLOCK",
        "MATCH,RELAY: tor",
    ],
)
def test_a_rule_is_shown_as_it_was_written(line: str) -> None:
    (rule,) = parsed(line).rules
    assert (rule.text, rule.why) == (line, f"rules.txt:1 {line}")


def test_the_first_rule_wins_whatever_its_kind() -> None:
    lines = [line for line in ALL_KINDS.splitlines() if not line.startswith("#")]
    assert decides(parsed("\n".join(["MATCH,BLOCK", *lines])), "exact.example") == 1
    assert decides(parsed("DOMAIN-KEYWORD,a,BLOCK\nDOMAIN,a.example,AUTO"), "a.example") == 1
    assert decides(parsed("DOMAIN,a.example,AUTO\nDOMAIN-KEYWORD,a,BLOCK"), "a.example") == 1
    assert decides(parsed("DST-PORT,443,BLOCK\nDOMAIN-SUFFIX,example,AUTO"), "a.example") == 1
    assert decides(parsed("DOMAIN-SUFFIX,example,AUTO\nDOMAIN-SUFFIX,b.example,BLOCK"), "a.b.example") == 1
    assert decides(parsed("IP-CIDR,10.0.0.0/8,AUTO\nIP-CIDR,10.1.0.0/16,BLOCK"), "10.1.0.1") == 1
    assert decides(parsed("IP-CIDR,10.1.0.0/16,AUTO\nIP-CIDR,10.0.0.0/8,BLOCK"), "10.2.0.1") == 2


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


@pytest.mark.parametrize("spelling", ["Example.ORG", "example.org.", "EXAMPLE.org.", "ｅxample．org"])
def test_C3_spellings_of_a_name_are_one_rule(spelling: str) -> None:
    for kind in ("DOMAIN", "DOMAIN-SUFFIX"):
        rules = parsed(f"{kind},{spelling},RELAY")
        assert rules.rules[0].value == "example.org"
        for asked in ("example.org", "EXAMPLE.ORG.", spelling):
            assert decides(rules, asked) == 1


def test_C1_a_name_and_its_a_label_are_one_rule() -> None:
    assert decides(parsed("DOMAIN-SUFFIX,bücher.example,RELAY"), "www.xn--bcher-kva.example") == 1
    assert decides(parsed("DOMAIN-SUFFIX,xn--bcher-kva.example,RELAY"), "BÜCHER.example") == 1


@pytest.mark.parametrize(
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


def test_G1_comments_blank_lines_bom_and_line_ends() -> None:
    text = "\ufeff# c\r\n\r\n// c\r  DOMAIN , a.example , relay:tor  # why\nDOMAIN,b.example,Auto // why\n#\n"
    rules = parsed(text)
    assert [(rule.line, rule.value, rule.action, rule.relay) for rule in rules.rules] == [
        (4, "a.example", Action.RELAY, "tor"),
        (5, "b.example", Action.AUTO, ""),
    ]
    assert not parsed("").rules


def test_kinds_actions_and_options_are_blind_to_case() -> None:
    rules = parsed("domain-Suffix,a.example,prefer-relay:vps,inspect")
    assert (rules.rules[0].action, rules.rules[0].relay, rules.rules[0].intercept) == (Action.PREFER_RELAY, "vps", True)


def test_a_pattern_may_hold_commas() -> None:
    rules = parsed("DOMAIN-REGEX,^a{1,2}\\.example$,RELAY:tor,INSPECT\nDOMAIN-REGEX,^b{1,2}\\.example$,BLOCK")
    assert decides(rules, "aa.example") == 1
    assert decides(rules, "bb.example") == 2
    assert rules.rules[0].intercept


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("DOMIAN,a.example,RELAY", 'unknown rule type "DOMIAN"; did you mean DOMAIN?'),
        ("PROCESS-PATH,/usr/bin/curl,DIRECT", '"PROCESS-PATH" is not supported'),
        ("PROCESS-NAME,/usr/bin/curl,DIRECT", "write it without its folder: PROCESS-NAME,curl"),
        ("PROCESS-NAME,,DIRECT", "is not the name of a program"),
        ("NETWORK,hme,DIRECT", 'unknown network "hme"; did you mean Home?; `byway status` shows the id'),
        ("NETWORK,office,DIRECT", 'unknown network "office"; it can be Home or cafe; `byway status` shows the id'),
        ("GEOIP,KZ,DIRECT", '"GEOIP" is not supported'),
        ("DOMAIN,a.example,RELEY", 'unknown action "RELEY"; did you mean RELAY?'),
        ("DOMAIN,a.example,PROXY", 'unknown action "PROXY"; did you mean RELAY?'),
        ("DOMAIN,a.example,REJECT", 'unknown action "REJECT"; did you mean BLOCK?'),
        ("DOMAIN,a.example,xyz", "it can be AUTO, DIRECT, RELAY, PREFER-RELAY or BLOCK"),
        ("DOMAIN,a.example,RELAY:tro", 'unknown relay "tro"; did you mean tor?'),
        ("DOMAIN,a.example,RELAY:", "has no relay name after the colon"),
        ("DOMAIN,a.example,BLOCK:tor", "only RELAY:name and PREFER-RELAY:name can"),
        ("DOMAIN,a.example,RELAY,INSPEKT", 'unknown option "INSPEKT"; did you mean INSPECT?'),
        ("DOMAIN,a.example,tor", "a relay is written as RELAY:tor"),
        ("DOMAIN,a.example,RELAY,tor", "a relay is written as RELAY:tor"),
        ("DOMAIN,a.example,RELAY(tor)", "a relay is written as RELAY:tor"),
        ("DOMAIN,a.example,relay tor", "a relay is written as RELAY:tor"),
        ("DOMAIN,a.example,RELAY(tro)", "unknown action"),
        ("a.example,RELAY", "for a.example with its subdomains: DOMAIN-SUFFIX,a.example,ACTION"),
        ("a.example RELAY", "for a.example with its subdomains: DOMAIN-SUFFIX,a.example,ACTION"),
        ("DOMAIN,a.example", "write DOMAIN,value,ACTION"),
        ("DOMAIN", "write DOMAIN,value,ACTION"),
        ("MATCH", "write MATCH,ACTION"),
        ("MATCH,x,AUTO", '"x" is one part too many; write MATCH,ACTION'),
        ("DOMAIN,a.example,b.example,AUTO", '"b.example" is one part too many'),
        ("DOMAIN,*.a.example,AUTO", "write DOMAIN-SUFFIX,a.example"),
        ("DOMAIN-SUFFIX,.a.example,AUTO", "DOMAIN-SUFFIX,a.example includes its subdomains"),
        ("DOMAIN-SUFFIX,192.0.2.1,AUTO", "write IP-CIDR,192.0.2.1/32"),
        ("DOMAIN-SUFFIX,127.1,AUTO", "write IP-CIDR,127.0.0.1/32"),
        ("DOMAIN,https://a.example/,AUTO", "a rule takes the host name only"),
        ("DOMAIN,a..b,AUTO", "a..b"),
        ("DOMAIN,,AUTO", "empty"),
        ("DOMAIN-KEYWORD,a b,AUTO", 'keyword "a b" can never match'),
        ("DOMAIN-KEYWORD,,AUTO", "can never match"),
        ("DOMAIN-REGEX,(a,AUTO", 'pattern "(a" cannot be used: a ( is not closed'),
        ("IP-CIDR,192.0.2.1/24,AUTO", "did you mean 192.0.2.0/24?"),
        ("IP-CIDR,example.org,AUTO", "is not an address or CIDR"),
        ("DST-PORT,70000,AUTO", '"70000" is not a port'),
        ("DST-PORT,90-80,AUTO", '"90-80" is not a port'),
        ("DST-PORT,http,AUTO", '"http" is not a port'),
        ("LIST,pres,AUTO", 'unknown list "pres"; did you mean press?'),
        ("\x1b[31mDOMAIN,a.example,AUTO", r'"\x1b[31mDOMAIN"'),
        ("a" * 5000, f"at most {LINE_LIMIT} characters"),
        ("\0\0\0", r'"\x00\x00\x00"'),
    ],
)
def test_a_fault_is_placed_quoted_and_answered(line: str, says: str) -> None:
    (problem,) = problems(f"# first\n{line}\nMATCH,AUTO\n")
    assert problem.startswith("rules.txt:2: ")
    assert says in problem
    assert problem.isprintable()


def test_all_faults_are_told_at_once() -> None:
    found = problems("A,b,c\nDOMAIN,a.example,AUTO\n\nDOMAIN,a.example,NO\nMATCH")
    assert [problem.split(" ")[0] for problem in found] == ["rules.txt:1:", "rules.txt:4:", "rules.txt:5:"]


def test_many_faults_are_cut_short() -> None:
    found = problems("x\n" * 1000)
    assert len(found) == PROBLEMS_SHOWN + 1
    assert "950 more" in found[-1]


def test_relays_are_checked_only_where_they_are_known() -> None:
    assert parse_rules("MATCH,RELAY:any", source="r").rules[0].relay == "any"
    with pytest.raises(ConfigError, match="no relay is configured"):
        parse_rules("MATCH,RELAY:any", source="r", relays=())
    with pytest.raises(ConfigError, match=re.escape("no [[list]] is configured")):
        parse_rules("LIST,any,RELAY", source="r")


def test_G1_sizes_are_bounded() -> None:
    with pytest.raises(ConfigError, match="8 million characters"):
        parsed("#" * (RULES_LIMIT + 1))
    patterns = "DOMAIN-REGEX,a,AUTO\n" * (REGEX_RULES_LIMIT + 1)
    assert f"rules.txt:{REGEX_RULES_LIMIT + 1}: more than" in problems(patterns)[0]


def test_G6_a_repetition_of_nothing_is_refused_with_its_line() -> None:
    (problem,) = problems("MATCH,AUTO\nDOMAIN-REGEX,(){9999999},AUTO")
    assert problem == 'rules.txt:2: pattern "(){9999999}" cannot be used: an empty group cannot be repeated'


def test_G6_all_patterns_of_a_file_together_take_a_bounded_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Pattern] = []

    class Counted(Pattern):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            compiled.append(self)

    monkeypatch.setattr("proxy.routing.pattern.Pattern", Counted)
    found = problems("".join(f"DOMAIN-REGEX,(a?){{255}}{letter},AUTO\n" for letter in string.ascii_lowercase * 9))
    assert sum(pattern.work for pattern in compiled) < REGEX_WORK_LIMIT + WORK_LIMIT
    assert re.search(r"rules.txt:\d+: the DOMAIN-REGEX rules above are too complex together", found[0])


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){12}$"])
def test_G6_a_catastrophic_pattern_is_harmless(pattern: str) -> None:
    rules = parsed(f"DOMAIN-REGEX,{pattern},BLOCK")
    assert rules.match(Destination("a" * 63 + "." + "a" * 63 + "." + "a" * 63 + "!", 443)) is None


def test_a_list_that_protects_hardly_any_site_is_refused_where_it_would_promise_something() -> None:
    lists = LISTS | {"gfw": read("W0F1\nd G8=\na b\n", "gfw.txt"), "none": read("", "n")}
    text = "LIST,press,RELAY\nLIST,gfw,RELAY\nLIST,none,BLOCK\nLIST,gfw,RELAY:tor\n"
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, source="rules.txt", lists=lists, relays=RELAYS)
    why = 'gfw.txt:2: "d G8=" is neither a domain nor an address; 1 line read, 2 lines skipped'
    allow = "To use the list anyway, set allow_empty = true in its [[list]]"
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [f"rules.txt:{n}" for n in (2, 3, 4)]
    assert why in caught.value.problems[0]
    assert "n: the list is empty" in caught.value.problems[1]
    assert all(problem.endswith(allow) for problem in caught.value.problems)
    for action in ("AUTO", "DIRECT", "PREFER-RELAY"):
        rules = parse_rules(f"LIST,gfw,{action}\n", source="rules.txt", lists=lists, relays=RELAYS)
        assert rules.notices == rules.list_problems == (lists["gfw"].problem, lists["none"].problem)


def test_a_list_that_may_be_empty_is_taken_as_it_is() -> None:
    lists = {
        "gfw": read("a b\n", "gfw.txt", allow_empty=True),
        "none": read("", "n", allow_empty=True),
    }
    rules = parse_rules("LIST,gfw,RELAY\nLIST,none,BLOCK\n", source="rules.txt", lists=lists, relays=RELAYS)
    assert rules.notices == (lists["gfw"].problem,)


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


@pytest.mark.parametrize("text", ["relay", "Relay:tor", " prefer-relay : vps ", "AUTO", "block"])
def test_actions_of_the_command_line(text: str) -> None:
    action, relay = parse_action(text, relays=RELAYS)
    assert str(action) + (f":{relay}" if relay else "") == text.upper().replace(" ", "").replace("TOR", "tor").replace(
        "VPS", "vps"
    )


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


words = st.sampled_from([*RuleType, *Action, "INSPECT", "RELAY:tor", "a.example", "1.2.3.4", "", "no-resolve"])


@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.lists(
                st.sampled_from([*RuleType, *Action, "INSPECT", "RELAY:tor", "a.example", "1.2.3.4", "", "no-resolve"])
            ).map(",".join),
        ),
        max_size=5,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_text_is_rules_or_placed_faults(lines: list[str], end: str) -> None:
    text = end.join(lines)
    try:
        rules = parsed(text)
    except ConfigError as error:
        count = len(re.split("\r\n|\r|\n", text))
        numbers = [int(problem.split(":")[1]) for problem in error.problems]
        assert numbers == sorted(set(numbers))  # one for each line, in order
        assert 1 <= numbers[0] <= numbers[-1] <= count
    else:
        again = parsed("\n".join(str(rule) for rule in rules.rules))
        assert [(rule.type, rule.value, rule.action) for rule in again.rules] == [
            (rule.type, rule.value, rule.action) for rule in rules.rules
        ]


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


def test_a_usual_rule_is_read_with_few_calls() -> None:
    count = 1000
    text = "".join(f"DOMAIN-SUFFIX,site{number}.example,RELAY:tor\n" for number in range(count))
    with counting() as calls:
        assert len(parse_rules(text, source="rules.txt", relays=RELAYS)) == count
    assert calls.total() < 13 * count, calls


def test_a_line_that_is_too_long_is_told_even_when_it_holds_little() -> None:
    with pytest.raises(ConfigError, match="r:2: a rule can have at most 2048 characters"):
        parse_rules("MATCH,AUTO\n" + " " * 3000, source="r")


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


@pytest.mark.parametrize(
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


def test_a_network_that_has_no_name_yet_is_told_how_to_get_one() -> None:
    with pytest.raises(
        ConfigError, match=r'name it in config.toml under \[networks\]: office = "ID"; `byway status` shows'
    ):
        parse_rules("NETWORK,office,DIRECT", source="rules.txt")
