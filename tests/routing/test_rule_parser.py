"""rules.txt: what it says, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Action
from proxy.model.errors import ConfigError
from proxy.routing import rule_parser
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.rule import RuleType
from proxy.routing.rule_parser import LINE_LIMIT, RULES_LIMIT, parse_action, parse_rules
from proxy.routing.rule_values import REGEX_RULES_LIMIT
from proxy.routing.rules import PROBLEMS_SHOWN
from tests.routing.reading import ALL_KINDS, LISTS, RELAYS, decides, parsed, problems, read
from tests.support.calls import counting
from tests.support.rows import each_row


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


@each_row(
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


@each_row(
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


@each_row(
    ("line", "says"),
    [
        ("DOMIAN,a.example,RELAY", 'unknown rule type "DOMIAN"; did you mean DOMAIN?'),
        ("PROCESS-PATH,/usr/bin/curl,DIRECT", '"PROCESS-PATH" is not supported'),
        ("PROCESS-NAME,/usr/bin/curl,DIRECT", "write it without its folder: PROCESS-NAME,curl"),
        ("PROCESS-NAME,,DIRECT", "is not the name of a program"),
        ("NETWORK,hme,DIRECT", 'unknown network "hme"; did you mean Home?; `byway status -v` shows the id'),
        ("NETWORK,office,DIRECT", 'unknown network "office"; it can be Home or cafe; `byway status -v` shows the id'),
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


@each_row("text", ["relay", "Relay:tor", " prefer-relay : vps ", "AUTO", "block"])
def test_actions_of_the_command_line(text: str) -> None:
    action, relay = parse_action(text, relays=RELAYS)
    assert str(action) + (f":{relay}" if relay else "") == text.upper().replace(" ", "").replace("TOR", "tor").replace(
        "VPS", "vps"
    )


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


def test_a_usual_rule_is_read_with_few_calls() -> None:
    count = 1000
    text = "".join(f"DOMAIN-SUFFIX,site{number}.example,RELAY:tor\n" for number in range(count))
    with counting() as calls:
        assert len(parse_rules(text, source="rules.txt", relays=RELAYS)) == count
    assert calls.total() < 2 * count, calls  # each is added to the index; most are read in bulk


_SPELLINGS = (
    "DOMAIN-SUFFIX,a.example,DIRECT", "DOMAIN-SUFFIX,b.example,DIRECT", "DOMAIN,a.example,DIRECT",
    "DOMAIN,c.example,RELAY:tor", "DOMAIN,d.example,RELAY:vps", "DOMAIN-SUFFIX,Upper.example,DIRECT",
    "DOMAIN-SUFFIX,dot.example.,DIRECT", "domain-suffix,e.example,DIRECT", "DOMAIN-SUFFIX,f.example,direct",
    "DOMAIN-SUFFIX, g.example ,DIRECT", "DOMAIN-SUFFIX,h.example,DIRECT # why", "DOMAIN-SUFFIX,i.example,DIRECT//why",
    "DOMAIN-SUFFIX,j.example,DIRECT,INSPECT", "DOMAIN-SUFFIX,bücher.example,DIRECT", "DOMAIN,192.0.2.1,DIRECT",
    "DOMAIN-SUFFIX,k.example,DIRECT  ", "DOMAIN-KEYWORD,l.example,DIRECT", "IP-CIDR,192.0.2.0/24,DIRECT",
    "MATCH,AUTO", "", "# DOMAIN,m.example,DIRECT", "\ufeffDOMAIN,n.example,DIRECT",
)  # fmt: skip


@given(st.lists(st.sampled_from(_SPELLINGS) | st.sampled_from(_SPELLINGS[:2]), max_size=12))
def test_each_line_means_what_it_means_alone(lines: list[str]) -> None:
    """Also where lines above it are like it, so that it is read with a look-up."""
    text = "\n".join(lines)
    alone = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            alone += [
                replace(rule, line=number) for rule in parsed(line.replace("\ufeff", "?") if number > 1 else line).rules
            ]
        except ConfigError:
            assert f"rules.txt:{number}: " in "".join(problems(text))
            return
    for piece in (1, 60, 8192):
        with mock.patch.object(rule_parser, "_PIECE", piece):
            assert list(parsed(text).rules) == alone


def test_a_rule_in_two_lines_is_none_among_lines_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_parser, "_PIECE", 44)  # two of the lines that are alike, or the three others
    alike = "DOMAIN,a.example,DIRECT\nDOMAIN,b.example,DIRECT\n"
    assert len(parsed(f"{alike}{alike}").rules) == 4
    found = problems(f"{alike}DOMAIN,c.example,DIRECT\nDOMAIN,d.example\ne.example,DIRECT")
    assert [problem.split(": ")[0] for problem in found] == ["rules.txt:4", "rules.txt:5"]


def test_a_line_that_is_too_long_is_told_even_when_it_holds_little() -> None:
    with pytest.raises(ConfigError, match="r:2: a rule can have at most 2048 characters"):
        parse_rules("MATCH,AUTO\n" + " " * 3000, source="r")


def test_final_of_other_programs_is_match_here() -> None:
    assert problems("FINAL,DIRECT") == ('rules.txt:1: unknown rule type "FINAL"; did you mean MATCH?',)


@pytest.mark.parametrize("action", ["RELAY", "BLOCK"])
def test_a_list_of_which_parts_of_conditions_are_missing_protects_too_little(action: str) -> None:
    """Such as each site without its subdomains: a note would let `www.` of each go direct."""
    builder = ListBuilder("sites.pac")
    builder.add(1, "a.example")
    builder.is_needed = True
    builder.skip(2, "g(host)", Skip.SCRIPT)
    listed = builder.build()
    told = 'this rule would not cover all sites of the list: sites.pac:2: "g(host)" was skipped'
    with pytest.raises(ConfigError) as caught:
        parse_rules(f"LIST,mine,{action}\n", source="rules.txt", lists={"mine": listed}, relays=("r",))
    assert told in str(caught.value)
    accepted = replace(listed, allow_empty=True)
    for text, its in ((f"LIST,mine,{action}\n", accepted), ("LIST,mine,AUTO\n", listed)):
        assert len(parse_rules(text, source="rules.txt", lists={"mine": its}, relays=("r",)).rules) == 1
