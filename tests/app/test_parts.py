"""The parts of a Byway before anything of it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app.parts import AddonBackend, Run, keep_as_set, make_known, make_serving, open_state, parts_of_setups
from proxy.config.load import load
from proxy.model import Destination, NetworkId
from proxy.net.poller import make_poller
from proxy.setup.checked import KeyEngineOnDemand
from proxy.setup.steps import make
from proxy.store import relay_tests
from tests.app.running import run_in


@pytest.mark.parametrize(
    ("ephemeral", "hosts", "is_kept"), [(False, "all", True), (False, "off", False), (True, "all", False)]
)
async def test_what_is_not_to_be_stored_has_no_file(tmp_path: Path, ephemeral: bool, hosts: str, is_kept: bool) -> None:
    run = run_in(tmp_path, f'[log]\nhosts = "{hosts}"\n', ephemeral=ephemeral)
    kept = open_state(run)
    try:
        assert run.paths.store_file.exists() is not ephemeral
        assert run.file(relay_tests.place, run.settings.log) == (run.paths.relay_tests_file if is_kept else None)
        assert kept.relay_tests._file == run.file(relay_tests.place, run.settings.log)
    finally:
        kept.store.close()


async def test_an_edit_moves_what_is_kept_into_memory(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    kept = open_state(run)
    try:
        run.paths.config_file.write_text('[log]\nhosts = "off"\n')
        keep_as_set(run, kept, load(run.paths.config_file, env={}).settings.log)
        assert (kept.relay_tests._file, kept.relay_addresses._file) == (None, None)
    finally:
        kept.store.close()


async def test_what_is_known_is_told_of_the_setup_in_use_whichever_it_is(tmp_path: Path) -> None:
    """Everything is made before the first Setup, and asks for it later."""
    run = run_in(tmp_path)
    poller, kept = make_poller(asyncio.get_running_loop()), open_state(run)
    try:
        known = make_known(run, kept)
        nobody = cast(Any, None)
        serving = make_serving(run, poller, kept, known, transfer_check=lambda: None, adopt=nobody)
        parts = parts_of_setups(run, poller, kept, known, KeyEngineOnDemand((), poller, None), 4711)
        (tmp_path / "rules.txt").write_text("DOMAIN,relayed.test,RELAY\n")
        for rules, is_suspect in (("DOMAIN,relayed.test,RELAY\n", True), ("", False)):
            (tmp_path / "rules.txt").write_text(rules)
            known.in_use.setup = make(parts, run.loaded, {})
            assert serving.services.setup() is known.in_use.setup
            assert parts.knowledge.is_suspect("relayed.test") is is_suspect
            assert known.in_use.setup.knowledge is parts.knowledge
            assert known.in_use.setup.port == 4711
    finally:
        kept.store.close()
        poller.close()


def test_without_the_feature_nothing_is_inspected(tmp_path: Path) -> None:
    async def inspects(run: Run) -> bool:
        kept = open_state(run)
        try:
            poller = make_poller(asyncio.get_running_loop())
            try:
                keys = KeyEngineOnDemand((), poller, None)
                return parts_of_setups(run, poller, kept, make_known(run, kept), keys, 1).inspects
            finally:
                poller.close()
        finally:
            kept.store.close()

    assert not asyncio.run(inspects(run_in(tmp_path)))


# -- what addons get of an App -----------------------------------------------------------------------------------------

WHERE = Destination("a.test", 443)


class Dialing:
    """A registry that notes what is dialed."""

    def __init__(self, *relay_names: str) -> None:
        self.relay_names = relay_names
        self.dialed: list[tuple[str, Destination]] = []

    def dialer_for_url(self, url: str) -> Any:
        async def dial(destination: Destination) -> str:
            self.dialed.append((url, destination))
            return "stream"

        return SimpleNamespace(dial=dial)


async def test_a_reload_replaces_the_relays_and_what_dials_them() -> None:
    before, after = Dialing("tor"), Dialing("tor", "vps")
    setups = [SimpleNamespace(registry=before)]
    watch: Any = SimpleNamespace(current=lambda: NetworkId("home"))
    in_use: Any = lambda: setups[-1]  # noqa: E731
    backend = AddonBackend(in_use, watch, None, None)
    assert (backend.relays, backend.network()) == (("tor",), "home")
    setups.append(SimpleNamespace(registry=after))
    assert backend.relays == ("tor", "vps")
    stream: Any = await backend.dial("vps", WHERE)
    assert (stream, before.dialed, after.dialed) == ("stream", [], [("vps", WHERE)])
