"""What is shown of the URL of a list."""

from __future__ import annotations

import time

from proxy.wire.url_secrets import hide_in_comment, hide_paths, hide_secrets
from tests.support.rows import each_row


@each_row(
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
        ("https://lists.example/m/tk9Zq4Lm2X/a.txt", "https://lists.example/m/***/a.txt"),
        ("https://lists.example/m/a1b2cdef/a.txt", "https://lists.example/m/***/a.txt"),
        ("https://lists.example/m/a1b2cde/a.txt",) * 2,
        ("https://lists.example/abcdefghijklmnopqrstuvwxyz/a.txt", "https://lists.example/***/a.txt"),
        ("https://cdn.example/gh/x/v2ray-rules-dat@release/gfwlist2pac.txt",) * 2,
        ("see https://a.example/?t=1, and 'https://b.example/?t=2'", "see https://a.example/?t=*** and 'https://b.example/?t=***'"),
        ("lists/mine.txt?x=1", "lists/mine.txt?x=1"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_hidden(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown
    assert hide_secrets(shown) == shown


@each_row(
    ("url", "shown"),
    [
        ("https://1.1.1.1/dns-query",) * 2,
        ("https://1.1.1.1/dns-query?sni=dns.example", "https://1.1.1.1/dns-query?sni=***"),
        ("https://45.90.28.0/ab12cd", "https://45.90.28.0/***"),
        ("https://45.90.28.0/dns-query/zoya", "https://45.90.28.0/dns-query/***"),
        ("tls://45.90.28.0?sni=ab12cd.dns.nextdns.io", "tls://45.90.28.0?sni=***.dns.nextdns.io"),
        ("tls://1.1.1.1?sni=one.one.one.one",) * 2,
        ("tls://9.9.9.9?sni=dns10.quad9.net",) * 2,
        ("https://hooks.example/zoya", "https://hooks.example/***"),
        ("http://127.0.0.1:8119",) * 2,
        ("red",) * 2,
    ],
)
def test_a_url_that_is_a_secret_as_a_whole(url: str, shown: str) -> None:
    assert hide_paths(url) == shown
    assert hide_paths(shown) == shown


@each_row(
    ("comment", "shown"),
    [
        ("# password=hunter2 of zoya", "# password=*** of zoya"),
        ("# token: abc", "# token: ***"),
        ("# was https://lists.example/a?t=1", "# was https://lists.example/a?t=***"),
        ("# the keyboard, a monkey = 3", "# the keyboard, a monkey = 3"),
    ],
)
def test_what_a_comment_tells_is_hidden(comment: str, shown: str) -> None:
    assert hide_in_comment(comment) == shown


def test_a_long_text_takes_no_longer_than_its_size() -> None:
    """The work is compared, in processor time, with a bound that only a square would pass."""

    def took(size: int) -> float:
        texts = [
            filler * (size // len(filler))
            for filler in (
                "https://",
                "https://a@",
                "a/1?",
                "?=&",
                "https://x/a1",
                "?sni=a",
                "?sni=a.a.",
                "key ",
                "key=",
            )
        ]
        began = time.process_time()
        for text in texts:
            for hide in (hide_secrets, hide_paths, hide_in_comment):
                hide(text)
        return time.process_time() - began

    took(1000)
    assert took(400_000) < 40 * took(40_000) + 0.5
