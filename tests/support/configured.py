"""The folder of a configuration, and the Setups that are made from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.model import Override
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.poller import make_poller
from proxy.session.setup import Setup
from proxy.setup.checked import Parts
from proxy.setup.steps import make


class Maker:
    """Writes configuration files and makes Setups from them."""

    def __init__(self, folder: Path, parts: Parts) -> None:
        self.folder = folder
        self._parts = parts

    def write(self, config: str = "", rules: str = "") -> None:
        (self.folder / "config.toml").write_text(config)
        (self.folder / "rules.txt").write_text(rules)

    def make(self, overrides: Mapping[str, Override] = MappingProxyType({})) -> Setup:
        return make(self._parts, load(self._parts.paths.config_to_read, env={}), overrides)


@asynccontextmanager
async def making(folder: Path, knowledge: Knowledge = NOTHING_KNOWN, *, inspects: bool = True) -> AsyncIterator[Maker]:
    poller = make_poller(asyncio.get_running_loop())
    paths = Paths.locate({}, config=folder / "config.toml", state=folder / "state")
    try:
        yield Maker(folder, Parts(poller, paths, 8119, knowledge=knowledge, features=None if inspects else ()))
    finally:
        poller.close()
