"""Plain lists, as strangers publish them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.routing.lists import plain
from proxy.routing.lists.plain import LIST_LIMIT, SKIPPED_SHOWN, parse_plain


def test_reads_domains_and_addresses_and_skips_the_rest() -> None:
    text = (
        "\ufeff# title\r\n\r\n! adblock style\n// c\nexample.org\n*.Wild.example # why\n+.plus.example\n.dot.example.\n"
        "bücher.example\n192.0.2.1\n2001:DB8::1\n0.0.0.0 hosts.example\n||adblock.example^\nhttps://page.example/\n"
    )
    found = parse_plain(text, source="list.txt")
    assert found.domains == {
        "example.org",
        "wild.example",
        "plus.example",
        "dot.example",
        "xn--bcher-kva.example",
        "192.0.2.1",
        "2001:db8::1",
    }
    assert found.skipped_count == 3
    assert found.skipped[0] == 'list.txt:12: "0.0.0.0 hosts.example" is neither a domain nor an address'


def test_what_is_skipped_is_counted_but_not_all_told() -> None:
    found = parse_plain("a b\n" * 1000, source="l")
    assert (found.skipped_count, len(found.skipped), len(found)) == (1000, SKIPPED_SHOWN, 0)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="l: a list has at most 32 million characters"):
        parse_plain("#" * (LIST_LIMIT + 1), source="l")
    monkeypatch.setattr(plain, "DOMAINS_LIMIT", 10)
    parse_plain("\n".join(f"a{n}.example" for n in range(10)), source="l")
    with pytest.raises(ConfigError, match="l: a list has at most 10 domains"):
        parse_plain("\n".join(f"a{n}.example" for n in range(11)), source="l")


@given(st.text(max_size=200))
def test_any_text_is_a_list(text: str) -> None:
    found = parse_plain(text, source="l")
    assert len(found.skipped) <= found.skipped_count
    assert all(sentence.isprintable() for sentence in found.skipped)
