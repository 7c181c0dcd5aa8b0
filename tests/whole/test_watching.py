"""Nothing that fails stops what watches: each part of a running Byway is made to raise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.app.app import App
from proxy.app.parts import Run
from proxy.app.process import _log_fault
from proxy.app.run_options import Ending, RunOptions
from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.features.addons.problems import present as of_addons
from proxy.features.table import FEATURES
from proxy.features.today.problems import StatusSnapshot, present
from proxy.model import Action, Destination, NetworkState
from proxy.net.faults import Faults
from tests.support.waiting import until

pytestmark = pytest.mark.waits

PARTS = (
    "watching config.toml, rules.txt and the lists",
    "watching the mode",
    "watching the addons",
    "ending overrides",
    "saving the ways to relays",
    "saving the health of relays",
    "forgetting what was remembered",
    "keeping the state folder",
)


class Watching(App):
    """An App of which one part raises as often as it is called, as long as `broken` names it."""

    broken = ""
    calls: dict[str, int]

    def _watched(self) -> Any:
        self.calls = {}

        def watched(work: str, call: Any) -> Any:
            self.calls[work] = self.calls.get(work, 0) + 1
            if work == self.broken:
                raise IndexError("planted")
            return call()

        return {work: partial(watched, work, call) for work, call in super()._watched().items()}

    def action(self, host: str) -> Action:
        rule = self._active.setup.router.rules.match(Destination(host, 443))
        return rule.action if rule is not None else Action.AUTO

    def problems(self) -> list[str]:
        live = self._dependencies().counters()
        found = [
            *present(StatusSnapshot(live, NetworkState.OK, "")),
            *of_addons([], live.get("addons_missing")),
        ]
        return [it.text for it in found]

    @property
    def rules_file(self) -> Path:
        return self._run.paths.rules_file

    @property
    def active(self) -> Any:
        return self._active


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Watching]:
    options = RunOptions(config=folder / "config.toml", state=folder / "state", port=0, quiet=True)
    (folder / "config.toml").write_text("")
    (folder / "rules.txt").write_text("DOMAIN,first.example,BLOCK\n")
    paths = Paths.locate(os.environ, config=options.config, state=options.state)
    private_folder(paths.state_dir)
    faults = Faults()
    asyncio.get_running_loop().set_exception_handler(partial(_log_fault, faults))
    loaded = load(paths.config_to_read, env={}, flags=options.flags)
    app = Watching(Run(options, paths, loaded, FEATURES, Ending(), faults))
    try:
        await app.start()
        yield app
    finally:
        await app.close()


async def test_these_are_the_parts(tmp_path: Path) -> None:
    """A new one is tried below as well."""
    async with watching(tmp_path) as app:
        assert tuple(app._watched()) == PARTS


@pytest.mark.parametrize("part", PARTS)
async def test_one_that_raises_stops_no_other_and_is_told(tmp_path: Path, part: str) -> None:
    async with watching(tmp_path) as app:
        app.broken = part
        await until(lambda: app.calls.get(part, 0) >= 2, within_s=20)
        (told,) = app.problems()
        assert f"Internal error in {part}, since " in told
        assert "IndexError in test_watching.py:" in told
        if part != PARTS[0]:
            app.rules_file.write_text("DOMAIN,second.example,BLOCK\n")
            await until(lambda: app.action("second.example") is Action.BLOCK, within_s=20)
        app.broken = ""
        app.rules_file.write_text("DOMAIN,third.example,BLOCK\n")
        await until(lambda: app.action("third.example") is Action.BLOCK, within_s=30)


async def test_a_configuration_whose_reading_raises_is_refused_and_the_next_edit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(tmp_path) as app:
        with monkeypatch.context() as patch:
            patch.setattr(app.active, "_read_files", lambda: [][0])
            app.rules_file.write_text("DOMAIN,second.example,BLOCK\n")
            await until(lambda: app.active.problem != "", within_s=20)
        refused, fault = app.problems()
        assert refused.startswith("The edited configuration is not in use: a fault of Byway stopped the reading (Index")
        assert "in reading the configuration, since " in fault
        app.rules_file.write_text("DOMAIN,third.example,BLOCK\n")
        await until(lambda: app.action("third.example") is Action.BLOCK, within_s=20)
        assert app.active.problem == ""


async def test_a_list_whose_reader_raises_stops_no_later_edit(tmp_path: Path) -> None:
    """A file of a list replaced by a script that its reader cannot survive, and then a rule written by hand."""
    (tmp_path / "mine.txt").write_text("a.example\n")
    async with watching(tmp_path) as app:
        (tmp_path / "config.toml").write_text('[[list]]\nname = "mine"\nsource = "mine.txt"\n')
        await until(lambda: "mine" in app.active.setup.router.rules.lists, within_s=20)
        script = 'function FindProxyForURL(url, host) { if (x) return "%" == "0" ? "DIRECT" : "PROXY p:1"; }\n'
        (tmp_path / "mine.txt").write_text(script)
        await until(lambda: app.active.problem != "", within_s=20)
        (tmp_path / "mine.txt").write_text("a.example\n")
        app.rules_file.write_text("DOMAIN,second.example,BLOCK\n")
        await until(lambda: app.action("second.example") is Action.BLOCK, within_s=20)
