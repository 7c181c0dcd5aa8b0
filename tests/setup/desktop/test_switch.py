"""The system proxy while Byway runs. `tests/e2e/test_system_proxy.py` has real processes and desktops."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.model.errors import BywayError
from proxy.setup.desktop.proxy_settings import DesktopName, Values
from proxy.setup.desktop.switch import SystemProxySwitch
from proxy.setup.desktop.system_proxy import Restored, SystemProxy
from tests.support.desktops import MemorySettings
from tests.support.waiting import until

BEFORE: Values = {"mode": "none", "url": "", "host": "", "local": ""}
RULE = "rules.txt:1 DOMAIN,a.example,RELAY"


class Session:
    """A desktop, and the switch of a Byway that listens on port 8119."""

    def __init__(self, folder: Path, *, refusal: str = "") -> None:
        self.desktop = MemorySettings(here=BEFORE)
        self.reads = 0
        self.closing = ""
        self.file = folder / "system-proxy.json"
        self.switch = SystemProxySwitch(
            self.file,
            address=lambda: ("127.0.0.1", 8119),
            closing=lambda: self.closing,
            refusal=refusal,
            make=lambda file: SystemProxy(file, self._settings),
        )

    def _settings(self, name: DesktopName) -> MemorySettings:
        self.reads += 1
        return self.desktop

    def is_on(self) -> bool:
        return self.switch.is_on

    @property
    def mode(self) -> str:
        return self.desktop.places["here"]["mode"]


async def test_it_follows_the_rules_only_while_it_is_on(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.switch.on_rules_changed()
    assert await session.switch.release() is False
    assert session.reads == 0  # no program of the desktop was run
    session.closing = RULE
    on = await session.switch.turn_on(DesktopName.GNOME)
    assert (on.strict_by, session.mode) == (RULE, "manual")
    session.closing = ""
    session.switch.on_rules_changed()
    await until(lambda: session.mode == "auto")
    assert await session.switch.turn_off() is Restored.RESTORED
    assert session.desktop.places == {"here": BEFORE}


async def test_it_is_on_only_when_it_could_be_set(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.desktop.stores = False
    with pytest.raises(BywayError):
        await session.switch.turn_on(DesktopName.GNOME)
    assert not session.is_on()
    session.desktop.stores = True
    await session.switch.turn_on(DesktopName.GNOME)
    assert session.is_on()
    session.desktop.stores = False
    session.closing = RULE
    with pytest.raises(BywayError):
        await session.switch.turn_on(DesktopName.GNOME)
    assert not session.is_on()
    session.desktop.stores = True
    assert await session.switch.turn_off() is Restored.RESTORED


async def test_it_is_in_use_only_while_the_desktop_says_so(tmp_path: Path) -> None:
    session = Session(tmp_path)
    assert not await session.switch.is_in_use()
    assert session.reads == 0  # no program of the desktop was run
    await session.switch.turn_on(DesktopName.GNOME)
    assert await session.switch.is_in_use()
    session.desktop.places["here"]["mode"] = "none"  # another program turns it off
    assert not await session.switch.is_in_use()
    session.desktop.places["here"].update(mode="auto", url="http://office.example/proxy.pac")
    assert not await session.switch.is_in_use()
    assert await session.switch.turn_off() is Restored.KEPT_NEWER
    assert session.desktop.places["here"]["url"] == "http://office.example/proxy.pac"


async def test_a_run_that_stores_nothing_refuses(tmp_path: Path) -> None:
    session = Session(tmp_path, refusal="nothing is stored")
    with pytest.raises(BywayError, match="nothing is stored"):
        await session.switch.turn_on(DesktopName.GNOME)
    assert session.desktop.places == {"here": BEFORE}


async def test_what_cannot_be_restored_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(tmp_path)
    await session.switch.turn_on(DesktopName.GNOME)
    session.desktop.stores = False
    assert await session.switch.release() is False
    assert "could not be restored: GNOME did not store the system proxy" in caplog.text
    assert session.file.exists()
    session.desktop.stores = True
    assert await session.switch.release() is True
