"""The runner of seeds: every row names tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.lab.repeat import ROWS, Row
from tests.lab.run import chosen as scenarios
from tests.lab.run import chosen_faults, chosen_roads

pytestmark = pytest.mark.slow

_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_names_tests_and_rows_that_there_are(row: Row) -> None:
    for job in (*row.jobs, *row.twins):
        for what in job.what:
            if job.is_test:
                file, _, name = what.partition("::")
                defined = {getattr(node, "name", "") for node in ast.parse((_TESTS / file).read_text()).body}
                assert not name or name in defined, what
            else:
                assert scenarios([what]) or chosen_faults([what]) or chosen_roads([what]), what
