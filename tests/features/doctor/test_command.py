"""`byway doctor` as a command."""

from __future__ import annotations

import pytest

from tests.support.command_line import Byway, Home


@pytest.mark.parametrize("options", [(), ("--json",), ("--plain",)])
def test_no_password_of_a_faulty_configuration_is_shown(byway: Byway, home: Home, options: tuple[str, ...]) -> None:
    home.config.write_text('[safety]\nallow = ["http://me:correct-horse@relay.example/"]\n')
    ran = byway("doctor", *options)
    assert "correct-horse" not in ran.out + ran.err
    assert "me:***@relay.example" in ran.out + ran.err
