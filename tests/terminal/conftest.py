"""The fixtures of `tests/support` for the tests of this folder."""

from __future__ import annotations

from tests.support.command_line import byway, home, make_world, person, running

__all__ = ["byway", "home", "make_world", "person", "running"]
