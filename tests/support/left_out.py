"""A plugin for `python -m tests.without`: leaves out the tests that are marked to use the feature that is not there."""

from __future__ import annotations

import os

import pytest

WITHOUT = "BYWAY_TESTS_WITHOUT"
"""The variable that names it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    name = os.environ[WITHOUT]
    left_out = [item for item in items if any(name in mark.args for mark in item.iter_markers("uses"))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
