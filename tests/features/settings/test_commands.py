"""`byway config`: what is in effect, whether it is right, where it lies."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from typer import Typer

from tests.support.command_line import Byway, Home, Running

SECRET = "correct-horse"


def test_every_setting_is_shown_with_where_it_came_from(
    byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.config.write_text("[listen]\nport = 9000\n[dns.hosts]\n'a.test' = '192.0.2.1'\n")
    monkeypatch.setenv("BYWAY_LOG__KEEP_DAYS", "3")
    rows = {row[0]: row[1:] for row in byway("config", "show", "--all").rows}
    assert rows["listen.port"] == ["9000", f"{home.config}:2"]
    assert rows["log.keep_days"][0] == "3"
    assert "BYWAY_LOG__KEEP_DAYS" in rows["log.keep_days"][1]
    assert rows["listen.address"] == ["127.0.0.1", "default"]
    assert rows["dns.hosts.a.test"] == ["192.0.2.1", f"{home.config}:3"]
    assert rows["auto.retest"] == ["true", "default"]


def test_without_all_only_what_differs_is_shown(byway: Byway, home: Home) -> None:
    assert byway("config", "show").out == "key\tvalue\tfrom\n"
    assert byway("config", "show").err == "All settings have their defaults.\n"
    home.config.write_text(
        "config_version = 1\n[listen]\nport = 8119\naddress = '127.0.0.2'\n[dns.hosts]\n'a.test' = '192.0.2.1'\n"
        "[[relay]]\nname = 'tor'\nurl = 'socks5h://127.0.0.1:9050'\n[addons.notify]\nenabled = true\n"
    )
    assert [row[0] for row in byway("config", "show").rows[1:]] == [
        "listen.address", "dns.hosts.a.test", "relay.0.name", "relay.0.url", "addons.notify.enabled",
    ]  # fmt: skip


@pytest.mark.usefixtures("person")
def test_a_person_learns_how_to_see_the_rest(byway: Byway, home: Home) -> None:
    ran = byway("config", "show")
    assert ran.out == ""
    assert "`byway config show --all`" in ran.err


def test_I16_no_password_is_shown(byway: Byway, home: Home) -> None:
    home.config.write_text(
        f'[listen]\nuser = "me"\npassword_cmd = "echo {SECRET}"\n'
        f'[[relay]]\nname = "vps"\nurl = "https://u:{SECRET}@relay.example"\n'
    )
    for words in (("show",), ("show", "--json"), ("check",), ("check", "--json")):
        ran = byway("config", *words)
        assert ran.code == 0, ran.err
        assert SECRET not in ran.out + ran.err
    rows = {row[0]: row[1] for row in byway("config", "show", "--all").rows}
    assert rows["listen.password_cmd"] == "(set)"
    assert rows["relay.0.url"] == "https://u:***@relay.example"


def test_json_has_settings_and_sources(byway: Byway, home: Home) -> None:
    home.config.write_text("[listen]\nport = 9000\n")
    told = byway("config", "show", "--json").json
    assert told["version"] == 2
    assert told["path"] == str(home.config)
    assert told["settings"]["listen"]["port"] == 9000
    assert list(told["sources"]) == ["listen.port"]


def test_a_good_configuration_has_no_fault(byway: Byway, home: Home) -> None:
    ran = byway("config", "check")
    assert (ran.code, ran.out) == (0, f"{home.config}: no errors\n")
    (home.config.parent / "l.txt").write_text("example.org\n")
    home.config.write_text('[[list]]\nname = "l"\nsource = "l.txt"\n')
    (home.config.parent / "l.txt").write_text("example.org\ncom\n")
    ran = byway("config", "check")
    assert ran.code == 0
    assert '"com" is a public suffix, and is left out' in ran.err
    assert byway("config", "check", "--json").json["notices"]


@pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only")
def test_the_program_for_which_a_name_stands_is_told(byway: Byway, home: Home) -> None:
    sleep = os.path.realpath(shutil.which("sleep") or "")
    home.config.write_text(f'[listen]\nprograms = ["sleep", "{sleep}", "no-such-program"]\n')
    ran = byway("config", "check")
    assert (ran.code, ran.out) == (0, f"listen.programs: sleep is {sleep}\n{home.config}: no errors\n")
    assert '"no-such-program" is not installed here' in ran.err
    assert byway("config", "check", "--json").json["programs"] == {"sleep": sleep, sleep: sleep, "no-such-program": ""}


def test_no_configuration_is_no_fault(
    home: Home, commands: Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.state))
    with pytest.raises(SystemExit) as ended:
        commands(["config", "check", "--state", str(home.state)])
    assert ended.value.code == 0
    assert (
        capsys.readouterr().out == f"{home.state}/byway/config.toml: no such file; all settings have their defaults\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\nprot = 1\n", "config.toml:2: "),
        ("[listen\n", "config.toml:1: "),
        ('[listen]\naddress = "0.0.0.0"\n', "config.toml:2: "),
        ('[safety]\nallow = ["127.0.0.1:x"]\n', "config.toml:2: "),
        ('[[list]]\nname = "l"\nsource = "missing.txt"\n', "missing.txt: "),
        ('[[relay]]\nname = "a"\nurl = "ss://secret@h:1"\n', "config.toml:3: "),
        ('[[relay]]\nname = "a"\nurl = "https://h?ca=/missing.pem"\n', "/missing.pem"),
    ],
)
def test_G1_a_fault_is_shown_with_its_place_and_ends_with_7(byway: Byway, home: Home, text: str, said: str) -> None:
    home.config.write_text(text)
    ran = byway("config", "check")
    assert ran.code == 7
    assert said in ran.err
    assert "secret" not in ran.err
    assert ran.out == ""


def test_G1_a_faulty_configuration_cannot_be_shown(byway: Byway, home: Home) -> None:
    home.config.write_text("[listen]\nprot = 1\n")
    assert byway("config", "show").code == 7


def test_all_faults_are_shown(byway: Byway, home: Home) -> None:
    home.config.write_text("[listen]\nport = -1\n[lgo]\n")
    assert len(byway("config", "check").err.splitlines()) == 2


def test_a_named_file_has_to_be_there(byway: Byway, home: Home) -> None:
    home.config.unlink()
    assert byway("config", "check").code == 7


@pytest.mark.uses("rules")
def test_nobody_is_asked_for_a_password(byway: Byway, home: Home) -> None:
    mark = home.state / "asked"
    home.config.write_text(
        f'[[relay]]\nname = "a"\nurl = "socks5h://u@127.0.0.1:1"\npassword_cmd = "touch {mark}"\n'
        f'[listen]\nuser = "me"\npassword_cmd = "touch {mark}"\n'
    )
    assert byway("config", "check").code == 0
    assert byway("rule", "list").code == 0
    assert not mark.exists()


def test_paths_are_said(byway: Byway, home: Home) -> None:
    paths = {row[0]: row[1] for row in byway("config", "path").rows[1:]}
    assert paths["config"] == str(home.config)
    assert paths["rules"] == str(home.config.with_name("rules.txt"))
    assert paths["state"] == str(home.state)
    assert json.loads(byway("config", "path", "--json").out) == {"version": 2, **paths}


def test_a_setting_is_set_and_comments_are_kept(byway: Byway, home: Home) -> None:
    home.config.write_text('# mine\nconfig_version = 1\n[log]\nhosts = "all" # so\n')
    ran = byway("config", "set", "log.keep_days", "3")
    assert (ran.code, ran.out, ran.err) == (0, "log.keep_days = 3\n", f"Saved in {home.config}.\n")
    assert home.config.read_text() == '# mine\nconfig_version = 1\n[log]\nhosts = "all" # so\nkeep_days = 3\n'
    assert byway("config", "set", "log.keep_days", "3").err == f"Nothing had to change in {home.config}\n"
    assert byway("config", "unset", "log.keep_days").out == "log.keep_days = 14 (default)\n"
    assert home.config.read_text() == '# mine\nconfig_version = 1\n[log]\nhosts = "all" # so\n'
    assert byway("config", "unset", "log.keep_days").code == 0


def test_a_file_is_made_for_the_first_setting(
    home: Home, commands: Typer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.state))
    with pytest.raises(SystemExit) as ended:
        commands(["config", "set", "dns.secure", "always", "--state", str(home.state)])
    assert ended.value.code == 0
    made = home.state / "byway" / "config.toml"
    assert 'secure = "always"' in made.read_text()
    assert capsys.readouterr().out == "dns.secure = always\n"


def test_the_running_byway_uses_a_setting_when_the_command_ends(byway: Byway, home: Home, running: Running) -> None:
    ran = byway("config", "set", "auto.retest", "false")
    assert ran.err.startswith(f"Saved in {home.config}; the running Byway uses it.\n")
    assert running.world.reloads == 1
    assert byway("config", "unset", "auto.retest", "--json").json["running"] is True
    running.world.problems = ["config.toml:1: broken"]
    ran = byway("config", "set", "log.keep_days", "2")
    assert ran.code == 7
    assert "is saved, but the running Byway keeps its previous configuration:" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("log.kep_days", "3"), "did you mean log.keep_days?"),
        (("keep_days", "3"), "did you mean log.keep_days?"),
        (("LOG.KEEP_DAYS", "3"), "did you mean log.keep_days?"),
        (("zzz", "3"), "config show --all"),
        (("log", "3"), "log.hosts, log.keep_days, log.never"),
        (("relay.tor", "3"), "byway relay"),
        (("detect.weights.frozen", "3"), "detect.weights is a table"),
        (("log.keep_days", "soon"), "must be a number. log.keep_days (in days): how many days"),
        (("log.keep_days", "-1"), "must be more than 0, not -1."),
        (("log.keep_days", ""), "must be a number"),
        (("log.keep_days", "3", "4"), "takes one value"),
        (("limits.drain_s", "5s"), "(in seconds)"),
        (("dns.secure", "alway"), 'did you mean "always"? dns.secure: when'),
        (("auto.retest", "yes"), "must be true or false"),
        (("networks.home", "here"), "is not the id of a network"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_changes(
    byway: Byway, home: Home, words: tuple[str, ...], said: str
) -> None:
    before = home.config.read_text()
    ran = byway("config", "set", *words)
    assert ran.code == 2
    assert said in ran.err
    assert home.config.read_text() == before


def test_settings_that_do_not_fit_together_are_refused(byway: Byway, home: Home) -> None:
    ran = byway("config", "set", "listen.address", "0.0.0.0")
    assert ran.code == 7
    assert "listen.user" in ran.err
    assert home.config.read_text() == "config_version = 1\n"
    assert SECRET not in byway("config", "set", "listen.password_cmd", f"echo {SECRET}").err
    assert SECRET not in byway("config", "set", "dns.servers", f"x{SECRET}").err


def test_a_key_without_a_value_is_wrong_use(byway: Byway) -> None:
    assert byway("config", "set", "log.keep_days").code == 2


@pytest.mark.usefixtures("running")
def test_what_is_stronger_than_the_file_is_said(byway: Byway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_LOG__KEEP_DAYS", "5")
    assert "environment BYWAY_LOG__KEEP_DAYS is stronger" in byway("config", "set", "log.keep_days", "3").err
    assert "`byway restart`" in byway("config", "set", "listen.port", "8120").err.replace(".venv/bin/", "")
