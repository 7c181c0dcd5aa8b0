"""What the log costs a connection: rows at a fixed rate, whatever the log does meanwhile.

    python -m tests.bench.log [--rate 2000] [--seconds 60] [--hosts all] [--old FOLDER]

A loop records so many connections a second, as a Byway does at their ends: at each tick all that are due by then, so
that a log that is slow gets no fewer. With `--busy` the loop computes in all its other time, and leaves the log what a
loop at its limit does. Each has a host of its own and one attempt. It prints the rows on disk, what was
dropped, the most that ever waited, and CPU time for each connection, of the loop and of the thread that writes.
`--old` names the root of another checkout, which is measured afterwards in the same way. The share of a whole tunnel
is in the setting `log` of `make bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proxy.config.schema import Log
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    ClosedBy,
    Destination,
    Inbound,
    NetworkId,
    Outcome,
    Plan,
    Protocol,
    Request,
    Stage,
)
from proxy.store.store import Store

_ROOT = Path(__file__).parents[2]
_NETWORK = NetworkId("home-0123456789abcdef")
_TICK_S = 0.005


def _outcome(number: int) -> Outcome:
    host = f"www.site{number:x}.example"
    return Outcome(
        request=Request(number, Destination(host, 443), Inbound.CONNECT, "127.0.0.1:50000"),
        plan=Plan(Action.AUTO, (DIRECT,), "AUTO: nothing is known"),
        attempts=(Attempt(DIRECT, Stage.DONE, started=0.0001, elapsed=0.0213, address="192.0.2.1"),),
        winner=DIRECT,
        protocol=Protocol.TLS,
        host=host,
        at=time.time(),
        bytes_up=1812,
        bytes_down=33_017,
        duration=1.25,
        closed_by=ClosedBy.CLIENT,
    )


async def _measure(rate: int, seconds: float, settings: Log, folder: Path, *, busy: bool) -> dict[str, float]:
    path = folder / "log.db"
    store = Store(path, settings)
    store.start()
    made = most = 0
    recording_s = 0.0
    began, own, both = time.perf_counter(), time.thread_time(), time.process_time()
    while made < rate * seconds:
        due = min(rate * seconds, (time.perf_counter() - began) * rate)
        while made < due:
            outcome = _outcome(made)
            before = time.thread_time()
            store.record(outcome, network=_NETWORK)
            recording_s += time.thread_time() - before
            made += 1
        most = max(most, store.waiting_rows)
        until = time.perf_counter() + _TICK_S
        while busy and time.perf_counter() < until:
            pass
        await asyncio.sleep(max(0.0, until - time.perf_counter()))
    took_s = time.perf_counter() - began
    await asyncio.to_thread(store.close)
    writing_s = (time.process_time() - both) - (time.thread_time() - own)
    stored = int(store.read(lambda db: db.execute("SELECT count(*) FROM outcome").fetchone()[0]))
    return {
        "connections": made,
        "rows": stored,
        "dropped": store.dropped_rows,
        "most waiting": most,
        "a second": made / took_s,
        "loop µs": recording_s * 1e6 / made,
        "writer µs": writing_s * 1e6 / made,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the log at a fixed rate of connections")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--hosts", choices=("all", "decisions", "off"), default="all")
    parser.add_argument("--busy", action="store_true", help="a loop that never waits")
    parser.add_argument("--old", type=Path, help="root of another checkout")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        with tempfile.TemporaryDirectory() as folder:
            settings = Log(hosts=asked.hosts)
            measuring = _measure(asked.rate, asked.seconds, settings, Path(folder), busy=asked.busy)
            print(json.dumps(asyncio.run(measuring)))
        return
    roots = {"now": _ROOT} | ({"old": asked.old.resolve()} if asked.old else {})
    for name, root in roots.items():
        script = [sys.executable, __file__, "--measure", "--rate", str(asked.rate), "--seconds", str(asked.seconds)]
        done = subprocess.run(
            [*script, "--hosts", asked.hosts, *(["--busy"] if asked.busy else [])],
            env=os.environ | {"PYTHONPATH": str(root)},
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(name, "  ".join(f"{key}: {value:,.1f}" for key, value in json.loads(done.stdout).items()))


if __name__ == "__main__":
    main()
