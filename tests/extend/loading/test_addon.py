"""Where things stand in an addon's file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.extend.loading.addon import line_in, line_of
from tests.extend.making import made


def test_lines_are_those_of_the_addons_own_file(tmp_path: Path) -> None:
    addon = made(tmp_path, "import json\ndef admit(request):\n    return json.loads(request)\n")
    (admit,) = addon.hooks["admit"]
    assert line_of(admit) == 2
    assert line_of(len) == 0
    with pytest.raises(ValueError, match="Expecting") as caught:
        admit("{")
    assert line_in(addon.file, caught.value) == 3
    assert line_in(Path("/elsewhere.py"), caught.value) == 0
    assert line_in(addon.file, ValueError()) == 0


def test_a_forgotten_module_is_gone(tmp_path: Path) -> None:
    addon = made(tmp_path, "x = 1\n")
    name = addon.module.__name__
    assert name in sys.modules
    addon.forget()
    addon.forget()
    assert name not in sys.modules
