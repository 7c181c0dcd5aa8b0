from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct

import pytest

from proxy.net.uplink import netlink
from proxy.net.uplink.netlink import (
    KernelRoute,
    Link,
    Netlink,
    OwnAddress,
    attribute,
    attributes,
    messages,
    neighbour_of_event,
    open_event_socket,
    parse_address,
    parse_link,
    parse_route,
)
from tests.support.rows import each_row

linux = pytest.mark.skipif(not netlink.AVAILABLE, reason="not run: rtnetlink is Linux")

ROUTER = ipaddress.ip_address("192.168.1.1")
OURS = ipaddress.ip_address("192.168.1.2")


def message(kind: int, body: bytes, sequence: int = 1) -> bytes:
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, 0, sequence, 0) + body + bytes(-length % 4)


def test_messages_are_taken_apart() -> None:
    data = message(24, b"abc", 7) + message(3, b"", 8)
    assert list(messages(data)) == [(24, 7, b"abc"), (3, 8, b"")]


@each_row("cut", range(1, 36))
def test_a_message_that_is_cut_off_is_left_out(cut: int) -> None:
    data = (message(24, b"abcd") + message(24, b"efgh"))[:-cut] if cut < 20 else message(24, b"abcd")[: 36 - cut]
    assert len(list(messages(data))) == (1 if cut < 20 else 0)


@each_row("length", [0, 3, 15, 1 << 31])
def test_a_length_that_cannot_be_ends_it(length: int) -> None:
    assert list(messages(struct.pack("=IHHII", length, 24, 0, 1, 0) + bytes(64))) == []
    assert attributes(struct.pack("=HH", length & 0xFFFF, 1) + bytes(2), 0) == {}


def test_attributes() -> None:
    body = b"head" + attribute(1, b"abc") + attribute(2 | 0x8000, b"")
    assert attributes(body, 4) == {1: b"abc", 2: b""}
    assert attributes(body[:-1], 4) == {1: b"abc"}


def test_a_route() -> None:
    head = bytes(12)
    link, gateway, source = attribute(4, struct.pack("=I", 3)), attribute(5, ROUTER.packed), attribute(7, OURS.packed)
    assert parse_route(head + link + gateway + source) == KernelRoute(3, ROUTER, OURS)
    assert parse_route(head + link) == KernelRoute(3, None, None)
    six = ipaddress.ip_address("fe80::1")
    via = attribute(18, struct.pack("=H", socket.AF_INET6) + six.packed)
    assert parse_route(head + link + via) == KernelRoute(3, six, None)
    assert parse_route(head + gateway) is None
    assert parse_route(b"") is None


def test_a_link() -> None:
    def body(flags: int, kind: bytes = b"") -> bytes:
        info = attribute(18 | 0x8000, attribute(1, kind + b"\0")) if kind else b""
        return struct.pack("=BxHiII", 0, 1, 3, flags, 0) + attribute(3, b"wlan0\0") + info

    assert parse_link(body(0x1003)) == Link("wlan0", "", has_neighbours=True)
    assert parse_link(body(0x1083, b"wireguard")) == Link("wlan0", "wireguard", has_neighbours=False)
    assert parse_link(body(0x10)) == Link("wlan0", "", has_neighbours=False)
    assert parse_link(b"short") is None


def test_an_address() -> None:
    def body(length: int, *found: bytes) -> bytes:
        return struct.pack("=BBBBI", socket.AF_INET, length, 0, 0, 3) + b"".join(found)

    interface = ipaddress.ip_interface("192.168.1.2/24")
    assert parse_address(body(24, attribute(1, OURS.packed))) == OwnAddress(3, interface, 0)
    both = body(24, attribute(1, ROUTER.packed), attribute(2, OURS.packed))
    assert parse_address(both) == OwnAddress(3, interface, 0)
    assert parse_address(body(24)) is None
    assert parse_address(body(33, attribute(1, OURS.packed))) is None
    assert parse_address(b"") is None


def test_news_of_neighbours() -> None:
    body = struct.pack("=BxxxiHBB", socket.AF_INET, 3, 2, 0, 1) + attribute(1, ROUTER.packed)
    assert neighbour_of_event(netlink.RTM_NEWNEIGH, body) == ROUTER.packed
    assert neighbour_of_event(netlink.RTM_NEWROUTE, body) is None
    assert neighbour_of_event(netlink.RTM_NEWNEIGH, b"") is None


@linux
def test_the_kernel_answers() -> None:
    with Netlink() as asked:
        addresses = asked.addresses()
        loopback = next(own for own in addresses if str(own.interface.ip) == "127.0.0.1")
        link = asked.link(loopback.index)
        route = asked.route_to(ipaddress.ip_address("127.0.0.1"))
        assert asked.hardware_address(loopback.index, ipaddress.ip_address("127.0.0.77")) == ""
    assert link == Link("lo", "", has_neighbours=False)
    assert route is not None
    assert route.index == loopback.index


@linux
def test_what_the_kernel_refuses_is_an_error() -> None:
    with Netlink() as asked, pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
        asked.link(2**31 - 1)


@linux
def test_where_no_route_leads_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    with Netlink() as asked:
        monkeypatch.setattr(asked, "_ask", refuse)
        assert asked.route_to(ROUTER) is None
        monkeypatch.setattr(asked, "_ask", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no")))
        with pytest.raises(PermissionError):
            asked.route_to(ROUTER)


@linux
def test_news_are_heard() -> None:
    with open_event_socket() as news, pytest.raises(BlockingIOError):
        news.recv(1)


def test_without_rtnetlink_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "AVAILABLE", False)
    with pytest.raises(OSError, match=os.strerror(errno.EAFNOSUPPORT)):
        Netlink()
    with pytest.raises(OSError, match=os.strerror(errno.EAFNOSUPPORT)):
        open_event_socket()
