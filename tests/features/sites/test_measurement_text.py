"""A step of a measurement in words."""

from __future__ import annotations

from typing import Any

from proxy.features.sites.measurement_text import route_result, step_cells
from tests.support.rows import each_row

STEP = {"route": "direct", "part": "connect", "result": "ok", "text": "", "address": "", "elapsed_s": 0.25}


def test_a_step_tells_how_long_it_took() -> None:
    assert step_cells(STEP) == ("✓ direct", "TCP connect", "ok, 250 ms")
    failed = {**STEP, "result": "failed", "text": "no answer", "address": "192.0.2.1:443"}
    assert step_cells(failed) == ("✗ direct", "TCP connect", "failed: no answer, address 192.0.2.1:443, 250 ms")


def test_what_was_not_tested_took_no_time() -> None:
    skipped = {**STEP, "part": "secure", "result": "not_tested", "text": "no such resolver", "elapsed_s": 0.0001}
    assert step_cells(skipped) == ("· direct", "DNS (encrypted)", "not tested: no such resolver")


ROUTE = {"route": "direct", "result": "ok", "stage": "answer", "text": "", "status": 200, "elapsed_s": 0.1}


@each_row(
    ("row", "said"),
    [
        ({}, "✓ HTTP 200"),
        ({"status": 451}, "⊘ HTTP 451"),
        ({"status": None}, "✓ delivered"),
        (
            {"address": "198.51.100.7:443", "secure_dns": True},
            "✓ HTTP 200 from 198.51.100.7:443 (by encrypted DNS)",
        ),
        ({"address": "198.51.100.7:443", "secure_dns": False}, "✓ HTTP 200"),
    ],
)
def test_a_route_says_whose_address_it_took_and_a_refusal_is_no_success(row: dict[str, Any], said: str) -> None:
    assert route_result({**ROUTE, **row}) == said
