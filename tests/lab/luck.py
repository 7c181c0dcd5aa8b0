"""Chance in the lab: the same in every run of a test, and another one in each run of `python -m tests.lab.repeat`."""

from __future__ import annotations

import os
import random

SEED = "BYWAY_LAB_SEED"
"""The environment variable with the seed of a run; without it, a run has none."""


def luck(seed: int | str) -> random.Random:
    """What makes the same draws again for the same `seed` in a run of the same seed."""
    run = os.environ.get(SEED, "")
    return random.Random(f"{run} {seed}" if run else seed)
