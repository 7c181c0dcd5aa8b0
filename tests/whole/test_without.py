"""Byway without one of its features: all the rest works, and nothing names what is not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proxy.features.table import FEATURES
from proxy.model.feature import Feature, pages_of
from tests.support.at_once import AtOnce
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.command_line import Ran
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until
from tests.support.without import CHECKED, ROOT, copy_of_byway, note_checked, own_folder, remove_folder, remove_line

IMPORT_ALL = """
import importlib, json, pkgutil, sys, traceback
failed = {}
for at in sys.argv[1:]:  # what is not of Byway is imported once for all copies
    for name in [name for name in sys.modules if name.partition(".")[0] == "proxy"]:
        del sys.modules[name]
    sys.path.insert(0, at)
    importlib.invalidate_caches()
    import proxy
    from proxy.config.mitmproxy_version import unavailable
    for found in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                if error.name != "mitmproxy" or not unavailable():
                    failed.setdefault(at, traceback.format_exc())
            except Exception:
                failed.setdefault(at, traceback.format_exc())
    sys.path.remove(at)
print(json.dumps(failed))
"""


async def run_each(byway: Byway, lines: Sequence[str]) -> list[Ran]:
    """Runs commands of a copy of Byway one after the other in one process."""
    done = await byway.commands(*(line.split() for line in lines), check=False, within_s=60)
    return [Ran(each.returncode, each.stdout, each.stderr) for each in done]


def byway_of(at: Path, folder: Path, *, config: str = "", rules: str | None = None) -> Byway:
    """The Byway of a copy, with its own folders."""
    return Byway(folder, config=config, rules=rules, environment={"PYTHONPATH": str(at)}, forked=True)


def without(to: Path, feature: Feature) -> Path:
    """Returns the folder of a copy of Byway."""
    at = copy_of_byway(to)
    remove_folder(at, feature.name)
    remove_line(at, feature.name)
    return at


at_once = AtOnce(most=3)

EACH = pytest.mark.parametrize(
    "feature",
    [
        pytest.param(feature, id=feature.name, marks=() if feature.name == "relays" else pytest.mark.slow)
        for feature in FEATURES
    ],
)

OTHERS = tuple(feature.name for feature in FEATURES if feature.name != "relays")

RULES = "DOMAIN,far.test,RELAY\nMATCH,AUTO\n"


def config_of(relay: Relay) -> str:
    url = f"socks5h://{relay.address}:{relay.port}"
    return f'[[relay]]\nname = "vps"\nurl = "{url}"\n[dns.hosts]\n"near.test" = "127.0.0.1"\n'


async def visits_work(byway: Byway, origin: Origin, relay: Relay) -> None:
    """One that goes direct, and one through the relay."""
    for host, peer in (("near.test", "127.0.0.1"), ("far.test", relay.address)):
        answer = await fetch(f"http://{host}:{origin.http_port}/", via=byway.proxy)
        assert (answer.status, origin.requests[-1].peer) == (200, peer)


@pytest.mark.parametrize("names", [("relays",), pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["relays", "others"])
def test_without_one_all_others_can_be_imported(tmp_path: Path, names: Sequence[str]) -> None:
    copies = {str(without(tmp_path / each.name, each)): each.name for each in FEATURES if each.name in names}
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL, *copies],
        env={},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failed = {copies[at]: why for at, why in json.loads(done.stdout).items()}
    assert not failed, "\n".join(f"without {name}: {why}" for name, why in failed.items())


@EACH
@at_once
async def test_without_one_all_others_work(folder: Path, *, feature: Feature) -> None:
    at = without(folder / "copy", feature)
    if feature.name != "relays":  # that all others can be imported, the test above shows
        note_checked(at)
    others = [each for each in FEATURES if each is not feature]
    status = [] if feature.name == "today" else ["status --json", "status --plain"]
    async with Origin() as origin, Relay({"far.test": "127.0.0.1"}) as relay:
        async with byway_of(at, folder, config=config_of(relay), rules=RULES) as byway:
            await visits_work(byway, origin, relay)
            lines = ["--help", "open --help", *feature.commands, *status]
            shown, pages, *ran = await run_each(byway, lines)
            named = {line.split()[0] for line in shown.out.splitlines() if line.startswith("  ") and line.strip()}
            assert named.isdisjoint(feature.commands), shown
            assert named.issuperset({command for each in others for command in each.commands}), shown
            assert all(f"{name}," in pages.out or f"{name}." in pages.out for name in pages_of(others)), pages
            assert not any(f" {page.name}," in pages.out for page in feature.pages), pages
            for command in ran[: len(feature.commands)]:
                assert command.code == 2, f"not as any other word that is no command: {command}"
            for command in ran[len(feature.commands) :]:
                assert command.code == 0, command
            if status:
                assert ran[-2].json["pid"] == byway.pid
            for path in ("", "sign-in"):
                code = 404 if (feature.name, path) == ("desktop", "") else 200
                assert (await fetch(f"{byway.url}/{path}")).status == code
            await until((at / CHECKED).exists)  # it has checked that itself, without relays
            assert await byway.stop() == 0
        assert "Traceback" not in byway.said.read_text()


@at_once
async def test_a_rule_that_inspects_is_refused_with_its_place(folder: Path) -> None:
    """Without inspection it never becomes a plain tunnel."""
    (inspection,) = (feature for feature in FEATURES if feature.name == "inspection")
    at = without(folder / "copy", inspection)
    byway = byway_of(at, folder, rules="MATCH,AUTO,INSPECT\n")
    with pytest.raises(AssertionError, match="exit code 7"):
        await byway.start()
    said = byway.said.read_text()
    assert "rules.txt:1: INSPECT needs the feature inspection, which is not here" in said
    for done in await run_each(byway, ["config check", "rule check"]):
        assert (done.code, "rules.txt:1: INSPECT needs" in done.out + done.err) == (7, True), done


SECTIONS = {"desktop": "\n[desktop]\nnotify = false\n", "inspection": "\n[inspect]\npass_s = 60\n"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SECTIONS, None])
@at_once
async def test_a_section_of_it_is_said_not_to_be_used(folder: Path, *, name: str | None) -> None:
    """By `run`, `status`, `config check`, `config show` and doctor alike, in one sentence; with all there by none."""
    if name is None:
        at, config, told, times = ROOT, "".join(SECTIONS.values()), "is not used", 0
    else:
        (feature,) = (feature for feature in FEATURES if feature.name == name)
        at, config, times = without(folder / "copy", feature), SECTIONS[name], 1
        told = f"config.toml:3: {config.split()[0]} is not used: the feature {name} is not here"
    async with byway_of(at, folder, config=config) as byway:
        (status,) = await run_each(byway, ["status --json"])
        notices = status.json["notices"]
        assert len([notice for notice in notices if told in notice]) == times, notices
        assert await byway.stop() == 0
    assert byway.said.read_text().count(told) == times
    for done in await run_each(byway, ["config check", "config show", "doctor"]):
        assert (done.out + done.err).count(told) == times, done


# -- half removed, or broken -------------------------------------------------------------------------------------------

BROKEN = "import proxy.nowhere\n"


def broken(to: Path, name: str) -> Path:
    """Returns the folder of a copy in which no module of a feature can be imported."""
    at = copy_of_byway(to)
    for module in own_folder(at, name).glob("*.py"):
        if module.name != "__init__.py":
            module.write_text(f'"""Broken."""\n\n{BROKEN}')
    return at


@pytest.mark.slow
@EACH
@at_once
async def test_one_that_does_not_work_is_named_with_its_place_and_all_others_work(
    folder: Path, *, feature: Feature
) -> None:
    at = broken(folder / "copy", feature.name)
    place = rf"{at}/proxy/features/{feature.name}/\w+\.py:3: ModuleNotFoundError: No module named 'proxy.nowhere'"
    async with Origin() as origin, Relay({"far.test": "127.0.0.1"}) as relay:
        async with byway_of(at, folder, config=config_of(relay), rules=RULES) as byway:
            await visits_work(byway, origin, relay)
            await until(lambda: re.search(place, byway.said.read_text()) is not None)
            lines = [f"{command} x --json" for command in feature.commands]
            if feature.name != "doctor":
                lines.append(f"doctor --state {folder / 'of-none'}")  # no Byway runs there
                lines += ["doctor"] if feature.name != "today" else []
            shown, *ran = await run_each(byway, ["--help", *lines])
            assert shown.code == 0, shown
            for command in ran:
                assert re.search(place, command.out + command.err), (command, ran)
                assert "Traceback" not in command.err
            assert {command.code for command in ran[: len(feature.commands)]} <= {1}, ran
            if feature.name != "today":
                told = [problem["text"] for problem in (await byway.ask("/v1/status"))["problems"]]
                assert [text for text in told if re.search(place, text)], told
            assert await byway.stop() == 0
        assert "Traceback" not in byway.said.read_text()


@pytest.mark.parametrize("half", [remove_folder, pytest.param(remove_line, marks=pytest.mark.slow)])
@at_once
async def test_half_of_a_feature_is_a_feature_that_does_not_work_or_none(
    folder: Path, *, half: Callable[[Path, str], None]
) -> None:
    at = copy_of_byway(folder / "copy")
    half(at, "relays")
    async with (
        Origin() as origin,
        Relay({"far.test": "127.0.0.1"}) as relay,
        byway_of(at, folder, config=config_of(relay), rules=RULES) as byway,
    ):
        await visits_work(byway, origin, relay)
        done, status = await run_each(byway, ["relay list", "status --json"])
        assert (done.code, "Traceback" in done.err) == (1 if half is remove_folder else 2, False), done
        assert ("table.py" in done.err) is (half is remove_folder)
        told = [problem["text"] for problem in status.json["problems"]]
        assert bool([text for text in told if "the feature relays" in text]) is (half is remove_folder)
