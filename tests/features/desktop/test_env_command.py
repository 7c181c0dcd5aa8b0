"""`byway env`: the variables, in the shell of the user or the one that is named."""

from __future__ import annotations

import pytest

from proxy.model.document_version import VERSION
from proxy.wire.home_network import NO_PROXY
from tests.support.command_line import Byway


@pytest.mark.usefixtures("running")
def test_the_shell_is_that_of_the_user(byway: Byway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    ran = byway("env")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("set -gx http_proxy 'http://127.0.0.1:8119'\n")
    assert byway("env", "--shell", "bash").out.startswith("export http_proxy='http://127.0.0.1:8119'\n")
    assert byway("env", "--shell", "BASH", "--json").json == {
        "version": VERSION,
        "shell": "bash",
        "variables": {
            "http_proxy": "http://127.0.0.1:8119",
            "https_proxy": "http://127.0.0.1:8119",
            "no_proxy": NO_PROXY,
            "HTTP_PROXY": "http://127.0.0.1:8119",
            "HTTPS_PROXY": "http://127.0.0.1:8119",
            "NO_PROXY": NO_PROXY,
        },
    }


def test_without_a_running_one_the_configuration_says_it(byway: Byway) -> None:
    ran = byway("env")
    assert (ran.code, ran.err) == (0, "No Byway is running. This is from its configuration.\n")
    assert "'http://127.0.0.1:8119'" in ran.out


def test_an_unknown_shell_is_named(byway: Byway) -> None:
    ran = byway("env", "--shell", "fisch")
    assert ran.code == 2
    assert 'unknown value "fisch"; did you mean fish?' in ran.err
