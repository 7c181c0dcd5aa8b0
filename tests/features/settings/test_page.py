"""The page of the settings: what it changes in the configuration file, what it never changes, and what it forgets."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.load import load
from proxy.config.schema import Settings
from proxy.control.dashboard import sign_in
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.features.settings.page import GROUPS, SETTINGS, parse_settings, settings_fields
from proxy.model.feature import Feature
from proxy.net.named_programs import Holder
from proxy.store.forgetting import Forgotten
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.outcomes import rescued

CONFIG = f"""\
# Mine.
[log]
hosts = "all"  # for now

[networks]
office = "{"a" * 16}"
"""


@pytest.fixture
def world(tmp_path: Path, features: Sequence[Feature]) -> Iterator[World]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    world = World(settings=load(file).settings, path=file, reads_file=True, rules="", features=features)
    yield world
    world.close()


def text_of(world: World) -> str:
    assert world.path is not None
    return world.path.read_text()


def form_of(world: World, **changed: str) -> dict[str, str]:
    """What the page posts. A name has two underscores in the place of its dot."""
    texts = {field.setting.name: field.text for field in settings_fields(world.settings, {}, {}, {})}
    return texts | {name.replace("__", "."): text for name, text in changed.items()}


async def refused(browser: Browser, path: str, **form: str) -> str:
    status, html = await browser.post(browser.base + path, {"token": await browser.token(), **form})
    assert status in (400, 409), html
    return html


async def test_settings_are_changed_in_the_file(world: World, browser: Browser) -> None:
    text = await browser.text("settings")
    assert "1 setting differs from its default: Log sites by name." in text
    form = form_of(world, log__keep_days="3", auto__never_relay="bank.example, *.gov.kz", desktop__notify="off")
    assert await browser.send("settings", **form) == "settings"
    assert (world.settings.log.keep_days, world.settings.desktop.notify) == (3, False)
    assert world.settings.auto.never_relay == ("bank.example", "gov.kz")
    assert text_of(world).startswith('# Mine.\n[log]\nhosts = "all"  # for now\nkeep_days = 3\n')
    text = await browser.text("settings")
    assert "Changed: Never through a relay, Days to keep, Notifications." in text
    assert "4 settings differ" in text
    assert "default: on" in text
    await browser.send("settings", **form_of(world, log__keep_days="14", log__hosts="decisions"))
    assert world.settings.log.keep_days == 14
    assert "keep_days" not in text_of(world), "a default is not written"


async def test_nothing_is_written_when_nothing_changes(world: World, browser: Browser) -> None:
    await browser.send("settings", **form_of(world))
    assert "Nothing was changed." in await browser.text("settings")
    assert text_of(world) == CONFIG
    assert not world.reloads


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("log__keep_days", "-1", "log.keep_days must be"),
        ("log__keep_days", "many", "log.keep_days must be"),
        ("log__keep_days", "nan", "log.keep_days must be"),
        ("log__hosts", "al", "did you mean &#34;all&#34;?"),
        ("auto__ladder", "doh, magic", "auto.ladder"),
        ("auto__never_relay", "no..name", "auto.never_relay"),
        ("auto__retest", "1", "auto.retest must be"),
        ("limits__drain_s", "1e999", "limits.drain_s must be"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_lost(
    world: World, browser: Browser, name: str, text: str, sentence: str
) -> None:
    form = form_of(world, ui__language="ru", **{name: text})
    html = await refused(browser, "settings", **form)
    assert sentence in html
    if name not in ("log__hosts", "auto__retest"):
        assert f'value="{text}"' in html
    assert '<option value="ru" selected' in html
    assert text_of(world) == CONFIG
    token = await browser.token()
    status, part = await browser.post(f"{browser.base}settings/check", {"token": token, **form, "part": "1"})
    assert (status, sentence in part) == (200, True)
    assert "<html" not in part


async def test_a_page_that_was_opened_before_another_change_takes_nothing_of_it_back(
    world: World, browser: Browser
) -> None:
    """An old tab has a text in every field. Only what its user typed is a change: also after an error, and beside a
    change in the file."""
    opened = await posted_by(browser)
    assert await browser.send("settings", **{**opened, "log.hosts": "off"}) == "settings"
    html = await refused(browser, "settings", **{**opened, "ui.language": "ru", "log.keep_days": "-1"})
    again = fields_of(html)
    assert again["log.hosts"] == "all"
    assert world.path is not None
    world.path.write_text(world.path.read_text().replace("[log]\n", "[auto]\nretest = false\n\n[log]\n"))
    await world.parts.reload()
    await browser.send("settings", **{**again, "log.keep_days": "3"})
    settings = world.settings
    assert (settings.log.hosts, settings.auto.retest) == ("off", False), "what others changed stays"
    assert (settings.ui.language, settings.log.keep_days) == ("ru", 3)


async def posted_by(browser: Browser) -> dict[str, str]:
    """What the form of the page posts when nothing is typed."""
    return fields_of((await browser.get(f"{browser.base}settings"))[1])


def fields_of(html: str) -> dict[str, str]:
    form = html[html.index('data-check="settings/check"') :]
    form = form[: form.index("</form>")]
    inputs = re.findall(r'<input (?:id="[^"]*"|type="hidden") name="([^"]+)" value="([^"]*)"', form)
    selects = re.findall(r'<select [^>]*name="([^"]+)"[^>]*>.*?<option value="([^"]*)" selected', form)
    return {name: unescape(value) for name, value in [*inputs, *selects] if name != "token"}


async def test_settings_of_safety_are_not_on_the_page(world: World, browser: Browser) -> None:
    assert not {each.table for each in SETTINGS} & {"listen", "safety", "relay", "list", "addons", "networks", "detect"}
    keys = {each.key for each in SETTINGS}
    assert not keys & {"servers", "controls", "local", "hosts "} | {key for key in keys if key.endswith("cmd")}
    token = await browser.token()
    for name in ("safety.allow", "listen.address", "dns.servers", "dns.local", "auto.controls", "addons.x", "relay"):
        form = {"token": token, **form_of(world), name: "x"}
        assert (await browser.post(f"{browser.base}settings", form))[0] == 400
    assert text_of(world) == CONFIG


def test_every_setting_of_the_page_is_one_of_the_configuration() -> None:
    values, errors = parse_settings(form_of_defaults())
    assert errors == {}
    assert set(values) == {each.name for each in SETTINGS}
    for field in settings_fields(Settings(), {}, {}, {}):
        assert not field.differs
        if field.setting.choices is not None:
            assert field.text in field.setting.choices


def form_of_defaults() -> dict[str, str]:
    return {field.setting.name: field.text for field in settings_fields(Settings(), {}, {}, {})}


async def test_what_the_command_line_fixes_cannot_be_changed(world: World, browser: Browser) -> None:
    world.sources = {"log.keep_days": "environment BYWAY_LOG__KEEP_DAYS"}
    world.overrides_changed()
    _, html = await browser.get(f"{browser.base}settings")
    assert "Fixed by environment BYWAY_LOG__KEEP_DAYS while Byway runs." in html
    assert re.search(r'name="log.keep_days"[^>]* disabled>', html)
    await browser.send("settings", **form_of(world, log__keep_days="3"))
    assert text_of(world) == CONFIG


async def test_a_file_that_is_faulty_is_named(world: World, browser: Browser) -> None:
    assert world.path is not None
    world.path.write_text(CONFIG + "[auto]\nretests = 1\n")
    html = await refused(browser, "settings", **form_of(world, log__keep_days="3"))
    assert f"{world.path}:8: unknown key" in html
    assert 'value="3"' in html


async def test_forgetting_is_asked_for_first(world: World, browser: Browser) -> None:
    world.see(rescued(host="new.example.org", at=time.time()))
    text = await browser.text("forget?what=host&value=%20New.Example.org")
    assert "Delete what is stored about new.example.org and its subdomains?" in text
    assert not world.forgotten
    assert await browser.send("forget", what="host", value="new.example.org") == "settings"
    text = await browser.text("settings")
    assert "Deleted from the log, the stored status and the caches." in text
    assert "Also deleted: interrupted tests." in text
    assert "Delete what was learned and logged on office?" in await browser.text(
        f"forget?what=network&value={'a' * 16}"
    )
    assert await browser.send("forget", what="network", value="a" * 16) == "networks"
    assert world.forgotten == [Forgotten("new.example.org"), Forgotten(network="a" * 16)]
    for query in ("", "?what=disk", "?what=host&value=no..name", "?what=network", "?what=host"):
        assert (await browser.get(f"{browser.base}forget{query}"))[0] == 400
    for form in ({}, {"what": "all", "path": "/"}, {"what": "network"}):
        assert (await browser.post(f"{browser.base}forget", {"token": await browser.token(), **form}))[0] == 400


async def test_to_forget_everything_signs_out(world: World, browser: Browser) -> None:
    status, text = await browser.post(f"{browser.base}forget", {"token": await browser.token(), "what": "all"})
    assert status == 200
    assert "Deleted from the log, the stored status and the caches." in text
    assert "Also deleted: interrupted tests." in text
    assert "Signed out" in text
    assert world.forgotten == [Forgotten()]
    assert (await browser.get(browser.base))[0] == 401


@pytest.mark.uses("addons")
async def test_an_addon_is_enabled_and_disabled(world: World, browser: Browser) -> None:
    a, b = (AddonFile(name, Path(f"/home/me/{name}.py"), shipped=False, enabled=name == "b") for name in "ab")
    world.addons = (AddonState(a), AddonState(b, running="1", since=time.time()))
    html = (await browser.get(f"{browser.base}addons"))[1]
    assert 'value="enable" aria-label="Enable: a"' in html
    assert 'value="disable" aria-label="Disable: b"' in html
    await browser.send("addons", addon="a", do="enable")
    await browser.send("addons", addon="b", do="disable")
    assert {name: addon.enabled for name, addon in world.settings.addons.items()} == {"a": True, "b": False}
    before = text_of(world)
    for form in ({"addon": "c", "do": "enable"}, {"addon": "../a", "do": "enable"}, {"addon": "a", "do": "run"}, {}):
        assert "there is no addon" in await refused(browser, "addons", **form)
    token = await browser.token()
    for field in ("options", "relay", "file"):
        form = {"token": token, "addon": "a", "do": "enable", field: "x"}
        assert (await browser.post(f"{browser.base}addons", form))[0] == 400
    assert text_of(world) == before


# -- programs that get relays ------------------------------------------------------------------------------------------

ENV = os.path.realpath(shutil.which("env") or "/usr/bin/env")
SLEEP = os.path.realpath(shutil.which("sleep") or "/usr/bin/sleep")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only")


def holder_of(path: str | Path) -> Holder:
    """What a process is that was started from this file."""
    status = os.stat(path)
    return Holder(str(path), status.st_dev, status.st_ino, status.st_uid, status.st_mode, 1, is_deleted=False)


def user_of(world: World, path: str | Path) -> str:
    """The id of a program on the list."""
    return next(each.id for each in world.port_users.newest_first() if each.program and each.program.path == str(path))


def programs_in(world: World) -> tuple[str, ...]:
    assert world.path is not None
    return load(world.path).settings.listen.programs


@linux_only
async def test_who_used_the_port_is_listed_with_who_of_them_gets_relays(
    world: World, browser: Browser, tmp_path: Path
) -> None:
    spy = tmp_path / "sleep"
    shutil.copy(SLEEP, spy)
    assert world.path is not None
    world.path.write_text(f'{CONFIG}\n[listen]\nprograms = ["sleep", "no-such-program"]\n')
    await world.parts.reload()
    assert "No program has used the port since Byway started." in await browser.text("settings")
    for holders in ((holder_of(SLEEP),), (holder_of(spy), holder_of(SLEEP)), None, ()):
        world.port_users.note(holders, time.time())
    text = await browser.text("settings")
    assert "Only these programs get relays: sleep, no-such-program." in text
    assert f"sleep ( {SLEEP} ) Take out" in text
    assert "no-such-program (not installed)" in text
    assert f"{SLEEP} ✓ gets relays" in text
    assert f"{spy} ⊘ gets none" in text
    assert "can be changed by your user" in text, "why it cannot be let in"
    assert "a program that cannot be found out ⊘ gets none" in text
    assert "another computer ⊘ gets none" in text


@linux_only
async def test_a_program_that_used_the_port_is_let_in_and_taken_out_again(world: World, browser: Browser) -> None:
    for path in (SLEEP, ENV):
        world.port_users.note((holder_of(path),), time.time())
    assert "All programs on this computer get your relays by this port." in await browser.text("settings")
    assert await browser.send("settings/programs", program=user_of(world, SLEEP)) == "settings"
    assert programs_in(world) == (SLEEP,)
    assert f"{SLEEP} gets relays from its next connection on." in await browser.text("settings")
    await browser.send("settings/programs", program=user_of(world, ENV))
    assert programs_in(world) == (SLEEP, ENV)
    assert "It runs what other programs tell it" in await browser.text("settings")
    await browser.send("settings/programs", program=user_of(world, ENV))
    assert programs_in(world) == (SLEEP, ENV)
    await browser.send("settings/programs/out", name=SLEEP)
    assert programs_in(world) == (ENV,)
    assert "It is the last one" in await refused(browser, "settings/programs/out", name=ENV)
    assert programs_in(world) == (ENV,)
    assert text_of(world).startswith("# Mine.\n")


@linux_only
async def test_a_browser_that_signed_in_long_ago_lets_no_program_in(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.port_users.note((holder_of(SLEEP),), time.time())
    assert "This needs a sign-in of the last" not in await browser.text("settings")
    monkeypatch.setattr(sign_in, "FRESH_S", 0.0)  # five minutes later
    assert "This needs a sign-in of the last" in await browser.text("settings")
    form = {"token": await browser.token(), "program": user_of(world, SLEEP)}
    status, html = await browser.post(f"{browser.base}settings/programs", form)
    assert status == 403
    assert "This needs a sign-in of the last" in html
    assert not programs_in(world)
    assert not world.reloads


@linux_only
async def test_a_form_names_no_path_and_a_file_that_was_exchanged_is_not_let_in(
    world: World, browser: Browser, tmp_path: Path
) -> None:
    gone, exchanged = tmp_path / "gone", replace(holder_of(SLEEP), inode=1)
    shutil.copy(SLEEP, gone)
    world.port_users.note((holder_of(gone),), time.time())
    gone.unlink()
    world.port_users.note((exchanged,), time.time())
    assert "Byway finds another file at this path, or none." in await browser.text("settings")
    for program in (user_of(world, gone), user_of(world, SLEEP), SLEEP, "", "0" * 16):
        await refused(browser, "settings/programs", program=program)
    token = await browser.token()
    for form in ({"program": user_of(world, SLEEP), "path": SLEEP}, {"token": "0" * 32, "program": "x"}):
        assert (await browser.post(f"{browser.base}settings/programs", {"token": token, **form}))[0] in (400, 403)
    assert not programs_in(world)


@linux_only
async def test_without_the_setting_the_programs_of_open_connections_are_shown_and_looked_up_for_the_page_alone(
    world: World, browser: Browser
) -> None:
    class Open:
        open_connection = SimpleNamespace(request=SimpleNamespace(client="127.0.0.1:5000"))

    world.open_connections.entries[1] = cast(Any, Open())
    world.programs.held["127.0.0.1:5000"] = (holder_of(SLEEP),)
    assert f"{SLEEP} ✓ gets relays" in await browser.text("settings")
    assert world.programs.asked == ["127.0.0.1:5000"]
    assert 'aria-label="Let in: ' in (await browser.get(f"{browser.base}settings"))[1]
    await browser.send("settings/programs", program=user_of(world, SLEEP))
    asked = len(world.programs.asked)
    await browser.text("settings")
    assert len(world.programs.asked) == asked, "with the setting, each client's program is known"


@linux_only
async def test_a_setting_of_the_environment_is_not_changed_in_the_file(world: World, browser: Browser) -> None:
    world.port_users.note((holder_of(SLEEP),), time.time())
    world.sources = {"listen.programs": "environment BYWAY_LISTEN__PROGRAMS"}
    world.overrides_changed()
    assert "Fixed by environment" in await refused(browser, "settings/programs", program=user_of(world, SLEEP))
    assert not programs_in(world)


def test_each_setting_stands_in_one_group() -> None:
    tables = [table for group in GROUPS.values() for table in group]
    assert sorted(tables) == sorted({each.table for each in SETTINGS})
