"""The page of the networks: what was learned where, and the names that they get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.detect.beliefs import network_health
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.features.networks.page import with_action
from proxy.model import Belief, State
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import AWAY, HOME

CONFIG = f"""\
# Mine.
[networks]
office = "{"a" * 16}"
"""


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    world = World(settings=load(file).settings, path=file, reads_file=True, rules="", features=features)
    now = time.time()
    world.beliefs = Beliefs(
        world.settings.detect,
        [
            Belief("a.example", HOME, State.BLOCKED, "sni_reset", score=4.0, since=now - 60, until=now + 9e5),
            Belief("b.example", HOME, State.SUSPECT, "sni_reset", score=1.0, since=now - 60, until=now + 9e5),
            Belief("a.example", AWAY, State.BLOCKED, "sni_reset", score=4.0, since=now - 60, until=now + 9e5),
        ],
    )
    yield world
    world.close()


def text_of(world: World) -> str:
    assert world.path is not None
    return world.path.read_text()


async def refused(browser: Browser, **form: str) -> str:
    status, html = await browser.post(f"{browser.base}networks/name", {"token": await browser.token(), **form})
    assert status in (400, 409), html
    return html


async def test_the_present_one_is_first_with_what_was_learned_there(world: World, browser: Browser) -> None:
    assert "This network has no name. With one, rules can name it" in await browser.text("networks")
    world.settings = replace(world.settings, networks={"Home Wi-Fi": HOME, "office": AWAY})
    world.overrides_changed()
    text = await browser.text("networks")
    assert "This is Home Wi-Fi." in text
    assert "Home Wi-Fi this one State Internet access works. Blocked sites 2: Name filter (2) Sites" in text
    assert "Sites with a status 2 · last change" in text
    assert text.index("Home Wi-Fi this one") < text.index("office Blocked sites 1: Name filter (1)")


async def test_of_two_names_at_once_a_network_has_one(world: World, browser: Browser) -> None:
    token, id_ = await browser.token(), "a" * 16
    forms = [{"token": token, "id": id_, "name": name} for name in ("work", "desk")]
    answers = await asyncio.gather(*(browser.post(f"{browser.base}networks/name", form) for form in forms))
    assert [status for status, _ in answers] == [303, 303]
    assert [*world.settings.networks.values()] == [id_]


async def test_a_network_is_named(world: World, browser: Browser) -> None:
    id_ = "b" * 16
    await browser.send("networks/name", id=id_, name="home")
    assert world.settings.networks == {"office": "a" * 16, "home": id_}
    await browser.send("networks/name", id=id_, name="flat")
    assert world.settings.networks == {"office": "a" * 16, "flat": id_}
    assert text_of(world).startswith(CONFIG)
    assert "Another network has the name office." in await refused(browser, id=id_, name="office")
    for form in ({"id": id_, "name": "my home"}, {"id": "../x", "name": "x"}, {"id": id_, "name": "x" * 40}):
        assert "networks." in await refused(browser, **form)
    await browser.send("networks/name", id=id_, name="")
    assert world.settings.networks == {"office": "a" * 16}
    assert text_of(world) == CONFIG


async def test_what_the_present_network_punishes_is_said(world: World, browser: Browser) -> None:
    assert "punishes" not in await browser.text("networks")
    record = network_health.record_of(world.beliefs._state, HOME)
    record.hellos_counted_at = record.cuts_punished_at = time.time()
    text = await browser.text("networks")
    assert "punishes more than three TLS connections to one site at once" in text
    assert "punishes a fragmented ClientHello" in text


RULES = "DOMAIN-SUFFIX,bank.example,DIRECT\nMATCH,AUTO\n"


async def decide(browser: Browser, **form: str) -> tuple[int, str]:
    html = (await browser.get(f"{browser.base}networks"))[1]
    version = html.split('name="version" value="')[1].split('"')[0]
    sent = {"token": await browser.token(), "id": HOME, "version": version, **form}
    return await browser.post(f"{browser.base}networks/decide", sent)


async def test_how_sites_without_a_rule_go_on_a_network_is_a_rule_behind_the_others(
    world: World, browser: Browser
) -> None:
    world.rules = RULES
    world.settings = replace(world.settings, networks={"home": HOME})
    world.overrides_changed()
    assert (await decide(browser, action="RELAY"))[0] == 303
    assert world.rules == "DOMAIN-SUFFIX,bank.example,DIRECT\nNETWORK,home,RELAY\nMATCH,AUTO\n"
    html = (await browser.get(f"{browser.base}networks"))[1]
    assert "On home: relays only, never direct." in html
    assert '<option value="RELAY" selected>' in html
    assert (await decide(browser, action="DIRECT"))[0] == 303
    assert world.rules == "DOMAIN-SUFFIX,bank.example,DIRECT\nNETWORK,home,DIRECT\nMATCH,AUTO\n"
    assert (await decide(browser, action=""))[0] == 303
    assert world.rules == RULES


async def test_a_rule_of_a_network_that_the_page_does_not_offer_stays_until_another_is_chosen(
    world: World, browser: Browser
) -> None:
    world.rules = f"NETWORK,{HOME},RELAY:tor\n"
    assert "as a rule of your own says" in await browser.text("networks")
    assert with_action(world.rules, HOME, "", "BLOCK") == f"NETWORK,{HOME},BLOCK\n"
    assert with_action("# NETWORK,home,BLOCK\n", HOME, "home", "") == "# NETWORK,home,BLOCK\n"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"action": "PREFER-RELAY"}, 400),
        ({"action": "RELAY", "id": "f" * 16}, 400),
        ({"action": "RELAY", "id": "x,DIRECT\nMATCH"}, 400),
        ({"action": "RELAY", "version": "0"}, 409),
        ({"action": "RELAY", "odd": "1"}, 400),
    ],
)
async def test_a_forged_decision_changes_nothing(
    world: World, browser: Browser, form: dict[str, str], status: int
) -> None:
    world.rules = RULES
    assert (await decide(browser, **form))[0] == status
    assert world.rules == RULES


async def test_fifty_networks_a_page(world: World, browser: Browser) -> None:
    world.settings = replace(world.settings, networks={f"n{n:03}": f"{n:016x}" for n in range(120)})
    world.overrides_changed()
    html = (await browser.get(f"{browser.base}networks"))[1]
    assert html.count('class="card"') == 50
    assert "Page 1 of 3" in html
    assert "n119" in (await browser.get(f"{browser.base}networks?page=3"))[1]
