"""This computer's clock is 400 days ahead: every command names this and the difference, with a relay and without.

All hosts of the lab share one clock, so the world is 400 days behind: its certificates have expired, and its answers
have the date of then. The twin is one site whose certificate has expired, in a world whose clock agrees.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.lab import places
from tests.lab.country import Country
from tests.lab.origins import Conduct
from tests.lab.test_verdicts import DETECT
from tests.support.at_once import AtOnce, all_of

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

SITE = "site.test"
AHEAD = timedelta(days=400)


at_once = AtOnce(most=2)


@pytest.mark.parametrize("is_wrong", [True, False], ids=["wrong", "one site expired"])
@at_once
async def test_a_wrong_clock_is_named_by_every_command(folder: Path, *, is_wrong: bool) -> None:
    async with Country(folder) as country:
        country.add_site(SITE)
        date = format_datetime(datetime.now(UTC) - (AHEAD if is_wrong else timedelta()), usegmt=True)
        for name in (SITE, *places.CONTROLS):
            expired = country.public.server(name, expired=True) if is_wrong or name == SITE else None
            country.origins.conducts[name] = Conduct(certificate=expired, date=date)
        await all_of(
            {
                name: every_command_names_it(country, folder / name, is_wrong=is_wrong, relay=name == "relay")
                for name in ("relay", "no relay")
            }
        )


async def every_command_names_it(country: Country, folder: Path, *, is_wrong: bool, relay: bool) -> None:
    url = f"https://{SITE}/"
    settings = country.config(detect=DETECT, no_relay=not relay)
    async with country.byway(folder, config=settings) as byway:
        # All at once, so that each has to find it by itself; `status` says what they found.
        why, test, doctor = await asyncio.gather(
            *(
                byway.command(*words, "--json", check=False)
                for words in (("why", url), ("test", "--jitter", "0", url), ("doctor",))
            )
        )
        status = await byway.read("status")
    verdicts = (json.loads(why.stdout)["verdict"], json.loads(test.stdout)["results"][0]["verdict"])
    said = {
        "why": verdicts[0]["seen"],
        "test": verdicts[1]["seen"],
        "status": " ".join(problem["text"] for problem in status["problems"]),
        "doctor": " ".join(finding["text"] for finding in json.loads(doctor.stdout)["findings"]),
    }
    named = {command for command, text in said.items() if "clock is 400 days ahead" in text}
    assert named == (set(said) if is_wrong else set()), said
    assert [verdict["cause"] for verdict in verdicts] == (["clock"] * 2 if is_wrong else ["expired"] * 2)
    assert "portal" not in [verdict["words"] for verdict in verdicts]
    steps = json.loads(why.stdout)["steps"]
    cut = [step for step in steps if step["route"].startswith("direct|") and step["part"] != "secure"]
    assert {step["result"] for step in cut} == {"not_tested"}, "no strategy changes a date"
