"""The parts of a Byway for a test, in a folder, without the App around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from proxy.app.parts import Run
from proxy.app.run_options import Ending, RunOptions
from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.net.faults import Faults


def run_in(
    folder: Path, config: str = "", *, ephemeral: bool = False, renew_lock: Callable[[], None] = lambda: None
) -> Run:
    """Writes the configuration, and returns a run of Byway that was started with it."""
    file = folder / "config.toml"
    file.write_text(config)
    paths = Paths.locate({}, config=file, state=folder / "state")
    private_folder(paths.state_dir)
    options = RunOptions(config=file, state=folder / "state", ephemeral=ephemeral)
    return Run(options, paths, load(file, env={}), (), Ending(), Faults(), renew_lock)
