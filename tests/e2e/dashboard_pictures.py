"""Pictures of the real pages, of a made-up Byway with something of everything: a day of visits at home, where some
sites became blocked, one free again, and one relay of two fails.

    python -m tests.e2e.dashboard_pictures                           # those in docs/dashboard.md, anew
    python -m tests.e2e.dashboard_pictures --sheets FOLDER [PAGE…]   # every page in every look, to be looked at

A contact sheet has one page in one language: on a phone, a desk and a wide screen, in light and dark. FOLDER also gets
each picture by itself, and an index.html with all sheets.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from proxy.config.schema import Settings
from proxy.control.answers.lan import GuestJson, LanJson, WaitingJson
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.features.lan.page import CHOICES, LanView
from proxy.features.lan.qr import qr_code
from proxy.features.table import FEATURES
from proxy.languages.language import Language
from proxy.model import Cause, Change, Route, State
from proxy.model.feature import pages_of
from proxy.net.named_programs import Holder
from tests.e2e.every_page import AT_PORT, DASHBOARD, OF_A_NEW_BYWAY, written
from tests.e2e.test_dashboard import sign_in
from tests.support.byway import Byway
from tests.support.chromium import Chromium, Tab, tab
from tests.support.control_world import World
from tests.support.dashboard import dashboard
from tests.support.opened import open_three
from tests.support.outcomes import HOME, TOR, delivered, down, failed, outcome, rescued
from tests.support.seeded import BLOCKED, SeededWorld

_ADDONS = Path(__file__).parents[2] / "addons"
_BROKEN = "by_the_clock.py:12: NameError: name 'hours' is not defined"

FOLDER = Path(__file__).parents[2] / "docs" / "dashboard"
WIDTH = 1200
_HEIGHTS = 300, 1400
_QUALITY = 70


class AtHome(SeededWorld):
    """The Byway of the pictures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settings = replace(self.settings, networks={"Home Wi-Fi": HOME})
        self.overrides_changed()
        now, chance = time.time(), random.Random(2008)
        for minute in range(0, 24 * 60, 4):
            at, host = now - minute * 60, f"www.site{chance.randrange(40)}.example"
            match chance.choices(("direct", "strategy", "relay", "failed"), (60, 10, 25, 5))[0]:
                case "direct":
                    seen = outcome(delivered(elapsed=chance.uniform(0.05, 0.4)), host=host, at=at)
                case "strategy":
                    seen = rescued(by=Route.parse("direct|tlsrec"), host="pics.livejournal.com", at=at)
                case "relay":
                    opened_s = chance.uniform(0.2, 0.7)
                    through = replace(delivered(TOR, elapsed=opened_s + 0.2), evidence={"opened_s": opened_s})
                    seen = outcome(failed(), through, host=BLOCKED, at=at)
                case _:
                    seen = down(host="nothing.example.net")
                    seen = replace(seen, at=at, error="no route to nothing.example.net: direct: reset; tor: refused")
            self.store.record(
                replace(seen, bytes_down=chance.randrange(90_000), duration=chance.uniform(1, 40)), network=HOME
            )
        began = now - 9 * 86_400
        self._change(BLOCKED, State.UNKNOWN, State.SUSPECT, began, "direct: connection reset after the TLS ClientHello")
        self._change(BLOCKED, State.SUSPECT, State.BLOCKED, began + 400, "direct: reset 4 times; tor delivered")
        self._change(BLOCKED, State.BLOCKED, State.WORKS, began + 3 * 86_400, "direct delivered 3 times in a row")
        again = now - 50 * 3600
        self._change(BLOCKED, State.WORKS, State.SUSPECT, again, "direct: connection reset after the TLS ClientHello")
        self._change(BLOCKED, State.SUSPECT, State.BLOCKED, again + 300, "direct: reset 3 times; tor delivered")
        freed = now - 5 * 3600
        self._change("blog.example.org", State.SUSPECT, State.BLOCKED, freed - 86_400, "direct: dropped; tor delivered")
        self._change("blog.example.org", State.BLOCKED, State.WORKS, freed, "direct delivered 3 times in a row")
        assert self.store.flush()
        open_three(self, at=now - 20)
        for rule, hits in (("DOMAIN-SUFFIX,ads.example,BLOCK", 37), ("DOMAIN-SUFFIX,example.org,RELAY:tor", 12)):
            for place in range(hits):
                self.rule_hits.count(rule, now - 600 * place)
        self.port_users.note(
            [Holder("/usr/lib/firefox-esr/firefox-esr", 1, 2, 0, 0o755, 1, is_deleted=False)], now - 20
        )
        self.port_users.note([Holder("/usr/bin/curl", 1, 3, 0, 0o755, 2, is_deleted=False)], now - 90, connections=4)
        self.addons = tuple(
            AddonState(
                AddonFile(name, _ADDONS / f"{name}.py", shipped=True, enabled=bool(version)), version, now, problems=why
            )
            for name, version, why in (
                ("lossy", "", ()), ("clean_links", "0123456789ab", ()), ("by_the_clock", "fedcba987654", (_BROKEN,)),
            )
        )  # fmt: skip

    def _change(self, scope: str, before: State, after: State, at: float, why: str) -> None:
        cause = Cause.SNI_RESET if after in (State.SUSPECT, State.BLOCKED) else Cause.NONE
        self.store.believe([Change(at, scope, HOME, before, after, cause, why, None)])


_ADDRESS = "192.168.7.2:41234"
PHONES = LanView(
    LanJson(
        is_on=True, network="Home Wi-Fi", interface="wlan0", address=_ADDRESS, url=f"http://{_ADDRESS}/",
        ends_at=time.time() + 5_000,
        guests=(GuestJson("192.168.7.10", "02:00:00:00:00:10", time.time() - 900, 2, 7, 100, 2000),),
        waiting=(WaitingJson("192.168.7.11", "02:00:00:00:00:11", 12.0),), expected=("192.168.7.12",),
    ),
    qr_code(f"http://{_ADDRESS}/"), CHOICES, (),
)  # fmt: skip
"""The page Phones while it is on."""

Show = Callable[[Language], Awaitable[None]]
"""Opens a page in a language."""


async def picture(page: Tab, *, width: int, heights: tuple[int, int], **form: object) -> bytes:
    """The top of the page, in a window as high as that: between the two `heights`. `form` says how it is encoded."""
    least, most = heights
    await page.call("Emulation.setScrollbarsHidden", hidden=True)
    await page.look(width=width, height=least)
    await page.look(width=width, height=min(most, await page.evaluate("document.documentElement.scrollHeight")))
    answer = await page.call("Page.captureScreenshot", **form)
    return base64.b64decode(answer["data"])


async def take(folder: Path) -> None:
    """Takes a picture of each page in the menu, and of a site."""
    world = AtHome(features=FEATURES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Chromium ends a little later
        async with dashboard(world, Path(name)) as pages, tab(Path(name) / "browser") as page:
            world.see(rescued(host="new.example.org", at=time.time()))
            home = await sign_in(page, pages)
            await page.look(dark=False, width=WIDTH)
            for shown in (*pages_of(FEATURES), "site"):
                await page.open(home + DASHBOARD[shown])
                taken = await picture(page, width=WIDTH, heights=_HEIGHTS, format="webp", quality=_QUALITY)
                (folder / f"{shown}.webp").write_bytes(taken)
    world.close()


LANGUAGES = (Language.ENGLISH, Language.RUSSIAN, Language.PERSIAN)
LOOKS = [(width, dark) for width in (360, 1280, 1920) for dark in (False, True)]
_SHEET_WIDTH = 1960
_LONGEST = 4000
"""A page that is longer is cut there, in CSS pixels."""


async def take_sheets(folder: Path, only: Collection[str] = (), languages: Collection[Language] = LANGUAGES) -> None:
    """Makes the contact sheets of the pages with these names; by default, of all."""
    async with shown_pages() as (page, shows):
        for name, show in shows.items():
            if only and name not in only:
                continue
            for language in languages:
                for width, dark in LOOKS:
                    await page.look(dark=dark, width=width)
                    await show(language)
                    taken = await picture(page, width=width, heights=(900, _LONGEST), format="png")
                    (folder / _file(name, language, width, dark=dark)).write_bytes(taken)
                await _compose(page, folder, name, language)
    _write_index(folder)


def _write_index(folder: Path) -> None:
    sheets = "".join(f"<h2>{sheet.stem}</h2><img src='{sheet.name}'>" for sheet in sorted(folder.glob("sheet-*.png")))
    (folder / "index.html").write_text(f"<!doctype html><meta charset='utf-8'><title>Contact sheets</title>{sheets}")


def _file(name: str, language: Language, width: int, *, dark: bool) -> str:
    return f"{name}-{language}-{width}-{'dark' if dark else 'light'}.png"


async def _compose(page: Tab, folder: Path, name: str, language: Language) -> None:
    """Makes one sheet of the pictures of one page in one language."""
    scales = {360: 0.75, 1280: 0.53, 1920: 0.5}
    images = "".join(
        f"<img src='{_file(name, language, width, dark=dark)}' width='{width * scales[width]:.0f}'>"
        for width, dark in sorted(LOOKS, reverse=True)
    )
    style = "<style>body{margin:8px;background:#777}img{margin:4px;vertical-align:top}</style>"
    (sheet := folder / "sheet.html").write_text(f"<!doctype html>{style}{images}")
    await page.look(dark=False, width=_SHEET_WIDTH)
    await page.open(sheet.absolute().as_uri())
    taken = await picture(page, width=_SHEET_WIDTH, heights=(100, 20_000), format="png")
    (folder / f"sheet-{name}-{language}.png").write_bytes(taken)
    sheet.unlink()


@contextlib.asynccontextmanager
async def shown_pages() -> AsyncIterator[tuple[Tab, Mapping[str, Show]]]:
    """Yields a tab, and what opens each page there: those of the dashboard, those without a sign-in, those for other
    devices, and the one in place of a site that does not open."""
    world = AtHome(features=FEATURES)
    new = World(features=FEATURES, settings=Settings(), rules="")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        chromium = stack.enter_context(contextlib.closing(Chromium(folder / "browser")))
        byway = Byway(folder / "byway", config='[dns]\nsecure = "never"\n', rules="MATCH,BLOCK\n")
        (folder / "new").mkdir()
        async with (
            byway,
            dashboard(world, folder) as pages,
            dashboard(new, folder / "new") as new_pages,
            chromium.tab(proxy=byway.url) as page,
        ):
            world.see(rescued(host="new.example.org", at=time.time()))
            home, new_home = await sign_in(page, pages), await sign_in(page, new_pages)

            async def speak(language: Language) -> None:
                await page.call("Network.enable")
                await page.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

            async def show(url: str, language: Language) -> None:
                await speak(language)
                await page.open(url)

            async def show_written(name: str, language: Language) -> None:
                await page.write(written(language)[name])

            async def show_phones(url: str, language: Language) -> None:
                """The page asks for itself again, so they stay on until the end."""
                stack.enter_context(patch("proxy.features.lan.page._view", lambda _visit, _errors: PHONES))
                await show(url, language)

            yield (
                page,
                {
                    **{name: partial(show, home + path) for name, path in DASHBOARD.items()},
                    **{name: partial(show, new_home + path) for name, path in OF_A_NEW_BYWAY.items()},
                    **{name: partial(show, pages.url + path) for name, path in AT_PORT.items()},
                    **{name: partial(show_written, name) for name in written(Language.ENGLISH)},
                    "confirmed": partial(show, "http://byway.internal/"),
                    "error": partial(show, "http://blocked.example/"),
                    "phones-on": partial(show_phones, home + "phones"),
                },
            )
    world.close()
    new.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.dashboard_pictures")
    parser.add_argument("--sheets", metavar="FOLDER", type=Path)
    parser.add_argument("pages", metavar="PAGE", nargs="*")
    given = parser.parse_args()
    folder: Path = given.sheets or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take_sheets(folder, given.pages) if given.sheets else take(folder))


if __name__ == "__main__":
    main()
