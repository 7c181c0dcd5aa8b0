"""What a large list costs: to read, to keep, to ask, and to read again while Byway serves.

    python -m tests.bench.lists [FILE] [--domains 1000000] [--form plain] [--rounds 3] [--old FOLDER]

FILE is a list of one's own, with one domain a line; without it, one of random names or prefixes is made, the same each
time, in one of the FORMS. `--old` names the root of
another checkout, which is measured in the same rounds. Each measurement is a process of its own. In it a loop ticks
each millisecond while the configuration is read, and then while it is read again in place of the first. `stall` is the
longest time between two ticks, less that millisecond, so it holds what freeing the old list takes; `own` is the CPU
time of the process itself between two ticks, which other programs disturb less. `load` and `reload` are CPU time
without that of the loop, which takes 0.07 s a second for its ticks and measures. A reload pauses after each piece for
the sake of the loop: a thousand pauses take 0.04 s, and what is in the caches of the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.model import Destination
from proxy.net.poller import make_poller
from proxy.net.tasks import spawn
from proxy.setup.checked import Parts, check
from proxy.setup.freed_memory import return_large_blocks
from proxy.setup.knowledge import SetupInUse
from proxy.setup.reload import ActiveSetup
from proxy.setup.steps import make

_ROOT = Path(__file__).parents[2]
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
_SYLLABLES = [a + b for a in "bcdfghjklmnprstvwxz" for b in ("a", "e", "i", "o", "u")]
_TOP = ("com", "net", "org", "ru", "kz", "co.uk", "de", "cn", "com.br", "info", "xn--p1ai", "blogspot.com")
_ASKED = 20_000
FORMS = {
    "plain": ("", "{}"),
    "prefixes": ("", "{}"),
    "hosts": ("", "0.0.0.0 {}"),
    "dnsmasq": ("", "server=/{}/192.0.2.1"),
    "clash-domain": ("payload:\n", "  - '+.{}'"),
    "clash-mixed": ("payload:\n", "  - '{}'"),
    "clash-ipcidr": ("payload:\n", "  - '{}'"),
    "clash-classical": ("payload:\n", "  - DOMAIN-SUFFIX,{}"),
    "clash-text": ("", "DOMAIN-SUFFIX,{}"),
    "v2fly": ("", "full:{}"),
    "adblock": ("[Adblock Plus 2.0]\n", "||{}^"),
    "autoproxy": ("[AutoProxy 0.2.9]\n", "||{}"),
}
"""What stands before all lines, and a line, by the form that a list can be made in."""
COLUMNS = (
    "load s", "stall ms", "own ms", "MiB", "peak MiB", "reload s", "stall ms", "own ms", "MiB after",
    "hit µs", "miss µs",
)  # fmt: skip


def names(count: int, seed: int = 1) -> Iterator[str]:
    """Different names like those of published lists; some are subdomains, some have digits and hyphens."""
    chance = random.Random(seed)
    for number in range(count):
        name = "".join(chance.choices(_SYLLABLES, k=2)) + (f"-{number:x}" if number % 8 == 0 else f"{number:x}")
        prefix = chance.choice(("www.", "m.", "cdn1.", "blog.")) if chance.random() < 0.15 else ""
        yield f"{prefix}{name}.{chance.choice(_TOP)}"


def prefixes(count: int, seed: int = 1) -> Iterator[str]:
    """IPv4 prefixes as long as those of published lists."""
    chance = random.Random(seed)
    for length in chance.choices(range(12, 33), weights=[1] * 4 + [4] * 8 + [30] + [2] * 7 + [20], k=count):
        network = chance.getrandbits(32) >> (32 - length) << (32 - length)
        yield f"{'.'.join(str(network >> shift & 255) for shift in (24, 16, 8, 0))}/{length}"


def made(form: str, count: int) -> str:
    """Returns the text of a list in one of the FORMS."""
    head, line = FORMS[form]
    chance = random.Random(4)
    entries = prefixes(count) if form in ("prefixes", "clash-ipcidr") else names(count)
    if form == "clash-mixed":
        entries = (f"+.{name}" if chance.random() < 0.5 else name for name in entries)
    return head + "\n".join(map(line.format, entries)) + "\n"


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MIB


def _most_resident_mib() -> float:
    # Not what getrusage says: that begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _each_µs(match: Callable[[Destination], object], destinations: Sequence[Destination]) -> float:
    before = time.process_time()
    for destination in destinations:
        match(destination)
    return (time.process_time() - before) * 1e6 / len(destinations)


async def _longest_gaps() -> list[float]:
    """Milliseconds between two ticks, until it is cancelled: on the clock, less the one asked for, and of CPU time."""
    longest, clock, cpu = [0.0, 0.0], time.perf_counter(), time.process_time()
    try:
        while True:
            await asyncio.sleep(0.001)
            gaps = 1e3 * (time.perf_counter() - clock - 0.001), 1e3 * (time.process_time() - cpu)
            longest = list(map(max, longest, gaps))
            clock, cpu = time.perf_counter(), time.process_time()
    except asyncio.CancelledError:
        return longest


def _cpu_of_reading() -> float:
    """CPU seconds of all threads but this one, in which the loop runs."""
    return time.process_time() - time.thread_time()


async def _measure(folder: Path) -> list[float]:
    """One process's numbers, in the order of COLUMNS."""
    return_large_blocks()
    paths = Paths.locate({}, config=folder / "config.toml", state=folder / "state")
    paths.config_file.write_text('[[list]]\nname = "large"\nsource = "large.txt"\n')
    listed = folder / "large.txt"
    loaded = load(paths.config_file, env={})
    poller = make_poller(asyncio.get_running_loop())
    parts = Parts(poller, paths, 1)
    listed.rename(folder / "aside")
    listed.write_text("a.example\n")
    paths.rules_file.write_text("LIST,large,DIRECT\n")
    make(parts, loaded, {})  # what each start makes, whatever the list
    (folder / "aside").replace(listed)
    ticking = spawn(_longest_gaps(), name="ticks")
    await asyncio.sleep(0.01)

    resident, cpu = _resident_mib(), _cpu_of_reading()
    first = await asyncio.to_thread(check, parts, loaded)
    load_s, load_mib = _cpu_of_reading() - cpu, _resident_mib() - resident
    del first
    peak_mib = _most_resident_mib() - resident
    ticking.cancel()
    load_gaps = await ticking

    active = ActiveSetup(SetupInUse(), parts, loaded, {}, flags={}, on_replaced=lambda _: None)
    ticking = spawn(_longest_gaps(), name="ticks")
    await asyncio.sleep(0.01)
    cpu = _cpu_of_reading()
    problems = await active.reload()
    assert not problems, problems
    await asyncio.sleep(0.05)
    reload_s = _cpu_of_reading() - cpu
    ticking.cancel()
    reload_gaps = await ticking
    after_mib = _resident_mib() - resident

    rules = active.setup.router.rules
    matcher = rules.lists["large"].listed
    entries = [entry.text for entry in islice(matcher.entries(), 50 * _ASKED)]
    chosen = random.Random(2).sample(entries, min(_ASKED, len(entries)))
    del entries
    if matcher.prefixes:
        hits = [text.partition("/")[0] for text in chosen]
        misses = [f"2001:db8::{number:x}" for number in range(len(hits))]
    else:
        hits = [f"www.{name}" if matcher.covering(f"www.{name}") else name for name in chosen]
        hits = "\n".join(hits).split("\n")  # beside each other in memory, as the others are: not all over a million
        misses = [f"www.{name}x" for name in names(len(hits), seed=3)]

    hit_µs, miss_µs = (
        min(_each_µs(rules.match, [Destination(host, 443) for host in hosts]) for _ in range(5))
        for hosts in (hits, misses)
    )
    poller.close()
    return [
        load_s, *load_gaps, load_mib, peak_mib, reload_s, *reload_gaps, after_mib, hit_µs, miss_µs,
    ]  # fmt: skip


def _in_a_process(root: Path, text: str) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "large.txt").write_text(text)
        environment = os.environ | {"PYTHONPATH": str(root)}
        script = [sys.executable, __file__, "--measure", folder]
        done = subprocess.run(script, env=environment, cwd="/", stdout=subprocess.PIPE, text=True, check=True)
        return [float(number) for number in json.loads(done.stdout)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a large list: CPU, memory, stalls of the loop, look-ups")
    parser.add_argument("file", nargs="?", type=Path, help="one domain a line")
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--form", choices=list(FORMS), default="plain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--old", type=Path, help="root of another checkout")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure is not None:
        print(json.dumps(asyncio.run(_measure(asked.measure))))
        return
    text = asked.file.read_text() if asked.file else made(asked.form, asked.domains)
    roots = {"now": _ROOT} | ({"old": asked.old.resolve()} if asked.old else {})
    measured: dict[str, list[list[float]]] = {name: [] for name in roots}
    for _ in range(asked.rounds):
        for name in random.sample(list(roots), len(roots)):
            measured[name].append(_in_a_process(roots[name], text))
    print(f"{'':6}" + "".join(f"{column:>11}" for column in COLUMNS))
    for name, rows in measured.items():
        print(f"{name:6}" + "".join(f"{statistics.median(numbers):11.2f}" for numbers in zip(*rows, strict=True)))
        print(f"{'  to':6}" + "".join(f"{max(numbers):11.2f}" for numbers in zip(*rows, strict=True)))


if __name__ == "__main__":
    main()
