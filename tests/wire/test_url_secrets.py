"""What is shown of the URL of a list."""

from __future__ import annotations

import time

import pytest

from proxy.wire.url_secrets import hide_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://lists.example/a.txt", "https://lists.example/a.txt"),
        ("https://raw.example/gfwlist/gfwlist/master/gfwlist.txt",) * 2,
        ("https://antizapret.prostovpn.org/domains-export-2024.txt",) * 2,
        ("https://user:pw@lists.example/a.txt", "https://***@lists.example/a.txt"),
        ("https://lists.example/a.txt?token=abc&v=2", "https://lists.example/a.txt?token=***&v=***"),
        ("https://lists.example/a.txt?abc", "https://lists.example/a.txt?***"),
        ("https://lists.example/?k=a?b=c", "https://lists.example/?k=***"),
        ("https://lists.example/a#tok", "https://lists.example/a#***"),
        ("https://lists.example/u/0f8fad5b-d9cb-469f-a165-70867728950e/l.txt", "https://lists.example/u/***/l.txt"),
        ("https://gist.example/user/9b1f0c3a5d7e4f6a8b9c/raw/x.txt", "https://gist.example/user/***/raw/x.txt"),
        ("HTTPS://LISTS.example/zo4Ya8tOken2seCret9/x", "HTTPS://LISTS.example/***/x"),
        ("see https://a.example/?t=1, and 'https://b.example/?t=2'", "see https://a.example/?t=*** and 'https://b.example/?t=***'"),
        ("lists/mine.txt?x=1", "lists/mine.txt?x=1"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_hidden(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown
    assert hide_secrets(shown) == shown


def test_a_long_text_takes_no_longer_than_its_size() -> None:
    """The work is compared, in processor time, with a bound that only a square would pass."""

    def took(size: int) -> float:
        texts = [filler * (size // len(filler)) for filler in ("https://", "https://a@", "a/1?", "?=&", "https://x/a1")]
        began = time.process_time()
        for text in texts:
            hide_secrets(text)
        return time.process_time() - began

    took(1000)
    assert took(400_000) < 40 * took(40_000) + 0.5
