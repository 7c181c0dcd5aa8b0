"""What is said to be wrong with lists, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

from proxy.config.schema import ListConfig
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.problems import present
from proxy.routing.domain_set import DomainSet
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.matcher import NO_ENTRIES, Matcher
from proxy.store.list_copies import CopyInfo
from tests.support.control_world import SECRET
from tests.support.rows import each_row

URL = f"https://u:{SECRET}@h"
NOW = 1_700_000_000.0
GFW = ListConfig(name="gfw", source="gfw.txt")
FETCHED = ListConfig(name="gfw", source="https://lists.test/gfw.txt", refresh="1d")
COPY = CopyInfo(FETCHED.url, fetched_at=NOW - 86_400, entries=1)
ONE = DomainList(Matcher(DomainSet.of(("a.test",))), source="list gfw", lines_read=1)
ABSENT = DomainList(NO_ENTRIES, source="list gfw", absent="not fetched yet; run `byway list refresh gfw`")


def listed(item: ListConfig, found: DomainList, info: CopyInfo | None = None) -> ListJson:
    return ListJson.of(item, found, info, NOW)


@each_row(
    ("shown", "text", "do"),
    [
        (listed(GFW, DomainList(NO_ENTRIES, source="gfw.txt")), "gfw.txt: the list is empty.", "byway rule check"),
        (
            listed(FETCHED, ABSENT, CopyInfo(FETCHED.url)),
            "list gfw: not fetched yet; run `byway list refresh gfw`.",
            "byway list refresh gfw",
        ),
        (
            listed(FETCHED, ABSENT, CopyInfo(FETCHED.url, failures=1, error="answered 404")),
            "list gfw: not fetched yet; run `byway list refresh gfw` (answered 404).",
            "byway list refresh gfw",
        ),
        (
            listed(FETCHED, ONE, replace(COPY, failures=2, error=f"through tor: {URL} failed")),
            "List gfw could not be fetched: through tor: https://u:***@h failed; its last good copy, of 1 day ago, "
            "is in use.",
            "byway list refresh gfw",
        ),
        (
            listed(FETCHED, ONE, replace(COPY, fetched_at=NOW - 3 * 86_400)),
            "List gfw is out of date: its last good copy, of 3 days ago, is in use, and its refresh is 1d.",
            "byway list refresh gfw",
        ),
        (
            listed(FETCHED, DomainList(NO_ENTRIES, source="list gfw"), COPY),
            "list gfw: the list is empty.",
            "byway list show gfw",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(shown: ListJson, text: str, do: str) -> None:
    assert [(each.text, each.do) for each in present([shown], NOW)] == [(text, do)]


def test_where_all_is_well_nothing_is_said() -> None:
    assert present([listed(FETCHED, ONE, COPY)], NOW) == []
