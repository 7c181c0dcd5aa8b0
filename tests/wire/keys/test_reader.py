"""Single keys: each good one is read to exactly its value, each other one gets exactly its sentence."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from proxy.model import Destination
from proxy.wire.keys import values
from proxy.wire.keys.fields import Allowed, Fault, KeyRefused
from proxy.wire.keys.pasted import KEY_SCHEMES, form_of, scheme_of, to_relay_url
from proxy.wire.keys.reader import SCHEMES, read_collection, read_key
from proxy.wire.keys.values import PROTOCOLS, Key, OutlineAddress, RelayLink, Vless
from proxy.wire.keys.writer import write_key
from proxy.wire.url_spelling import as_meant
from tests.support.rows import each_row
from tests.wire.keys.made_keys import (
    GOOD,
    PBK,
    PIN,
    PSK_16,
    PSK_32,
    REFUSED,
    SECRET,
    SERVER,
    UUID,
    WG_KEY,
    WG_PEER,
    b64,
    vmess_link,
)
from tests.wire.keys.real_keys import ROWS

SECRETS = (SECRET, UUID, PBK, PSK_16, PSK_32, WG_KEY, WG_PEER)


def result_of(text: str) -> Key | RelayLink | str:
    """Reads a text as `relay add` does. Returns its only key or relay, or the sentence."""
    text = as_meant(text) if "\n" not in text.strip() else text
    try:
        if form_of(text) is not None or "://" not in text:
            (item,) = read_collection(text).items
            return str(item) if isinstance(item, KeyRefused) else item
        if scheme_of(text) in ("socks", "socks5", "https"):
            return RelayLink(to_relay_url(text), "")
        return read_key(text)
    except KeyRefused as error:
        return str(error)


def test_there_are_enough_real_keys() -> None:
    by_client = Counter(client for client, _, _ in ROWS)
    assert by_client.total() >= 120
    assert min(by_client.values()) >= 7
    assert len({text for _, text, _ in ROWS}) == len(ROWS)


@each_row(("client", "text", "result"), ROWS)
def test_a_key_as_its_client_exports_it(client: str, text: str, result: Key | RelayLink | str) -> None:
    found = result_of(text)
    assert found == result, client
    if isinstance(found, Key) and not isinstance(found, OutlineAddress):
        assert read_key(write_key(found)) == found, "it can be stored"
    elif isinstance(found, str):
        assert not any(secret in found for secret in SECRETS)


def test_there_are_enough_of_each_kind() -> None:
    assert len(GOOD) + len(REFUSED) >= 120
    for fault in Fault:
        assert len([row for row in REFUSED if row[1] is fault]) >= 15
    assert {key.protocol for _, key in GOOD} == set(PROTOCOLS.values())


@each_row(("link", "key"), GOOD)
def test_a_good_key_is_read_to_its_value(link: str, key: Key) -> None:
    assert read_key(link) == key
    assert read_key(f"  {link}\n") == key


@each_row(("link", "fault", "sentence"), REFUSED)
def test_any_other_key_gets_its_sentence(link: str, fault: Fault, sentence: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        read_key(link)
    assert (caught.value.fault, str(caught.value)) == (fault, sentence)
    assert not any(secret in sentence for secret in SECRETS)
    assert caught.value.protocol is SCHEMES.get(link.partition("://")[0].lower())
    assert fault is Fault.DAMAGED or "not a link" in sentence or caught.value.server is not None


@each_row(("link", "key"), GOOD)
def test_a_key_shows_its_scheme_host_and_name_alone(link: str, key: Key) -> None:
    read = read_key(link)
    name = f" {read.name!r}" if read.name else ""
    assert repr(read) == str(read) == f"<{read.protocol} {read.server.host}{name}>"
    parts = (getattr(read, each.name) for each in dataclasses.fields(read) if each.name not in ("server", "name"))
    for part in parts:
        if dataclasses.is_dataclass(part):
            assert repr(part) == f"<{type(part).__name__}>"


def test_every_class_of_values_hides_what_it_has() -> None:
    """One that were added without it would print its secrets in a log."""
    made = [each for each in vars(values).values() if getattr(each, "__module__", "") == values.__name__]
    made = [each for each in made if dataclasses.is_dataclass(each)]
    assert len(made) >= len(PROTOCOLS) + 10
    for each in made:
        if each is not values.RelayLink:
            assert each.__repr__ in (values._nothing, values._shown), each
    assert repr(values.RelayLink(f"socks5h://u:{SECRET}@h:1", "n")) == "<socks5h relay 'n'>"


def test_the_schemes_of_keys_are_the_same_where_they_are_recognized() -> None:
    assert set(KEY_SCHEMES) == set(SCHEMES)


# -- what the person says ----------------------------------------------------------------------------------------------


@each_row(
    ("link", "field"),
    [
        (f"vless://{SERVER}?foo=1", "foo"),
        (f"vless://{SERVER}?FOO=1", "foo"),
        (f"vless://{SERVER}?fm=%7B%7D", "fm"),
        (
            f"vless://{SERVER}?type=xhttp&extra=%7B%22downloadSettings%22%3A%7B%22x%22%3A1%7D%7D",
            "extra.downloadsettings",
        ),
        (f"vless://{SERVER}?type=xhttp&extra=%7B%22new%22%3A1%7D", "extra.new"),
        (f"hy2://{SECRET}@relay.example:443,5000-6000", "ports"),
        (f"ss://{b64('aes-128-gcm:x')}@relay.example:1?prefix=x", "prefix"),
        (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=10.0.0.2&wnoise=quic", "wnoise"),
        (vmess_link(new=1), "new"),
    ],
)
def test_a_field_is_ignored_when_the_person_says_so(link: str, field: str) -> None:
    with pytest.raises(KeyRefused):
        read_key(link)
    with pytest.raises(KeyRefused):
        read_key(link, Allowed(frozenset(("other",))))
    assert read_key(link, Allowed(frozenset((field,)))).server.host == "relay.example"


@each_row(
    ("link", "field"),
    [
        (f"vless://{SERVER}?security=reality&pbk={PBK}&pqv=x", "pqv"),
        (f"vless://{SERVER}?security=tls&vcn=b.example", "vcn"),
        (f"vless://{SERVER}?security=tls&pcs={PIN.hex()}", "pcs"),
        (f"vless://{SERVER}?security=reality&pbk={PBK}", "pbk"),
        (f"vless://{SERVER}?security=tls&allowInsecure=1", "allowInsecure"),
        (f"vless://{SERVER}?security=tls", "security"),
        (f"vless://{SERVER}?encryption=none", "encryption"),
        (f"hy2://{SECRET}@relay.example?obfs=salamander&obfs-password=x", "obfs-password"),
        (f"wg://{WG_KEY}@relay.example:1?publickey={WG_PEER}&address=10.0.0.2", "publickey"),
        (f"tuic://{UUID}:x@relay.example:443?token=x", "token"),
        (vmess_link(scy="none"), "scy"),
        ("ssh://me@relay.example?host-key=ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAA", "host-key"),
    ],
)
def test_no_field_of_authentication_is_ignored(link: str, field: str) -> None:
    with pytest.raises(KeyRefused) as caught:
        read_key(link, Allowed(frozenset((field.lower(),))))
    assert str(caught.value) == f"field {field} is one of authentication, which cannot be ignored"


def test_a_pin_takes_the_place_of_the_check_of_a_certificate() -> None:
    for link in (
        f"vless://{SERVER}?security=tls&allowInsecure=1",
        f"trojan://{SECRET}@relay.example:443?allowInsecure=1",
        f"hy2://{SECRET}@relay.example?insecure=1",
        f"tuic://{UUID}:x@relay.example:443?allow_insecure=1",
        f"anytls://{SECRET}@relay.example:443?insecure=1",
        vmess_link(tls="tls", verify_cert=False),
    ):
        with pytest.raises(KeyRefused, match="would not be checked"):
            read_key(link)
        tls = read_key(link, Allowed(pin=PIN)).outer_tls
        assert tls is not None
        assert tls.pin == PIN
    own = f"vless://{SERVER}?security=tls&pcs={PIN.hex()}"
    assert read_key(own, Allowed(pin=PIN)) == read_key(own)
    with pytest.raises(KeyRefused, match="field pcs is not the pin that was given for this key"):
        read_key(own, Allowed(pin=bytes(32)))


def test_a_pin_is_for_tls_alone() -> None:
    """REALITY knows its server by a key, and without TLS there is nothing to pin."""
    key = read_key(f"vless://{SERVER}?security=reality&pbk={PBK}&allowInsecure=1", Allowed(pin=PIN))
    assert isinstance(key, Vless)
    assert key.tls is not None
    assert key.tls.pin is None
    assert read_key(f"vless://{SERVER}", Allowed(pin=PIN)).outer_tls is None


# -- names -------------------------------------------------------------------------------------------------------------


@each_row(
    ("written", "name"),
    [
        ("%1b%5b31mred%07", "[31mred"),
        ("a%0d%0ab", "a b"),
        ("a%e2%80%ae%e2%80%8bb", "ab"),
        ("%3Cscript%3E", "<script>"),
        ("x" * 100, "x" * 64),
        ("%20%20a%20%20b%20", "a b"),
        ("%ff", "\ufffd"),
        (f"x&pbk={PBK}", ""),
        ("", ""),
    ],
)
def test_a_name_is_text_on_one_line(written: str, name: str) -> None:
    assert read_key(f"vless://{SERVER}#{written}").name == name


@each_row("link", [f"vless://{UUID}:443", f"hy2://{SECRET}", f"ssh://{SECRET}", f"wg://{SECRET}:1?publickey=x"])
def test_what_may_be_a_secret_in_place_of_the_host_is_not_told(link: str) -> None:
    with pytest.raises(KeyRefused, match="the key has no ") as caught:
        read_key(link)
    assert caught.value.server is None


def test_what_is_known_of_a_refused_key_is_told() -> None:
    with pytest.raises(KeyRefused) as caught:
        read_key(f"vless://{SERVER}?foo=1#Mine")
    assert (caught.value.server, caught.value.name) == (Destination("relay.example", 443), "Mine")
    assert caught.value.field == "foo"
