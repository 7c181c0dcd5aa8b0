"""A real Byway as the system proxy: of GNOME with the real gsettings on a session bus of its own, and of KDE, macOS and
Windows with stand-ins for their programs. Whatever ends Byway, what was set before comes back."""

from __future__ import annotations

import contextlib
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.setup.desktop.proxy_settings import (
    MODE,
    ONLY_PLACE,
    DesktopName,
    Gnome,
    Kde,
    MacOs,
    ProxySettings,
    Values,
    Windows,
)
from proxy.setup.desktop.system_proxy import is_in_use
from tests.support.byway import TYPED, Byway
from tests.support.desktops import run_in, session_bus, settings_in, stand_ins
from tests.support.waiting import until

pytestmark = pytest.mark.slow

CORPORATE = "http://corp.example/a.pac"
SOMEBODY_ELSES = "http://127.0.0.1:9999/proxy.pac"

BEFORE: Mapping[DesktopName, Mapping[str, Values]] = {
    DesktopName.GNOME: {ONLY_PLACE: {"autoconfig-url": CORPORATE, "http.host": "corp.example", MODE: "manual"}},
    DesktopName.KDE: {ONLY_PLACE: {"httpProxy": "http://corp.example 3128", MODE: "1"}},
    DesktopName.MACOS: {"USB 10/100 LAN": {"url": CORPORATE, "bypass": "*.corp.example\nintranet", MODE: "Yes No No"}},
    DesktopName.WINDOWS: {ONLY_PLACE: {"AutoConfigURL": CORPORATE, "ProxyServer": "corp.example:3128"}},
}
"""What each desktop has before, and gets back."""

_LOOK_S = 0.2
"""Between two looks at a desktop: each runs up to eleven of its programs."""


@dataclass
class Desk:
    """A desktop and a Byway that runs on it."""

    settings: ProxySettings
    byway: Byway
    before: Mapping[str, Values]

    @property
    def now(self) -> Mapping[str, Values]:
        """What it holds. An address of Byway's that is off stays on macOS, which has no way to remove one."""
        places = {place: dict(values) for place, values in self.settings.read().items()}
        if self.settings.name is DesktopName.MACOS:
            for values in places.values():
                for key, is_on in zip(("url", "web", "secureweb"), values[MODE].split(), strict=True):
                    if is_on == "No" and "127.0.0.1:" in values[key]:
                        values[key] = ""
        return places

    def holds(self, own: Values) -> bool:
        return all(is_in_use(values, own) for values in self.settings.read().values())

    @property
    def is_lenient(self) -> bool:
        return self.holds(self.settings.by_pac(f"{self.byway.url}/proxy.pac"))

    @property
    def is_strict(self) -> bool:
        return self.holds(self.settings.by_address("127.0.0.1", self.byway.port))

    async def becomes_lenient(self) -> None:
        await until(lambda: self.is_lenient, every_s=_LOOK_S)

    async def becomes_strict(self) -> None:
        await until(lambda: self.is_strict, every_s=_LOOK_S)

    async def turn_on(self) -> None:
        await self.byway.command("system", "on", "--desktop", self.settings.name)
        assert self.is_lenient

    def change_as_somebody_else(self) -> Mapping[str, Values]:
        for place in self.before:
            for key, value in self.settings.by_pac(SOMEBODY_ELSES).items():
                self.settings.write(place, key, value)
        return self.settings.read()


@contextlib.asynccontextmanager
async def desk(name: DesktopName, folder: Path, rules: str = "") -> AsyncIterator[Desk]:
    async with contextlib.AsyncExitStack() as stack:
        if name is DesktopName.GNOME:
            environment = await stack.enter_async_context(session_bus(folder))
        else:
            environment = stand_ins(folder)
        run = run_in(environment)
        all_settings: list[ProxySettings] = [Gnome(run), Kde(run, lambda program: program), MacOs(run), Windows(run)]
        settings = next(settings for settings in all_settings if settings.name is name)
        for place, values in BEFORE[name].items():
            for key, value in values.items():
                settings.write(place, key, value)
        async with Byway(folder, environment=environment, rules=rules) as byway:
            yield Desk(settings, byway, settings.read())


async def turned_on(desk: Desk) -> None:
    saved = desk.byway.state / "system-proxy.json"
    assert not saved.exists()
    await desk.turn_on()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    await desk.byway.command("system", "on", "--desktop", desk.settings.name)  # once more: what was before stays known
    assert {it["byway"] for it in (await desk.byway.read("system", "show"))["places"]} == {"lenient"}
    await desk.byway.command("system", "off")
    assert desk.now == desk.before


async def turned_off(desk: Desk) -> None:
    await desk.turn_on()
    assert (await desk.byway.read("system", "off"))["restored"] == "restored"
    assert desk.now == desk.before
    assert (await desk.byway.read("system", "off"))["restored"] == "nothing"
    assert not (desk.byway.state / "system-proxy.json").exists()


async def terminated(desk: Desk) -> None:
    await desk.turn_on()
    assert await desk.byway.stop(signal.SIGTERM) == 0
    assert desk.now == desk.before


async def killed(desk: Desk) -> None:
    """A service unit then runs `system off --if-dead`."""
    await desk.turn_on()
    await desk.byway.command("system", "off", "--if-dead")
    assert desk.is_lenient  # it is alive
    await desk.byway.kill()
    assert desk.is_lenient
    done = await desk.byway.command("system", "off", "--if-dead")
    assert "was restored" in done.stdout
    assert desk.now == desk.before


async def power_cut(desk: Desk) -> None:
    """Nobody tidies up; the next start does, whatever port it gets."""
    await desk.turn_on()
    await desk.byway.kill()
    assert desk.is_lenient
    await desk.byway.start()
    assert desk.now == desk.before
    said = desk.byway.said.read_text()
    assert "The system proxy, which the last run could not restore, was restored." in said
    assert "connect direct" not in said, "no rule closes a site"


async def changed_by_somebody_else(desk: Desk) -> None:
    for how in ("off", "term"):
        await desk.turn_on()
        newer = desk.change_as_somebody_else()
        if how == "off":
            assert (await desk.byway.read("system", "off"))["restored"] == "kept_newer"
        else:
            assert await desk.byway.stop() == 0
        assert desk.settings.read() == newer


@pytest.mark.needs("dbus-daemon", "gsettings")
@pytest.mark.parametrize("event", [turned_on, turned_off, terminated, killed, power_cut, changed_by_somebody_else])
async def test_gnome_gets_back_what_it_had(tmp_path: Path, event: Callable[[Desk], Awaitable[None]]) -> None:
    async with desk(DesktopName.GNOME, tmp_path) as on:
        await event(on)


@pytest.mark.parametrize("name", [DesktopName.KDE, DesktopName.MACOS, DesktopName.WINDOWS])
async def test_other_desktops_get_back_what_they_had(tmp_path: Path, name: DesktopName) -> None:
    """After both of the settings that Byway makes, a crash, and a change by somebody else."""
    async with desk(name, tmp_path, "DOMAIN,a.example,RELAY\n") as on:
        await on.byway.command("system", "on", "--desktop", name)
        assert on.is_strict
        on.byway.rules.write_text("MATCH,AUTO\n")
        await on.becomes_lenient()
        assert {it["byway"] for it in (await on.byway.read("system", "show"))["places"]} == {"lenient"}
        assert (await on.byway.read("system", "off"))["restored"] == "restored"
        assert on.now == on.before

        await power_cut(on)

        await on.turn_on()
        newer = on.change_as_somebody_else()
        assert await on.byway.stop() == 0
        assert on.settings.read() == newer


@pytest.mark.needs("dbus-daemon", "gsettings")
async def test_it_is_strict_while_a_rule_or_an_override_closes_a_site(tmp_path: Path) -> None:
    async with desk(DesktopName.GNOME, tmp_path, "DOMAIN,a.example,RELAY\n") as on:
        said = (await on.byway.command("system", "on", "--desktop", "gnome")).stdout
        assert "rules.txt:1 DOMAIN,a.example,RELAY" in said
        assert f"{TYPED} system off" in said
        assert on.is_strict

        on.byway.rules.write_text("MATCH,AUTO\n")
        await on.becomes_lenient()
        await on.byway.command("site", "set", "b.example", "block")
        await on.becomes_strict()
        await on.byway.command("site", "forget", "b.example")
        await on.becomes_lenient()
        await on.byway.command("site", "set", "c.example", "block")
        await on.becomes_strict()
        await on.byway.command("site", "set", "d.example", "relay", "--for", "2s")
        await on.byway.command("site", "forget", "c.example")
        await on.becomes_lenient()  # once the other has ended by itself
        on.byway.rules.write_text("DOMAIN,a.example,BLOCK\n")
        await on.becomes_strict()
        await on.byway.kill()
        assert on.is_strict  # without Byway no program connects
        await on.byway.start()
        assert on.now == on.before
        assert "do not cover programs that now connect direct" in on.byway.said.read_text()


async def test_it_is_strict_while_an_addon_decides(tmp_path: Path) -> None:
    async with desk(DesktopName.KDE, tmp_path) as on:
        await on.turn_on()
        addon = on.byway.config.parent / "addons" / "keep_shut.py"
        addon.parent.mkdir(exist_ok=True)
        addon.write_text("def admit(request):\n    return None\n")
        await on.becomes_strict()
        assert "because of `addon keep_shut`" in (await on.byway.command("system", "on", "--desktop", "kde")).stdout
        addon.unlink()
        await on.becomes_lenient()
        await on.byway.command("system", "off")
        assert on.now == on.before


@pytest.mark.needs("gsettings")
async def test_without_a_desktop_session_it_says_so(tmp_path: Path) -> None:
    """gsettings then claims success and stores nothing."""
    async with Byway(tmp_path, environment={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}) as byway:
        done = await byway.command("system", "on", "--desktop", "gnome", check=False)
        assert done.returncode == 1
        assert "The setting of GNOME cannot be changed from here" in done.stderr
        off = await byway.command("system", "off")
        assert off.stdout == "Byway was not the system proxy. Nothing was changed.\n"
        assert await byway.stop() == 0


async def test_an_ephemeral_byway_is_never_the_system_proxy(tmp_path: Path) -> None:
    environment = stand_ins(tmp_path)
    before = settings_in(tmp_path)
    async with Byway(tmp_path, environment=environment, arguments=["--ephemeral"]) as byway:
        done = await byway.command("system", "on", "--desktop", "kde", check=False)
        assert done.returncode == 1
        assert "With --ephemeral nothing is stored" in done.stderr
        assert settings_in(tmp_path) == before
