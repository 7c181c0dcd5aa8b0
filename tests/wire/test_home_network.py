"""The bypass lists: one source, in the syntax of each program."""

from __future__ import annotations

import ipaddress

from proxy.wire.home_network import BYPASS_SUFFIXES, CHROMIUM_BYPASS, DESKTOP_BYPASS, FIREFOX_BYPASS, NO_PROXY, PREFIXES
from tests.support.rows import each_row


@each_row(
    ("entries", "suffix"),
    [
        (CHROMIUM_BYPASS.split(";"), "*.{}"),
        (FIREFOX_BYPASS.split(","), ".{}"),
        (NO_PROXY.split(","), ".{}"),
        (DESKTOP_BYPASS, "*.{}"),
    ],
    ids=["chromium", "firefox", "no_proxy", "desktops"],
)
def test_each_list_has_all(entries: list[str], suffix: str) -> None:
    assert {suffix.format(name) for name in BYPASS_SUFFIXES} <= set(entries)
    assert set(PREFIXES) <= set(entries)
    assert not any("internal" in entry for entry in entries), "Byway's own page is byway.internal"


def test_the_prefixes_are_prefixes() -> None:
    for text in PREFIXES:
        ipaddress.ip_network(text, strict=True)
