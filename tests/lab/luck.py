"""Chance in the lab: it is the same in every run of a test, and different in each run of `python -m
tests.lab.repeat`."""

from __future__ import annotations

import os
import random

SEED = "BYWAY_LAB_SEED"
"""The environment variable with the seed of a run; without it, a run has none."""


def luck(seed: int | str) -> random.Random:
    """Returns a generator that makes the same draws for the same `seed` in every run with the same seed."""
    run = os.environ.get(SEED, "")
    return random.Random(f"{run} {seed}" if run else seed)
