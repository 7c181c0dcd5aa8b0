"""H1: Byway is killed under load, and nothing is lost but the last quarter of a second.

A program of its own lives through the kills, in a network namespace where we may make one, since beliefs are kept only
where a default route tells which network it is. The tests look at what it saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.country import RELAY
from tests.e2e.crash import ROUNDS, Round
from tests.support import programs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="not run: the censor is made of Linux socket filters"),
    pytest.mark.slow,
]

MAY_BE_MISSING_S = 0.25
_LIVED_S = 120
_WITH_A_ROUTE = """set -e
ip link set lo up
ip link add wire type veth peer name far
ip address add 192.0.2.2/24 dev wire
ip link set wire up
ip link set far up
ip route add default via 192.0.2.1
exec "$@"
"""


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> list[Round]:
    enter = []
    if programs.namespaces_open() and programs.find("ip"):
        enter = [programs.require("unshare"), "-Urn", "--", "sh", "-c", _WITH_A_ROUTE, "sh"]
    done = subprocess.run(
        [*enter, sys.executable, "-m", "tests.e2e.crash", str(tmp_path_factory.mktemp("killed"))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=_LIVED_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Round(**one) for one in json.loads(done.stdout)]


EACH = pytest.mark.parametrize("number", range(ROUNDS))


@EACH
def test_H1_the_log_opens_whole(number: int, rounds: list[Round]) -> None:
    one = rounds[number]
    assert one.broken > 0, "the kill came while there was work"
    assert one.integrity == "ok"
    assert not [file for file in one.files if "corrupt" in file]


@EACH
def test_H1_no_row_is_missing_but_the_youngest(number: int, rounds: list[Round]) -> None:
    """A client's connection is closed after its row was recorded, so a row that was on its way for longer than the rule
    allows is one whose client saw the end that long before the kill."""
    one = rounds[number]
    assert len(one.rows) == len(set(one.rows)), "none is there twice"
    assert one.rows
    missing = {host: one.killed_at - ended for host, ended in one.finished.items() if host not in set(one.rows)}
    too_old = {host: age_s for host, age_s in missing.items() if age_s > MAY_BE_MISSING_S}
    assert too_old == {}, f"{len(missing)} of {len(one.finished)} rows are missing"


@EACH
def test_H1_what_was_learned_is_there(number: int, rounds: list[Round]) -> None:
    one = rounds[number]
    if one.network == "unknown":
        pytest.skip("not run: without a default route nothing that is learned is kept, and no namespace may be made")
    old = {host for host in one.beliefs if one.killed_at - one.finished[host] > MAY_BE_MISSING_S}
    assert {host: tuple(one.beliefs[host]) for host in old} == dict.fromkeys(old, ("suspect", RELAY))


def test_H1_there_was_something_to_lose(rounds: list[Round]) -> None:
    """The control: rescues were old enough to count, and the kills did take rows."""
    learned = [one.killed_at - one.finished[host] > MAY_BE_MISSING_S for one in rounds for host in one.beliefs]
    assert sum(learned) > ROUNDS
    assert any(host not in set(one.rows) for one in rounds for host in one.finished)
