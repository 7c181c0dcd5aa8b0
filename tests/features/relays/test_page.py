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
from proxy.detect.relay_faults import RelayFault
from proxy.features.relays import adding_page
from proxy.model import Action, Belief, Change, Override, Stage, State, Symptom, as_evidence
from proxy.model.feature import Feature
from proxy.probe.local_proxies import KnownPort, Listener
from proxy.wire.relay_url import RelayKind
from tests.support.control_world import SECRET, World
from tests.support.dashboard import Browser
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome
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


class Everything(list[str]):
    """Has every name."""

    def __contains__(self, name: object) -> bool:
        return True


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    rules = "DOMAIN,a.example,RELAY:vps\n"
    world = World(
        settings=load(file).settings, path=file, reads_file=True, rules=rules, features=features, working=Everything()
    )
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
    form = {"token": await browser.token(), "urls": urls, "do": "add", **({"name-0": name} if name else {})}
    status, html = await browser.post(f"{browser.base}relays", form)
    assert status == 200, html
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


async def test_pasted_relays_are_added_tested_and_used(world: World, browser: Browser) -> None:
    tested = await add(browser, "socks5h://127.0.0.1:9150#Tor Browser\r\n\r\n# mine\r\n1.1.1.1:1080\r\n")
    assert names(world) == ["tor", "vps", "late", "Tor-Browser", "relay-1-1-1-1"]
    assert world.reloads == 1
    assert text_of(world).startswith(CONFIG.partition("[[group]]")[0])
    assert "Added: Tor-Browser, relay-1-1-1-1." in tested
    assert re.search(r"Tor-Browser : ✓ works .* relay-1-1-1-1 : ✓ works ", tested)


async def test_a_relay_has_the_name_that_it_is_given(world: World, browser: Browser) -> None:
    assert "Added: friend." in await add(browser, "1.1.1.1:1080", " friend ")
    assert names(world)[-1] == "friend"
    before = text_of(world)
    for urls, name, sentence in (
        ("1.1.1.2:1080", "tor", "a relay or group tor exists already"),
        ("1.1.1.2:1080", "two words", "name has 1 to 32 letters"),
        ("1.1.1.2:1080\n1.1.1.3:1080#tor-2", "tor-2", "a relay or group tor-2 exists already"),
    ):
        html = await refused(browser, "relays", urls=urls, **{"name-0": name})
        assert sentence in html
        assert f'value="{name}"' in html
        assert text_of(world) == before


async def test_a_password_in_the_clear_is_asked_about_and_sent_once_it_is_allowed(
    world: World, browser: Browser
) -> None:
    pasted = "tg://socks?server=relay.example&port=1080&user=me&pass=p%40ss"
    place = await browser.send("relays", urls=pasted, **{"name-0": "shop", "unencrypted-0": "no"})
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
    form = {"token": await browser.token(), "urls": "socks5://127.0.0.1:9050", "do": "add"}
    assert "is there already: tor" in (await browser.post(f"{browser.base}relays", form))[1]
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


async def test_of_several_lines_those_that_are_none_are_left_out_once_they_were_seen(
    world: World, browser: Browser
) -> None:
    pasted = "socks5h://1.1.1.1:1080\nnonsense\nsocks5h://10.0.0.1:1080\n"
    html = await refused(browser, "relays", urls=pasted)
    assert "2: the port is missing" in html
    assert "These lines are left out." in html
    assert f">{pasted}</textarea>" in html
    assert text_of(world) == CONFIG
    form = {"token": await browser.token(), "urls": pasted, "do": "add", "seen": "1"}
    assert "Added: relay-1-1-1-1." in (await browser.post(f"{browser.base}relays", form))[1]
    assert names(world) == ["tor", "vps", "late", "relay-1-1-1-1"]


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


async def test_the_card_says_how_a_relay_did(world: World, browser: Browser) -> None:
    assert "tor · not tested " in await browser.text("relays")
    now = time.time()
    for taken in (0.2, 0.4, 0.6):
        world.see(outcome(replace(delivered(TOR), evidence=as_evidence({"opened_s": taken})), at=now))
    world.see(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), delivered(TOR), at=now - 3600))
    world.store.flush()
    text = await browser.text("relays")
    assert "Good: 100 % of 4 visits, 400 ms." in text
    html = (await browser.get(f"{browser.base}relays"))[1]
    assert 'aria-label="tor: Last 48 hours: 4 of 4 visits worked."' in html
    assert 'aria-label="vps: Last 48 hours: 0 of 1 visits worked."' in html
    assert html.count("1 of 1 visits worked</title>") == 1
    assert html.count("3 of 3 visits worked</title>") == 1
    assert html.count("not used, or not recorded</title>") >= 3
    for relay in ("tor", "vps"):
        cells = html[html.index(f'aria-label="{relay}: Last') :]
        cells = cells[: cells.index("</svg>")]
        assert ("url(#failed)" in cells) is (relay == "vps")


async def test_a_good_relay_is_good_after_a_restart_and_a_bad_one_bad(world: World, browser: Browser) -> None:
    """Faults are forgotten then, and on another network; the visits are kept."""
    now = time.time()
    for _ in range(8):
        world.see(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), delivered(TOR), at=now - 3600))
    world.store.flush()
    world.health.clear_faults()
    world.health.keep([])
    text = await browser.text("relays")
    assert "1 of 2 relays in use fails: vps." in text
    assert "Good: 100 % of 8 visits." in text
    assert "8 of 8 visits failed in 24 hours." in text


async def test_the_sites_that_a_relay_opens_are_counted_and_listed_on_demand(world: World, browser: Browser) -> None:
    now = time.time()
    for number in range(60):
        held = Belief(
            f"s{number:02}.example", HOME, State.BLOCKED, "sni_reset", score=4.0, since=now, until=now + 9e5,
            last_good="tor" if number < 53 else "direct|tlsrec", last_good_at=now, scored_at=now, signal_at=now,
        )  # fmt: skip
        world.store.believe([Change(now, held.scope, HOME, State.UNKNOWN, held.state, held.cause, "", held)])
    world.store.flush()
    assert "Opens 53 sites that direct does not" in await browser.text("relays")
    text = await browser.text("relays/one?name=tor")
    assert text.count(".example , today") == 50
    assert "Page 1 of 2" in text
    assert (await browser.text("relays/one?name=tor&page=2")).count(".example , today") == 3
    assert "None is known on this network." in await browser.text("relays/one?name=vps")
    assert (await browser.get(f"{browser.base}relays/one?name=nobody"))[0] == 404
    assert (await browser.get(f"{browser.base}relays/one?name=tor&page=x"))[0] == 400


async def version(browser: Browser) -> str:
    found = re.search(r'name="version" value="([^"]+)"', (await browser.get(f"{browser.base}relays"))[1])
    assert found is not None
    return found[1]


async def test_the_order_of_a_page_is_posted_as_a_whole(world: World, browser: Browser) -> None:
    older = await version(browser)
    await browser.send("relays/order", order="late tor vps", version=older)
    assert names(world) == ["late", "tor", "vps"]
    # Another tab, with the page as it was before.
    html = await refused(browser, "relays/order", order="vps tor late", version=older)
    assert "The configuration was edited since you opened this page. Nothing was changed." in html
    assert names(world) == ["late", "tor", "vps"]
    await browser.send("relays/order", order="tor late", version=await version(browser))
    assert names(world) == ["tor", "late", "vps"], "the others keep their places"
    await refused(browser, "relays/order", order="nobody tor", version=await version(browser))
    await refused(browser, "relays/order", order="vps tor", version="")
    assert names(world) == ["tor", "late", "vps"]


async def test_a_relay_is_renamed_with_its_past(world: World, browser: Browser) -> None:
    world.see(outcome(delivered(TOR), at=time.time() - 60))
    world.store.flush()
    older = await version(browser)
    await browser.send("relays/name", relay="tor", name="onion", version=older)
    assert names(world) == ["onion", "vps", "late"]
    assert 'relays = ["onion", "late"]' in text_of(world)
    assert 'aria-label="onion: Last 48 hours: 1 of 1 visits worked."' in (await browser.get(f"{browser.base}relays"))[1]
    assert world.health.of("onion").worked_at
    assert "edited since" in await refused(browser, "relays/name", relay="onion", name="x", version=older)
    for new in ("vps", "eu", "a b", ""):
        html = await refused(browser, "relays/name", relay="onion", name=new, version=await version(browser))
        assert "exists already" in html or "name has 1 to 32" in html
    html = await refused(browser, "relays/name", relay="vps", name="x", version=await version(browser))
    assert "vps was not renamed, because other settings name it: rules.txt:1" in html
    assert names(world) == ["onion", "vps", "late"]


@pytest.fixture
def shop(world: World) -> World:
    """A relay that refuses its password."""
    assert world.path is not None
    world.path.write_text(
        CONFIG.replace(f"https://user:{SECRET}@", "https://shop:old@").replace('password_cmd = "echo no"\n', "")
    )
    world.settings = load(world.path).settings
    world.overrides_changed()
    world.health.failed("vps", time.time(), error="407", fault=RelayFault.CREDENTIALS_REFUSED)
    return world


async def test_a_password_that_is_refused_is_entered_and_tested_and_never_shown(shop: World, browser: Browser) -> None:
    status, html = await browser.get(f"{browser.base}relays")
    assert status == 200
    assert "Enter the password" in html
    assert 'name="user" value="shop"' in html
    led = (await browser.get(f"{browser.base}relays?row=vps&did=password"))[1]
    assert re.search(r'name="password" type="password"[^>]* autofocus>', led)
    form = {
        "token": await browser.token(),
        "relay": "vps",
        "user": "shop",
        "password": "n3w:p@ss/?",
        "version": await version(browser),
    }
    status, html = await browser.post(f"{browser.base}relays/password", form)
    assert status == 200
    assert "vps has another user and password." in html
    assert 'url = "https://shop:n3w%3Ap%40ss%2F%3F@relay.example:443"' in text_of(shop)
    for page in (
        html,
        (await browser.get(f"{browser.base}relays"))[1],
        (await browser.get(f"{browser.base}relays/one?name=vps"))[1],
    ):
        assert "n3w" not in page
    again = {**form, "password": "other"}
    status, html = await browser.post(f"{browser.base}relays/password", again)
    assert status == 409
    assert "other" not in html.partition("<main")[2].replace("other settings", "").replace("another", "")
    assert (await browser.get(f"{browser.base}relays/password"))[0] == 405


async def test_a_password_in_the_clear_has_to_be_allowed_with_it(world: World, browser: Browser) -> None:
    await browser.send("relays/name", relay="late", name="clear", version=await version(browser))
    await browser.send("relays/edit", relay="clear", do="enable")
    form = {"relay": "clear", "user": "me", "password": "pw", "version": await version(browser)}
    status, _ = await browser.post(f"{browser.base}relays/password", {"token": await browser.token(), **form})
    assert status == 200
    assert "allow_plaintext_credentials" not in text_of(world)
    form["version"] = await version(browser)
    form["unencrypted"] = "yes"
    status, _ = await browser.post(f"{browser.base}relays/password", {"token": await browser.token(), **form})
    assert status == 200
    assert "allow_plaintext_credentials = true" in text_of(world)


async def test_a_password_is_taken_by_no_relay_that_has_none(world: World, browser: Browser) -> None:
    assert 'aria-label="Save the password and test: vps"' not in (await browser.get(f"{browser.base}relays"))[1]
    form = {"relay": "vps", "user": "me", "password": "hunter2", "version": await version(browser)}
    html = await refused(browser, "relays/password", **form)
    assert "the password of vps comes from its password_cmd" in html
    assert "hunter2" not in html
    assert "a password needs a user" in await refused(
        browser, "relays/password", **{**form, "relay": "tor", "user": ""}
    )
    assert text_of(world) == CONFIG


async def test_what_is_understood_is_shown_before_it_is_tested(world: World, browser: Browser) -> None:
    pasted = "“socks5h://1.1.1.1:1080”\n1.1.1.2:1080:me:s3cret\nnonsense\nhttps://u:s3cret@h.example:443#Berlin"
    for path, part in (("relays", {"do": "preview"}), ("relays/check", {"part": "1"})):
        form = {"token": await browser.token(), "urls": pasted, **part}
        status, html = await browser.post(f"{browser.base}{path}", form)
        assert status == 200
        shown = html.replace(pasted.replace("&", "&amp;"), "")  # the field still has it
        assert "Understood: 3 relays." in shown
        assert "socks5h://me:***@1.1.1.2:1080" in shown
        assert "(written in another way)" in shown
        assert 'value="Berlin"' in shown
        assert "These lines are left out." in shown
        assert shown.count("Send its user and password unencrypted?") == 1
        assert "s3cret" not in shown
    assert text_of(world) == CONFIG


async def test_a_question_about_a_password_needs_an_answer(world: World, browser: Browser) -> None:
    form = {"token": await browser.token(), "urls": "1.1.1.2:1080:me:s3cret", "do": "add", "name-0": "shop"}
    status, html = await browser.post(f"{browser.base}relays", form)
    assert status == 400
    assert "Say whether the password may be sent unencrypted: shop." in html
    assert 'name="name-0" value="shop"' in html
    assert text_of(world) == CONFIG
    status, html = await browser.post(f"{browser.base}relays", {**form, "unencrypted-0": "yes"})
    assert status == 200
    assert "Added: shop." in html
    assert "allow_plaintext_credentials = true" in text_of(world)


async def test_a_relay_that_fails_its_test_is_saved_only_if_that_is_wanted(world: World, browser: Browser) -> None:
    world.working = ["good"]
    text = await add(browser, "1.1.1.1:1#good\n1.1.1.1:2#bad\n1.1.1.1:3#worse")
    assert "Added: good." in text
    assert "2 relays are not saved." in text
    assert names(world) == ["tor", "vps", "late", "good"]
    assert "Tested today" in await browser.text("relays")
    form = {"token": await browser.token(), "urls": "1.1.1.1:2#bad", "do": "add"}
    html = (await browser.post(f"{browser.base}relays", form))[1]
    (ident,) = re.findall(r'name="id" value="([0-9a-f]+)"', html)
    async with browser.pages.signed_in() as other:
        await refused(other, "relays/anyway", id=ident, relay="bad")
    await refused(browser, "relays/anyway", id=ident, relay="worse")
    await browser.send("relays/anyway", id=ident, relay="bad")
    assert names(world)[-1] == "bad"
    assert "Paste it again." in await refused(browser, "relays/anyway", id=ident, relay="bad")


async def test_a_subscription_is_recognized_saved_and_fetched(world: World, browser: Browser) -> None:
    address = "https://shop.example/sub/hunter2"
    form = {"token": await browser.token(), "urls": address, "part": "1"}
    shown = (await browser.post(f"{browser.base}relays/check", form))[1]
    assert "a subscription of shop.example" in shown
    assert "hunter2" not in shown
    form = {"token": await browser.token(), "urls": address, "do": "add", "name-0": "mine"}
    status, html = await browser.post(f"{browser.base}relays", form)
    assert status == 200
    assert "Fetching subscription mine" in html
    assert f'source = "{address}"' in text_of(world)
    for near in ("https://192.168.1.1/sub", "https://localhost/sub/x", "https://printer.lan/sub"):
        assert "a page may not connect there" in await refused(browser, "relays", urls=near, do="add")


async def test_proxies_on_this_computer_are_found_and_shown_as_if_pasted(world: World, browser: Browser) -> None:
    def listeners(*_: object, **__: object) -> list[Listener]:
        return [
            Listener(KnownPort(1080, "ssh"), RelayKind.SOCKS5H, is_proxy=True),
            Listener(KnownPort(9050, "tor"), RelayKind.SOCKS5H, is_proxy=True),
            Listener(KnownPort(8080, "web"), RelayKind.HTTP),
            Listener(KnownPort(3128, "squid"), RelayKind.HTTP, is_proxy=True, wants_user=True),
        ]

    async def find(*_: object, **__: object) -> list[Listener]:
        return listeners()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adding_page, "find_listeners", find)
        status, html = await browser.post(f"{browser.base}relays/scan", {"token": await browser.token()})
    assert status == 200
    assert "2 proxies were found on this computer. 1 relay here is configured already." in html
    assert "These ports want a user and a password: 3128." in html
    assert ">socks5h://127.0.0.1:1080#ssh</textarea>" in html
    assert 'name="name-0" value="ssh"' in html
    assert text_of(world) == CONFIG


async def test_no_password_of_the_file_is_on_the_page(browser: Browser) -> None:
    assert SECRET not in (await browser.get(f"{browser.base}relays"))[1]
