from __future__ import annotations

import asyncio
import threading

import pytest

from tests.lab.lateness import Lateness

pytestmark = pytest.mark.slow


async def test_a_loop_that_stood_still_is_late() -> None:
    lateness = Lateness(asyncio.get_running_loop())
    lateness.start()
    await asyncio.sleep(0.05)
    threading.Event().wait(0.3)  # the loop stands still: this is what is measured
    await asyncio.sleep(0.05)
    lateness.stop()
    assert lateness.worst_s > 0.2
    assert "the lab's own loop was at most 0." in lateness.report() or lateness.worst_s >= 1
    worst = lateness.worst_s
    threading.Event().wait(0.3)  # nobody measures any more
    await asyncio.sleep(0.05)
    assert lateness.worst_s == worst
