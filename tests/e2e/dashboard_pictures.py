"""The pictures in docs/dashboard.md, of the real pages: `python -m tests.e2e.dashboard_pictures` makes them anew.

Pages are of a made-up Byway with something of everything: a day of visits at home, where some sites became blocked, one
free again, and one relay of two fails.
"""

from __future__ import annotations

import asyncio
import base64
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from proxy.features.table import FEATURES
from proxy.model import Cause, Change, Route, State
from proxy.model.feature import pages_of
from tests.e2e.test_dashboard import SHOWN, sign_in
from tests.support.chromium import Tab, tab
from tests.support.dashboard import dashboard
from tests.support.opened import open_three
from tests.support.outcomes import HOME, TOR, delivered, down, failed, outcome, rescued
from tests.support.seeded import BLOCKED, SeededWorld

FOLDER = Path(__file__).parents[2] / "docs" / "dashboard"
WIDTH = 1100
_HEIGHT_MAX = 1400
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

    def _change(self, scope: str, before: State, after: State, at: float, why: str) -> None:
        cause = Cause.SNI_RESET if after in (State.SUSPECT, State.BLOCKED) else Cause.NONE
        self.store.believe([Change(at, scope, HOME, before, after, cause, why, None)])


async def picture(page: Tab) -> bytes:
    """The top of the page, as WebP."""
    height = min(_HEIGHT_MAX, await page.evaluate("document.documentElement.scrollHeight"))
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1}
    answer = await page.call(
        "Page.captureScreenshot", format="webp", quality=_QUALITY, clip=clip, captureBeyondViewport=True
    )
    return base64.b64decode(answer["data"])


async def take(folder: Path) -> None:
    """Takes a picture of each page."""
    world = AtHome(features=FEATURES)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Chromium ends a little later
        async with dashboard(world, Path(name)) as pages, tab(Path(name) / "browser") as page:
            world.see(rescued(host="new.example.org", at=time.time()))
            home = await sign_in(page, pages)
            await page.look(dark=False, width=WIDTH)
            for shown in (*pages_of(FEATURES), "site"):
                path = SHOWN[shown]
                await page.open(home + path)
                (folder / f"{shown}.webp").write_bytes(await picture(page))
    world.close()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(exist_ok=True)
    asyncio.run(take(folder))


if __name__ == "__main__":
    main()
