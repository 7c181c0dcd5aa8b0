"""Runs the scenarios with somebody's rules and addons: `make lab CONFIG=DIR`.

A copy of a configuration folder is used in the country. Each relay in it is replaced by a stand-in of the same kind, in
the country, each key and each subscription by a SOCKS relay; control pages, encrypted DNS servers and the times of
detection are those of the lab. Hosts that rules name are sites there, so that their rules apply; NAME puts another one
there, NAME=SCENARIO one to which a scenario happens. Nothing is sent outside, and nothing is written in the folder.

    make lab CONFIG=~/.config/byway
    make lab CONFIG=~/.config/byway ONLY='sni-*' SITES='blog.example.org wiki.example.org=sni-drop-records'

Exit code 5: a page did not come that can come, a healthy site stayed suspect, or an addon had a fault. 2: no such
folder or scenario. 7: the configuration or an addon has an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from proxy.config.relays import is_name
from proxy.config.toml_edit import TomlText
from proxy.wire.keys.pasted import KEY_SCHEMES, scheme_of
from proxy.wire.relay_url import RelayKind, parse, parse_chain
from tests.lab import places, trials
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.country import Country, Running
from tests.lab.judging import Trial
from tests.lab.relays import Relay
from tests.lab.run import BROKEN
from tests.lab.scenarios import Reach, Scenario, Way
from tests.lab.spaces import may_become_root, may_make_spaces, within
from tests.support.byway import NotReady

USAGE, CONFIG = 2, 7
FILES_MAX, BYTES_MAX = 2_000, 64 * 1024 * 1024
"""The most files, and bytes in them, of a configuration folder."""
SITES_MAX = 20
"""The most hosts of rules that are sites."""
TABLE = tuple(
    row for row in SCENARIOS
    if row.reach is Reach.NAMES and not row.detect and row.limit_s < 20 and row.relays == "socks" and row.visits == 3
)  # fmt: skip
"""The scenarios that concern one site, so that all of them may happen beside each other, and are over soon."""

_FIRST_PORT = 2000
_IN_FLIGHT = 24
_ADDRESSES_ONLY = (RelayKind.SOCKS4, RelayKind.SOCKS5)  # such a relay is skipped for names
_HOSTS = re.compile(r"^[ \t]*DOMAIN(?:-SUFFIX)?[ \t]*,[ \t]*([^,\s]+)", re.IGNORECASE | re.MULTILINE)


class Refused(Exception):
    """The arguments cannot be used. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Line:
    """One site in the country, and what happened to it."""

    row: Scenario
    trial: Trial
    action: str = ""  # of the plan of its last visit, and the reason
    why: str = ""
    named: bool = False  # whether a rule or the command line names it

    @property
    def pages(self) -> tuple[bool, ...]:
        return tuple(seen.genuine for seen in self.trial.seen)

    def problems(self, ways: Collection[Way]) -> list[str]:
        """Returns the faults, each as a sentence. `ways` are those by which a page may come with these relays."""
        found, (*_, last) = [], self.trial.seen
        can_come = self.action != "BLOCK" and not self.row.ways.isdisjoint(ways)
        if can_come and not all(self.pages[self.row.spoiled :]):
            found.append(f"{self.row.name}: {sum(self.pages)} of {len(self.pages)} pages came: {last.said[:200]}")
        if self.trial.lasting in self.row.must_not_learn:
            found.append(f"{self.row.name}: the site works, and is still {self.trial.lasting}: {last.why}")
        return found


# -- what is asked for -------------------------------------------------------------------------------------------------


def configuration(given: str) -> Path:
    """Returns the configuration folder. Raises Refused."""
    if not given:
        raise Refused("name a configuration folder: make lab CONFIG=DIR (`byway config path` shows yours)")
    folder = Path(given).expanduser()
    if not folder.exists():
        raise Refused(f"{folder}: no such folder")
    if not folder.is_dir():
        raise Refused(f"{folder}: is a file; name the folder that it is in")
    if not (folder / "config.toml").is_file():
        raise Refused(f"{folder}: has no config.toml; `byway config path` shows where yours is")
    files = size = 0
    for place, _, names in os.walk(folder):
        files += len(names)
        size += sum(path.stat().st_size for name in names if (path := Path(place, name)).is_file())
        if files > FILES_MAX or size > BYTES_MAX:
            raise Refused(f"{folder}: has more than {FILES_MAX:,} files or {BYTES_MAX:,} bytes; is this the right one?")
    return folder


def rows(patterns: Sequence[str], names: Sequence[str], rules: str) -> list[tuple[Scenario, bool]]:
    """Returns the scenarios, and whether a rule or the command line names the site: the hosts of the rules, those in
    `names`, and the table's rows that match a pattern, all without any. Raises Refused."""
    named = {host.lower(): "healthy" for host in _HOSTS.findall(rules)}
    named = dict(list(named.items())[:SITES_MAX])
    for name in names:
        host, _, scenario = name.lower().partition("=")
        named[host] = scenario or "healthy"
    for scenario in named.values():
        if BY_NAME.get(scenario) not in TABLE:
            raise Refused(f"no scenario of one site is called {scenario}: {', '.join(row.name for row in TABLE)}")
    chosen = [row for row in TABLE if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]
    if not chosen:
        raise Refused(f"no scenario matches {' '.join(patterns)}")
    own = [replace(BY_NAME[scenario], name=host) for host, scenario in named.items()]
    return [*((row, True) for row in own), *((row, False) for row in chosen)]


def stood_in(text: str, trust: Path) -> tuple[str, list[RelayKind]]:
    """Returns a configuration with a stand-in for each relay and each subscription, and their kinds in the order of
    their ports. It has no password, and does not say where to listen. A list that would be fetched may be empty. Raises
    Refused."""
    try:
        edited = TomlText(text)
        kinds = list[RelayKind]()

        def hop_of(hop: str) -> str:
            if is_name(hop):
                return hop
            kind = RelayKind.SOCKS5H if scheme_of(hop) in KEY_SCHEMES else parse(hop).kind
            return hop if kind is RelayKind.ADDON else stand_in(kind)

        def stand_in(kind: RelayKind) -> str:
            kinds.append(kind)
            scheme = "socks5" if kind is RelayKind.SOCKS5 else kind
            options = {RelayKind.HTTPS: f"?ca={trust}", RelayKind.SOCKS5: "?resolve=local"}
            return f"{scheme}://{places.SOCKS_RELAY}:{_FIRST_PORT + len(kinds) - 1}{options.get(kind, '')}"

        for number, relay in enumerate(edited.document.get("relay", ())):
            edited.set(("relay", number, "url"), ">".join(map(hop_of, parse_chain(relay["url"]))))
            for key in ("password_cmd", "public_only", "ignore_fields", "pin", "local"):
                if key in relay:
                    edited.remove(("relay", number, key))
        followed = [subscription["name"] for subscription in edited.document.get("subscription", ())]
        if followed:
            edited.remove_tables("subscription", range(len(followed)))
        for name in followed:
            edited.append("relay", {"name": name, "url": stand_in(RelayKind.SOCKS5H)})
        for number, listed in enumerate(edited.document.get("list", ())):
            if "://" in listed["source"]:
                edited.set(("list", number, "allow_empty"), True)
        for name in ("config_version", "listen"):  # the lab's Byway has them
            if name in edited.document:
                edited.remove((name,))
        return edited.finished(), kinds
    except ValueError as error:
        raise Refused(f"config.toml: {error}") from None


def uninspected(rules: str) -> str:
    """Returns rules without INSPECT: no visitor trusts the CA of this Byway."""
    return re.sub(r"[ \t]*,[ \t]*INSPECT\b", "", rules, flags=re.IGNORECASE)


def settings(country: Country) -> Mapping[str, str]:
    """Returns the variables for the settings that are the lab's."""
    controls = [f"https://{name}/" for name in places.CONTROLS]
    return {
        "BYWAY_AUTO__CONTROLS": json.dumps(controls),
        "BYWAY_AUTO__PORTAL_PAGE": "",
        "BYWAY_DNS__SERVERS": json.dumps([country.doh_url, country.dot_url]),
        "BYWAY_LOG__HOSTS": "all",
        **{f"BYWAY_DETECT__{key.upper()}": str(value) for key, value in trials.DETECT.items()},
    }


def check(folder: Path) -> int:
    """Checks the configuration and its addons with Byway's own commands, which print each error with its file and line.
    Returns the exit code of the first that finds one. No password command runs."""
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as state:
        files = ("--config", str(folder / "config.toml"), "--state", state)
        for words in (("config", "check"), ("addons", "check")):
            command = [sys.executable, "-P", "-m", "proxy", *files, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, end="", file=sys.stderr)
                return done.returncode
    return 0


# -- a run -------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def standing_in(country: Country, kinds: Sequence[RelayKind]) -> AsyncIterator[None]:
    """Runs the stand-ins of relays."""
    async with contextlib.AsyncExitStack() as stack:
        for number, kind in enumerate(kinds):
            secure = country.public.server(places.SOCKS_RELAY) if kind is RelayKind.HTTPS else None
            where = (places.SOCKS_RELAY, _FIRST_PORT + number)
            make = country.relay_space.socket
            relay = Relay(make, country.zone.truth, where, source=places.SOCKS_RELAY, secure=secure)
            await stack.enter_async_context(relay)
        yield


async def run(folder: Path, asked: Sequence[tuple[Scenario, bool]], told: trials.Told) -> tuple[list[Line], list[str]]:
    """Returns what happened to each site, and the faults of addons and pages, each as a sentence. Raises Refused when
    Byway does not start with this configuration."""
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as made:
        place = Path(made) / "byway"
        shutil.copytree(folder, place / "config", ignore_dangling_symlinks=True)
        if (rules := place / "config" / "rules.txt").is_file():
            rules.write_text(uninspected(rules.read_text("utf-8-sig")))
        async with contextlib.AsyncExitStack() as stack:
            country = await stack.enter_async_context(Country(Path(made)))
            text, kinds = stood_in((folder / "config.toml").read_text("utf-8-sig"), country.trust_file())
            await stack.enter_async_context(standing_in(country, kinds))
            for page in trials.COMPANION_PAGES:
                country.add_site(page)
            sites = {row: row.add_site(country, row.name if named else f"{row.name}.test") for row, named in asked}
            byway = country.byway(place, config=text, environment=settings(country))
            try:
                await stack.enter_async_context(byway)
            except NotReady as error:
                raise Refused(f"{error}; {byway.said.read_text(errors='replace')}") from None
            companion = await stack.enter_async_context(trials.accompanied(country.visitor(byway), Way.DIRECT))
            country.rules.set([rule for row, site in sites.items() for rule in row.arrange(country, [site])])
            here = trials.Stay(country, byway, companion)
            lines, room = list[Line](), asyncio.Semaphore(_IN_FLIGHT)

            async def one(row: Scenario, named: bool) -> Line:
                async with room:
                    trial = await here.trial(row, 0, sites[row])
                    (*_, last) = await byway.rows(sites[row].name) or [{"action": "", "why": ""}]
                    lines.append(Line(row, trial, last["action"], last["why"], named))
                    told(f"{len(lines)} of {len(asked)}: {row.name}")
                    return lines[-1]

            made_lines = await asyncio.gather(*(one(row, named) for row, named in asked))
            await asyncio.sleep(trials.LONG_AFTER_S)
            lasting = await here.lasting((line.trial, sites[line.row]) for line in made_lines)
            found = [replace(line, trial=trial) for line, trial in zip(made_lines, lasting, strict=True)]
            ways = {Way.DIRECT, Way.RUNG, *([Way.RELAY] if any(kind not in _ADDRESSES_ONLY for kind in kinds) else [])}
            faults = await addon_faults(byway, folder)
            return found, [*faults, *(problem for line in found for problem in line.problems(ways))]


async def addon_faults(byway: Running, folder: Path) -> list[str]:
    """Returns a sentence for each fault of an addon, with its own file."""
    addons: list[dict[str, Any]] = (await byway.ask("/v1/addons"))["addons"]
    said = []
    for addon in addons:
        if addon["last_fault"]:
            stopped = ", stopped" if addon["state"] == "stopped" else ""
            said.append(f"addon {addon['name']}: {addon['last_fault']} (faults: {addon['faults']}{stopped})")
        said += (f"addon {addon['name']}: {problem}" for problem in addon["problems"] if addon["enabled"])
    return [sentence.replace(str(byway.config.parent), str(folder)) for sentence in said]


# -- what it came to ---------------------------------------------------------------------------------------------------


def table(lines: Sequence[Line]) -> str:
    """Returns the table for a person: a line for each site. A way with a * is another one than without the
    configuration."""
    head = f"{'site or scenario':<30} {'pages':>5}  {'by':<18} {'first s':>7}  {'status at the end'}"
    out = [head, "-" * len(head)]
    for line in lines:
        ways = dict.fromkeys(seen.way for seen in line.trial.seen)
        judged = {seen.way for seen in line.trial.seen[line.row.spoiled :]}
        by = " ".join(f"{way}{'*' if way in judged - line.row.ways else ''}" for way in ways)
        last = line.trial.seen[-1]
        held = f"{last.state} {last.cause}".strip()
        first_s = max(0.0, line.trial.seen[0].added_s)
        pages = f"{sum(line.pages)}/{len(line.pages)}"
        out.append(f"{line.row.name:<30} {pages:>5}  {by:<18} {first_s:>7.2f}  {held}")
        if line.named:
            out.append(f"    {line.action} {line.why}".rstrip())
    return "\n".join([*out, "", "* by another way than without this configuration"])


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        folder = configuration(asked.config)
        file = folder / "rules.txt"
        rules = file.read_text(errors="replace") if file.is_file() else ""
        chosen = rows(asked.only.split(), asked.sites, rules)
        if not asked.checked and (code := check(folder)):
            return code
        if not may_make_spaces():
            if not may_become_root():
                raise Refused("on this computer only root may make network namespaces")
            again = [sys.executable, "-m", "tests.lab.with_config", "--checked", *(arguments or sys.argv[1:])]
            return subprocess.run(within(again), check=False).returncode
        lines, problems = asyncio.run(run(folder, chosen, _tell))
    except Refused as error:
        print(f"lab: {error}", file=sys.stderr)
        return USAGE
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(table(lines))
    print("\n".join(problems or ["Every page came that can come, and no addon had a fault."]))
    return BROKEN if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.with_config", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", metavar="DIR", help="the folder with config.toml")
    parser.add_argument("sites", nargs="*", metavar="NAME[=SCENARIO]", help="hosts that are sites, as those of rules")
    parser.add_argument("--only", default="", metavar="NAMES", help="scenarios, `*` for any letters; all without")
    parser.add_argument("--checked", action="store_true", help=argparse.SUPPRESS)
    return parser


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
