"""`byway forget --all` after ten thousand visited names: none is in any byte of Byway's folders and the user's home."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.config.schema import Log
from proxy.model import Belief, Change, Destination, State, Symptom
from proxy.model.relay_way import KnownWay, RelayWay
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.store import Store
from tests.support.byway import Byway
from tests.support.censor import Behaviour, Censor
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.outcomes import HOME, rescued
from tests.support.relay import Relay
from tests.support.waiting import until, until_read

NAMES = 10_000
MARK = b"visited-name-"
"""In every visited name."""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of ten thousand names, as a Byway with `[log] hosts = "all"` leaves it, and the files beside it."""
    folder = tmp_path_factory.mktemp("seeded")
    state = folder / "state"
    state.mkdir(mode=0o700)
    now = time.time()
    store = Store(state / "byway.sqlite", Log(hosts="all"))
    store.start()
    for number in range(NAMES):
        host = f"{MARK.decode()}{number}.example"
        store.record(rescued(host=host, at=now - number), network=HOME)
        if not number % 100:
            belief = Belief(host, HOME, State.BLOCKED, since=now, until=now + 1e6)
            store.believe([Change(now, host, HOME, State.UNKNOWN, State.BLOCKED, "sni_reset", "reset", belief)])
    assert store.flush(60)
    store.close()
    for name in (
        "surveys/0123abcd.jsonl", "browser/firefox/places.sqlite", "byway.sqlite.corrupt-20260101T000000",
        "../config/backup-20260101T000000.toml",
    ):  # fmt: skip
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(MARK)
    return folder


def _left(folder: Path) -> dict[str, int]:
    """How often the mark stands in each file, but in the configuration that the test has written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "config.toml")
    counts = {path.name: path.read_bytes().count(MARK) for path in files}
    return {name: count for name, count in counts.items() if count}


async def test_without_a_running_byway(tmp_path: Path, seeded: Path) -> None:
    byway = Byway(tmp_path)
    shutil.copytree(seeded, tmp_path, dirs_exist_ok=True)
    assert _left(tmp_path)["byway.sqlite"] >= NAMES
    said = (await byway.command("forget", "--all")).stdout
    assert "the browser profile" in said
    assert _left(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["kill", "stop"])
async def test_with_a_running_byway_also_after_it_ended(tmp_path: Path, seeded: Path, ends: str) -> None:
    hosts = "\n".join(f'"{MARK.decode()}live-{number}.example" = "127.0.0.1"' for number in range(20))
    config = f'[log]\nhosts = "all"\n[dns.hosts]\n{hosts}\n'
    byway = Byway(tmp_path, config=config)
    shutil.copytree(seeded, tmp_path, dirs_exist_ok=True)
    async with Origin() as origin, byway:
        for number in range(20):
            url = f"http://{MARK.decode()}live-{number}.example:{origin.http_port}/"
            assert (await fetch(url, via=byway.proxy)).status == 200
        assert len(await byway.read("log", "--site", f"{MARK.decode()}live-3.example")) > 0
        await byway.command("forget", "--all")
        assert _left(tmp_path) == {}
        await (byway.kill() if ends == "kill" else byway.stop())
        assert _left(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--all",), ("--host", "a.test"), ("--since", "1h")])
async def test_a_site_that_is_open_does_not_come_back_when_it_is_closed(tmp_path: Path, words: Sequence[str]) -> None:
    """A tab may stay open while what was visited in it is forgotten."""
    host = f"{MARK.decode()}1.a.test"
    config = f'[log]\nhosts = "all"\n[dns.hosts]\n"{host}" = "127.0.0.1"\n"b.test" = "127.0.0.1"\n'
    async with Origin() as origin, Byway(tmp_path, config=config) as byway:
        answers, tunnel = await asyncio.open_connection(*byway.proxy)
        tunnel.write(f"CONNECT {host}:{origin.http_port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await answers.readuntil(b"\r\n\r\n")
        tunnel.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await answers.readuntil(b"\r\n\r\n")
        await byway.command("forget", *words)
        tunnel.close()
        await tunnel.wait_closed()

        async def is_closed() -> bool:
            return bool((await byway.read("status"))["live"]["sessions"] == 0)

        await until_read(is_closed)
        assert (await fetch(f"http://b.test:{origin.http_port}/", via=byway.proxy)).status == 200
        assert [row["host"] for row in (await byway.read("log"))["rows"]] == ["b.test"]
        assert _left(tmp_path) == {}
        await byway.stop()
        assert _left(tmp_path) == {}


@pytest.mark.slow
async def test_one_of_three_is_asked_for(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    for words in ((), ("--all", "--host", "a.example"), ("--host", "a..b"), ("--since", "soon")):
        assert (await byway.command("forget", *words, check=False)).returncode == 2
    assert (await byway.command("forget", "--all")).stdout  # nothing is there


RELAYS = "".join(
    f'[[relay]]\nname = "{name}"\nurl = "socks5h://192.0.2.{number}:1080"\n'
    for number, name in enumerate(("a", "b"), 1)
)


def _stalled(relay: str) -> KnownWay:
    at = Destination(relay, 1080)
    return KnownWay(HOME, at, RelayWay(at, relay), Symptom.FROZEN, 2, 16_384, failed_at=time.time())


async def _save(file: Path, known: Sequence[KnownWay]) -> None:
    ways = RelayWaysFile(file)
    ways.save(known)
    await ways.written()


@pytest.mark.slow
async def test_what_is_known_of_relays_does_not_come_back(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=RELAYS, arguments=("-v",))
    file = byway.state / "relay-ways.json"
    known = [_stalled("192.0.2.1"), _stalled("192.0.2.2"), _stalled("192.0.2.3")]
    await _save(file, known)
    async with byway:
        await until(lambda: RelayWaysFile(file).load() == known[:2])  # the third relay is not configured
        assert "what was blocked on the way to relays" in (await byway.command("forget", "--all")).stdout
        assert not file.exists()
        byway.config.write_text(byway.config.read_text().replace("192.0.2.2", "192.0.2.9"))
        byway.reload()  # of what it still knew, that of the first relay would be written now
        await until(lambda: "Configuration reloaded" in byway.said.read_text())
        await byway.stop()
    assert not file.exists()


async def test_nothing_is_read_or_written_with_ephemeral(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=RELAYS, arguments=("--ephemeral",))
    file = byway.state / "relay-ways.json"
    await _save(file, [_stalled("192.0.2.3")])
    async with byway:
        await byway.stop()
    assert RelayWaysFile(file).load(), "it is the next run's"


SEARCH = """
import gc
import sys
import threading

at_first = {{}}


def outcome(outcome):
    if outcome.host == "last.test":
        threading.Thread(target=search).start()  # it takes longer than an addon may


def others_than_tuples():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(10)  # another thread fails when the tuple that it is building is held meanwhile
    try:
        return [one for one in gc.get_objects() if type(one) is not tuple]
    finally:
        sys.setswitchinterval(usual)


def search():
    gc.unfreeze()  # what a start has made is in no list else, and with it the caches of most functions
    gc.collect()  # then a tuple of strings belongs to what holds it
    found = {{}}
    for one in others_than_tuples():
        parts = gc.get_referents(one)
        for part in parts:
            if type(part) is tuple or (isinstance(part, (dict, tuple)) and not gc.is_tracked(part)):
                parts.extend(gc.get_referents(part))
            elif isinstance(part, (str, bytes)) and {mark!r} in ascii(part):
                found[id(one)] = one
    if not at_first:
        at_first.update(found)
    with open({file!r}, "a") as file:
        print(*sorted({{type(one).__name__ for key, one in found.items() if key not in at_first}}), file=file)
"""
"""Says after a visit to last.test in what kinds of objects a visited name is. What holds one at the first such visit is
none of them: the configuration."""


class _Search:
    """An addon that searches the memory of this Byway, which is not running yet."""

    def __init__(self, byway: Byway) -> None:
        self._byway = byway
        self._file, self._told = byway.config.parent / "found", 0
        addon = byway.config.parent / "addons" / "search.py"
        addon.parent.mkdir()
        addon.write_text(SEARCH.format(file=str(self._file), mark=MARK.decode()))

    async def found(self, url: str) -> set[str]:
        """The kinds of objects that hold a visited name, and did not at the first search. `url` is one of last.test."""
        assert (await fetch(url, via=self._byway.proxy)).status == 200
        self._told += 1
        await until(lambda: self._file.exists() and self._file.read_text().count("\n") == self._told)
        return set(self._file.read_text().splitlines()[-1].split())


@pytest.mark.slow
async def test_no_name_stays_in_memory(tmp_path: Path) -> None:
    names = [f"{MARK.decode()}{number}.test" for number in range(3)]
    hosts = "".join(f'"{name}" = "127.0.0.1"\n' for name in (*names, "last.test"))
    byway = Byway(tmp_path, config=f"[dns.hosts]\n{hosts}")
    search = _Search(byway)
    async with Origin() as origin, byway:
        url = f"http://last.test:{origin.http_port}/"

        async def is_gone() -> bool:
            return not await search.found(url)  # a check of a certificate may be under way

        await byway.command("forget", "--all")  # the names that were read with the configuration
        assert await search.found(url) == set()
        trust = origin.authority.client()
        for name in names:
            assert (await fetch(f"http://{name}:{origin.http_port}/", via=byway.proxy)).status == 200
            assert (await fetch(f"https://{name}:{origin.https_port}/", via=byway.proxy, trust=trust)).status == 200
        assert await search.found(url) >= {"_lru_cache_wrapper", "Bounded", "Working"}, (
            "the control: there is something to forget"
        )
        # A tunnel that stays open does not hold what its Setup knew.
        answers, tunnel = await asyncio.open_connection(*byway.proxy)
        tunnel.write(b"CONNECT last.test:%d HTTP/1.1\r\nHost: last.test\r\n\r\n" % origin.http_port)
        await answers.readuntil(b"\r\n\r\n")
        tunnel.write(b"GET / HTTP/1.1\r\nHost: last.test\r\n\r\n")
        await answers.readuntil(b"\r\n\r\n")
        await byway.command("forget", "--all")
        await until_read(is_gone)
        tunnel.close()


SITE = f"{MARK.decode()}x.test"
HOW_FORGOTTEN = [("forget", "--host", SITE), ("site", "forget", SITE), ("forget", "--since", "1h"), ("forget", "--all")]


@pytest.mark.slow
@pytest.mark.parametrize("words", HOW_FORGOTTEN, ids=" ".join)
async def test_no_name_of_a_forgotten_site_stays_in_memory(tmp_path: Path, words: Sequence[str]) -> None:
    """After visits that worked, were rescued, failed and had no name, each over http and https, through a group that
    keeps to a relay, and after measurements and reports of them."""
    fine, reset, dead, sticky, typo = (f"{kind}.{SITE}" for kind in ("www", "reset", "dead", "sticky", "typo"))
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin())
        names = {reset: "127.0.0.1", sticky: "127.0.0.1", fine: "127.0.0.1"}
        relays = [await stack.enter_async_context(Relay(names, f"127.0.0.{number}")) for number in (9, 10)]
        for port in (origin.http_port, origin.https_port):
            censor = await stack.enter_async_context(Censor("127.0.0.2", port, origin="127.0.0.1"))
            await censor.set(Behaviour.RESET)
        at = {
            fine: "127.0.0.1",
            reset: "127.0.0.2",
            dead: "127.0.0.3",
            "last.test": "127.0.0.1",
            "ok.test": "127.0.0.1",
        }
        byway = Byway(
            tmp_path,
            config=f'[auto]\ncontrols = ["https://ok.test:{origin.https_port}/"]\n[dns.hosts]\n'
            + "".join(f'"{name}" = "{address}"\n' for name, address in at.items())
            + "".join(
                f'[[relay]]\nname = "{name}"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
                for name, relay in zip("ab", relays, strict=True)
            )
            + '[[group]]\nname = "kept"\npolicy = "sticky"\nrelays = ["a", "b"]\n',
            rules="DOMAIN-KEYWORD,sticky,RELAY:kept\n",
        )
        search = _Search(byway)
        await stack.enter_async_context(byway)
        url = f"http://last.test:{origin.http_port}/"
        await byway.command(*words)  # the names that were read with the configuration
        await search.found(url)
        trust = origin.authority.client()

        async def visit(each: str) -> None:
            with contextlib.suppress(OSError, EOFError, ssl.SSLError):
                await fetch(each, via=byway.proxy, trust=trust)

        schemes = (("http", origin.http_port), ("https", origin.https_port))
        urls = [f"{scheme}://{name}:{port}/" for name in (fine, reset, dead, sticky, typo) for scheme, port in schemes]
        for _ in range(2):
            await asyncio.gather(*map(visit, urls))
        async with byway.api() as api:  # a connection that stays open holds its last request

            async def measure(name: str) -> None:  # as `byway why --fresh` does
                asked = {"site": f"http://{name}:{origin.http_port}/", "fresh": True}
                async with api.post("/v1/why", json=asked) as answer:
                    assert b'"verdict"' in await answer.read()

            await asyncio.gather(*map(measure, (fine, reset, dead, typo)))
            for path in (*(f"sites/{name}" for name in (fine, reset, dead, typo)), "sites", "status", "log"):
                async with api.get(f"/v1/{path}") as answer:
                    assert answer.status == 200
        sites = (f"http://{fine}:{origin.http_port}/", f"https://{reset}/")
        await byway.commands(
            ("test", "--jitter", "0", *sites), ("report", reset), ("rule", "test", f"http://{reset}/"), check=False
        )
        held = await search.found(url)
        assert held >= {"_lru_cache_wrapper", "Bounded", "Working"}, "the control: there is something to forget"
        await byway.command(*words)

        async def is_gone() -> bool:
            return not await search.found(url)  # what is under way may end a little later

        await until_read(is_gone)


FIRST = """
import gc
import weakref
from proxy.net.dns.resolver import Resolver
from proxy.routing.address_guard import Guard

made = [one for cls in (Guard, Resolver) for one in gc.get_referrers(cls) if type(one) is cls]
first = [weakref.ref(one) for one in made]
made.clear()


def outcome(outcome):
    with open({file!r}, "a") as file:
        print(sum(ref() is not None for ref in first), gc.get_freeze_count(), file=file)
"""
"""Says after each visit how many of those are there that the start has made, and of how many objects no collection
scans any."""


@pytest.mark.slow
async def test_what_knew_names_since_the_start_is_freed_and_nothing_else_scanned(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config='[dns.hosts]\n"a.test" = "127.0.0.1"\n')
    addon, file = byway.config.parent / "addons" / "first.py", byway.config.parent / "first"
    addon.parent.mkdir()
    addon.write_text(FIRST.format(file=str(file)))
    async with Origin() as origin, byway:

        async def left() -> tuple[int, int]:
            before = file.read_text().count("\n") if file.exists() else 0
            assert (await fetch(f"http://a.test:{origin.http_port}/", via=byway.proxy)).status == 200
            await until(lambda: file.exists() and file.read_text().count("\n") > before)
            first, frozen = map(int, file.read_text().splitlines()[-1].split())
            return first, frozen

        first, frozen = await left()
        assert first > 1, "the control"
        await byway.command("forget", "--all")
        after, still_frozen = await left()
        assert after == 0
        assert 10_000 < 0.9 * frozen < still_frozen, "what a start has imported is not scanned from now on"


REMEMBERED = """
from proxy.app import app
from proxy.session import inbound

if {every_s}:
    app._REMEMBERED_S = {every_s}


def outcome(outcome):
    with open({file!r}, "a") as file:
        print(inbound._whole_forward.cache_info().currsize, file=file)
"""
"""Says after each visit how many plain requests are in memory, with their cookies."""


def _tell_remembered(byway: Byway, *, every_s: float = 0.0) -> Path:
    """Where the numbers will stand. `every_s` 0: what is remembered is forgotten as often as always."""
    addon, file = byway.config.parent / "addons" / "remembered.py", byway.config.parent / "remembered"
    addon.parent.mkdir()
    addon.write_text(REMEMBERED.format(file=str(file), every_s=every_s))
    return file


@pytest.mark.slow
async def test_no_request_stays_in_memory(tmp_path: Path) -> None:
    ways = (("forget", "--all"), ("forget", "--host", "a.test"), ("site", "forget", "a.test"))
    byway = Byway(tmp_path, config='[dns.hosts]\n"a.test" = "127.0.0.1"\n')
    file, numbers = _tell_remembered(byway), itertools.count()
    async with Origin() as origin, byway:

        async def remembered() -> int:
            """Makes another request. Returns how many are remembered then."""
            url = f"http://a.test:{origin.http_port}/{(number := next(numbers))}"
            assert (await fetch(url, via=byway.proxy, headers=[("Cookie", "a=secret")])).status == 200
            await until(lambda: file.exists() and file.read_text().count("\n") == number + 1)
            return int(file.read_text().split()[-1])

        left = {}
        for words in ways:
            before = [await remembered() for _ in range(3)]
            assert before == [*range(before[0], before[0] + 3)], "the control"
            await byway.command(*words)
            left[" ".join(words)] = await remembered()
        assert left == dict.fromkeys(left, 1), "that of the last request"


@pytest.mark.slow
async def test_no_request_stays_in_memory_for_long(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config='[dns.hosts]\n"a.test" = "127.0.0.1"\n')
    file = _tell_remembered(byway, every_s=0.01)
    async with Origin() as origin, byway:

        async def is_forgotten() -> bool:
            url = f"http://a.test:{origin.http_port}/{time.monotonic_ns()}"
            assert (await fetch(url, via=byway.proxy)).status == 200
            return file.exists() and file.read_text().split().count("1") > 1

        await until_read(is_forgotten)


SLOW_DISK = """
from proxy.store import saved_values

_write = saved_values.write_private


def _write_slowly(path, content):
    with open({pipe!r}) as pipe:
        pipe.read()  # until the other end is closed
    _write(path, content)


saved_values.write_private = _write_slowly


def outcome(outcome):
    pass
"""


@pytest.mark.slow
async def test_a_disk_that_hangs_holds_up_no_connection(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=RELAYS, arguments=("-v",))
    file, pipe = byway.state / "relay-ways.json", tmp_path / "pipe"
    os.mkfifo(pipe)
    addon = byway.config.parent / "addons" / "slow_disk.py"
    addon.parent.mkdir()
    addon.write_text(SLOW_DISK.format(pipe=str(pipe)))
    known = [_stalled("192.0.2.1"), _stalled("192.0.2.3")]
    await _save(file, known)
    async with Origin() as origin, byway:
        ends = list[int]()

        def is_writing() -> bool:
            try:
                ends.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody reads
                return False
            return True

        await until(is_writing)  # since the third relay is not configured
        for _ in range(3):
            assert (await fetch(f"http://127.0.0.1:{origin.http_port}/", via=byway.proxy)).status == 200
        assert RelayWaysFile(file).load() == known, "nothing is written yet"
        os.close(ends.pop())
        await until(lambda: RelayWaysFile(file).load() == known[:1])
