"""Other conditions than the usual ones: what they change, and which rows run under them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.lab import places
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.conditions import IN_FORCE, Conditions, RelayQuality, page_s, scaled
from tests.lab.country import Country
from tests.lab.links import Link
from tests.lab.origins import BIG
from tests.lab.repeat import LIMIT_S, Job, rows
from tests.lab.repeat import chosen as rows_to_repeat
from tests.lab.run import chosen, main
from tests.lab.sockets import connect
from tests.support.clock import run as play
from tests.support.streams import close
from tests.support.waiting import until_read

pytestmark = pytest.mark.waits

_USABLE = "from proxy.net.kernel.tcp_info import TcpInfo; print(TcpInfo().usable)"
_A_DAY = """\
import os, signal, time
clocks = time.time, lambda: time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic
before = [clock() for clock in clocks]
os.kill(os.getpid(), signal.SIGUSR2)
print(*(round((clock() - at) / 86_400) for clock, at in zip(clocks, before)))
"""


def python(code: str, conditions: Conditions) -> str:
    """Returns the output of Python code under these conditions."""
    command = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, **conditions.environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_byway_reads_tcp_info_unless_the_conditions_forbid_it() -> None:
    assert python(_USABLE, Conditions()) == "True"
    assert python(_USABLE, Conditions(tcp_info=False)) == "False"


def test_a_day_asleep_is_seen_on_the_clocks_that_run_on() -> None:
    assert python(_A_DAY, Conditions()) == "1 1 0"


def test_conditions_are_the_same_in_the_words_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert Conditions().words == ()
    other = Conditions(0.5, RelayQuality.SLOW, tcp_info=False)
    assert other.words == ("--scale", "0.5", "--relay", "slow", "--no-tcp-info")
    assert main([*other.words, "--list", "freeze-25", "relay-*"]) == 0
    (listed,) = capsys.readouterr().out.splitlines()
    assert "after 12 packets" in listed


def test_conditions_of_the_environment_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Conditions.in_force(), Conditions().names, scaled(25)) == (Conditions(), frozenset(), 25)
    other = Conditions(0.5, RelayQuality.RESTARTS, tcp_info=False)
    monkeypatch.setenv(IN_FORCE, " ".join(other.words))
    assert (Conditions.in_force(), other.names) == (other, frozenset({"0.5", "restarts", "no-tcp-info"}))
    assert scaled(25) == 12.5


def test_at_another_scale_those_rows_run_that_have_parameters() -> None:
    (row,) = chosen(["freeze-25", "healthy"], Conditions(scale=2.0))
    assert "50 packets" in row.what
    assert {name.name for name in rows_to_repeat([], Conditions(scale=2.0))} >= {"freeze-25"}
    assert not rows_to_repeat(["two-censors", "wrong-clock"], Conditions(scale=2.0))
    assert not rows_to_repeat(["wrong-clock"], Conditions(relay=RelayQuality.SLOW)), "its jobs are tests"
    assert not chosen(["no-relay-*"], Conditions(relay=RelayQuality.SLOW))


def test_visitors_are_as_patient_as_the_conditions_ask() -> None:
    slow, blind = Conditions(relay=RelayQuality.SLOW), Conditions(tcp_info=False)
    assert Conditions().limit_s(12) == Conditions(relay=RelayQuality.RESTARTS).limit_s(12) == 12
    assert (blind.limit_s(12), blind.limit_s(30)) == (27, 45), "a freeze is found after 21 s in place of 6"
    # 11 round trips of 2 s, and 213 segments at 5.5 in each
    assert slow.limit_s(12) == slow.limit_s(60) == pytest.approx(2 * (11 + 213 / 5.46), abs=0.5)
    assert slow.limit_s(120) == 120
    assert page_s(Link(delay_s=0.5, loss=0.05), BIG) == pytest.approx(slow.limit_s(12) / 2)
    assert page_s(Link(delay_s=1.0, loss=0.2), 0) == 22


def test_what_byway_sends_beside_a_visit_comes_back_by_a_slow_relay_too() -> None:
    slow = Conditions(relay=RelayQuality.SLOW)
    assert slow.settle_s(4, is_early=False) == Conditions().settle_s(4, is_early=True) == 4
    assert slow.settle_s(4, is_early=True) == 4 + 22


def test_a_process_gets_what_its_visitors_get() -> None:
    slow, job = Conditions(relay=RelayQuality.SLOW), rows("answer-drop", "slow-hello-6")
    assert job.limit_s(Conditions()) == LIMIT_S
    assert job.limit_s(slow) == LIMIT_S + 10 * (slow.limit_s(15) - 15), "of ten visits"
    assert rows("busy-server").limit_s(slow) < job.limit_s(slow)
    assert Job(("lab/test_ech.py",)).limit_s(slow) == LIMIT_S


def test_a_relay_that_restarts_lives_for_a_page() -> None:
    """Else no page of such a row ever comes, and it would show nothing of Byway."""
    assert BY_NAME["cut-later"].page_s == 12, "three times as long as a connection lives"
    for row in SCENARIOS:
        assert row.page_s <= row.limit_s, row.name
    assert (BY_NAME["freeze-25"].page_s, BY_NAME["throttle-name-130"].page_s, BY_NAME["healthy"].page_s) == (0, 0, 0)


@pytest.mark.parametrize("page_s", [0.0, 12.0])
def test_a_relay_restarts_no_sooner_than_after_a_page(page_s: float) -> None:
    happened: list[float] = []

    class Told:
        async def stop(self) -> None:
            happened.append(asyncio.get_running_loop().time())

        revive = stop

    async def story() -> None:
        restarts = Conditions(relay=RelayQuality.RESTARTS)
        async with restarts.applied(cast(Any, None), cast(Any, Told()), "a seed", page_s=page_s):
            await asyncio.sleep(100)

    play(story())
    began = [0.0, *happened[1::2]]
    lives = [stopped - since for since, stopped in zip(began, happened[::2], strict=False)]
    assert len(lives) >= 4
    assert all(6 <= life - page_s <= 10 for life in lives)


async def answers(country: Country) -> bool:
    """Whether the relay accepts a connection."""
    try:
        _, writer = await connect(country.client.socket, (places.SOCKS_RELAY, places.SOCKS_PORT))
    except ConnectionRefusedError:
        return False
    await close(writer)
    return True


@pytest.mark.namespaces
@pytest.mark.slow
async def test_a_relay_that_restarts_refuses_for_a_while_and_comes_back(country: Country) -> None:
    async def refuses() -> bool:
        return not await answers(country)

    async with Conditions(relay=RelayQuality.RESTARTS).applied(country, country.relay, "a seed"):
        assert await answers(country)
        await until_read(refuses)
        await until_read(lambda: answers(country))


@pytest.mark.namespaces
@pytest.mark.slow
async def test_a_slow_relay_takes_two_seconds_to_answer(country: Country) -> None:
    async with Conditions(relay=RelayQuality.SLOW).applied(country, country.relay, "a seed"):
        assert await _is_slow(country)


@pytest.mark.namespaces
@pytest.mark.slow
async def test_conditions_in_force_are_those_of_each_country(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_FORCE, "--relay slow")
    async with Country(tmp_path) as country:
        assert await _is_slow(country)


async def _is_slow(country: Country) -> bool:
    clock = country.router.events.clock
    began = clock()
    assert await answers(country)
    return clock() - began >= 2.0  # it was delayed each way
