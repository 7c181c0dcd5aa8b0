"""The guard against every spelling of places where no page may take anybody."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.routing import address_guard
from proxy.routing.address_guard import Guard
from proxy.wire import hostnames as names
from tests.support.calls import counting
from tests.support.rows import each_row

OWN_PORT = 8119
LAN = "192.168.1.20"
GUARD = Guard(
    local_suffixes=("lan", "home.arpa"),
    own_ports=(OWN_PORT,),
    own_names=("my-laptop", "My-Laptop.lan"),
    own_addresses=(LAN,),
)


def refusal(guard: Guard, text: str, port: int = OWN_PORT) -> str | None:
    """What a client is told that asks for this host, in whatever spelling, or None; a parser's refusal is one too."""
    try:
        return guard.refuse_host(names.destination(text, port))
    except ValueError as error:
        return str(error)


def resolved(guard: Guard, name: str, address: str, port: int = 443) -> str | None:
    return guard.refuse_address(Destination(name, port), ipaddress.ip_address(address))


ELSEWHERE = Guard(
    ("198.18.0.0/15", "127.0.0.1:9999", "other:*"), own_names=("my-laptop", "my-laptop.lan"), own_addresses=(LAN,)
)

OURSELVES = [
    "127.0.0.1", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "0x7f.1", "0x7f000001",
    "0177.0.0.1", "017700000001", "2130706433", "0.0.0.0", "0", "0x0", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[2002:7f00:1::1]",
    "[2001:0:808:808::80ff:fffe]", "localhost", "localhost.", "LOCALHOST", "ｌocalhost",
    "foo.localhost", "a.b.LocalHost.", "localhost.localdomain", "ip6-localhost", "ip6-loopback",
    "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", LAN, "3232235796", "[::ffff:192.168.1.20]", "my-laptop",
    "MY-LAPTOP.", "my-laptop.lan", "127.0.0.1.", "[::ffff:0.0.0.0]",
]  # fmt: skip


@each_row("text", OURSELVES)
def test_B5_this_computer_in_every_spelling(text: str) -> None:
    """On our own port and on any other one, and by every allowance that does not name it."""
    assert refusal(GUARD, text, OWN_PORT)
    assert refusal(GUARD, text, 22)
    assert refusal(ELSEWHERE, text, 22)


def test_B5_there_are_enough_spellings() -> None:
    assert len(OURSELVES) >= 25


EVERYTHING = Guard(
    ("127.0.0.0/8", "0.0.0.0/0", "::/0", "localhost", "foo.localhost:*", "my-laptop", LAN),
    own_ports=(OWN_PORT,),
    own_names=("my-laptop", "my-laptop.lan"),
    own_addresses=(LAN,),
)


@each_row("text", OURSELVES)
def test_B4_our_own_port_is_refused_whatever_is_allowed(text: str) -> None:
    assert refusal(EVERYTHING, text, OWN_PORT)
    assert refusal(EVERYTHING, text, OWN_PORT + 1) is None


def test_B4_nor_behind_a_name() -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", LAN):
        assert resolved(EVERYTHING, "evil.example", address, OWN_PORT) is not None
        assert resolved(EVERYTHING, "evil.example", address, OWN_PORT + 1) is None
    assert "Byway itself" in (resolved(EVERYTHING, "evil.example", "127.0.0.1", OWN_PORT) or "")


@each_row(
    "text",
    [
        "169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "100.100.100.200", "168.63.129.16",
        "[fd00:ec2::254]", "169.254.1.1", "[fe80::1]", "fe80::1%eth0", "[fe80::1%25lo]",
        "[fe80::1%lo]", "224.0.0.1", "239.255.255.250", "[ff02::1]", "[ff05::c]",
        "255.255.255.255", "4294967295", "240.0.0.1", "0.1.2.3", "192.0.0.8", "192.0.2.1",
        "198.18.0.1", "198.51.100.7", "203.0.113.9", "[2001:db8::1]", "[3fff::1]", "[fec0::1]",
        "[100::1]", "[5f00::1]", "[64:ff9b:1::1]", "[::ffff:0:8.8.8.8]", "[4000::1]",
    ],
)  # fmt: skip
def test_B6_nobody_s_literal_addresses(text: str) -> None:
    assert refusal(GUARD, text, 80)


@each_row(
    "text",
    [
        "example.org", "notlocalhost", "localhost.example", "my-laptop.example.org",
        "xn--bcher-kva.example", "8.8.8.8", "1.1.1.1", "[2606:4700:4700::1111]",
        "[64:ff9b::8.8.8.8]", "[2002:808:808::1]", "[2001:0:808:808::f7f7:f7f7]", "10.0.0.1",
        "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "[fd12:3456::1]",
        "[::ffff:10.0.0.1]", "172.32.0.1", "100.128.0.1", "169.253.0.1", "169.255.0.1",
        "198.20.0.1", "223.255.255.255", "126.255.255.255",
    ],
)  # fmt: skip
def test_what_may_be_reached(text: str) -> None:
    """The control: a guard that refuses everything would pass all other tests."""
    assert refusal(GUARD, text, OWN_PORT) is None
    assert refusal(GUARD, text, 443) is None


@each_row(
    "address",
    [
        "127.0.0.1", "127.0.0.53", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "10.0.0.1", "10.10.34.34", "172.16.5.5", "192.168.1.1",
        "100.64.0.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "198.18.0.1",
        LAN,
    ],
)  # fmt: skip
def test_B7_a_name_that_resolves_there(address: str) -> None:
    reason = resolved(GUARD, "rebinding.example", address)
    assert reason is not None
    assert reason.startswith("rebinding.example → ")


def test_B7_each_address_is_judged_by_itself() -> None:
    assert resolved(GUARD, "rebinding.example", "93.184.216.34") is None
    assert resolved(GUARD, "rebinding.example", "2606:2800:220:1::1") is None
    assert resolved(GUARD, "rebinding.example", "127.0.0.1") is not None


EDGES = {  # first and last of each range, with the word for it
    "private": [
        "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255",
        "100.64.0.0", "100.127.255.255", "fc00::", "fdff::ffff",
    ],
    "loopback": ["127.0.0.0", "127.255.255.255", "::1", "::7fff:ffff"],
    "unspecified": ["0.0.0.0", "::"],
    "link-local": ["169.254.0.0", "169.254.255.255", "fe80::", "febf::ffff"],
    "metadata": ["169.254.169.254", "169.254.170.2", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"],
    "multicast": ["224.0.0.0", "239.255.255.255", "ff00::", "ffff::ffff"],
    "broadcast": ["255.255.255.255"],
    "reserved": [
        "0.0.0.1", "0.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0", "192.0.2.255", "198.51.100.0",
        "198.51.100.255", "203.0.113.0", "203.0.113.255", "192.88.99.0", "192.88.99.255", "198.18.0.0",
        "198.19.255.255", "240.0.0.0", "255.255.255.254", "2001:2::", "2001:2:0:ffff::", "2001:10::", "2001:1f:ffff::",
        "2001:20::", "2001:2f:ffff::", "2001:db8::", "2001:db8:ffff::ffff", "3fff::", "3fff:fff:ffff::",
        "1fff:ffff::", "4000::", "::f000:1",
    ],
}  # fmt: skip


@each_row(("word", "address"), [(word, text) for word, texts in EDGES.items() for text in texts])
def test_B6_ranges_end_where_they_should(word: str, address: str) -> None:
    assert word in (resolved(GUARD, "name.example", address) or "")


@each_row(
    "address",
    [
        "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "100.63.255.255",
        "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255", "1.0.0.0",
        "192.0.1.0", "192.0.3.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "192.88.98.255",
        "192.88.100.0", "198.17.255.255", "198.20.0.0", "2001:2:1::", "2001:30::", "2001:db7::", "2001:db9::",
        "3fff:1000::", "3ffe::", "2000::",
    ],
)  # fmt: skip
def test_and_their_neighbours_are_public(address: str) -> None:
    assert resolved(GUARD, "name.example", address) is None


def test_a_teredo_server_counts_as_well_as_its_client() -> None:
    assert resolved(GUARD, "name.example", "2001:0:808:808::f7f7:f7f7") is None  # 8.8.8.8 through 8.8.8.8
    assert resolved(GUARD, "name.example", "2001:0:7f00:1::f7f7:f7f7") is not None
    opened = Guard(("127.0.0.1",))
    assert resolved(opened, "name.example", "2001:0:7f00:1::80ff:fffe") is None
    assert resolved(opened, "name.example", "2001:0:7f00:1::80ff:fffd") is not None


ALLOW = "; to allow it, add it to [safety] allow"


def test_reasons_say_what_and_what_to_do() -> None:
    assert refusal(GUARD, "127.1", 22) == f"127.0.0.1 is this computer itself (loopback){ALLOW}"
    assert refusal(GUARD, "localhost", 22) == f"localhost is this computer itself{ALLOW}"
    assert refusal(GUARD, "[::1]") == f"[::1]:{OWN_PORT} is Byway itself"
    assert resolved(GUARD, "a.example", "10.0.0.1") == (
        "a.example → 10.0.0.1 is a private address behind a public name; to allow it, add the name's suffix to "
        "[dns] local, or the address to [safety] allow"
    )


@each_row(
    ("name", "allowed"),
    [
        ("printer.lan", True),
        ("lan", True),
        ("a.b.home.arpa", True),
        ("printer", True),
        ("printer.local", True),
        ("printer.internal", True),
        ("printer.example.lan", True),
        ("a.printerlan", False),
        ("printer.lan.example", False),
        ("e164.arpa", False),
        ("ahome.arpa", False),
        ("a.local.example", False),
    ],
)
def test_C6_names_of_the_home_network_may_be_private_but_nothing_worse(name: str, allowed: bool) -> None:
    for address in ("10.0.0.1", "192.168.1.1", "fd00::1", "100.64.0.1"):
        assert (resolved(GUARD, name, address) is None) == allowed
    for address in ("127.0.0.1", "169.254.169.254", "100.100.100.200", "fe80::1", "224.0.0.1"):
        assert resolved(GUARD, name, address) is not None


@each_row("suffix", ["lan", ".lan", "*.lan", "LAN.", " lan "])
def test_suffixes_in_every_spelling(suffix: str) -> None:
    assert resolved(Guard(local_suffixes=(suffix,)), "a.lan", "10.0.0.1") is None


@each_row(
    ("entry", "opened", "closed"),
    [
        ("127.0.0.1:*", ["127.0.0.1:80", "127.0.0.1:1"], ["127.0.0.2:80", "[::1]:80", "0.0.0.0:80"]),
        ("127.0.0.1", ["127.0.0.1:80"], ["127.0.0.2:80"]),
        ("127.1:8080", ["127.0.0.1:8080"], ["127.0.0.1:80"]),
        ("127.0.0.0/8", ["127.0.0.1:80", "127.9.9.9:1"], ["[::1]:80"]),
        ("127.0.0.0/8:8080", ["127.0.0.1:8080"], ["127.0.0.1:80"]),
        ("127.0.0.0/8:*", ["127.0.0.1:8080"], ["198.18.0.1:80"]),
        ("198.18.0.0/15", ["198.18.0.1:80", "198.19.255.255:1"], ["198.51.100.1:80"]),
        ("::1", ["[::1]:80"], ["127.0.0.1:80", "[::]:80"]),
        ("[::1]", ["[::1]:80"], ["127.0.0.1:80"]),
        ("[::1]:443", ["[::1]:443"], ["[::1]:80"]),
        ("[::1]:*", ["[::1]:443"], ["[::2]:443"]),
        ("fe80::/10", ["[fe80::1]:80"], ["[fec0::1]:80"]),
        ("[fe80::/10]:443", ["[fe80::1]:443"], ["[fe80::1]:80"]),
        ("localhost", ["localhost:80"], ["foo.localhost:80", "127.0.0.1:80"]),
        ("LocalHost.:81", ["localhost:81"], ["localhost:80"]),
        ("127.0.0.1:81", ["localhost:81", "foo.localhost:81"], ["localhost:80"]),
        ("[::1]:82", ["localhost:82"], ["localhost:80"]),
        ("127.0.0.1:*", ["[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80"], ["[64:ff9b::a9fe:a9fe]:80"]),
    ],
)
def test_allowances(entry: str, opened: list[str], closed: list[str]) -> None:
    guard = Guard((entry,), own_ports=(OWN_PORT,))
    for text in opened:
        assert guard.refuse_host(names.authority(text)) is None, text
    for text in closed:
        assert guard.refuse_host(names.authority(text)) is not None, text


def test_an_allowed_name_may_be_anywhere_but_ourselves() -> None:
    guard = Guard(("intranet.test:8080", "other.test"), own_ports=(OWN_PORT,))
    assert resolved(guard, "intranet.test", "127.0.0.2", 8080) is None
    assert resolved(guard, "intranet.test", "10.0.0.1", 8080) is None
    assert resolved(guard, "intranet.test", "127.0.0.2", 80) is not None
    assert resolved(guard, "other.test", "127.0.0.2", 80) is None
    assert resolved(guard, "other.test", "127.0.0.2", OWN_PORT) is not None
    assert resolved(guard, "www.other.test", "127.0.0.2", 80) is not None


def test_an_allowed_address_may_be_behind_any_name() -> None:
    guard = Guard(("127.0.0.1:*", "10.0.0.0/8:443"))
    assert resolved(guard, "a.test", "127.0.0.1", 80) is None
    assert resolved(guard, "a.test", "::ffff:127.0.0.1", 80) is None
    assert resolved(guard, "a.test", "10.1.2.3", 443) is None
    assert resolved(guard, "a.test", "10.1.2.3", 80) is not None


@each_row(
    "entry",
    [
        "", " ", ":80", ":*", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:http",
        "127.0.0.1/8", "127.0.0.1/33", "127.1/8", "::1/129", "[::1", "[127.0.0.1]:80", "[]:80",
        "[::1]80", "a..b", "*.example.org", "http://a", "a/b", "/8", "user@a", "a b",
        "fe80::1%eth0", "1.2.3.4:80:90", "256.0.0.1",
    ],
)  # fmt: skip
def test_allowances_that_are_none(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host, address or CIDR") as caught:
        Guard((entry,))
    assert repr(entry.strip()) in str(caught.value)


def test_suffixes_that_are_none() -> None:
    for suffix in ("", ".", "*", "a b", "-"):
        with pytest.raises(ValueError, match="is not a name suffix"):
            Guard(local_suffixes=(suffix,))


@each_row(
    ("host", "address", "is_bogon"),
    [
        ("a.test", "93.184.216.34", False),
        ("a.test", "10.10.34.34", True),
        ("a.test", "0.0.0.0", True),
        ("a.test", "::1", True),
        ("a.test", "64:ff9b::10.0.0.1", True),
        ("a.test", "64:ff9b::93.184.216.34", False),
        ("a.lan", "10.10.34.34", False),
        ("open.test", "10.10.34.34", False),  # on whatever port
        ("a.test", "192.168.7.1", False),
        ("laptop", "10.1.1.1", False),
    ],
)
def test_what_no_public_name_leads_to(host: str, address: str, is_bogon: bool) -> None:
    guard = Guard(("open.test:443", "192.168.7.0/24:*"), ("lan",), own_names=("laptop",))
    assert guard.is_bogon(host, ipaddress.ip_address(address)) is is_bogon


def test_repr_is_a_user_interface() -> None:
    assert repr(Guard(("127.0.0.1",), own_ports=(2, 1))) == "<Guard 1 exceptions, own ports [1, 2]>"


def refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return GUARD.refuse_address(Destination("name.example", 443), address) is not None


@given(st.ip_addresses())
def test_fuzz_what_is_special_is_refused_behind_a_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The standard library as a second opinion, where it has one of its own."""
    if any(address in network for network in DISPUTED if network.version == address.version):
        return
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_private
    if special or address.is_unspecified or address.is_reserved:
        assert refused(address)


DISPUTED = [
    ipaddress.ip_network(text)
    for text in ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2001::/23")  # IPv4 inside; protocol assignments
]


@given(st.ip_addresses(v=4))
def test_fuzz_ipv4_inside_ipv6_is_judged_alike(address: ipaddress.IPv4Address) -> None:
    value = int(address)
    teredo = (0x20010000 << 96) | (0x08080808 << 64) | (value ^ 0xFFFFFFFF)
    for number in ((0xFFFF << 32) | value, (0x64FF9B << 96) | value, (0x2002 << 112) | (value << 80), teredo):
        assert refused(ipaddress.IPv6Address(number)) == refused(address)


@given(st.text() | st.text("0123456789abcdef.:[]/*%", max_size=30))
def test_fuzz_allowances(entry: str) -> None:
    try:
        guard = Guard((entry,), own_ports=(OWN_PORT,))
    except ValueError:
        return
    assert guard.refuse_host(Destination("127.0.0.1", OWN_PORT)) is not None


NEAR = [
    "localhost", "a.localhost", "my-laptop", "nas", "nas.lan", "printer.home.arpa", "tv.local", "vm.internal",
    "127.0.0.1", "::1", "10.1.2.3", "192.168.1.10", "169.254.7.7", "fe80::1", "fd12::5", "::ffff:192.168.1.10",
    "64:ff9b::c0a8:10a",
]  # fmt: skip
FAR = ["example.org", "lan.example.org", "8.8.8.8", "2606:4700::1111", "192.0.2.1", "198.51.100.1"]


@each_row("host", NEAR + FAR)
def test_what_is_on_our_own_network_by_what_it_is_called(host: str) -> None:
    assert GUARD.is_near(host) == (host in NEAR)


def test_whether_a_host_is_near_is_remembered() -> None:
    """It is asked for each connection."""
    assert not GUARD.is_near("www.example.com")
    with counting() as calls:
        assert not GUARD.is_near("www.example.com")
    assert calls.total() == 0


RANGES = [(ipaddress.ip_network(text), kind) for text, kind in address_guard._RANGES]


@each_row("network", [network for network, _ in RANGES], ids=str)
def test_the_kind_of_an_address_is_that_of_the_first_range_that_fits(network: address_guard.IPNetwork) -> None:
    """At both ends of each range, beside them, and in its middle."""
    first, last = int(network[0]), int(network[-1])
    for value in {first - 1, first, (first + last) // 2, last, last + 1}:
        if 0 <= value < 1 << network.max_prefixlen:
            address = type(network[0])(value)
            expected = next(kind for other, kind in RANGES if address in other)
            assert address_guard._kind(address) is expected, address


@each_row(
    ("address", "lasts"),
    [("8.8.8.8", True), ("127.0.0.1", True), ("::1", True), ("2606:4700::1111", True), ("192.168.1.10", False),
     ("100.64.0.1", False), ("fd12::5", False), ("fe80::1", False), ("64:ff9b::c0a8:10a", False)],
)  # fmt: skip
def test_what_is_said_of_a_private_address_does_not_last(address: str, lasts: bool) -> None:
    assert GUARD.judge_address(Destination("name.example", 443), ipaddress.ip_address(address))[1] is lasts


def test_a_public_address_is_judged_by_four_calls() -> None:
    """Each first visit to a site does it: the judgement, the address, and its number and hash in Python's own code."""
    destination, address = Destination("www.example.com", 443), ipaddress.ip_address("93.184.216.34")
    with counting() as calls:
        assert GUARD.judge_address(destination, address) == (None, True)
    assert calls.total() == 4
