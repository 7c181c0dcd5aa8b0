"""What people paste in place of a relay URL, and what is understood."""

from __future__ import annotations

from proxy.config.relay_input import read_relay
from proxy.wire.relay_url import redact
from proxy.wire.url_mending import mended, split_line
from tests.support.rows import each_row


def is_read(text: str) -> bool:
    try:
        read_relay(text)
    except ValueError:
        return False
    return True


@each_row(
    ("line", "url"),
    [
        ("relay.example:1080:me:s3cret", "socks5h://me:s3cret@relay.example:1080"),
        ("1.1.1.1:1080:me:s3c:ret", "socks5h://me:s3c%3Aret@1.1.1.1:1080"),
        ("1.1.1.1:1080|me|s3cret", "socks5h://me:s3cret@1.1.1.1:1080"),
        ("1.1.1.1:1080;me;s3cret", "socks5h://me:s3cret@1.1.1.1:1080"),
        ("http://1.1.1.1:8080:me:s3cret", "http://me:s3cret@1.1.1.1:8080"),
        ("socks5://1.1.1.1:1080@me:s3cret", "socks5h://me:s3cret@1.1.1.1:1080"),
        ("me:s3cret:1.1.1.1:1080", "socks5h://me:s3cret@1.1.1.1:1080"),
        ("relay.example 1080", "socks5h://relay.example:1080"),
        ("relay.example : 1080", "socks5h://relay.example:1080"),
        ("socks5 relay.example 1080 me s3/cret", "socks5h://me:s3%2Fcret@relay.example:1080"),
        ("HTTP relay.example 8080", "http://relay.example:8080"),
        ("<socks5h://relay.example:1080>", "socks5h://relay.example:1080"),
        ("(http://relay.example:8080).", "http://relay.example:8080"),
        ("socks5h://relay.example:1080,", "socks5h://relay.example:1080"),
        ("“relay.example:1080:me:s3cret”,", "socks5h://me:s3cret@relay.example:1080"),
        ("https//relay.example:443", "https://relay.example:443"),
        ("http;//relay.example:8080", "http://relay.example:8080"),
        ("socks5：//relay.example：1080", "socks5://relay.example:1080"),
        ("curl -x http://relay.example:8080 https://example.com/", "http://relay.example:8080"),
        ('curl --proxy "socks5h://me:p@relay.example:1080" https://example.com/', "socks5h://me:p@relay.example:1080"),
        ("curl --socks5-hostname relay.example:1080 https://example.com/", "socks5h://relay.example:1080"),
        ("export https_proxy=http://me:p@relay.example:8080", "http://me:p@relay.example:8080"),
        ("HTTP_PROXY=relay.example:8080", "relay.example:8080"),
        # What cannot be told stays refused.
        ("nonsense", ""),
        ("", ""),
        ("relay.example", ""),
        ("relay.example:1080:me", ""),
        ("ftp://1.1.1.1:21:me:s3cret", ""),
        ("2001:db8::1:1080", ""),
        ("ssh -D 1080 me@relay.example", ""),
        ("https://example.com/proxy.html", ""),
        ("1.1.1.1:99999:me:s3cret", ""),
        ("x " * 2000, ""),
        ("a:" * 1000, ""),
        ("/etc/passwd", ""),
        ("addon//mine", ""),
    ],
)
def test_what_is_meant(line: str, url: str) -> None:
    assert mended(line, is_read) == url
    if url:
        assert read_relay(url).url
        assert "s3c" not in redact(url)


@each_row(
    ("line", "parts"),
    [
        ("socks5h://1.1.1.1:1 http://1.1.1.1:2", ["socks5h://1.1.1.1:1", "http://1.1.1.1:2"]),
        ("socks5h://1.1.1.1:1, http://1.1.1.1:2; https://h.example", ["socks5h://1.1.1.1:1", "http://1.1.1.1:2", "https://h.example"]),
        ("socks5h://1.1.1.1:1", ["socks5h://1.1.1.1:1"]),
        ("My relay: socks5h://1.1.1.1:1", ["My relay: socks5h://1.1.1.1:1"]),
        ("vless://id@h.example:1?type=tcp#Berlin http://x", ["vless://id@h.example:1?type=tcp#Berlin", "http://x"]),
    ],
)  # fmt: skip
def test_several_on_one_line(line: str, parts: list[str]) -> None:
    assert split_line(line) == parts
