"""Pasted relays, beside what `byway relay add` reads: see tests/features/relays/test_input.py."""

from __future__ import annotations

import pytest

from proxy.config.edit import NewRelay
from proxy.config.relay_input import RELAYS_MAX, read_lines, relay_of
from proxy.model.errors import ConfigError
from proxy.wire.keys.fields import KeyRefused
from proxy.wire.keys.pasted import Form
from proxy.wire.keys.reader import read_collection, read_entry
from proxy.wire.keys.values import Key, RelayLink


def test_lines_that_are_none_are_given_back() -> None:
    given = read_lines("h:1\n # comment\nnonsense # why\n\nhttp://h:x\n", "here")
    assert given.relays == (NewRelay("socks5h://h:1"),)
    assert given.refused == ("nonsense", "http://h:x")
    assert [problem.partition(" ")[0] for problem in given.problems] == ["here:3:", "here:5:"]


def test_what_is_pasted_is_bounded() -> None:
    with pytest.raises(ConfigError, match=f"at most {RELAYS_MAX} relays can be added at once"):
        read_lines("h:1\n" * (RELAYS_MAX + 1), "here")
    with pytest.raises(ConfigError, match="here: no relay URL in it"):
        read_lines("# nothing\n", "here")


def test_an_entry_is_a_relay_or_why_it_is_none() -> None:
    """The sentence for a key is the one of `relay add`."""
    relay, key, other = read_collection("socks5h://h.example:1#One\ntrojan://pw@h.example:443#Two\nsnell://x\n").items
    assert isinstance(relay, RelayLink)
    assert relay_of(relay) == NewRelay("socks5h://h.example:1", label="One")
    assert isinstance(key, Key)
    with pytest.raises(ValueError, match=r"this Trojan key for h\.example:443 \(Two\) is understood, and"):
        relay_of(key)
    assert isinstance(other, KeyRefused)
    with pytest.raises(ValueError, match=r"^Snell is not supported$"):
        relay_of(other)
    for chain in ("socks5h://h.example:1>tor", "https://h.example:8>443?ca=/etc/passwd"):
        with pytest.raises(ValueError, match="it is a chain"):
            relay_of(RelayLink(chain, ""))
    damaged = read_entry(Form.CLASH, {"type": "trojan", "server": "h.example", "port": "443"})
    assert isinstance(damaged, KeyRefused)
    with pytest.raises(ValueError, match=r"this Trojan key for h\.example:443 cannot be read: the key has no password"):
        relay_of(damaged)
