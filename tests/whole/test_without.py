"""Byway without one of its features: all the rest works, and nothing names what is not there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from proxy.features.table import FEATURES
from proxy.model.feature import Feature, pages_of
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.waiting import until
from tests.support.without import ROOT, copy_of_byway, remove_folder, remove_line

IMPORT_ALL = """
import importlib, pkgutil, proxy
from proxy.config.mitmproxy_version import unavailable
for found in pkgutil.walk_packages(proxy.__path__, "proxy."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if error.name != "mitmproxy" or not unavailable():
                raise
print(proxy.__file__)
"""

EACH_COMMAND = """
import sys
from proxy.cli import main
commands, words = sys.argv[1].split(), sys.argv[2:]
for command in commands:
    print(end="\\f", file=sys.stderr)
    sys.argv[1:] = [command, *words]
    try:
        main()
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
"""


def python(at: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *words]
    return subprocess.run(command, env={"PYTHONPATH": str(at)}, capture_output=True, text=True, timeout=60, check=False)


def ran(at: Path, commands: Iterable[str], *words: str) -> list[tuple[str, int]]:
    """Returns for each command what it says and its exit code. All run in one process, which imports Byway once."""
    done = python(at, "-c", EACH_COMMAND, " ".join(commands), *words)
    assert done.returncode == 0, done.stderr
    said = [text.rstrip().rpartition("\n") for text in done.stderr.split("\f")[1:]]
    return [(text, int(code)) for text, _, code in said]


def without(to: Path, feature: Feature) -> Path:
    """Returns the folder of a copy of Byway."""
    at = copy_of_byway(to)
    remove_folder(at, feature.name)
    remove_line(at, feature.name)
    return at


EACH = pytest.mark.parametrize(
    "feature",
    [
        pytest.param(feature, id=feature.name, marks=() if feature.name == "relays" else pytest.mark.slow)
        for feature in FEATURES
    ],
)

RULES = "DOMAIN,far.test,RELAY\nMATCH,AUTO\n"


def config_of(relay: Relay) -> str:
    url = f"socks5h://{relay.address}:{relay.port}"
    return f'[[relay]]\nname = "vps"\nurl = "{url}"\n[dns.hosts]\n"near.test" = "127.0.0.1"\n'


async def visits_work(byway: Byway, origin: Origin, relay: Relay) -> None:
    """One that goes direct, and one through the relay."""
    for host, peer in (("near.test", "127.0.0.1"), ("far.test", relay.address)):
        answer = await fetch(f"http://{host}:{origin.http_port}/", via=byway.proxy)
        assert (answer.status, origin.requests[-1].peer) == (200, peer)


@EACH
async def test_without_one_all_others_work(tmp_path: Path, feature: Feature) -> None:
    at = without(tmp_path / "copy", feature)
    done = python(at, "-c", IMPORT_ALL)
    assert (done.returncode, done.stdout.strip()) == (0, str(at / "proxy" / "__init__.py")), done.stderr

    shown = python(at, "-m", "proxy", "--help")
    named = {line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ") and line.strip()}
    assert named.isdisjoint(feature.commands), shown.stdout
    others = [each for each in FEATURES if each is not feature]
    assert named.issuperset({command for each in others for command in each.commands}), shown.stdout
    for said, code in ran(at, feature.commands):
        assert code == 2, f"not as any other word that is no command: {said}"
    pages = python(at, "-m", "proxy", "open", "--help").stdout
    assert all(f"{name}," in pages or f"{name}." in pages for name in pages_of(others)), pages
    assert not any(f" {page.name}," in pages for page in feature.pages), pages

    async with Origin() as origin, Relay({"far.test": "127.0.0.1"}) as relay:
        async with Byway(tmp_path, config=config_of(relay), rules=RULES, environment={"PYTHONPATH": str(at)}) as byway:
            await visits_work(byway, origin, relay)
            if feature.name != "today":
                assert (await byway.read("status"))["pid"] == byway.pid
                await byway.command("status", "--plain")
            for path in ("", "sign-in"):
                status = 404 if (feature.name, path) == ("desktop", "") else 200
                assert (await fetch(f"{byway.url}/{path}")).status == status
            assert await byway.stop() == 0
        assert "Traceback" not in byway.said.read_text()


async def test_a_rule_that_inspects_is_refused_with_its_place(tmp_path: Path) -> None:
    """Without inspection it never becomes a plain tunnel."""
    (inspection,) = (feature for feature in FEATURES if feature.name == "inspection")
    at = without(tmp_path / "copy", inspection)
    byway = Byway(tmp_path, rules="MATCH,AUTO,INSPECT\n", environment={"PYTHONPATH": str(at)})
    with pytest.raises(AssertionError, match="exit code 7"):
        await byway.start()
    said = byway.said.read_text()
    assert "rules.txt:1: INSPECT needs the feature inspection, which is not here" in said
    for words in ("config check", "rule check"):
        done = await byway.command(*words.split(), check=False)
        assert (done.returncode, "rules.txt:1: INSPECT needs" in done.stdout + done.stderr) == (7, True), done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "section", "setting"), [("desktop", "desktop", "notify = false"), ("inspection", "inspect", "pass_s = 60")]
)
async def test_a_section_of_it_is_said_not_to_be_used(tmp_path: Path, name: str, section: str, setting: str) -> None:
    """By `run`, `status`, `config check`, `config show` and doctor alike, in one sentence; with the feature by none."""
    (feature,) = (feature for feature in FEATURES if feature.name == name)
    told = f"config.toml:3: [{section}] is not used: the feature {name} is not here"
    for at, times in ((without(tmp_path / "copy", feature), 1), (ROOT, 0)):
        folder, path = tmp_path / at.name, {"PYTHONPATH": str(at)}
        async with Byway(folder, config=f"\n[{section}]\n{setting}\n", environment=path) as byway:
            notices = (await byway.read("status"))["notices"]
            assert len([notice for notice in notices if told in notice]) == times, notices
            assert await byway.stop() == 0
        assert byway.said.read_text().count(told) == times
        for words in ("config check", "config show", "doctor"):
            done = await byway.command(*words.split(), check=False)
            assert (done.stdout + done.stderr).count(told) == times, done


# -- half removed, or broken -------------------------------------------------------------------------------------------

BROKEN = "import proxy.nowhere\n"


def broken(to: Path, name: str) -> tuple[Path, Path]:
    """Returns the folder of a copy in which no module of a feature can be imported, and one of these modules."""
    at = copy_of_byway(to)
    modules = sorted((at / "proxy" / "features" / name).glob("*.py"))
    for module in modules:
        if module.name != "__init__.py":
            module.write_text(f'"""Broken."""\n\n{BROKEN}')
    return at, modules[-1]


@EACH
async def test_one_that_does_not_work_is_named_with_its_place_and_all_others_work(
    tmp_path: Path, feature: Feature
) -> None:
    at, _ = broken(tmp_path / "copy", feature.name)
    shown = python(at, "-m", "proxy", "--help")
    assert shown.returncode == 0, shown.stderr
    place = rf"{at}/proxy/features/{feature.name}/\w+\.py:3: ModuleNotFoundError: No module named 'proxy.nowhere'"
    for said, code in ran(at, feature.commands, "x", "--json"):
        assert code == 1
        assert re.search(place, said), said
        assert "Traceback" not in said
    if feature.name != "doctor":
        config, state = tmp_path / "alone" / "config.toml", tmp_path / "alone" / "state"
        state.mkdir(mode=0o700, parents=True)
        config.write_text("config_version = 1\n")
        done = python(at, "-m", "proxy", "--config", str(config), "--state", str(state), "doctor")
        assert re.search(place, done.stdout), done
        assert "Traceback" not in done.stderr

    async with Origin() as origin, Relay({"far.test": "127.0.0.1"}) as relay:
        async with Byway(tmp_path, config=config_of(relay), rules=RULES, environment={"PYTHONPATH": str(at)}) as byway:
            await visits_work(byway, origin, relay)
            await until(lambda: re.search(place, byway.said.read_text()) is not None)
            if feature.name != "today":
                told = [problem["text"] for problem in (await byway.read("status"))["problems"]]
                assert [text for text in told if re.search(place, text)], told
                if feature.name != "doctor":
                    doctor = await byway.command("doctor", check=False)
                    assert re.search(place, doctor.stdout), doctor
            assert await byway.stop() == 0
        assert "Traceback" not in byway.said.read_text()


@pytest.mark.parametrize("half", [remove_folder, remove_line])
async def test_half_of_a_feature_is_a_feature_that_does_not_work_or_none(
    tmp_path: Path, half: Callable[[Path, str], None]
) -> None:
    at = copy_of_byway(tmp_path / "copy")
    half(at, "relays")
    done = python(at, "-m", "proxy", "relay", "list")
    assert (done.returncode, "Traceback" in done.stderr) == (1 if half is remove_folder else 2, False), done.stderr
    assert ("table.py" in done.stderr) is (half is remove_folder)
    async with (
        Origin() as origin,
        Relay({"far.test": "127.0.0.1"}) as relay,
        Byway(tmp_path, config=config_of(relay), rules=RULES, environment={"PYTHONPATH": str(at)}) as byway,
    ):
        await visits_work(byway, origin, relay)
        told = [problem["text"] for problem in (await byway.read("status"))["problems"]]
        assert bool([text for text in told if "the feature relays" in text]) is (half is remove_folder)
