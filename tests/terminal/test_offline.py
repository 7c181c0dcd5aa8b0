"""Reading the files as a start would, without asking anybody for a password."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import Listen, RelayConfig, Settings
from proxy.model.errors import ConfigError
from proxy.terminal.offline import make_setup, read_configuration, without_passwords
from tests.support.command_line import Home
from tests.support.sockets import descriptors


def paths(home: Home) -> Paths:
    return Paths.locate(os.environ, config=home.config, state=home.state)


def test_passwords_are_left_out_and_nothing_else() -> None:
    relay = RelayConfig(name="vps", url="https://u:p@h", password_cmd="pass vps", allow_plaintext_credentials=True)
    settings = Settings(listen=Listen(port=9000, user="me", password_cmd="pass me"), relay=(relay,))
    without = without_passwords(settings)
    assert without.listen == Listen(port=9000)
    assert without.relay == (replace(relay, password_cmd=""),)
    assert without.dns == settings.dns


def test_a_setup_is_made_and_nothing_is_left_open(home: Home) -> None:
    home.config.write_text('[[relay]]\nname = "tor"\nurl = "socks5://127.0.0.1:9050"\n')
    home.config.with_name("rules.txt").write_text("MATCH,RELAY:tor\n")
    before = descriptors()
    setup = make_setup(paths(home))
    assert setup.registry.relay_names == ("tor",)
    assert len(setup.router.rules) == 1
    assert descriptors() == before


def test_all_that_a_start_would_refuse_is_refused(home: Home) -> None:
    home.config.write_text('[safety]\nallow = ["nonsense/99"]\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: .*is not a host, address or CIDR"):
        make_setup(paths(home))
    home.config.write_text("[listen]\nport = 0.5\n")
    with pytest.raises(ConfigError, match=r"config\.toml:2"):
        read_configuration(paths(home))
