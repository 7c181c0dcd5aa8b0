"""Whether an edit is in use when a command ends, and what is said when it is not. With a real Byway:
`e2e/test_edits_in_use`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.model import Destination
from proxy.model.errors import BywayError
from proxy.terminal import in_use
from proxy.terminal.client import Client
from proxy.terminal.command import Flags, Invocation
from proxy.terminal.in_use import edited_configuration, take_into_use
from proxy.terminal.output import Output
from tests.support.command_line import Byway, Home, Running

RULE = ("rule", "add", "DOMAIN,one.test,BLOCK")


def client(home: Home, path: Path) -> Client:
    return Client(str(path), None, "unused", home.state, Destination("127.0.0.1", 8119))


def call(home: Home, config: Path | None = None) -> Invocation:
    return Invocation(Flags(config=config or home.config, state=home.state), Output())


@pytest.mark.uses("rules")
def test_the_running_byway_has_read_the_edit_when_the_command_ends(byway: Byway, running: Running) -> None:
    ran = byway(*RULE)
    assert (ran.code, ran.err) == (0, "The running Byway uses it.\n")
    assert running.world.reloads == 1
    assert byway("rule", "rm", "1", "--json").json["running"] is True
    assert running.world.reloads == 2


@pytest.mark.uses("rules")
def test_without_a_running_byway_nothing_is_said_of_one(byway: Byway) -> None:
    assert byway(*RULE).err == ""
    assert byway("rule", "rm", "1", "--json").json["running"] is False


@pytest.mark.uses("rules")
@pytest.mark.parametrize("words", [RULE, ("addons", "enable", "refuse"), ("addons", "new", "mine")])
def test_an_edit_that_is_refused_is_said_to_be_saved_and_not_in_use(
    byway: Byway, running: Running, words: tuple[str, ...]
) -> None:
    running.world.problems = ["config.toml:1: broken", "config.toml:2: broken as well"]
    ran = byway(*words)
    first, *problems = ran.err.splitlines()
    assert (ran.code, ran.out, problems) == (7, "", running.world.problems)
    assert first.endswith(" is saved, but the running Byway keeps its previous configuration:")


def test_a_byway_that_does_not_answer_is_waited_for_so_long(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections, as the kernel does for a process that is stopped."""
    monkeypatch.setattr(in_use, "IN_USE_WITHIN_S", 0.05)
    path = home.state / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(BywayError, match=r"rules.txt is saved, but the running Byway did not use it within 0.05 s"):
            take_into_use(call(home), client(home, path), home.config.with_name("rules.txt"))


def test_a_byway_that_has_ended_meanwhile_is_none(home: Home) -> None:
    assert take_into_use(call(home), client(home, home.state / "gone.sock"), home.config) is False


def test_another_configuration_is_not_that_of_the_running_byway(home: Home, running: Running, tmp_path: Path) -> None:
    assert edited_configuration(call(home))[1] is not None
    link = tmp_path / "link.toml"
    link.symlink_to(home.config)
    assert edited_configuration(call(home, link))[1] is not None
    assert edited_configuration(call(home, tmp_path / "other.toml"))[1] is None


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_configuration_that_is_named_and_not_used_is_edited_and_said_to_be_another(
    home: Home,
    running: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_environment: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether --config or BYWAY_CONFIG names it."""
    other = tmp_path / "other.toml"
    if by_environment:
        monkeypatch.setenv("BYWAY_CONFIG", str(other))
    named = Invocation(Flags(config=None if by_environment else other, state=home.state), Output())
    paths, used = edited_configuration(named)
    assert (paths.config_file, used) == (other, None)
    assert "The running Byway uses another configuration: " in capsys.readouterr().err


def test_a_configuration_that_the_environment_names_is_that_of_the_running_byway_if_it_uses_it(
    home: Home, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BYWAY_CONFIG", str(home.config))
    paths, used = edited_configuration(Invocation(Flags(state=home.state), Output()))
    assert (paths.config_file, used is not None) == (home.config, True)
