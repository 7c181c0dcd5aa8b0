"""One spelling of each value, and what no rule can mean."""

from __future__ import annotations

import re
import string

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.pattern import WORK_LIMIT, Pattern
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rule_values import REGEX_WORK_LIMIT
from tests.routing.reading import decides, parsed, problems
from tests.support.rows import each_row


@each_row("spelling", ["Example.ORG", "example.org.", "EXAMPLE.org.", "ｅxample．org"])
def test_C3_spellings_of_a_name_are_one_rule(spelling: str) -> None:
    for kind in ("DOMAIN", "DOMAIN-SUFFIX"):
        rules = parsed(f"{kind},{spelling},RELAY")
        assert rules.rules[0].value == "example.org"
        for asked in ("example.org", "EXAMPLE.ORG.", spelling):
            assert decides(rules, asked) == 1


def test_C1_a_name_and_its_a_label_are_one_rule() -> None:
    assert decides(parsed("DOMAIN-SUFFIX,bücher.example,RELAY"), "www.xn--bcher-kva.example") == 1
    assert decides(parsed("DOMAIN-SUFFIX,xn--bcher-kva.example,RELAY"), "BÜCHER.example") == 1


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


def test_a_network_that_has_no_name_yet_is_told_how_to_get_one() -> None:
    with pytest.raises(
        ConfigError, match=r'name it in config.toml under \[networks\]: office = "ID"; `byway status -v` shows'
    ):
        parse_rules("NETWORK,office,DIRECT", source="rules.txt")


@pytest.mark.parametrize("text", ["DOMAIN,a.test:443,RELAY", "DOMAIN-SUFFIX,a.test:8080,RELAY"])
def test_a_port_behind_a_name_is_named(text: str) -> None:
    assert problems(text) == (
        f'rules.txt:1: "{text.split(",")[1]}" has a port; a rule takes the host name only, and DST-PORT is for ports',
    )
    assert parsed("DOMAIN,::1,RELAY").rules[0].value == "::1"
