"""One attempt in words. How a list of them is shown: tests/features/traffic/test_commands."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.control.attempts import attempt
from proxy.store.logged import LoggedAttempt
from tests.support.rows import each_row

DELIVERED = "tor: delivered, in 300 ms"


@each_row(
    ("evidence", "words"),
    [
        ({}, DELIVERED),
        ({"opened_s": 0.2}, DELIVERED),
        ({"held_s": 1.2}, f"{DELIVERED}, after Byway had held it back for 1.2 s"),
        ({"held_s": "long"}, DELIVERED),
    ],
)
def test_a_visit_that_waited_for_a_check_says_so(evidence: Mapping[str, object], words: str) -> None:
    tried = LoggedAttempt("tor", "done", "", "", started_s=0.0, elapsed_s=0.3, address="", evidence=evidence)
    assert attempt(tried) == words
