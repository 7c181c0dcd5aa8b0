"""Edits of relays that a page may make, beside what its forms show: see dashboard/test_relays.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.config.edit import NewRelay, add_relays
from proxy.config.load import load
from proxy.control.access import Refused
from proxy.control.config_edits import ConfigEdits
from proxy.features.relays.edits import RelayEdits
from tests.support.control_world import World


def edits_of(world: World) -> RelayEdits:
    return RelayEdits(world.parts, ConfigEdits(world.parts))


async def add(edits: RelayEdits, text: str) -> None:
    await edits.add([each.new for each in (await edits.understand(text)).relays])


async def test_a_folder_that_cannot_be_written_is_named(world: World) -> None:
    world.path = Path("/proc/byway/config.toml")
    with pytest.raises(Refused, match=r"/proc/byway cannot be made") as caught:
        await add(edits_of(world), "socks5h://1.1.1.1:1080")
    assert caught.value.status == 409


async def test_a_relay_that_a_page_adds_by_a_name_leads_to_public_addresses_only(world: World, tmp_path: Path) -> None:
    """A literal is looked at when it is added; a name may lead into the local network at any time."""
    world.path, world.reads_file = tmp_path / "config.toml", True
    world.rules = ""
    world.overrides_changed()
    urls = {
        "socks5h://relay.example:1080": True, "https://me@1.1.1.1?alt=other.example:444": True,
        "socks5h://1.1.1.2:1080": False, "socks5h://127.0.0.1:9050": False, "http://localhost:3128": False,
    }  # fmt: skip
    for url in urls:
        await add(edits_of(world), url)
    assert [relay.public_only for relay in load(world.path).settings.relay] == list(urls.values())
    assert load(world.path).relays.public_only == {"relay.example", "1.1.1.1", "other.example"}
    add_relays(world.path, [NewRelay("socks5h://relay.example:1080")])
    assert not load(world.path).settings.relay[0].public_only, "its user has added it in a terminal too"


async def test_of_edits_at_the_same_time_none_is_lost(world: World, tmp_path: Path) -> None:
    world.path, world.reads_file = tmp_path / "config.toml", True
    world.rules = ""
    world.overrides_changed()
    edits = edits_of(world)
    await asyncio.gather(*(add(edits, f"socks5h://1.1.1.1:{port}#r{port}") for port in range(1, 9)))
    assert len(load(world.path).settings.relay) == len(world.settings.relay) == 8


async def test_an_edit_that_is_taken_back_overwrites_no_other(world: World, tmp_path: Path) -> None:
    world.path = tmp_path / "config.toml"
    world.path.write_text("config_version = 1\n")
    theirs = "config_version = 1\n# theirs\n"

    async def reload() -> list[str]:
        assert world.path is not None
        world.path.write_text(theirs)
        return ["rules.txt:3: unknown action"]

    world._reload = reload  # type: ignore[method-assign]
    with pytest.raises(Refused, match="was edited meanwhile"):
        await add(edits_of(world), "socks5h://1.1.1.1:1080")
    assert world.path.read_text() == theirs
