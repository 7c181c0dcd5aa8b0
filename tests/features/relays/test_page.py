"""The page of the relays: what its forms change in the configuration file, and what it refuses and says."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.features.relays.handshakes import CHARTS, RelayHours, handshakes_view
from proxy.model import Action, Override, Stage, Symptom, as_evidence
from proxy.model.feature import Feature
from tests.support.control_world import SECRET, World
from tests.support.dashboard import Browser
from tests.support.outcomes import TOR, VPS, delivered, failed, outcome
from tests.support.rows import each_row

CONFIG = f"""\
# My relays.
config_version = 1

[[relay]]
name = "tor"   # the first
url = "socks5h://127.0.0.1:9050"

# a friend's
[[relay]]
name = "vps"
url = "https://user:{SECRET}@relay.example:443"
password_cmd = "echo no"

[[relay]]
name = "late"
url = "http://relay.example:8080"
enabled = false

[[group]]
name = "eu"
relays = ["tor", "late"]
policy = "select"
"""


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    rules = "DOMAIN,a.example,RELAY:vps\n"
    world = World(settings=load(file).settings, path=file, reads_file=True, rules=rules, features=features)
    yield world
    world.close()


def names(world: World) -> list[str]:
    assert world.path is not None
    return [relay.name for relay in load(world.path).settings.relay]


def text_of(world: World) -> str:
    assert world.path is not None
    return world.path.read_text()


def focused(html: str) -> str:
    """The accessible name of the button that has the focus when the page opens."""
    found = re.findall(r'aria-label="([^"]*)" autofocus', html)
    assert len(found) == 1
    return str(found[0])


async def refused(browser: Browser, path: str, **form: str) -> str:
    status, html = await browser.post(browser.base + path, {"token": await browser.token(), **form})
    assert status in (400, 404, 409), html
    assert 'role="alert"' in html
    return html


async def add(browser: Browser, urls: str, name: str = "") -> str:
    """Adds relays that are new. Returns the page that tests them, as a person reads it."""
    form = {"token": await browser.token(), "urls": urls, "name": name}
    status, html = await browser.post(f"{browser.base}relays", form)
    assert status == 200, html
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


async def test_pasted_relays_are_added_tested_and_used(world: World, browser: Browser) -> None:
    tested = await add(browser, "socks5h://127.0.0.1:9150#Tor Browser\r\n\r\n# mine\r\n1.1.1.1:1080\r\n")
    assert names(world) == ["tor", "vps", "late", "Tor-Browser", "relay-1-1-1-1"]
    assert world.reloads == 1
    assert text_of(world).startswith(CONFIG.partition("[[group]]")[0])
    assert "Added: Tor-Browser, relay-1-1-1-1." in tested
    assert re.search(r"Tor-Browser : ✗ fails: .* relay-1-1-1-1 : ✗ fails: ", tested)
    assert "0 of 2 relays work." in tested


async def test_a_relay_has_the_name_that_it_is_given(world: World, browser: Browser) -> None:
    assert "Added: friend." in await add(browser, "1.1.1.1:1080", " friend ")
    assert names(world)[-1] == "friend"
    before = text_of(world)
    for urls, name, sentence in (
        ("1.1.1.2:1080", "tor", "a relay or group tor exists already"),
        ("1.1.1.2:1080", "two words", "name has 1 to 32 letters"),
        ("1.1.1.2:1080\n1.1.1.3:1080", "friends", "A name is for one relay."),
    ):
        html = await refused(browser, "relays", urls=urls, name=name)
        assert sentence in html
        assert f'value="{name}"' in html
        assert text_of(world) == before


async def test_a_password_in_the_clear_is_asked_about_and_sent_once_it_is_allowed(
    world: World, browser: Browser
) -> None:
    pasted = "tg://socks?server=relay.example&port=1080&user=me&pass=p%40ss"
    place = await browser.send("relays", urls=pasted, name="shop")
    assert 'url = "socks5h://me:p%40ss@relay.example:1080"' in text_of(world)
    assert "allow_plaintext_credentials" not in text_of(world)
    _, html = await browser.get(browser.base + place)
    assert "May Byway send its user and password unencrypted?" in html
    assert re.search(r'autofocus aria-label="Send unencrypted: shop"', html)
    assert "p%40ss" not in html
    status, html = await browser.post(f"{browser.base}relays/allow", {"token": await browser.token(), "relay": "shop"})
    assert status == 200
    assert "shop gets its user and password unencrypted." in html
    assert "<bdi>shop</bdi>: " in html.partition("Connecting to ")[2], "it is tested"
    assert "allow_plaintext_credentials = true" in text_of(world)
    assert "May Byway send" not in await browser.text("relays")
    await refused(browser, "relays/allow", relay="nobody")


@pytest.mark.parametrize(
    "pasted",
    ['"socks5h://1.1.1.1:1080"', "«1.1.1.1:1080»", "“socks5h://1.1.1.1:1080”", "\u200bsocks5h://1.1.1.1\u200d:1080\ufeff",
     "\u00a0`1.1.1.1:1080` "],
)  # fmt: skip
async def test_what_came_along_with_a_pasted_url_is_left_out(world: World, browser: Browser, pasted: str) -> None:
    await add(browser, pasted)
    assert 'url = "socks5h://1.1.1.1:1080"' in text_of(world)


async def test_a_relay_that_is_there_is_not_added_again(world: World, browser: Browser) -> None:
    await browser.send("relays", urls="socks5://127.0.0.1:9050")
    assert "There already, with the same host, port and user: tor." in await browser.text("relays")
    assert text_of(world) == CONFIG


@each_row(
    ("urls", "sentence"),
    [
        ("", "no relay URL in it; write one a line"),
        ("tor", "the port is missing"),
        ("/etc/passwd", "a relay URL has no path"),
        ("-", "the port is missing"),
        ("https://relay.example:443?ca=/etc/ssl/own.pem", "a page may not name a file"),
        ("tor>https://relay.example:443?ca=own.pem", "a page may not name a file"),
        ("addon://mine", "added in a terminal"),
        ("ss://abc@h.example:1", "Shadowsocks"),
        ("socks5h://192.168.1.1:1080", "a page may not connect there"),
        ("socks5h://10.0.0.1:1080", "a page may not connect there"),
        ("socks5h://169.254.169.254:80", "a page may not connect there"),
        ("socks5h://[::ffff:192.168.1.1]:1080", "a page may not connect there"),
        ("socks5h://[64:ff9b::a00:1]:1080", "a page may not connect there"),
        ("socks5h://0.0.0.0:1080", "a page may not connect there"),
        ("socks5h://0x0a.1:1080", "a page may not connect there"),
        ("socks5h://224.0.0.1:1080", "a page may not connect there"),
        ("socks5h://router:1080", "a page may not connect there"),
        ("socks5h://printer.lan:1080", "a page may not connect there"),
        ("socks5h://1.1.1.1:1080?alt=192.168.1.1:1080", "a page may not connect there"),
        ("tor>socks5h://192.168.1.1:1080", "a page may not connect there"),
        ("socks5h://127.0.0.1:8119", "is Byway itself"),
        ("socks5h://127.1:8119", "is Byway itself"),
        ("http://localhost:8119", "is Byway itself"),
        ("nobody>socks5h://1.1.1.1:1080", "unknown relay"),
        ("socks5h://1.1.1.1:1080\n" * 300, "at most 256 relays"),
        (f"https://user:{SECRET}x@", "the host is missing"),
    ],
)
async def test_what_a_page_may_not_add(world: World, browser: Browser, urls: str, sentence: str) -> None:
    html = await refused(browser, "relays", urls=urls)
    assert sentence in html
    assert text_of(world) == CONFIG
    assert not world.reloads
    assert urls.split("?")[0].replace(">", "&gt;").strip() in html, "what was typed is not lost"


async def test_of_several_lines_those_that_are_none_are_left(world: World, browser: Browser) -> None:
    html = await refused(browser, "relays", urls="socks5h://1.1.1.1:1080\nnonsense\nsocks5h://10.0.0.1:1080\n")
    assert names(world)[-1] == "relay-1-1-1-1"
    assert "Added: relay-1-1-1-1." in html
    assert "2: the port is missing" in html
    assert ">nonsense\nsocks5h://10.0.0.1:1080</textarea>" in html


async def test_no_form_takes_a_command_or_a_name_of_a_file(world: World, browser: Browser) -> None:
    token = await browser.token()
    for field in ("password_cmd", "ca", "file", "path", "allow_plaintext_credentials"):
        form = {"token": token, "urls": "socks5h://1.1.1.1:1", field: "x"}
        assert (await browser.post(f"{browser.base}relays", form))[0] == 400
    await browser.post(f"{browser.base}relays", {"token": token, "urls": 'a:1"\npassword_cmd = "touch /tmp/x"'})
    assert text_of(world) == CONFIG


async def test_relays_are_moved_and_the_focus_stays_on_the_row(world: World, browser: Browser) -> None:
    place = await browser.send("relays/edit", relay="late", do="up")
    assert names(world) == ["tor", "late", "vps"]
    html = (await browser.get(browser.base + place))[1]
    assert "late is now relay 2 in the order." in html
    assert focused(html) == "Up: late"
    place = await browser.send("relays/edit", relay="late", do="up")
    assert names(world) == ["late", "tor", "vps"]
    assert focused((await browser.get(browser.base + place))[1]) == "Down: late", "it cannot go further up"
    for _ in range(2):
        place = await browser.send("relays/edit", relay="late", do="down")
    assert text_of(world) == CONFIG, "back as it was, byte for byte"
    assert focused((await browser.get(browser.base + place))[1]) == "Up: late"
    assert world.reloads == 4


async def test_relays_are_disabled_and_enabled(world: World, browser: Browser) -> None:
    place = await browser.send("relays/edit", relay="tor", do="disable")
    assert [relay.enabled for relay in world.settings.relay] == [False, True, False]
    html = (await browser.get(browser.base + place))[1]
    assert focused(html) == "Enable: tor"
    assert "tor is not used any more. Other settings still name it:" in html
    assert "(group eu)" in html
    await browser.send("relays/edit", relay="tor", do="enable")
    assert world.settings.relay[0].enabled


async def test_a_removal_is_undone(world: World, browser: Browser) -> None:
    world.rules = ""
    world.overrides_changed()
    place = await browser.send("relays/edit", relay="vps", do="remove")
    assert names(world) == ["tor", "late"]
    assert SECRET not in text_of(world)
    html = (await browser.get(browser.base + place))[1]
    assert "<button autofocus>Undo the removal of vps</button>" in html
    assert SECRET not in html
    place = await browser.send("relays/undo", relays="vps")
    assert text_of(world) == CONFIG
    html = (await browser.get(browser.base + place))[1]
    assert focused(html) == "Remove: vps"
    assert "Undo the removal" not in html
    assert "There is no removal to undo." in await refused(browser, "relays/undo")


async def test_an_older_page_restores_no_other_relay_than_its_button_names(world: World, browser: Browser) -> None:
    world.rules = ""
    world.overrides_changed()
    await add(browser, "socks5h://127.0.0.1:1080#mine")
    await browser.send("relays/edit", relay="vps", do="remove")
    (older,) = re.findall(r'name="relays" value="([^"]*)"', (await browser.get(f"{browser.base}relays"))[1])
    await browser.send("relays/edit", relay="mine", do="remove")
    html = await refused(browser, "relays/undo", relays=older)
    assert "Another relay was removed since." in html
    assert "Undo the removal of mine" in html
    assert names(world) == ["tor", "late"]


async def test_an_undo_that_is_posted_twice_undoes_once(world: World, browser: Browser) -> None:
    """As with a double click: the first answer is thrown away by the browser, so the second must not be an error about
    the relay that is back."""
    world.rules = ""
    world.overrides_changed()
    await browser.send("relays/edit", relay="vps", do="remove")
    form = {"token": await browser.token(), "relays": "vps"}
    answers = await asyncio.gather(*(browser.post(f"{browser.base}relays/undo", form) for _ in range(2)))
    assert sorted(status for status, _ in answers) == [303, 409]
    assert all("exists already" not in text for _, text in answers)
    assert text_of(world) == CONFIG


async def test_what_is_needed_is_not_removed(world: World, browser: Browser) -> None:
    world.overrides["b.example"] = Override(Action.RELAY, "vps")
    world.overrides_changed()
    html = await refused(browser, "relays/edit", relay="vps", do="remove")
    assert "rules.txt:1 (DOMAIN,a.example,RELAY:vps); override (site set b.example RELAY:vps). Change" in html
    assert "(group eu)" in await refused(browser, "relays/edit", relay="tor", do="remove")
    assert text_of(world) == CONFIG


@pytest.mark.parametrize(("relay", "do"), [("nobody", "up"), ("tor", "exec"), ("", "remove"), ("tor/x", "disable")])
async def test_a_form_that_no_page_has(world: World, browser: Browser, relay: str, do: str) -> None:
    await refused(browser, "relays/edit", relay=relay, do=do)
    assert text_of(world) == CONFIG


async def test_a_faulty_file_is_named_with_its_line_and_stays(world: World, browser: Browser) -> None:
    assert world.path is not None
    world.path.write_text(CONFIG + "[log]\nhostes = 1\n")
    for form in ({"relay": "tor", "do": "down"}, {"relay": "vps", "do": "remove"}):
        assert f"{world.path}:24: " in await refused(browser, "relays/edit", **form)
    html = await refused(browser, "relays", urls="socks5h://1.1.1.1:1080")
    assert f"{world.path}:24: " in html
    assert ">socks5h://1.1.1.1:1080</textarea>" in html
    assert text_of(world) == CONFIG + "[log]\nhostes = 1\n"


async def test_what_the_running_byway_cannot_use_is_taken_back(world: World, browser: Browser) -> None:
    world.problems = ["rules.txt:3: unknown action"]
    html = await refused(browser, "relays/edit", relay="tor", do="down")
    assert "Nothing was changed, because Byway could not use the result: rules.txt:3: unknown action" in html
    assert text_of(world) == CONFIG
    assert world.reloads == 2


async def test_each_result_of_a_test_is_sent(world: World, browser: Browser) -> None:
    form = {"token": await browser.token(), "relay": ""}
    status, html = await browser.post(f"{browser.base}relays/test", form)
    assert status == 200
    assert "through 2 relays" in html
    assert html.index("<ol") < html.index("tor") < html.index("</ol>") < html.index("0 of 2 relays work.")
    assert html.count("<li>") >= 2
    assert "refuses this destination" in html
    assert html.rstrip().endswith("</html>")
    one = (await browser.post(f"{browser.base}relays/test", {**form, "relay": "vps", "do": "test"}))[1]
    assert "0 of 1 relay works." in one
    assert "relays?row=vps&amp;did=test" in one
    assert "is disabled" in await refused(browser, "relays/test", relay="late")
    assert "unknown relay" in await refused(browser, "relays/test", relay="nobody")


async def test_a_relay_of_a_group_is_selected(world: World, browser: Browser) -> None:
    await browser.send("relays/edit", relay="late", do="enable")
    await browser.send("relays/group", group="eu", use="late")
    assert world.groups.selected["eu"] == "late"
    assert "Group eu uses late." in await browser.text("relays")
    token = await browser.token()
    for group, use in (("eu", "vps"), ("tor", "tor"), ("", "")):
        form = {"token": token, "group": group, "use": use}
        assert (await browser.post(f"{browser.base}relays/group", form))[0] == 400


async def test_handshakes_hour_by_hour(world: World, browser: Browser) -> None:
    assert "No visits through a relay in the last 24 hours." in await browser.text("relays")
    now = time.time()
    for taken in (0.2, 0.4, 0.6):
        world.see(outcome(replace(delivered(TOR), evidence=as_evidence({"opened_s": taken})), at=now))
    world.see(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), delivered(TOR), at=now - 3600))
    world.store.flush()
    text = await browser.text("relays")
    assert "tor opened paths in 400 ms (median), 8 of 10 of them in 200 ms to 600 ms. No visit failed at it." in text
    assert "The top of each chart is 600 ms." in text
    assert "vps: no handshake was measured. 1 visit failed at it, in the hour from" in text
    assert " 200 ms 400 ms 600 ms 3 0 " in text
    html = (await browser.get(f"{browser.base}relays"))[1]
    assert html.count("url(#relay)") == 1
    assert html.count("url(#failed)") == 1


def test_charts_of_many_relays_share_a_scale_and_the_least_used_are_left_out() -> None:
    def hours(number: int) -> RelayHours:
        return RelayHours(f"r{number}", [[]] * 23 + [[0.1 * (number + 1)]], [0] * 23 + [9], [0] * 24)

    view = handshakes_view([hours(number) for number in range(CHARTS + 3)], 1e9)
    assert [chart.relay for chart in view.charts] == [f"r{number}" for number in range(CHARTS)]
    assert view.scale == "The top of each chart is 800 ms."
    assert view.more == "3 relays with fewer visits are left out."
    heights = [re.findall(r'#middle\)" x="[^"]+" y="([^"]+)"', str(chart.picture)) for chart in view.charts]
    assert [float(y) for (y,) in heights] == sorted((float(y) for (y,) in heights), reverse=True)
    assert all(len(chart.rows) == 1 for chart in view.charts)


async def test_no_password_of_the_file_is_on_the_page(browser: Browser) -> None:
    assert SECRET not in (await browser.get(f"{browser.base}relays"))[1]
