"""Rule providers mean what mihomo says. The whole judgement: `python -m tests.routing.lists.judges`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from proxy.routing.lists.domain_list import Skip
from tests.routing.lists.judges.mihomo import Mihomo
from tests.routing.lists.judges.questions import PINNED, judged
from tests.routing.lists.judges.rule_providers import Behavior, Format, rule_provider

LINES = 80


@pytest.mark.needs("mihomo")
@pytest.mark.parametrize("format", get_args(Format))
@pytest.mark.parametrize("behavior", get_args(Behavior))
def test_a_rule_provider_means_what_mihomo_says(tmp_path: Path, behavior: Behavior, format: Format) -> None:  # noqa: A002
    text = rule_provider(behavior, format, lines=LINES, seed=7)
    judge = Mihomo(tmp_path, behavior=behavior, format=format)
    head = "payload:\n" if format == "yaml" else ""
    verdict = judged(text, judge, format="clash", lines=LINES, seed=7, head=head)
    assert verdict.wrong == ()
    assert verdict.asked > 0.8 * LINES
    assert verdict.skipped.keys() <= PINNED
    assert bool(verdict.skipped) is (behavior == "classical")


def test_a_judge_that_disagrees_is_heard() -> None:
    def suffixes(text: str, hosts: Collection[str]) -> dict[str, bool]:
        return {host: host.endswith("a.example") for host in hosts}

    verdict = judged("DOMAIN-SUFFIX,a.example\nPROCESS-NAME,a\n", suffixes, format="clash", lines=9, seed=1)
    assert (verdict.asked, verdict.right, verdict.skipped) == (1, 0, {Skip.PROCESS: 1})
    assert verdict.wrong == ("'DOMAIN-SUFFIX,a.example': xa.example: the judge says True",)
    assert verdict.share == 0


def test_a_line_that_only_the_judge_can_read_counts_as_wrong() -> None:
    def every(text: str, hosts: Collection[str]) -> dict[str, bool]:
        return dict.fromkeys(hosts, True)

    verdict = judged("what is a.example\n", every, format="clash", lines=9, seed=1)
    assert (verdict.asked, verdict.right) == (1, 0)
