"""`byway pac`: of the running Byway, else of its configuration."""

from __future__ import annotations

import pytest

from proxy.control.pac import Pac, pac_text
from proxy.model import Destination
from proxy.model.document_version import VERSION
from tests.support.command_line import Byway, Home

RUNNING = Destination("127.0.0.1", 8119)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("flags", "variant"), [((), Pac.LENIENT), (("--strict",), Pac.STRICT)])
def test_the_url_and_the_text(byway: Byway, flags: tuple[str, ...], variant: Pac) -> None:
    ran = byway("pac", *flags)
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out == f"// http://127.0.0.1:8119{variant}\n{pac_text(variant, RUNNING)}"
    assert byway("pac", *flags, "--json").json == {
        "version": VERSION,
        "url": f"http://127.0.0.1:8119{variant}",
        "running": True,
        "strict": bool(flags),
        "text": pac_text(variant, RUNNING),
    }


@pytest.mark.parametrize(
    ("listen", "named"),
    [("", "127.0.0.1:8119"), ("port = 9000", "127.0.0.1:9000"), ('address = "::1"', "[::1]:8119")],
)
def test_without_a_running_one_it_is_that_of_the_configuration(
    byway: Byway, home: Home, listen: str, named: str
) -> None:
    home.config.write_text(f"config_version = 1\n[listen]\n{listen}\n")
    ran = byway("pac")
    assert (ran.code, ran.err) == (0, "No Byway is running. This is from its configuration.\n")
    assert f'"PROXY {named}; DIRECT"' in ran.out
    assert byway("pac", "--json").json["running"] is False


def test_a_port_that_each_start_chooses_is_not_guessed(byway: Byway, home: Home) -> None:
    home.config.write_text("config_version = 1\n[listen]\nport = 0\n")
    for command in ("pac", "env"):
        ran = byway(command)
        assert ran.code == 3
        assert ran.out == ""
        assert "start it with `byway run" in ran.err
