from __future__ import annotations

import pytest

from proxy.detect.words import Word, cause_in_words, network_in_words, word
from proxy.model import NetworkState, State

CAUSES = ("dns", "ip", "sni_reset", "sni_drop", "http_host", "block_page", "interception", "ech", "frozen", "throttled")


@pytest.mark.parametrize(
    ("state", "cause", "text"),
    [
        (State.UNKNOWN, "", "not tested"),
        (State.WORKS, "", "works"),
        (State.WORKS, "throttled", "works"),
        (State.SUSPECT, "sni_reset", "likely blocked"),
        (State.BLOCKED, "sni_reset", "blocked"),
        (State.SUSPECT, "throttled", "slow"),
        (State.BLOCKED, "frozen", "slow"),
        (State.DOWN, "down", "site down"),
        (State.REFUSED, "refused", "refused by site"),
        (State.SUSPECT, "refused", "refused by site"),
        (State.UNKNOWN, "offline", "no network"),
        (State.SUSPECT, "portal", "portal"),
    ],
)
def test_the_words_for_a_site(state: State, cause: str, text: str) -> None:
    assert word(state, cause).text == text


def test_each_word_has_a_glyph_of_its_own() -> None:
    words: set[Word] = {word(state, cause) for state in State for cause in ("", "throttled", "offline", "portal")}

    assert len({said.glyph for said in words}) == len({said.text for said in words}) == len(words) == 9
    assert str(word(State.BLOCKED)) == "✗ blocked"


def test_causes_in_words() -> None:
    assert all(len(cause_in_words(cause)) > 12 for cause in CAUSES)
    assert "geo-fence" in cause_in_words("ip")
    assert cause_in_words("") == ""


def test_networks_in_words() -> None:
    told = {state: network_in_words(state) for state in NetworkState}

    assert told.pop(NetworkState.OK) is None
    assert all(said is not None and said[0].endswith(".") and said[1] for said in told.values())
    assert len(set(told.values())) == len(told)
