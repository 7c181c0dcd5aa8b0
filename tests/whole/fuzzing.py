"""Asks a throw-away control server everything that docs/openapi.json allows, and much that it does not (Schemathesis).

    python -m tests.whole.fuzzing 400 --seed 7     at most so many cases for each operation: about 7,000 in all

No answer may be a server error, have a status that is not documented, or not fit its schema. Left out are `log/follow`,
which never ends, and `sign-in`, which ends when somebody signs in.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from proxy.config.schema import GroupConfig, ListConfig
from proxy.control.server import ControlServer
from proxy.features.table import FEATURES
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.formats import parse_list
from tests.support.control_world import World
from tests.support.documented import FILE
from tests.support.opened import open_three
from tests.support.outcomes import failed, outcome, rescued, works

TOKEN = "0123456789abcdef" * 4
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_PROGRAM = Path(sys.executable).with_name("schemathesis")


@frozen_dataclass
class Fuzzed:
    """`cases`: how many were sent; `text`: what the program printed."""

    ok: bool
    cases: int
    text: str


def make_world() -> World:
    """A world with something to say: a list, a group, rows of the log, and a site that is rescued."""
    world = World(features=FEATURES)
    gfw, text = ListConfig(name="gfw", source="gfw.txt"), "a.example\nb.example\n"
    group = GroupConfig(name="any", relays=("tor", "vps"), policy="select")
    world.settings = replace(world.settings, list=(gfw,), group=(group,))
    world.lists = {"gfw": parse_list(iter([text]), size=len(text), source="list gfw")}
    world.list_texts = {"gfw": text}
    world.overrides_changed()
    world.see(works("a.example"), rescued(host="example.org"), outcome(failed(), host="dead.example"))
    open_three(world, at=0.0)
    return world


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[ControlServer]:
    """A server on loopback, where a client needs the token."""
    server = ControlServer(lambda: world.parts, None, TOKEN, port=8119)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def fuzz(server: ControlServer, *, cases: int, seed: int, path: str = "") -> Fuzzed:
    """Sends at most so many cases for each operation, or for the operations of one path alone."""
    chosen = ["--include-path", path] if path else ["--exclude-path", "/v1/log/follow", "--exclude-path", "/v1/sign-in"]
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            _PROGRAM, "run", FILE, "--url", f"http://127.0.0.1:{server.address['control_port']}",
            "--header", f"Authorization: Bearer {TOKEN}", "--checks", _CHECKS, "--max-examples", str(cases),
            "--seed", str(seed), "--continue-on-failure", "--phases", "examples,coverage,fuzzing", *chosen,
            cwd=folder, env={"HOME": folder, "PATH": "", "NO_COLOR": "1", "COLUMNS": "200", "PYTHONUTF8": "1"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            text = (await process.communicate())[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
    counted = re.search(r"([\d,]+) generated", text)
    return Fuzzed(process.returncode == 0, int(counted[1].replace(",", "")) if counted else 0, text)


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    world = make_world()
    try:
        async with serving(world) as server:
            fuzzed = await fuzz(server, cases=given.cases, seed=given.seed)
    finally:
        world.close()
    print(fuzzed.text)
    return 0 if fuzzed.ok else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
