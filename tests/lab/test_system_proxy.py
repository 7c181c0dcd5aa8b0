"""Byway as the system proxy of GNOME in the country: the pages that Chromium and `gio cat` load through it and after it
has died, and the provider's view then of a site that a rule keeps to relays.

The settings are the real ones, on a session bus at the person's computer. Each question about leaks is also asked about
a PAC file, which programs leave for a direct connection when they cannot load it, and has to find that leak.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.setup.desktop.proxy_settings import MODE, ONLY_PLACE, Gnome
from tests.lab import leaks, places
from tests.lab.country import Country, Running, Site
from tests.support import chromium, programs
from tests.support.desktops import run_in, session_bus
from tests.support.waiting import until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.needs("chromium", "dbus-daemon", "gio", "glib-pacrunner", "gsettings", "gvfsd-http"),
    pytest.mark.alone,
    pytest.mark.slow,
]
"""The modules that load http for `gio` and evaluate PAC files for it come with packages of their own."""

PORT = 8119
"""The port is the same at each start, as for a user: a setting that is left behind leads to the next Byway."""
LIMIT_S = 60.0
STRICT = "DOMAIN-SUFFIX,sealed.test,RELAY\nMATCH,AUTO\n"

_HOLD = """\
#!/bin/sh
[ -e "{hold}" ] && read -r line < "{hold}"
exec {gsettings} "$@"
"""
"""Byway's gsettings. It waits as long as there is a FIFO without a writer."""


@dataclass
class Person:
    """A person whose programs follow GNOME's system proxy."""

    country: Country
    byway: Running
    folder: Path
    environment: Mapping[str, str]
    settings: Gnome
    _browsers: int = 0

    async def open_in_chromium(self, site: Site) -> str:
        """Returns the page in a browser that is started for it."""
        self._browsers += 1
        shown = await chromium.browse(
            site.url(secure=False),
            self.folder / "browsers",
            "--password-store=basic",
            profile=str(self._browsers),
            environment={**self.environment, "XDG_CONFIG_HOME": f"{self.environment['HOME']}/.config"},
            prefix=self.country.client.entering,
        )
        return shown.stdout.decode(errors="replace")

    async def gio_cat(self, site: Site) -> str:
        process = await asyncio.create_subprocess_exec(
            *(*self.country.client.entering, programs.require("gio"), "cat", site.url(secure=False)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        async with asyncio.timeout(LIMIT_S):
            shown, _ = await process.communicate()
        return shown.decode(errors="replace")

    async def open_in_both(self, site: Site) -> tuple[bool, bool]:
        """Returns whether the site's own page comes in Chromium and in `gio cat`."""
        own = f"{site.name} says hello"
        return own in await self.open_in_chromium(site), own in await self.gio_cat(site)

    async def came_through_byway(self, site: Site) -> int:
        """Returns the number of visits to the site in Byway's log."""
        return len(await self.byway.rows(site.name))


@contextlib.asynccontextmanager
async def person(folder: Path, rules: str) -> AsyncIterator[Person]:
    """Yields a person while Byway runs and is the system proxy."""
    async with Country(folder) as country, session_bus(folder, country.client.entering) as bus:
        own = folder / "programs"
        own.mkdir()
        gsettings = own / "gsettings"
        gsettings.write_text(_HOLD.format(hold=folder / "hold", gsettings=programs.require("gsettings")))
        gsettings.chmod(0o700)
        settings = Gnome(run_in(bus, country.client.entering))
        environment = {**bus, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
        at_port = ["--port", str(PORT)]
        async with country.byway(folder / "byway", rules=rules, arguments=at_port, environment=environment) as byway:
            await byway.command("system", "on", "--desktop", "gnome")
            yield Person(country, byway, folder, bus, settings)


@contextlib.asynccontextmanager
async def starting(person: Person) -> AsyncIterator[None]:
    """Byway has begun to start, and does not restore the system proxy as long as this is open. It already listens
    then."""
    hold = person.folder / "hold"
    os.mkfifo(hold)
    begun = asyncio.get_running_loop().create_task(person.byway.start())
    try:
        await until(lambda: is_read(hold) or begun.done())
        assert not begun.done()
        yield
    finally:
        open_end = os.open(hold, os.O_RDWR)
        hold.unlink()
        os.write(open_end, b"\n")
        os.close(open_end)
        await begun


def is_read(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # ENXIO: nobody reads
        return False
    return True


async def test_lenient_programs_load_pages_through_byway_and_after_it_has_died(folder: Path) -> None:
    async with person(folder, "MATCH,AUTO\n") as anybody:
        site = anybody.country.add_site("open.test")
        assert await anybody.open_in_both(site) == (True, True)
        assert await anybody.came_through_byway(site) >= 2
        await anybody.byway.kill()
        assert await anybody.open_in_both(site) == (True, True)


async def test_strict_a_sealed_site_is_named_to_nobody_while_byway_runs_is_dead_or_starts(folder: Path) -> None:
    async with person(folder, STRICT) as anybody:
        events, site = anybody.country.router.events, anybody.country.add_site("sealed.test")
        events.watch(site.name)
        assert await anybody.open_in_both(site) == (True, True)
        assert set(anybody.country.origins.peers(site.name)) == {places.SOCKS_RELAY}
        assert leaks.beside_relays(events, site) == [], "running"
        await anybody.byway.kill()
        assert await anybody.open_in_both(site) == (False, False)
        assert leaks.beside_relays(events, site) == [], "dead"
        async with starting(anybody):
            await anybody.open_in_both(site)
            assert leaks.beside_relays(events, site) == [], "starting"
        assert await anybody.byway.stop() == 0
        assert anybody.settings.read()[ONLY_PLACE][MODE] == "none", "what was there before"


@pytest.mark.parametrize("pac", ["proxy.pac", "strict.pac"])
async def test_the_control_for_that_a_pac_file_is_found_to_leak(folder: Path, pac: str) -> None:
    """A PAC file that names no direct connection is no better: a Chromium that cannot load it connects direct. GLib
    keeps the one that it has loaded."""
    async with person(folder, STRICT) as anybody:
        events, site = anybody.country.router.events, anybody.country.add_site("sealed.test")
        events.watch(site.name)
        for key, value in anybody.settings.by_pac(f"{anybody.byway.url}/{pac}").items():
            anybody.settings.write(ONLY_PLACE, key, value)
        assert await anybody.open_in_both(site) == (True, True)
        assert leaks.beside_relays(events, site) == []
        await anybody.byway.kill()
        for open_it in (anybody.open_in_chromium, *([anybody.gio_cat] if pac == "proxy.pac" else [])):
            since = events.clock()
            await open_it(site)
            assert leaks.asked_in_clear(events, site, since=since), open_it.__name__
            assert events.packets(site.address, since=since), open_it.__name__
