"""Phrases are their English text, and keep what it was made from."""

from __future__ import annotations

import json
import pickle

from proxy.model.phrase import Phrase, _, all_of, commas, ngettext, pgettext, semicolons, sentences


def test_a_phrase_is_its_english_text() -> None:
    phrase = _("Paused until {time}.", time="12:30")
    assert phrase == "Paused until 12:30."
    assert hash(phrase) == hash("Paused until 12:30.")
    assert json.dumps([phrase]) == '["Paused until 12:30."]'
    assert (phrase.message, phrase.values) == ("Paused until {time}.", {"time": "12:30"})


def test_braces_in_a_message_without_values_stay() -> None:
    assert _("a {b} c") == "a {b} c"


def test_a_number_chooses_the_form() -> None:
    forms = [ngettext("{count} site", "{count} sites", count) for count in (0, 1, 2)]
    assert forms == ["0 sites", "1 site", "2 sites"]
    assert ngettext("{count} of {all}", "{count} of {all}!", 2, all=3) == "2 of 3!"


def test_a_context_is_no_part_of_the_text() -> None:
    phrase = pgettext("faults", "none")
    assert (phrase, phrase.context) == ("none", "faults")


def test_lists() -> None:
    assert (commas([]), semicolons([]), all_of([]), sentences([])) == ("", "", "", "")
    assert commas(["a", "b", "c"]) == "a, b, c"
    assert semicolons(["a", "b"]) == "a; b"
    assert (all_of(["a"]), all_of(["a", "b", "c"])) == ("a", "a, b and c")
    assert sentences(["A.", "", "B."]) == "A. B."


def test_a_phrase_can_be_copied() -> None:
    phrase = ngettext("{count} site", "{count} sites", 2)
    copy = pickle.loads(pickle.dumps(phrase))
    assert isinstance(copy, Phrase)
    assert (copy, copy.message, copy.number, copy.values) == ("2 sites", "{count} site", 2, {"count": 2})
