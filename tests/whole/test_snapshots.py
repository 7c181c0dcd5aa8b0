"""What every command prints, read by eye once and kept in `snapshots/`: on terminals of 80 and 120 columns, piped, as
JSON (its shape), with LC_ALL=C and with NO_COLOR.

After a change that is meant, write them anew and read the difference:

    BYWAY_SNAPSHOTS=write .venv/bin/pytest -n 0 tests/whole/test_snapshots.py; git diff tests/whole/snapshots
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy import __version__
from proxy.config.paths import Paths
from proxy.features.relays.answers import TrialJson
from proxy.features.sites.measurement_answers import RouteResultJson, StepJson
from proxy.model import UNKNOWN_NETWORK, StepResult
from proxy.model.feature import Feature
from proxy.net.uplink.network_id import network_id, read_uplink
from proxy.terminal.output import Output
from tests.support.command_line import Byway, Home, Ran
from tests.support.control_world import World
from tests.support.desktops import stand_ins
from tests.support.forked import begin
from tests.support.outcomes import HOME
from tests.support.seeded import BLOCKED, DOWN, LONG, SeededWorld, leave

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).with_name("snapshots")
WRITES = os.environ.get("BYWAY_SNAPSHOTS") == "write"

RUNNING = [
    "", "help log", "version", "status", "why --fresh new.example", f"why --fresh {BLOCKED}",
    f"why --fresh {BLOCKED} -v", f"why --fresh {BLOCKED} -vv",
    f"test -q --jitter 0 -c 1 new.example {BLOCKED}", f"test -q --jitter 0 -c 1 --matrix new.example {BLOCKED}",
    "log", "log --long", "log --outcome failed", "log show 4", f"log show {DOWN}", "site list", "site list --all",
    f"site show {BLOCKED}", f"site show {LONG}", "site show new.example", "site set x.example block",
    "site forget x.example", "pause 15m", "mode relay", "forget --all", "forget --host x.example",
    "system on --desktop kde", "system off", "system show --desktop kde",
    "report", f"report {BLOCKED} --format csv", "report new.example", "relay list",
    "list show", "list show own gfwlist", "list report own", "list refresh gfwlist", "relay test",
    "pac", "pac --strict", "env --shell bash", "rule list", f"rule test https://{BLOCKED}/",
    "config show", "config check", "config path", "addons docs plan",
]  # fmt: skip
STOPPED = [
    "status", "why new.example", "log", "log show 4", "site list", f"site show {BLOCKED}", "report", "relay list",
    "browser", "pac", "env --shell fish", "rule list", "rule test new.example", "config show", "addons enable nothing",
    "system on", "system off", "system show --desktop kde", "import other.yaml",
]  # fmt: skip

CONFIG = """\
config_version = 1
[auto]
controls = []
[log]
keep_days = 30
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9"
"""
OTHER = """\
proxies:
  - {name: Tor, type: socks5, server: 127.0.0.1, port: 9}
  - {name: Shop, type: trojan, server: shop.example, port: 443, password: hunter2, skip-cert-verify: true}
proxy-groups:
  - {name: Auto, type: url-test, proxies: [Shop]}
rules:
  - DOMAIN-SUFFIX,ads.example,REJECT
  - GEOSITE,category-gov-ru,DIRECT
  - AND,((NETWORK,UDP),(DST-PORT,443)),REJECT
  - MATCH,Auto
"""
"""The configuration of another program, in which nothing is new: nobody is asked."""
RULES = "DOMAIN-SUFFIX,ads.example,BLOCK\nDOMAIN-SUFFIX,example.org,RELAY:tor\n"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Folders whose names are always equally long, since they change where lines are wrapped."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="byway-", dir="/tmp") as made:
        home = Home(Path(made) / "config" / "config.toml", Path(made) / "state")
        home.config.parent.mkdir(mode=0o700)
        home.state.mkdir(mode=0o700)
        home.config.write_text(CONFIG)
        home.config.with_name("rules.txt").write_text(RULES)
        home.config.with_name("other.yaml").write_text(OTHER)
        monkeypatch.chdir(home.config.parent)
        yield home


@pytest.fixture
def make_world(home: Home, features: Sequence[Feature]) -> Callable[[], World]:
    return lambda: SeededWorld(path=home.config, features=features)


@pytest.fixture
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a measurement, and every test of a relay, takes as long."""
    step, routes, trial = StepJson.of, RouteResultJson.of, TrialJson.of

    def steady_step(*given: Any) -> StepJson:
        made = step(*given)
        return made if made.result is StepResult.NOT_TESTED else replace(made, elapsed_s=0.04)

    def steady_routes(*given: Any) -> tuple[RouteResultJson, ...]:
        return tuple(replace(row, elapsed_s=0.25) for row in routes(*given))

    monkeypatch.setattr(TrialJson, "of", lambda *tried: replace(trial(*tried), elapsed_s=0.25))
    monkeypatch.setattr(StepJson, "of", steady_step)
    monkeypatch.setattr(RouteResultJson, "of", steady_routes)


@pytest.mark.usefixtures("_steady", "running")
@pytest.mark.parametrize("words", RUNNING)
def test_with_a_running_byway(shown: Shown, words: str) -> None:
    shown.compare("running", words)


@pytest.mark.parametrize("words", STOPPED)
def test_without_a_running_byway(home: Home, shown: Shown, words: str) -> None:
    paths = Paths.locate({}, config=home.config, state=home.state)
    paths.network_key_file.write_bytes(bytes(32))
    here = network_id(read_uplink(), bytes(32))
    leave(paths.store_file, HOME if here == UNKNOWN_NETWORK else here)
    shown.compare("stopped", words)


@dataclass
class Shown:
    """What a command prints in every form."""

    home: Home
    byway: Byway
    monkeypatch: pytest.MonkeyPatch

    def compare(self, kind: str, words: str) -> None:
        """Holds it against the snapshot, and to the rules for all."""
        # One after the other: what a measurement finds is said of the site by the next command.
        wide = self._wide(words)
        narrow = Terminal(self.home, words, NO_COLOR="1").read()
        ascii_only = Terminal(self.home, words, NO_COLOR="1", LC_ALL="C").read()
        assert "\x1b" not in narrow
        assert ascii_only.isascii()
        assert "Traceback" not in narrow + ascii_only
        assert _too_long(narrow, 80) == []
        assert _too_long(wide, 120) == []
        forms = {
            "terminal, 80 columns": narrow,
            "terminal, 120 columns": wide,
            "terminal, 80 columns, LC_ALL=C": ascii_only,
            "piped": self._piped(words),
            "--json (its shape)": self._json_shape(words),
        }
        text = "".join(f"## {title}\n\n{printed.rstrip()}\n\n" for title, printed in forms.items())
        snapshot = f"# byway {words}".rstrip() + f"\n\n{text}".rstrip() + "\n"
        file = FOLDER / kind / f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-') or 'byway'}.txt"
        if WRITES:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(snapshot)
        assert snapshot == file.read_text(), f"see {__name__} for how to write the snapshots anew"

    def _wide(self, words: str) -> str:
        with self.monkeypatch.context() as patched:
            patched.setattr(Output, "fancy", property(lambda out: not out.plain and not out.as_json))
            patched.setenv("COLUMNS", "120")
            patched.setenv("TERM", "xterm")
            ran = self.byway(*words.split())
        return self._steadied(ran, re.sub(r"\x1b\[[0-9;]*m", "", ran.out) + ran.err)

    def _piped(self, words: str) -> str:
        ran = self.byway(*words.split())
        return self._steadied(ran, ran.out + "".join(f"stderr: {line}\n" for line in ran.err.splitlines()))

    def _json_shape(self, words: str) -> str:
        try:
            document = self.byway("--json", *words.split()).json
        except ValueError:
            return "(no JSON)"
        return "\n".join(sorted(set(_shape(document))))

    def _steadied(self, ran: Ran, text: str) -> str:
        return _steadied(self.home, text) + _ended(ran.code)


@pytest.fixture
def evening() -> Iterator[None]:
    """It is after eight in the evening here: all but yesterday's connections are of one day, at any hour of the run."""
    hours_east = (20 - time.gmtime().tm_hour + 12) % 24 - 12
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", f"HERE{-hours_east:+d}")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def shown(home: Home, byway: Byway, evening: None, monkeypatch: pytest.MonkeyPatch) -> Shown:
    for name in ("NO_COLOR", "COLUMNS", *(name for name in os.environ if name.startswith("BYWAY_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home.state.parent))
    desktop = home.state.parent / "desktop"
    desktop.mkdir()
    for name, value in stand_ins(desktop).items():
        monkeypatch.setenv(name, value)
    return Shown(home, byway, monkeypatch)


def _environment(home: Home, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "BYWAY_", "NO_COLOR", "COLUMNS"))}
    return {**kept, "HOME": str(home.state.parent), "TERM": "xterm", "LC_ALL": "C.UTF-8", **more}


class Terminal:
    """A command on a terminal of 80 columns, from the moment that this is made."""

    def __init__(self, home: Home, words: str, **environment: str) -> None:
        self._home = home
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        given = _environment(home, **environment)
        program = _installed(home)
        given["PATH"] = f"{program.parent}{os.pathsep}{given.get('PATH', '')}"
        _, self._code = begin([*home.flags, *words.split()], given, streams=[slave] * 3, program=program)
        os.close(slave)

    def read(self) -> str:
        """All that somebody sees there: both streams; a line that was overwritten is not there."""
        printed = b""
        try:
            while chunk := os.read(self._master, 65536):
                printed += chunk
        except OSError:
            pass  # EIO: the other side has ended
        finally:
            os.close(self._master)
        with open(self._code) as ended:
            code = int(ended.read())
        text = re.sub(r"(?m)^.*\r\x1b\[K", "", printed.decode().replace("\r\n", "\n"))
        return _steadied(self._home, text) + _ended(code)


def _installed(home: Home) -> Path:
    """A program `byway`, as an installation has one: what it prints names the commands by it."""
    program = home.state.parent / "bin" / "byway"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable} -P\nfrom proxy.cli import main\n\nmain()\n")
        program.chmod(0o755)
    return program


def _shape(value: Any, key: str = "") -> Iterator[str]:
    """`rows[].host: str` for each value."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _shape(part, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for part in value:
            yield from _shape(part, f"{key}[]")
    else:
        yield f"{key}: {type(value).__name__.replace('float', 'number').replace('int', 'number')}"


def _steadied(home: Home, text: str) -> str:
    """Without what is another at each run; everything keeps its length."""
    text = text.replace(str(home.state.parent), "/tmp/byway-XXXXXXXX").replace(__version__, "0.0.0")
    text = text.replace("\r\n", "\n").replace(network_id(read_uplink(), bytes(32)), HOME)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d", "2026-11-26T12:00:00+00:00", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d\b(?!:)", "2026-11-26 12:00", text)
    text = re.sub(r"(?<![\d-])\d\d-\d\d \d\d:\d\d\b(?!:)", "11-26 12:00", text)
    text = re.sub(r"(?m)^(\| )?\d{4}-\d\d-\d\d( \||$)", r"\g<1>2026-11-26\2", text)
    text = re.sub(r"(?m)^( *\d+) \d\d:\d\d:\d\d ", r"\1 12:00:00 ", text)
    text = re.sub(r"\d+(\.\d+)? m?s ago|just now", "3 s ago", text)
    text = re.sub(r"\bin \d+(\.\d+)? m?s\b", "in 3 ms", text)
    text = re.sub(r"\(\d\d:\d\d\)", "(12:00)", text)
    return re.sub(r"\bpid \d+", "pid 1", text)


def _ended(code: int) -> str:
    return f"[exit code {code}]\n" if code else ""


def _too_long(text: str, columns: int) -> list[str]:
    """Lines that are wider than the terminal, though no host, path or URL in them is what does it. A row of a table in
    Markdown is one line."""
    lines = (line for line in text.splitlines() if not re.match(r"\| .* \|\Z", line))
    return [line for line in lines if len(line) > columns and max(map(len, line.split())) < 24]
