from __future__ import annotations

import pytest

from proxy.model import Destination
from proxy.wire.dns_url import DnsProtocol, SecureServer, parse
from tests.support.rows import each_row


@each_row(
    ("text", "server"),
    [
        ("https://1.1.1.1/dns-query", SecureServer(DnsProtocol.DOH, Destination("1.1.1.1", 443), "/dns-query")),
        ("https://1.1.1.1", SecureServer(DnsProtocol.DOH, Destination("1.1.1.1", 443), "/dns-query")),
        ("https://1.1.1.1:8443/q{?dns}", SecureServer(DnsProtocol.DOH, Destination("1.1.1.1", 8443), "/q")),
        ("tls://9.9.9.9", SecureServer(DnsProtocol.DOT, Destination("9.9.9.9", 853))),
        (
            "tls://[2001:db8::1]:8853?sni=Dns.Test&ca=my%20ca.pem",
            SecureServer(DnsProtocol.DOT, Destination("2001:db8::1", 8853), sni="dns.test", ca="my ca.pem"),
        ),
    ],
)
def test_urls(text: str, server: SecureServer) -> None:
    assert parse(text) == server


def test_the_name_that_its_certificate_is_for() -> None:
    assert parse("tls://9.9.9.9").name == "9.9.9.9"
    assert parse("tls://9.9.9.9?sni=dns.test").name == "dns.test"
    assert str(parse("https://9.9.9.9?sni=dns.test")) == "https://9.9.9.9:443/dns-query"


@pytest.mark.parametrize("path", ["/ab12cd", "/dns-query/zoya"])
def test_a_path_that_may_be_the_name_of_a_user_is_in_no_message(path: str) -> None:
    server = parse(f"https://45.90.28.0{path}")
    assert (str(server), server.path) == ("https://45.90.28.0:443/***", path)


@each_row(
    ("text", "says"),
    [
        ("https://dns.test/dns-query", r"https://ADDRESS\?sni=dns.test"),
        ("http://1.1.1.1/dns-query", "write an encrypted DNS server as"),
        ("1.1.1.1", "write an encrypted DNS server as"),
        ("https://1.1.1.1/a b", "write an encrypted DNS server as"),
        ("https://1.1.1.1/a\r\nX: y", "write an encrypted DNS server as"),
        ("tls://9.9.9.9/path", "has no path"),
        ("tls://9.9.9.9?pin=x", "sni=NAME and ca=FILE"),
        ("tls://9.9.9.9?sni=a&sni=b", "each once"),
        ("tls://9.9.9.9?sni=", "sni=NAME"),
        ("tls://9.9.9.9:0", "is not a port"),
        ("tls://9.9.9.9?sni=a b", "write an encrypted DNS server as"),
        ("tls://user@9.9.9.9", "write an encrypted DNS server as|is not a host"),
        ("https://1.1.1.1/q?dns=x", "sni=NAME"),
    ],
)
def test_what_is_no_server_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)
