"""Whatever a stranger writes: KeyRefused and no other exception, no secret in its sentence, and time in proportion."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.wire.keys.fields import KeyRefused
from proxy.wire.keys.pasted import TEXT_LIMIT, form_of
from proxy.wire.keys.reader import read_collection, read_key
from proxy.wire.keys.sentences import explain
from tests.support.rows import each_row
from tests.wire.keys.made_keys import GOOD, PBK, REFUSED, SECRET, UUID, b64
from tests.wire.keys.test_collections import (
    BY_LINK,
    CLASH_KEYS,
    CLASH_SERVER,
    CONF,
    SING_BOX_SERVER,
    SIP008,
    clash,
    sing_box,
)

if TYPE_CHECKING:
    from _typeshed import TraceFunction

LINKS = [*(link for link, _ in GOOD), *(link for link, _, _ in REFUSED)]
TEXTS = [
    clash(*(CLASH_SERVER | proxy for proxy, _ in CLASH_KEYS)),
    clash(*(CLASH_SERVER | proxy for proxy, _, _ in BY_LINK), form="flow"),
    sing_box(*(SING_BOX_SERVER | outbound for _, outbound, _ in BY_LINK)),
    json.dumps(SIP008),
    CONF,
    b64("\n".join(LINKS[:20])),
]
PIECES = (
    "%", "%0a", "%00", "&", "=", "?", "#", "@", ":", "/", "[", "]", "{", "}", '"', "'", "\\", "\n", "\0", "\ud800", "é",
    "\u202e", ",", "-", "9" * 30, "true", "null", "&a", "*a", "!!x", "<<", "://", "vless://", "ss://", "?a=1",
    "A" * 300, "type", "server", "insecure=1",
)  # fmt: skip


def read_all(text: str) -> None:
    """Reads a text in every way; what is read shows nothing of its secrets."""
    for read in (read_key, read_collection):
        with contextlib.suppress(KeyRefused):
            read(text)
    explain(text)


def mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        at, end = sorted(chance.choices(range(len(text) + 1), k=2))
        match chance.randrange(5):
            case 0:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(end, at + 20) :]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[at + 1 :]
            case 3:
                text = text[:at] + text[at:end][:50] * 2 + text[end:]
            case _:
                text = text[:at]
    return text


@settings(max_examples=400)
@given(st.sampled_from([*LINKS, *TEXTS]), st.integers(0, 2**32))
def test_mutations_of_keys_are_read_or_refused(text: str, seed: int) -> None:
    read_all(mutated(text, random.Random(seed)))


@settings(max_examples=200)
@given(
    st.sampled_from(["vless", "vmess", "trojan", "ss", "hy2", "tuic", "anytls", "wg", "ssh", "ssconf", "x"]), st.text()
)
def test_any_text_behind_a_scheme_is_read_or_refused(scheme: str, text: str) -> None:
    read_all(f"{scheme}://{text}")


@settings(max_examples=200)
@given(st.text() | st.text("proxies:server type{}[]-\n &*!<'\"|>"))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_all(text)
    read_all(f"proxies:\n{text}")
    read_all(f'{{"outbounds": {text}}}')


INNER = (
    "tls", "enabled", "server", "server_port", "type", "tag", "transport", "headers", "reality", "peers", "uuid"
)  # fmt: skip
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
nested = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8) | st.just("443") | st.just(UUID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
)
FIELDS = (
    "tls", "transport", "peers", "multiplex", "obfs", "plugin", "reserved", "headers", "host_key", "server",
    "server_port", "uuid", "password", "tag",
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.sampled_from(["vless", "vmess", "shadowsocks", "wireguard", "ssh", "hysteria2", "socks", "http"]),
    st.dictionaries(st.sampled_from(FIELDS), nested),
)
def test_any_value_in_a_configuration_is_read_or_refused(kind: str, fields: dict[str, object]) -> None:
    assume(UUID not in json.dumps(fields.get("tag")))  # a name is shown
    for item in read_collection(json.dumps({"outbounds": [SING_BOX_SERVER | fields | {"type": kind}]})).items:
        assert UUID not in f"{item!r}{item}"


@settings(max_examples=200)
@given(st.sampled_from([link for link, _ in GOOD]), st.integers(0, 2**32))
def test_no_sentence_and_no_repr_has_a_secret(link: str, seed: int) -> None:
    """Also of a damaged key, whose parts stand where others belong."""
    text = mutated(link, random.Random(seed))
    said = explain(text)
    with contextlib.suppress(KeyRefused):
        key = read_key(text)
        said += f"{key!r}{key}"
    behind = text.partition("://")[2].partition("@")[2]  # the server and the name, which are shown
    for secret in (SECRET, UUID, PBK):
        assert secret not in said or secret in behind.partition("#")[2]


# -- time --------------------------------------------------------------------------------------------------------------


def steps(work: Callable[[], object]) -> int:
    """Returns how many lines of Python ran: a count that no other process changes."""
    count = 0

    def trace(_frame: FrameType, _event: str, _argument: object) -> TraceFunction:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(KeyRefused):
            work()
    finally:
        sys.settrace(before)
    return count


@each_row(
    "text",
    [
        lambda n: f"vless://{UUID}@relay.example:443?" + "&".join(f"a{i}=1" for i in range(n // 10)),
        lambda n: f"vless://{UUID}@relay.example:443?type=ws&path=" + "/?ed=1" * (n // 10),
        lambda n: "\n".join(f"vless://{UUID}@relay.example:{i + 1}" for i in range(n // 10)),
        lambda n: "proxies:\n" + "".join(f"  - {{name: a{i}, type: ss, server: h}}\n" for i in range(n // 20)),
        lambda n: "proxies: " + "[" * n,
        lambda n: "proxies:\n" + "".join(f"{' ' * i}a:\n" for i in range(min(n, 200))),
        lambda n: '{"outbounds": [' + '{"type": "vless", "tls": {"enabled": true}},' * (n // 20) + "{}]}",
        lambda n: '{"outbounds": ' + '{"a":' * n,
        lambda n: '{"outbounds": [{"type": "vless"' + "".join(f', "a{i}": 1' for i in range(n // 5)) + "}]}",
        lambda n: "[Interface]\n" + "Address = 10.0.0.2/32\n" * (n // 10),
        lambda n: "ss://" + "A" * n,
    ],
)  # fmt: skip
def test_the_work_grows_no_faster_than_the_text(text: Callable[[int], str]) -> None:
    assert steps(lambda: read_all(text(4000))) < 6 * max(steps(lambda: read_all(text(1000))), 200)


HUGE: dict[str, Callable[[], str]] = {
    "quotes": lambda: '{"outbounds": "' + '\\"' * (TEXT_LIMIT // 2 - 20),
    "brackets": lambda: "[" * TEXT_LIMIT,
    "braces": lambda: '{"outbounds":' + '{"a":' * (TEXT_LIMIT // 5 - 10),
    "flow": lambda: "proxies: " + "[" * (TEXT_LIMIT - 20),
    "dashes": lambda: "proxies:\n" + "- " * (TEXT_LIMIT // 2 - 20),
    "question marks": lambda: "proxies:\n" + "? " * (TEXT_LIMIT // 2 - 20),
    "one scalar": lambda: "proxies: " + "a " * (TEXT_LIMIT // 2 - 20),
    "colons": lambda: "proxies: " + "a:" * (TEXT_LIMIT // 2 - 20),
    "base64": lambda: "A" * TEXT_LIMIT,
    "spaces": lambda: " " * TEXT_LIMIT,
    "spaces in base64": lambda: f"a{' ' * (TEXT_LIMIT - 2)}!",
    "a value": lambda: f"vless://{UUID}@h:1?security=tls&ech=" + "a" * 8000 + "!",
    "lines": lambda: "\n" * TEXT_LIMIT,
    "link": lambda: "vless://" + "a" * (TEXT_LIMIT - 8),
    "percent": lambda: "ss://" + "%" * (TEXT_LIMIT - 5),
    "name": lambda: f"vless://{UUID}@h:1#" + "%e2%80%ae" * 1000,
    "servers": lambda: "server:" * (TEXT_LIMIT // 7),
    "interface": lambda: "[Interface]\n" + "a=b\n" * (TEXT_LIMIT // 4 - 10),
    "numbers": lambda: '{"outbounds": [{"type": "vless", "server_port": ' + "9" * (TEXT_LIMIT - 100) + "}]}",
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_text_takes_no_longer_than_its_size_explains(name: str) -> None:
    """What took a second for each character of a megabyte would not end: the suite's time limit is the bound."""
    read_all(HUGE[name]())
    form_of(HUGE[name]())
