"""How a process stays found."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.app.presence import Presence
from proxy.control.dependencies import Dependencies
from tests.app.running import run_in


def nobody_asks() -> Dependencies:
    raise NotImplementedError


async def test_what_finds_byway_is_made_anew_where_it_was_removed(tmp_path: Path) -> None:
    renewed: list[str] = []
    run = run_in(tmp_path, renew_lock=lambda: renewed.append("lock"))
    presence = Presence(run)
    assert presence.adopted == 0
    await presence.open(nobody_asks, 8119)
    try:
        assert not run.paths.run_file.exists(), "signals are not handled yet"
        assert presence.keep() is None
        presence.announce()
        written = json.loads(run.paths.run_file.read_text())
        assert (written["port"], written["listen"], written["ephemeral"]) == (8119, "127.0.0.1", False)
        assert presence.keep() is None, "all is there"

        for removed in (run.paths.run_file, run.paths.control_socket):
            removed.unlink()
            renewing = presence.keep()
            assert renewing is not None
            await renewing
            assert removed.exists()
        assert renewed == ["lock", "lock"]

        presence.withdraw()
        assert not run.paths.run_file.exists()
        assert presence.keep() is None, "it ends"
    finally:
        await presence.close()
    assert not run.paths.control_socket.exists()


async def test_one_that_never_opened_is_closed_all_the_same(tmp_path: Path) -> None:
    presence = Presence(run_in(tmp_path))
    presence.withdraw()
    await presence.close()
