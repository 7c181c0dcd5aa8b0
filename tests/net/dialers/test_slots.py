"""Slots of one relay, under a virtual clock; that dials take and return them is seen in test_relay_handshake.py."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from proxy.model import Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.hello_spacing import APART_S, HelloSpacing
from proxy.net.dialers.slots import Slot, Slots
from proxy.net.tasks import spawn
from tests.support.clock import Clock
from tests.support.clock import run as play
from tests.support.rows import each_row


def silence(stage: Stage = Stage.RELAY, how: Symptom = Symptom.TIMEOUT) -> DialError:
    return DialError("no answer", stage=stage, symptom=Symptom.RELAY_DOWN, evidence={"relay": how})


async def twelve(slots: Slots, after_s: float = 0.05) -> list[float]:
    """Dials to twelve hosts at once; each handshake takes `after_s`. When they began."""
    began = []

    async def dial() -> None:
        slot = await slots.take("vps")
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(after_s)
        slot.connected()
        slot.release()

    await asyncio.gather(*(dial() for _ in range(12)))
    return began


async def eight_in_silence(slots: Slots, error: DialError) -> list[Slot]:
    taken = [await slots.take("vps") for _ in range(8)]
    await asyncio.sleep(10.0)
    for slot in taken:
        slot.failed(error)
        slot.release()
    return taken


def test_twelve_hosts_begin_at_once_where_nobody_punishes() -> None:
    async def scene() -> None:
        began = await twelve(Slots(wait_s=10.0, spacing=HelloSpacing()))
        assert max(began) - min(began) == pytest.approx(0.05), "but for the eight slots"

    play(scene())


def test_a_dial_that_waits_in_vain_for_its_handshake_holds_no_path() -> None:
    async def scene() -> None:
        slots = Slots(handshakes_max=1, paths_max=2, wait_s=1.0)
        first = await slots.take("vps")
        with pytest.raises(DialError, match="too many connections"):
            await slots.take("vps")
        first.request_sent()
        await slots.take("vps")

    play(scene())


def test_after_a_burst_was_punished_they_begin_apart_and_all_come() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, spacing=HelloSpacing())
        await eight_in_silence(slots, silence())
        began = sorted(await twelve(slots))
        assert [after - before for before, after in pairwise(began)] == pytest.approx([APART_S] * 11)

    play(scene())


@each_row(
    "error",
    [
        silence(Stage.CONNECT),  # the relay's machine does not answer: no hello was sent
        silence(how=Symptom.RESET),
        silence(how=Symptom.EOF),
        DialError("wrong password", stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH),
    ],
)
def test_other_failures_are_no_punishment(error: DialError) -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, spacing=HelloSpacing())
        await eight_in_silence(slots, error)
        began = await twelve(slots)
        assert max(began) - min(began) < APART_S

    play(scene())


def test_a_relay_without_tls_has_nothing_to_count() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0)
        await eight_in_silence(slots, silence())
        began = await twelve(slots)
        assert max(began) - min(began) < APART_S

    play(scene())


def test_the_time_that_a_dial_was_held_back_is_not_the_relays() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, spacing=HelloSpacing())
        await eight_in_silence(slots, silence())
        first, second = await slots.take("vps"), await slots.take("vps")
        assert (first.held_s, second.held_s) == pytest.approx((APART_S, APART_S))

    play(scene())


def test_thirty_hosts_wait_for_their_turn_and_none_is_refused() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, spacing=HelloSpacing())
        await eight_in_silence(slots, silence())
        for _ in range(2):
            assert len(await asyncio.gather(twelve(slots), twelve(slots))) == 2

    play(scene())


def test_they_are_apart_also_where_a_busy_machine_wakes_them_late() -> None:
    """Those whose moment has passed meanwhile do not begin at once."""
    clock = Clock(0.0)

    async def scene() -> None:
        slots = Slots(wait_s=10.0, spacing=HelloSpacing())
        await eight_in_silence(slots, silence())
        loop = asyncio.get_running_loop()
        loop.call_later(3.5 * APART_S, clock.advance, 2.3 * APART_S)
        loop.call_later(8.2 * APART_S, clock.advance, 0.4 * APART_S)
        began = sorted(await twelve(slots))
        assert min(after - before for before, after in pairwise(began)) > 0.99 * APART_S, began

    play(scene(), clock)


def test_a_dial_that_is_cancelled_while_it_waits_returns_its_slots() -> None:
    async def scene() -> None:
        slots = Slots(handshakes_max=1, paths_max=1, wait_s=10.0, spacing=HelloSpacing())
        spacing = slots.spacing
        assert spacing is not None
        now = asyncio.get_running_loop().time()
        for _ in range(8):
            spacing.take(now)
        for _ in range(3):
            spacing.unanswered(now, now)
        (await slots.take("vps")).release()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take("vps"), 0.1)
        (await slots.take("vps")).release()

    play(scene())


def test_of_many_relays_one_handshake_at_a_time_begins_until_the_relay_answers() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, one_at_first=True)
        assert await twelve(slots) == pytest.approx([0.0] + 8 * [0.05] + 3 * [0.1])
        began = asyncio.get_running_loop().time()
        assert await twelve(slots) == pytest.approx([began] * 8 + [began + 0.05] * 4), "it has answered"
        slot = await slots.take("vps")
        slot.failed(silence())
        slot.release()
        assert len(set(await twelve(slots))) == 3, "after a failure it has to answer again"

    play(scene())


def test_a_dial_that_was_given_up_lets_the_next_one_begin() -> None:
    async def scene() -> None:
        slots = Slots(wait_s=10.0, one_at_first=True)
        first = await slots.take("vps")
        waiting = [spawn(slots.take("vps"), name="a dial") for _ in range(2)]
        await asyncio.sleep(1)
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()
        first.release()
        (await waiting[1]).release()

    play(scene())
