"""Other conditions than the usual ones: what they change, and which rows run under them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab import places
from tests.lab.conditions import Conditions, RelayQuality
from tests.lab.country import Country
from tests.lab.repeat import chosen as rows_to_repeat
from tests.lab.run import chosen, main
from tests.lab.sockets import connect
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


def test_at_another_scale_those_rows_run_that_have_parameters() -> None:
    (row,) = chosen(["freeze-25", "healthy"], Conditions(scale=2.0))
    assert "50 packets" in row.what
    assert {name.name for name in rows_to_repeat([], Conditions(scale=2.0))} >= {"freeze-25"}
    assert not rows_to_repeat(["two-censors", "wrong-clock"], Conditions(scale=2.0))
    assert not rows_to_repeat(["wrong-clock"], Conditions(relay=RelayQuality.SLOW)), "its jobs are tests"
    assert not chosen(["no-relay-*"], Conditions(relay=RelayQuality.SLOW))


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
    clock = country.router.events.clock
    async with Conditions(relay=RelayQuality.SLOW).applied(country, country.relay, "a seed"):
        began = clock()
        assert await answers(country)
        assert clock() - began >= 2.0, "it was delayed each way"
