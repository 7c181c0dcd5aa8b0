"""In step with the files: an edit replaces a version only when it loads and starts, and nothing goes unasked."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.config.load import load as load_config
from proxy.extend.dispatch import Addons
from proxy.extend.hooks import HOOKS
from proxy.extend.manager import AddonManager, AddonState
from proxy.model import Action
from proxy.model.errors import ConfigError
from proxy.net.dialers.registry import Registry
from tests.extend.making import PLAN, Backend, request, write
from tests.support.waiting import until


class Kept:
    """A Keeper over folders of its own. `heard` is what addons wrote to the file of that name."""

    def __init__(self, folder: Path) -> None:
        self.user, self.shipped = folder / "addons", folder / "shipped"
        self.shipped.mkdir()
        self.user.mkdir(mode=0o700)
        self.config = folder / "config.toml"
        self.heard_file = folder / "heard"
        self.addons = Addons()
        self.keeper = AddonManager(self.addons, self.user, Backend(folder / "state"), shipped=self.shipped, load_s=0.5)

    def write(self, text: str, name: str = "pin", *, shipped: bool = False) -> Path:
        """`{heard}` in the text is the file's path."""
        text = text.replace("{heard}", repr(str(self.heard_file)))
        return write(self.shipped if shipped else self.user, name, text)

    async def start(self, config: str = "") -> None:
        await self.keeper.start(self._loaded(config))

    def configure(self, config: str) -> None:
        self.keeper.configure(self._loaded(config))

    def _loaded(self, config: str) -> Any:
        self.config.write_text(config)
        return load_config(self.config)

    def look(self) -> None:
        """Twice, since an edit is believed when two looks find the same."""
        self.keeper.poll_files()
        self.keeper.poll_files()

    async def looked(self) -> None:
        """Takes in what was edited."""
        self.look()
        await until(lambda: not self.keeper._reloading)

    def heard(self) -> list[str]:
        return self.heard_file.read_text().split() if self.heard_file.exists() else []

    def state(self, name: str = "pin") -> AddonState:
        return next(state for state in self.keeper.states() if state.name == name)


NOBODY: Any = None
PLAN_HOOK = HOOKS["plan"]
HEARING = """
def say(word):
    with open({heard}, "a") as file:
        print(word, file=file)
"""
VERSION = (
    HEARING
    + """
def start(api):
    say("start-NUMBER")

def stop():
    say("stop-NUMBER")

def plan(request, plan): ...
"""
)


@pytest_asyncio.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made, modules = Kept(tmp_path), set(sys.modules)
    yield made
    await made.keeper.close()
    await until(lambda: not [name for name in set(sys.modules) - modules if name.startswith("byway addon")])


async def test_what_is_on_is_started_and_at_the_end_stopped(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "1"))
    kept.write(VERSION.replace("NUMBER", "2"), "off", shipped=True)
    await kept.start()
    assert kept.heard() == ["start-1"]
    assert kept.addons.decides
    assert (kept.state().hooks, kept.state().problems) == (("plan", "start", "stop"), ())
    assert kept.state().running
    assert not kept.state("off").file.enabled
    await kept.keeper.close()
    assert kept.heard() == ["start-1", "stop-1"]


async def test_a_shipped_one_runs_when_it_is_named(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "2"), "off", shipped=True)
    await kept.start("[addons.off]\nenabled = true\n")
    assert kept.heard() == ["start-2"]


async def test_the_new_starts_before_the_old_stops(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "1"))
    await kept.start()
    before = kept.state().running
    kept.write(VERSION.replace("NUMBER", "2"))
    await kept.looked()
    assert kept.heard() == ["start-1", "start-2", "stop-1"]
    assert kept.state().running not in ("", before)
    assert len(kept.addons.running) == 1


async def test_what_one_look_alone_finds_is_not_taken(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "1"))
    await kept.start()
    file = kept.write("")
    kept.keeper.poll_files()
    file.write_text(VERSION.replace("NUMBER", "2").replace("{heard}", repr(str(kept.heard_file))))
    kept.keeper.poll_files()
    assert not kept.keeper._reloading
    await kept.looked()
    assert kept.heard() == ["start-1", "start-2", "stop-1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def plan(:\n", "pin.py:1: not valid Python"),
        ("", "pin.py: the file is empty"),
        ("def start(api):\n    raise SystemExit\n", "pin.py:2: start raised SystemExit"),
        ("def start(api):\n    open('/no/such')\n", "pin.py:2: start raised FileNotFoundError: [Errno 2] No such file"),
        ("async def start(api):\n    raise OSError\n", "pin.py:2: start raised OSError"),
        ("def start(api):\n    while True: pass\n", "pin.py:2: start was stopped after blocking all of Byway for 1 s"),
        ("while True:\n    pass\n", "loading did not finish (endless loop?) and was stopped at this line"),
    ],
    ids=["syntax", "empty", "start exits", "start fails", "start fails later", "start loops", "loops"],
)
async def test_a_version_that_does_not_load_or_start_changes_nothing(
    kept: Kept, text: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.write(VERSION.replace("NUMBER", "1"))
    await kept.start()
    before = kept.state().running
    kept.write(text)
    await kept.looked()
    assert kept.state().running == before
    (problem,) = kept.state().problems
    assert words in problem
    assert caplog.text.count(words) == 1
    assert "addon pin: keeping the previous version" in caplog.text
    kept.write(VERSION.replace("NUMBER", "3"))
    await kept.looked()
    assert kept.state().problems == ()
    assert kept.heard() == ["start-1", "start-3", "stop-1"]


async def test_a_file_that_cannot_be_broken_off_is_left_behind(kept: Kept) -> None:
    await kept.start()
    kept.write(f"import threading\nwith open({str(kept.heard_file)!r}, 'w') as f: f.write('here')\n"
               "import time\ntime.sleep(1.5)\nx = 1\n")  # fmt: skip
    await kept.looked()
    assert kept.state().problems == (f"{kept.user}/pin.py: still loading after 0.5 s (endless loop?)",)
    assert not kept.addons.running


async def test_at_the_start_everything_that_is_wrong_is_an_error(kept: Kept) -> None:
    kept.write("import nothing_like_it\n", "b")
    kept.write("def plann(request, plan): ...\n", "a")
    with pytest.raises(ConfigError) as caught:
        await kept.start("[addons.nobody]\nx = 1\n")
    assert [problem.partition(f"{kept.user.parent}/")[2][:13] for problem in caught.value.problems] == [
        "addons/a.py:1",
        "addons/b.py:1",
        "config.toml:1",
    ]


async def test_options_that_change_renew_it(kept: Kept) -> None:
    text = HEARING + """
    from dataclasses import dataclass

    @dataclass
    class Options:
        word: str = "none"

    def start(api):
        say(api.options.word)
    """.replace("\n    ", "\n")  # fmt: skip
    kept.write(text)
    await kept.start()
    kept.configure('[addons.pin]\nword = "one"\n')
    await until(lambda: kept.heard() == ["none", "one"])
    kept.configure("[addons.pin]\nword = 1\n")
    await until(lambda: bool(kept.state().problems))
    assert kept.state().problems[0].startswith(f"{kept.config}:2: addons.pin.word: ")
    kept.configure('[addons.pin]\nword = "one"\n[log]\nkeep_days = 3\n')
    await until(lambda: not kept.state().problems)
    assert kept.heard() == ["none", "one", "one"]


async def test_what_is_gone_or_off_stops(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    file = kept.write(VERSION.replace("NUMBER", "1"))
    await kept.start()
    kept.configure("[addons.pin]\nenabled = false\n")
    await until(lambda: kept.heard() == ["start-1", "stop-1"])
    assert not kept.addons.decides
    kept.configure("")
    await until(lambda: kept.heard()[2:] == ["start-1"])
    file.unlink()
    await kept.looked()
    assert kept.heard()[3:] == ["stop-1"]
    assert kept.keeper.states() == ()
    assert kept.keeper.missing == ()


async def test_a_table_that_loses_its_file_is_told_once(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    file = kept.write("x = 1\n")
    await kept.start("[addons.pin]\nenabled = true\n")
    file.unlink()
    await kept.looked()
    kept.write("x = 1\n", "other")
    await kept.looked()
    assert kept.keeper.missing == (f'{kept.config}:1: there is no addon "pin"; it can be other',)
    assert caplog.text.count('there is no addon "pin"') == 1


async def test_one_that_was_switched_off_waits_for_an_edit(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "1").replace(": ...", ": 1 / 0"))
    await kept.start()
    (runner,) = kept.addons.running
    (plan,) = runner.addon.hooks["plan"]
    for _ in range(3):
        await runner.call(PLAN_HOOK, plan, 1, 2, check=NOBODY)
    assert not kept.addons.running
    assert (kept.state().is_off, kept.state().running, kept.state().faults) == (True, "", 3)
    await kept.looked()
    assert kept.state().is_off
    await until(lambda: kept.heard() == ["start-1", "stop-1"])
    kept.write(VERSION.replace("NUMBER", "2"))
    await kept.looked()
    assert len(kept.addons.running) == 1
    assert not kept.state().is_off
    assert kept.heard() == ["start-1", "stop-1", "start-2"], "what it has open is closed, once"


async def test_a_file_that_others_may_write_to_is_tried_again_when_they_may_not(open_folder: Path) -> None:
    kept = Kept(open_folder)
    file = kept.write("x = 1\n")
    file.parent.chmod(0o755)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="other users can write to it"):
        await kept.start()
    file.chmod(0o600)
    await kept.looked()
    assert kept.state().problems == ()
    assert kept.state().running
    await kept.keeper.close()


async def test_edits_come_one_after_the_other(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "proxy")
    kept.write(VERSION.replace("NUMBER", "0"))
    await kept.start()
    for number in range(1, 20):
        kept.write(VERSION.replace("NUMBER", str(number)))
        kept.look()
        await asyncio.sleep(0)
    await until(lambda: not kept.keeper._reloading)
    starts = [word for word in kept.heard() if word.startswith("start")]
    stops = [word for word in kept.heard() if word.startswith("stop")]
    assert starts[-1] == "start-19"
    assert [word[5:] for word in stops] == [word[6:] for word in starts[:-1]], "each was stopped, in its order"
    assert len(kept.addons.running) == 1


async def test_what_the_old_one_was_still_to_be_told_it_is_told(kept: Kept) -> None:
    text = (
        HEARING
        + """
import asyncio

async def change(change):
    await asyncio.sleep(0)
    say(str(change))

def stop():
    say("stop")
"""
    )
    kept.write(text)
    await kept.start()
    (runner,) = kept.addons.running
    (change,) = runner.addon.hooks["change"]
    for number in range(20):
        runner.notify(HOOKS["change"], change, number)
    kept.write("x = 1\n")
    await kept.looked()
    assert kept.heard() == [*map(str, range(20)), "stop"]


async def test_a_folder_that_cannot_be_read_changes_nothing(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Without a descriptor to spare it looks like an empty one, and what its addons keep closed would be open."""
    kept.write("def plan(request, plan): ...\n")
    await kept.start()
    away = kept.user.rename(kept.user.with_name("away"))
    kept.user.symlink_to(kept.user)
    await kept.looked()
    assert [runner.name for runner in kept.addons.running] == ["pin"]
    assert "cannot be read: too many levels of symbolic links; keeping the addons as they are" in caplog.text
    kept.user.unlink()
    away.rename(kept.user)
    await kept.looked()
    assert kept.state().running


async def test_a_renamed_file_leaves_no_moment_without_it(kept: Kept) -> None:
    kept.write(VERSION.replace("NUMBER", "1"))
    await kept.start()
    kept.user.joinpath("pin.py").rename(kept.user / "tack.py")
    await kept.looked()
    assert kept.heard() == ["start-1", "start-1", "stop-1"]
    assert [runner.name for runner in kept.addons.running] == ["tack"]


async def test_while_addons_are_stopped_nothing_goes_on_unasked(kept: Kept) -> None:
    kept.write("def plan(request, plan):\n    return plan.via('tor')\n")
    await kept.start()
    await kept.keeper.close()
    decided = await kept.addons.decide(request(), PLAN, Registry([], direct=NOBODY, to_relays=NOBODY))
    assert decided.action is Action.BLOCK


SLOW_PYDANTIC = """
import asyncio, sys, threading
from pathlib import Path
from tests.extend.test_manager import Kept

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            threading.Event().wait(1)

assert "pydantic" not in sys.modules
sys.meta_path.insert(0, Slow())

async def main():
    kept = Kept(Path(sys.argv[1]))
    kept.write("from dataclasses import dataclass\\n@dataclass\\nclass Options:\\n    relay: str = 'tor'\\n")
    await kept.start()
    assert not kept.state().problems, kept.state().problems

asyncio.run(main())
assert "pydantic" in sys.modules
"""


def test_the_time_to_load_is_the_addons_own(tmp_path: Path) -> None:
    """For the first addon with options pydantic is imported, which may take longer than the addon itself may."""
    command = [sys.executable, "-c", SLOW_PYDANTIC, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
