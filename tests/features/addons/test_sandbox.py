"""Code of an addon that takes too long is stopped."""

from __future__ import annotations

import pytest

from proxy.extend.guard.time_limit import BrokenOff
from proxy.features.addons.sandbox import within


def _loop_within(limit_s: float) -> None:
    with within(limit_s):
        while True:
            pass


def test_code_that_takes_too_long_is_broken_off_and_other_code_is_not() -> None:
    with pytest.raises(BrokenOff):
        _loop_within(0.05)
    with within(60):
        pass
