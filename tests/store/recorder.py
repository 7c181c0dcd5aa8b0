"""A process that writes a log, to be killed or starved by test_writer. Its last word is always on stdout.

python -m tests.store.recorder endless STORE     records about 1,000 connections a second, says each one's number
python -m tests.store.recorder starved STORE     fills a disk, says whether browsing noticed, and recovers
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path

from proxy.config.schema import Log
from proxy.store.store import Store
from tests.support.outcomes import HOME, rescued


def endless(path: Path) -> None:
    store = Store(path, Log(hosts="all"))
    store.start()
    pace = threading.Event()
    number = 0
    while True:
        for _ in range(5):
            number += 1
            store.record(rescued(host=f"h{number}.example.org", at=time.time()), network=HOME)
        os.write(1, f"{number} {time.time()}\n".encode())
        pace.wait(0.005)


def starved(path: Path) -> None:
    """The file may not grow beyond 300 KB: every write past it fails, as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    store = Store(path, Log(hosts="all"))
    store.start()
    for number in range(3000):
        store.record(rescued(host=f"h{number}.example.org", at=time.time()), network=HOME)
    written = store.flush(1.0)
    print("written" if written else f"waiting {store.waiting_rows}: {store.trouble}")

    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    recovered = store.flush(10.0)
    print("recovered" if recovered else f"still waiting: {store.trouble}")
    print(f"dropped {store.dropped_rows}, trouble {store.trouble!r}")
    store.close()


if __name__ == "__main__":
    {"endless": endless, "starved": starved}[sys.argv[1]](Path(sys.argv[2]))
