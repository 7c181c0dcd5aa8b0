"""Lists mean what the programs say whose formats they are. All of it: `python -m tests.routing.lists.judges`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from proxy.config.schema import ListFormatName
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.list_builder import ListBuilder
from proxy.wire import hostnames
from tests.routing.lists.judges import adblocker, pac, sing_box
from tests.routing.lists.judges.mihomo import Mihomo
from tests.routing.lists.judges.questions import PINNED, judged
from tests.routing.lists.judges.rule_providers import Behavior, Format, rule_provider
from tests.support.rows import each_row

pytestmark = pytest.mark.slow

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


FORMATS: tuple[ListFormatName, ...] = ("autoproxy", "adblock")


@pytest.mark.needs("node", "adblocker")
@pytest.mark.parametrize("format", FORMATS)
def test_a_filter_means_what_ghosterys_adblocker_says(format: ListFormatName) -> None:  # noqa: A002
    text = adblocker.made_filters(format, lines=1000, seed=7)
    verdict = adblocker.judged_filters(text, format=format, lines=1000, seed=7)
    assert verdict.wrong == ()
    assert verdict.asked > 600
    assert verdict.skipped.keys() <= {
        Skip.REGULAR_EXPRESSION, Skip.NO_HOST, Skip.NARROW_EXCEPTION, Skip.COSMETIC, Skip.CONDITION,
    }  # fmt: skip


@pytest.mark.needs("sing-box")
def test_a_rule_set_means_what_sing_box_says(tmp_path: Path) -> None:
    text = sing_box.made_rule_set(lines=LINES, seed=7)
    verdict = sing_box.judged_rule_set(text, tmp_path, lines=LINES, seed=7)
    assert verdict.wrong == ()
    assert verdict.asked > 0.6 * LINES
    assert verdict.skipped.keys() <= {Skip.CONDITION, Skip.PROCESS, Skip.REGULAR_EXPRESSION, Skip.UNSUPPORTED_TYPE}


@pytest.mark.needs("node")
@each_row("kind", pac.KINDS)
def test_a_script_means_what_node_says(kind: str) -> None:
    verdict = pac.judged_script(pac.made_script(kind, lines=300, seed=7), lines=200, seed=7)
    assert verdict.wrong == ()
    assert verdict.asked == 200
    assert verdict.skipped.keys() <= {Skip.CONDITION, Skip.ORDER, Skip.SCRIPT}


@pytest.mark.needs("node", "adblocker")
def test_these_judges_are_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: were only subdomains read of what is a site, each judge says so."""
    monkeypatch.setattr(ListBuilder, "add_lines", _only_subdomains)
    assert adblocker.judged_filters("||a.example^\n", format="adblock", lines=9, seed=1).share == 0
    assert pac.judged_script(pac.made_script("dictionary", lines=10, seed=1), lines=10, seed=1).share == 0


def _only_subdomains(builder: ListBuilder, line: int, lines: str, covers: Covers = Covers.SITE) -> None:
    for domain in lines.split("\n"):
        if domain:
            builder.add(line, domain, Covers.SUBDOMAINS)


@pytest.mark.needs("node", "adblocker")
@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("||blocked.example", "blocked.example.cn"),
        ("|http://page.example", "page.example.cn"),
        (".below.example", "a.below.example.cn"),
    ],
)
def test_where_a_name_ends_without_a_mark_we_end_it_and_adblock_goes_on(line: str, host: str) -> None:
    """The one difference that is meant: AutoProxy lists leave out the mark, and mean the name as it stands."""
    (told,) = adblocker.answers([(line, [f"http://{host}/"])])
    assert told == [True]
    found = parse_list(iter([f"{line}\n"]), size=50, source="l", format="autoproxy")
    assert found.covering(host) is None


@pytest.mark.needs("mihomo")
@pytest.mark.parametrize("line", ["\ufeffa.example", "a.example.", "a.example # note"])
def test_a_domain_that_mihomo_loses_is_listed(tmp_path: Path, line: str) -> None:
    """A text of domains has no comments, marks and last dots for mihomo: the whole line is the name.
    No host has such a name; the author of the list means the host."""
    told = Mihomo(tmp_path, behavior="domain", format="text")(f"{line}\n+.b.example\n", ["a.example", "b.example"])
    assert told == {"a.example": False, "b.example": True}
    found = parse_list(iter([f"{line}\n+.b.example\n"]), size=50, source="l", format="clash")
    assert (found.covering("a.example"), found.skips) == ("a.example", {})


def test_a_name_with_an_underscore_before_it_is_refused_in_a_list_as_in_a_visit() -> None:
    """mihomo lists it. Such names are those of DNS records, not of hosts (RFC 8552), and no visit has one."""
    with pytest.raises(ValueError, match="a label starts with"):
        hostnames.host("_dmarc.a.example")
    found = parse_list(iter(["+._dmarc.a.example\n+.b.example\n"]), size=50, source="l", format="clash")
    assert found.skips == {Skip.UNREADABLE: 1}


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
