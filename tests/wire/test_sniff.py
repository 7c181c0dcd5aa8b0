"""The first byte decides, and every byte has an answer."""

from __future__ import annotations

import pytest

from proxy.errors import PeerError
from proxy.wire.sniff import Family, sniff


@pytest.mark.parametrize(
    ("data", "family"),
    [
        (b"\x04\x01\x00\x50", Family.SOCKS4),
        (b"\x05\x01\x00", Family.SOCKS5),
        (b"CONNECT a:1 HTTP/1.1\r\n", Family.HTTP),
        (b"get / HTTP/1.1\r\n", Family.HTTP),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Family.HTTP),
        (b"PRI * HTTP/2.0\r\n", Family.HTTP),
    ],
)
def test_families(data: bytes, family: Family) -> None:
    assert sniff(data[0]) is family


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "TLS ClientHello"),
        (b"\x80\x2e\x01", "received SSL"),
        (b"\x00", "binary"),
        (b"\xff", "0xff"),
        (b"\r\n", "0x0d"),
        (b"<html>", "0x3c"),
    ],
)
def test_B12_strangers_are_met_with_silence(data: bytes, words: str) -> None:
    with pytest.raises(PeerError, match=words) as caught:
        sniff(data[0])
    assert caught.value.reply == b""


def test_B12_every_byte_is_decided() -> None:
    families = []
    for first in range(256):
        try:
            families.append(sniff(first))
        except PeerError:
            continue
    assert len(families) == 2 + 52
