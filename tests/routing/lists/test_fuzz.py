"""Broken lists. Many more: `python -m tests.routing.lists.fuzz`."""

from __future__ import annotations

import random

import pytest

from tests.routing.lists import fuzz


@pytest.mark.parametrize("seed", range(3))
def test_no_broken_list_is_a_crash(seed: int) -> None:
    assert fuzz.run(1000, seed) > 200, "some mutated lines are still entries"


def test_mutations_differ() -> None:
    chance = random.Random(1)
    assert len({fuzz.mutated("DOMAIN-SUFFIX,example.com", chance) for _ in range(200)}) > 150
