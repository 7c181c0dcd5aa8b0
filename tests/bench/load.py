"""The load: the two C programs are compiled, the origin is run, and a load is put on one proxy and measured.

Both programs know the same pattern of bytes. Whatever comes back is compared with it, to the last byte, and only what
was whole is counted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.bench.machine import Cores, Program, busy_s, pinned, running
from tests.bench.peers import KNOWN, Kind

HERE = Path(__file__).parent
ORIGIN_PORT = 8000
_SETUP_S = 35.0  # in which the load generator opens all tunnels, or gives up


class Mode(StrEnum):
    GET = "get"
    DOWNLOAD = "download"
    MESSAGES = "messages"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a proxy. Times are in seconds."""

    mode: Mode
    conns: int
    keep_alive: bool = False
    fresh: bool = False  # each tunnel asks for a name that was never asked for
    warmup_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Result:
    """What the load generator saw."""

    whole: int  # answers with every byte as it should be
    whole_ever: int  # with those of the warm-up
    seconds: float
    bytes: int  # of mode download
    p50_us: float
    p99_us: float
    reconnects: int
    stalled: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one proxy."""

    result: Result
    cpu_s: float  # of the proxy, while the load ran
    base_mib: float  # its memory before …
    held_mib: float  # … and when all tunnels were open (0 in mode get)
    others_cores: float  # that were busy with something else

    @property
    def wrong(self) -> str:
        """What did not go well; empty if all did."""
        found = dict(self.result.failures)
        if self.result.stalled:
            found["waited over 2 s"] = self.result.stalled
        if not (self.result.whole or self.result.bytes or found):
            found["nothing came"] = 1
        return ", ".join(f"{name} ({count})" for name, count in found.items())


@dataclass(frozen=True, slots=True)
class Bench:
    """Compiled programs, a running origin and the cores they run on."""

    loadgen: Path
    origin: Program
    cores: Cores
    folder: Path
    _fresh: Iterator[int] = field(default_factory=itertools.count)  # prefixes of names

    def put(self, load: Load, program: Program, kind: Kind, port: int, seconds: float) -> Measured:
        """Puts a load on a proxy. Never raises for what the proxy does."""
        command = [
            *(str(self.loadgen), "--kind", kind, "--mode", load.mode, "--conns", str(load.conns)),
            *("--proxy", str(port), "--origin", str(ORIGIN_PORT), "--keepalive", str(int(load.keep_alive))),
            *("--seconds", str(seconds), "--warmup", str(min(load.warmup_s, seconds)), "--host", KNOWN),
            *(("--fresh", f"v{next(self._fresh)}x") if load.fresh else ()),
        ]
        base_mib = program.pss_mib()
        held_mib = 0.0
        with pinned(self.cores.load):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            said = ""
            if load.mode is not Mode.GET:
                said = process.stdout.readline()  # READY, or all that there is to say
                held_mib = program.pss_mib()
            spent, own_s, all_s, began = program.cpu_s(), self._own_s(), busy_s(), time.monotonic()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write("go\n")
                process.stdin.flush()
            rest, _ = process.communicate(timeout=seconds + load.warmup_s + _SETUP_S)
            program.settle()  # what is written to a log later counts as well
            cpu_s = program.cpu_s() - spent
            others_s = busy_s() - all_s - cpu_s - (self._own_s() - own_s)
            took_s = time.monotonic() - began
            lines = (said + rest).splitlines()
        finally:
            process.kill()
            process.wait()
        result = Result(**json.loads(lines[-1])) if lines else _nothing("the load generator ended")
        return Measured(result, cpu_s, base_mib, held_mib, max(0.0, others_s / took_s))

    def _own_s(self) -> float:
        """CPU seconds of origin, load generators and this script so far."""
        return self.origin.cpu_s() + sum(os.times()[:4])


def _nothing(why: str) -> Result:
    return Result(0, 0, 0, 0, 0, 0, 0, 0, {why: 1})


def compiled(folder: Path) -> tuple[Path, Path]:
    """The load generator and the origin. Raises CalledProcessError or FileNotFoundError when there is no compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in (*HERE.glob("*.c"), *HERE.glob("*.h")))
    made = []
    for name in ("loadgen", "origin"):
        program = folder / name
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / f"{name}.c"], check=True)
        made.append(program)
    return made[0], made[1]


@contextlib.contextmanager
def bench(build: Path, folder: Path, cores: Cores) -> Iterator[Bench]:
    """Compiles what is not compiled, and runs the origin with its name server."""
    loadgen, origin = compiled(build)
    with running([str(origin), str(ORIGIN_PORT), "53"], core=cores.load, folder=folder) as program:
        program.wait_listening({ORIGIN_PORT})
        yield Bench(loadgen, program, cores, folder)
