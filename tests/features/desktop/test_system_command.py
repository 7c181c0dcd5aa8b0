"""`byway system`: what it says, and that `off` and `show` need no running Byway. `tests/e2e/test_system_proxy.py` has a
real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.schema import Listen
from proxy.setup.desktop.proxy_settings import MODE, ONLY_PLACE, DesktopName, Kde
from proxy.setup.desktop.system_proxy import SystemProxy
from tests.support.command_line import Byway, Home, Running
from tests.support.desktops import run_in, stand_ins

CORPORATE = "http://corp.example 3128"


@pytest.fixture
def kde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kde:
    monkeypatch.setenv("XDG_CURRENT_DESKTOP", "KDE")
    environment = stand_ins(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    kde = Kde(run_in(environment), lambda program: program)
    kde.write(ONLY_PLACE, "httpProxy", CORPORATE)
    kde.write(ONLY_PLACE, MODE, "1")
    return kde


def _holds(kde: Kde, mode: str, proxy: str = CORPORATE, script: str = "") -> bool:
    values = kde.read()[ONLY_PLACE]
    return (values[MODE], values["httpProxy"], values["Proxy Config Script"]) == (mode, proxy, script)


def _was_on(home: Home, *, strict: bool = False) -> None:
    """A Byway was the system proxy, and died."""
    file = home.state / "system-proxy.json"
    SystemProxy(file).turn_on(DesktopName.KDE, "127.0.0.1", 8119, strict=strict)


def test_on_says_what_it_means(byway: Byway, running: Running, kde: Kde) -> None:
    ran = byway("system", "on")
    assert ran.out == (
        "The system proxy of KDE is now http://127.0.0.1:8119/proxy.pac.\n"
        "It is lenient: while Byway is not running, programs connect direct.\n"
    )
    assert "byway system off" in ran.err
    running.world.system_proxy.strict_by = "rules.txt:3 DOMAIN,a.example,RELAY"
    running.world.settings = replace(running.world.settings, listen=Listen(address="0.0.0.0", user="me"))
    running.do(running.world.overrides_changed)
    ran = byway("system", "on")
    assert ran.out == (
        "The system proxy of KDE is now http://127.0.0.1:8119.\n"
        "It is strict, because of `rules.txt:3 DOMAIN,a.example,RELAY`: if Byway crashes, no site opens until "
        "`byway system off` or the next start of Byway.\n"
        "[listen] user is set, so every program asks for the user name and the password. Programs that cannot ask get "
        "no connection.\n"
        "Byway listens on 0.0.0.0, for other computers too. This setting is for this computer only.\n"
    )


def test_on_needs_a_running_byway_and_a_known_desktop(byway: Byway, kde: Kde) -> None:
    assert byway("system", "on").code == 3
    assert byway("system", "on", "--desktop", "beos").code == 2


def test_off_needs_no_running_byway(byway: Byway, home: Home, kde: Kde) -> None:
    assert byway("system", "off").out == "Byway was not the system proxy. Nothing was changed.\n"
    assert byway("system", "off", "--if-dead").out == ""
    _was_on(home)
    assert byway("system", "off").out == "The earlier system proxy setting was restored.\n"
    assert _holds(kde, "1")
    _was_on(home)
    kde.write(ONLY_PLACE, "Proxy Config Script", "http://other.example/x.pac")
    assert byway("system", "off", "--json").json == {"version": 2, "on": False, "restored": "kept_newer"}


def test_off_if_dead_leaves_a_running_byway_alone(byway: Byway, home: Home, running: Running, kde: Kde) -> None:
    _was_on(home)
    ran = byway("system", "off", "--if-dead")
    assert (ran.code, ran.out) == (0, "")
    assert _holds(kde, "2", script="http://127.0.0.1:8119/proxy.pac")


def test_show_says_whose_it_is(byway: Byway, home: Home, kde: Kde, person: None) -> None:
    assert byway("system", "show").out == "KDE: not Byway (mode 1).\n"
    _was_on(home, strict=True)
    ran = byway("system", "show")
    assert ran.out.replace("\n", " ") == ("KDE: Byway, which is not running (strict: no site opens without Byway). ")
    assert "`byway system off` restores the earlier setting" in ran.err
    assert byway("system", "show", "--plain").rows[1] == ["kde", "", "strict", "1"]
    assert byway("system", "show", "--json").json["places"][0]["byway"] == "strict"
    assert byway("system", "off").code == 0
    assert _holds(kde, "1")
    _was_on(home)
    assert "(lenient: programs connect direct without Byway)" in byway("system", "show").out.replace("\n", " ")


@pytest.mark.usefixtures("running")
def test_on_says_that_the_proxy_of_before_is_not_used(byway: Byway, home: Home, kde: Kde) -> None:
    """The stand-in of the running Byway sets nothing; what was there is in the file, as a real one writes it."""
    assert "Before," not in byway("system", "on").out
    _was_on(home)
    said = byway("system", "on").out
    assert "Before, the system proxy was http://corp.example:3128. Byway does not use that one" in said
    assert "`byway relay add http://HOST:PORT`" in said.replace(".venv/bin/", "")
    assert "Before" not in byway("system", "on", "--json").out
    byway("system", "off")
    SystemProxy(home.state / "system-proxy.json").restore()
    kde.write(ONLY_PLACE, MODE, "0")
    _was_on(home)
    assert "Before," not in byway("system", "on").out
