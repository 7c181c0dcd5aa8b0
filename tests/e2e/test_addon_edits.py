"""A thousand edits of an addon, half of them broken, while tunnels talk and requests come: nothing is dropped, every
edit is either in use or said to be broken, and memory stays flat.

SIGHUP has each edit looked at once it is written; without it the two looks at the files would take ten minutes.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.e2e.addon_scene import Scene, talks
from tests.support.waiting import until

pytestmark = pytest.mark.slow

EDITS = 1000
TUNNELS = 100
_SETTLED = 300
"""Edits after which memory has found its level."""
_FLAT = 8 * 1024 * 1024
_PATIENCE_S = 20.0
_PAUSE_S = 0.05
"""Between two requests of one client: an edit takes as long, and is not to wait for a processor."""

GOOD = """
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Pin:
    number: int

    def start(self, api):
        Path({mark!r}).write_text(str(self.number))

    def plan(self, request, plan):
        return plan.via("tor") if self.number % 4 else plan.direct()

addons = [Pin({number})]
"""
BROKEN = ("def plan(request plan):\n    pass\n", "import no_such_thing\n", "def plann(request, plan):\n    pass\n")


async def test_a_thousand_edits_drop_nothing_and_leave_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    scene = Scene(tmp_path, {"pin": GOOD.format(mark=str(mark), number=0)})
    async with scene, talks(scene.byway, TUNNELS) as talking, asyncio.TaskGroup() as tasks:
        ended = asyncio.Event()
        load = [tasks.create_task(ask_until(ended, scene)) for _ in range(2)]
        settled = 0
        for number in range(1, EDITS + 1):
            await edit(scene, number, mark)
            if number == _SETTLED:
                settled = memory(scene)
        assert await talking[0].holds()
        ended.set()
        asked = [await task for task in load]
        assert min(asked) > 10, "there was load all the time"
        assert all([await talk.holds() for talk in talking])
        assert memory(scene) - settled < _FLAT
        assert scene.said("keeping the previous version") == EDITS // 2
        assert scene.said("Traceback") == scene.said("fault in Byway") == 0


async def edit(scene: Scene, number: int, mark: Path) -> None:
    """One edit, and until it has been taken in or refused. As an editor does, so that no half of a file is seen."""
    broken = number % 2
    text = BROKEN[number % len(BROKEN)] if broken else GOOD.format(mark=str(mark), number=number)
    new = scene.folder / ".new"
    new.write_text(text)
    new.rename(scene.folder / "pin.py")
    scene.byway.reload()
    if broken:
        await until(lambda: refused(scene) > number // 2, within_s=_PATIENCE_S)
    else:
        await until(lambda: mark.read_text() == str(number), within_s=_PATIENCE_S)


def refused(scene: Scene) -> int:
    return scene.byway.said.read_bytes().count(b"keeping the previous version")


async def ask_until(ended: asyncio.Event, scene: Scene) -> int:
    """Asks again and again; whatever version decides, there is an answer."""
    asked = 0
    while not ended.is_set():
        answer = await scene.get("open.test")
        assert answer.status == 200
        asked += 1
        await asyncio.sleep(_PAUSE_S)
    return asked


def memory(scene: Scene) -> int:
    """Resident bytes of Byway's process."""
    status = Path(f"/proc/{scene.byway.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
