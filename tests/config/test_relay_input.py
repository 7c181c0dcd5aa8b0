"""Pasted relays, beside what `byway relay add` reads: see tests/features/relays/test_input.py."""

from __future__ import annotations

import pytest

from proxy.config.edit import NewRelay
from proxy.config.relay_input import RELAYS_MAX, read_lines
from proxy.model.errors import ConfigError


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
