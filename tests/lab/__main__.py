"""A walk around in the country: `python -m tests.lab`.

It starts the country with a Byway in it and reads commands; `help` lists them. Its rules are those of the scenario
table, set for a site with the name of the scenario: after `set sni-reset-tcp`, https://sni-reset-tcp.test/ is blocked
in this way.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.country import Country, Running, Site
from tests.lab.scenarios import Scenario
from tests.lab.spaces import begin_with_spaces

HELP = """\
  list               the scenarios, and what each does
  set NAME …         does this to NAME.test, beside what is set already
  lift               nothing interferes any more
  visit URL          opens a page through Byway
  direct NAME        opens https://NAME/ without Byway
  belief NAME        what Byway holds about a site
  seen               the names that crossed the person's link
  shell [COMMAND …]  a shell at the person's computer, with Byway as its proxy
  quit"""
PROMPT = "lab> "


class Walk:
    """The walk of one person; `say` receives the answers."""

    def __init__(self, country: Country, byway: Running, say: Callable[[str], None] = print) -> None:
        self._country = country
        self._byway = byway
        self._say = say
        self._sites: dict[str, Site] = {}
        self._set: list[Scenario] = []
        self._commands: Mapping[str, Callable[..., Awaitable[None]]] = {
            "help": self._help, "list": self._list, "set": self._rule, "lift": self._lift, "visit": self._visit,
            "direct": self._direct, "belief": self._belief, "seen": self._seen, "shell": self._shell,
        }  # fmt: skip
        for row in SCENARIOS:
            self._sites[row.name] = row.add_site(country, f"{row.name}.test")

    async def do(self, line: str) -> bool:
        """Executes one command. Returns False when it ends the walk."""
        name, *words = line.split() or [""]
        if name in ("quit", "exit"):
            return False
        command = self._commands.get(name)
        if command is None:
            self._say(f"{name} is no command; `help` lists them" if name else HELP)
            return True
        try:
            inspect.signature(command).bind(*words)
        except TypeError:
            self._say(HELP)
        else:
            await command(*words)
        return True

    async def _help(self) -> None:
        self._say(HELP)

    async def _list(self) -> None:
        for row in SCENARIOS:
            self._say(f"{'*' if row in self._set else ' '} {row.name:<22} {row.kind:<9} {row.what}")

    async def _rule(self, *names: str) -> None:
        for name in names:
            row = BY_NAME.get(name)
            if row is None:
                self._say(f"no scenario is called {name}; `list` shows them")
                continue
            site = self._sites[name]
            self._country.rules.add(*row.arrange(self._country, [site]))
            self._set.append(row)
            self._say(f"{site.url(row.path, secure=row.secure)}: {row.what}")

    async def _lift(self) -> None:
        self._country.lift()
        self._set.clear()
        self._say("Nothing interferes any more.")

    async def _visit(self, url: str) -> None:
        await self._open(url, self._byway)

    async def _direct(self, name: str) -> None:
        site = next((site for site in self._sites.values() if site.name == name), None)
        await self._open(f"http://{site.address if site else name}/", None)

    async def _open(self, url: str, byway: Running | None) -> None:
        seen = await self._country.visitor(byway).visit(url)
        said = seen.error or f"{seen.status}, {len(seen.body)} bytes: {seen.body[:100].decode(errors='replace')}"
        self._say(f"{seen.elapsed_s:.2f} s, {said}")

    async def _belief(self, name: str) -> None:
        held = await self._byway.belief(name)
        self._say(f"{held['glyph']} {held['words']} {held['cause']}: {held['evidence']}")

    async def _seen(self) -> None:
        names = self._country.router.events.names_on("client", sender="client")
        for kind, name in sorted({(seen.kind, seen.name) for seen in names}):
            self._say(f"{kind:<5} {name}")

    async def _shell(self, *command: str) -> None:
        """The terminal belongs to the shell until the shell ends; the country keeps running meanwhile."""
        proxy = {f"{kind}_proxy": self._byway.url for kind in ("http", "https")}
        environment = {**os.environ, **proxy, "CURL_CA_BUNDLE": str(self._country.trust_file())}
        words = command or (os.environ.get("SHELL", "/bin/sh"),)
        program = self._country.client.popen(words, env=environment, stdin=None)
        await asyncio.to_thread(program.wait)


async def walk() -> None:
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with Country(Path(folder)) as country, country.byway(Path(folder) / "byway") as byway:
            here = Walk(country, byway)
            print(f"Byway listens on {byway.url} at the person's computer. `help` lists the commands.")
            while True:
                print(PROMPT, end="", flush=True)
                line = await asyncio.to_thread(sys.stdin.readline)
                if not line or not await here.do(line):
                    return


if __name__ == "__main__":
    begin_with_spaces("tests.lab")
    asyncio.run(walk())
