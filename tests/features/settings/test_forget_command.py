"""`byway forget`: what it asks a running Byway to forget. What is left on the disk: tests/store/test_forgetting.py."""

from __future__ import annotations

import pytest

from proxy.store.forgetting import Forgotten
from tests.support.command_line import Byway, Home, Running

ID = "0123456789abcdef"


@pytest.mark.parametrize("named", ["office", ID])
def test_a_network_by_its_name_or_id(byway: Byway, running: Running, home: Home, named: str) -> None:
    home.config.write_text(f'[networks]\noffice = "{ID}"\n')
    ran = byway("forget", "--network", named)
    assert running.world.forgotten == [Forgotten(network=ID)]
    assert ran.out.startswith(f"Everything on network {named} was deleted from the log")


def test_a_network_that_there_is_not(byway: Byway, running: Running, home: Home) -> None:
    home.config.write_text(f'[networks]\noffice = "{ID}"\n')
    ran = byway("forget", "--network", "ofice")
    assert (ran.code, running.world.forgotten) == (2, [])
    assert 'there is no network "ofice"; did you mean office?' in ran.err
    assert byway("forget", "--network", ID, "--all").code == 2


def test_a_network_without_a_running_byway(byway: Byway) -> None:
    assert byway("forget", "--network", ID).code == 0
