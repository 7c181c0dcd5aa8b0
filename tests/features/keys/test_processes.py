"""When a process of the engine gets no new openings, and when it ends: what has a tunnel is not cut."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.features.keys import engine as engine_module
from proxy.features.keys import opening as opening_module
from proxy.features.keys.engine import MihomoEngine
from proxy.features.keys.opening import RunningEngine
from proxy.model import Destination, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.key_relay import KeyRelay
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.stream import EndedByByway, Stream
from proxy.net.tasks import spawn
from proxy.wire.keys.reader import read_key
from tests.features.keys.test_engine import ANSWER_S, World, _Addresses, _pid, _users, answer, fault, page, world
from tests.support.waiting import until

pytestmark = pytest.mark.needs("mihomo")


@pytest.fixture(autouse=True)
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends must do so by itself, and not when the engine is looked at."""
    monkeypatch.setattr(engine_module, "CHECK_S", 10_000.0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which this computer slept: set it."""
    seconds = [1000.0]
    for module in (engine_module, opening_module):
        monkeypatch.setattr(module, "suspended_s", lambda: seconds[0])
    return seconds


async def opened(here: World, name: str, link: str = "ss") -> Stream:
    """Returns a tunnel that brought a byte."""
    stream = await here.dialer(here.server.links[link], name).dial(here.site.destination)
    assert await answer(stream) == b"hello"
    return stream


async def finish(stream: Stream) -> None:
    """Ends a tunnel in order, which shows that nothing had cut it."""
    stream.send_eof()
    async with asyncio.timeout(ANSWER_S):
        assert await stream.receive() == b""
    stream.close()


def has_ended(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


class Started:
    """Notes the processes that were started. While `wait` is not set, each of them waits before it counts as begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pids: list[int] = []
        self.wait = asyncio.Event()
        self.wait.set()
        begun = MihomoEngine._begun

        async def noted(engine: MihomoEngine, running: RunningEngine) -> None:
            self.pids.append(running.process.pid)
            await self.wait.wait()
            await begun(engine, running)

        monkeypatch.setattr(MihomoEngine, "_begun", noted)


async def test_openings_at_once_start_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    async with world(tmp_path) as here:
        dialers = [here.dialer(here.server.links[name], name) for name in ("ss", "ss", "trojan")]
        pages = await asyncio.gather(*(page(dialer, here.site.destination) for dialer in dialers))
        assert pages == [b"hello"] * 3
        assert started.pids == [_pid(here)]


async def test_a_start_outlives_the_visit_that_began_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another way may be faster than the first start. Visit after visit would kill a process that is half started."""
    started = Started(monkeypatch)
    started.wait.clear()
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["ss"])
        for _ in range(3):
            visit = spawn(page(dialer, here.site.destination), name="visit")
            await until(lambda: bool(started.pids))
            await asyncio.sleep(0)
            visit.cancel()
            await asyncio.wait((visit,))
            assert visit.cancelled()
        started.wait.set()
        assert await page(dialer, here.site.destination) == b"hello"
        assert started.pids == [_pid(here)]


async def test_what_only_just_starts_ends_with_byway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    started.wait.clear()
    async with world(tmp_path) as here:
        visit = spawn(fault(here.dialer(here.server.links["ss"]), here.site.destination), name="visit")
        await until(lambda: bool(started.pids))
        async with asyncio.timeout(ANSWER_S):
            await here.engine.close()
            assert "Byway ends" in str(await visit)
        assert has_ended(started.pids[0])
        assert os.listdir(here.folder) == []
        error = await fault(here.dialer(here.server.links["ss"]), here.site.destination)
        assert "Byway ends" in str(error)
        assert len(started.pids) == 1


async def test_an_engine_that_dies_in_its_start_is_told_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens, and has not begun to work."""
    started = Started(monkeypatch)
    started.wait.clear()
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["ss"])
        visit = spawn(fault(dialer, here.site.destination), name="visit")
        await until(lambda: bool(started.pids))
        os.kill(started.pids[0], signal.SIGKILL)
        await until(lambda: has_ended(started.pids[0]))
        started.wait.set()
        async with asyncio.timeout(ANSWER_S):
            error = await visit
        assert relay_fault(error) is RelayFault.ENGINE
        assert str(error) == "relay key: the engine ended at its start"
        assert os.listdir(here.folder) == []
        assert await page(dialer, here.site.destination) == b"hello"
        assert here.site.count == 1


async def test_a_key_that_leaves_in_the_middle_of_a_start_does_not_fail_the_visit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has a key that is no longer in use then, so another one takes its place."""
    started = Started(monkeypatch)
    started.wait.clear()
    async with world(tmp_path) as here:
        one, two = here.dialer(here.server.links["ss"], "one"), here.dialer(here.server.links["trojan"], "two")
        visit = spawn(page(one, here.site.destination), name="visit")
        await until(lambda: bool(started.pids))
        two.retire()
        started.wait.set()
        assert await visit == b"hello"
        assert _users(here) == {"k1"}
        assert started.pids[1:] == [_pid(here)]
        await until(lambda: has_ended(started.pids[0]))


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process have stopped: they do so one by one."""
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


async def test_a_process_that_answers_no_more_gets_no_more_openings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be stopped, or in a loop. It runs, so nothing else would end it."""
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["ss"])
        assert await page(dialer, here.site.destination) == b"hello"
        first = _pid(here)
        os.kill(first, signal.SIGSTOP)
        await until(lambda: _is_stopped(first))
        with monkeypatch.context() as soon:
            soon.setattr(opening_module, "ANSWER_S", 0.2)
            error = await fault(dialer, here.site.destination)
        assert str(error) == "relay key: the engine failed (it did not answer within 0.2 s)"
        assert relay_fault(error) is RelayFault.ENGINE
        assert await page(dialer, here.site.destination) == b"hello"
        await until(lambda: has_ended(first))
        assert here.engine._running[-1].process.pid != first


async def test_one_key_more_than_a_process_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the others have tunnels. They go on, and the key that has no place in the new process keeps that in the
    old one."""
    monkeypatch.setattr(engine_module, "KEYS_MAX", 3)
    async with world(tmp_path) as here:
        link = here.server.links["ss"]
        dialers = [here.dialer(link, f"key{n}") for n in range(1, 5)]
        tunnels = [await dialer.dial(here.site.destination) for dialer in dialers[:3]]
        for tunnel in tunnels:
            assert await answer(tunnel) == b"hello"
        first = _pid(here)
        assert _users(here) == {"k1", "k2", "k3"}
        assert await page(dialers[3], here.site.destination) == b"hello"
        assert _users(here) == {"k4", "k3", "k2"}, "the one that was used first is left out"
        assert await page(dialers[0], here.site.destination) == b"hello"
        assert [running.process.pid for running in here.engine._running] == [first, _pid(here)]
        for tunnel in tunnels:
            await finish(tunnel)
        await until(lambda: has_ended(first))
        assert await page(dialers[0], here.site.destination) == b"hello"


async def test_the_process_with_a_removed_key_ends_at_once_where_nothing_is_open(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        one, two = here.dialer(here.server.links["ss"], "one"), here.dialer(here.server.links["trojan"], "two")
        assert await page(one, here.site.destination) == b"hello"
        first = _pid(here)
        assert _users(here) == {"k1", "k2"}
        two.retire()
        await until(lambda: has_ended(first))
        assert await page(one, here.site.destination) == b"hello"
        assert _users(here) == {"k1"}


async def test_the_process_with_a_removed_key_ends_with_its_last_tunnel(tmp_path: Path) -> None:
    """Those of other keys, and of the removed one, go on in it; new openings have another one."""
    async with world(tmp_path) as here:
        one, two = here.dialer(here.server.links["ss"], "one"), here.dialer(here.server.links["trojan"], "two")
        tunnels = [await dialer.dial(here.site.destination) for dialer in (one, two)]
        for tunnel in tunnels:
            assert await answer(tunnel) == b"hello"
        first = _pid(here)
        two.retire()
        assert await page(one, here.site.destination) == b"hello"
        assert _users(here) == {"k1"}
        assert _pid(here) != first
        await finish(tunnels[0])
        assert not has_ended(first)
        await finish(tunnels[1])
        await until(lambda: has_ended(first))
        assert await page(one, here.site.destination) == b"hello"
        assert len(here.engine._running) == 1


async def test_a_visit_of_the_earlier_setup_still_has_its_key(tmp_path: Path) -> None:
    """One process is started for it, which ends with it."""
    async with world(tmp_path) as here:
        one, two = here.dialer(here.server.links["ss"], "one"), here.dialer(here.server.links["trojan"], "two")
        two.retire()
        assert await page(two, here.site.destination) == b"hello"
        await until(lambda: here.engine._running == [])
        assert await page(one, here.site.destination) == b"hello"
        assert _users(here) == {"k1"}


async def test_a_key_that_a_reload_keeps_stays_in_its_process(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        before = here.dialer(here.server.links["ss"], "one")
        assert await page(before, here.site.destination) == b"hello"
        first = _pid(here)
        after = here.dialer(here.server.links["ss"], "one")
        before.retire()
        assert await page(after, here.site.destination) == b"hello"
        assert _pid(here) == first


async def test_a_process_does_not_end_under_an_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dial that has its process, and no stream yet, while a change of the keys starts another one."""
    asked, go = asyncio.Event(), asyncio.Event()
    dial = RunningEngine.dial

    async def slow(running: RunningEngine, user: str, *rest: Any) -> Stream:
        if user == "k1":
            asked.set()
            await go.wait()
        return await dial(running, user, *rest)

    monkeypatch.setattr(RunningEngine, "dial", slow)
    async with world(tmp_path) as here:
        opening = spawn(page(here.dialer(here.server.links["ss"], "one"), here.site.destination), name="opening")
        await asked.wait()
        first = _pid(here)
        assert await page(here.dialer(here.server.links["trojan"], "two"), here.site.destination) == b"hello"
        assert _pid(here) != first
        go.set()
        assert await opening == b"hello"
        await until(lambda: has_ended(first))


async def test_one_process_too_many_ends_that_with_the_fewest_tunnels_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "PROCESSES_MAX", 2)
    async with world(tmp_path) as here:
        many = [await opened(here, "one") for _ in range(2)]
        first = _pid(here)
        few = await opened(here, "two", "trojan")
        last = await opened(here, "three", "vless")
        assert [running.process.pid for running in here.engine._running] == [first, _pid(here)]
        async with asyncio.timeout(ANSWER_S):
            with pytest.raises(EndedByByway, match="Byway ended one of the processes of the engine for keys"):
                await few.receive()
        few.abort()
        assert "it had 1 connections" in caplog.text
        for stream in (*many, last):
            await finish(stream)


async def test_an_answer_that_the_end_of_the_engine_cuts_off_does_not_end_in_order(tmp_path: Path) -> None:
    """The kernel closes the sockets of a killed process in order. A body to the end of the connection would pass as a
    whole one."""
    async with world(tmp_path) as here:
        stream = await opened(here, "one")
        os.kill(_pid(here), signal.SIGKILL)
        async with asyncio.timeout(ANSWER_S):
            with pytest.raises(ConnectionResetError, match="the engine for keys ended"):
                await stream.receive()
        assert not isinstance(stream.fault_before_answer(Symptom.EOF), type(None))
        stream.abort()


async def test_after_a_sleep_new_openings_have_another_process(tmp_path: Path, slept: list[float]) -> None:
    """Its connections to servers may have died, and a tunnel that lives is not cut."""
    async with world(tmp_path) as here:
        tunnel = await opened(here, "one")
        first, dialer = _pid(here), here.dialer(here.server.links["ss"], "one")
        slept[0] += 59.0
        assert await page(dialer, here.site.destination) == b"hello"
        assert _pid(here) == first
        slept[0] += 1.0
        assert await page(dialer, here.site.destination) == b"hello"
        assert _pid(here) != first
        await finish(tunnel)
        await until(lambda: has_ended(first))


async def test_after_a_sleep_an_idle_process_ends_and_connections_to_servers_are_probed(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[int] = []

    async def reset_stale(sockets: Iterable[Any]) -> None:
        probed.extend(sock.getpeername()[1] for sock in sockets)

    monkeypatch.setattr(engine_module, "reset_stale_connections", reset_stale)
    async with world(tmp_path) as here:
        tunnel = await opened(here, "one")
        here.engine._check()
        await asyncio.sleep(0)
        assert probed == []
        slept[0] += 8 * 3600.0
        here.engine._check()
        await until(lambda: probed == [here.server.ports["ss"]])
        await finish(tunnel)
        await until(lambda: here.engine._running == [])


async def test_a_full_disk_is_told_and_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["ss"])
        with monkeypatch.context() as disk:
            disk.setattr("proxy.features.keys.process.tempfile.mkdtemp", full)
            with pytest.raises(DialError, match="relay key: the engine could not be started: no space left on device"):
                await dialer.dial(here.site.destination)
        assert await page(dialer, here.site.destination) == b"hello"
        assert here.site.count == 1


async def test_its_folder_is_made_again_when_it_is_gone(tmp_path: Path) -> None:
    """The state folder may be deleted while Byway runs, or not be writable at first."""
    async with world(tmp_path) as here:
        here.folder.write_text("a file in its place")
        dialer = here.dialer(here.server.links["ss"])
        with pytest.raises(DialError) as caught:
            await dialer.dial(here.site.destination)
        assert relay_fault(caught.value) is RelayFault.ENGINE
        here.folder.unlink()
        assert await page(dialer, here.site.destination) == b"hello"
        os.kill(_pid(here), signal.SIGKILL)
        await until(lambda: here.engine._running == [])
        shutil.rmtree(here.folder)
        assert await page(dialer, here.site.destination) == b"hello"


async def test_a_race_that_another_way_won_changes_no_address(tmp_path: Path) -> None:
    """Each change is a start of the engine. A silence of some seconds is worth one."""
    async with world(tmp_path) as here:
        link = here.server.links["hysteria2"].replace("127.0.0.1", "server.test")
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        lookup = _Addresses(["127.0.0.1", "127.0.0.2"])
        dialer = here.engine.dialer(KeyRelay("key", read_key(link), direct, lookup, None, ANSWER_S))
        assert await page(dialer, here.site.destination) == b"hello"
        first = _pid(here)
        here.site.manner = "silent"
        lost = await dialer.dial(Destination("other.test", here.site.port))
        assert lost.fault_before_answer(Symptom.SILENT) is None
        here.engine._by_user["k1"]._delivery = None
        assert lost.fault_before_answer(Symptom.SILENT) is not None
        lost.abort()
        here.site.manner = "answer"
        assert await page(dialer, here.site.destination) == b"hello"
        assert _pid(here) == first
