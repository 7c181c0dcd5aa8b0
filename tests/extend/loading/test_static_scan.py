"""What a file says of itself without being run."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.extend.loading.static_scan import StaticScan, scan


def test_its_first_paragraph_and_its_hooks_in_the_order_of_the_documentation(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        '"""Does\nthis.\n\nAnd that."""\nraise SystemExit\n'
        "def outcome(outcome): ...\nclass A:\n    async def plan(self, request, plan): ...\n"
        "    def request(self, flow): ...\n    def mine(self): ...\n"
    )
    assert scan(file) == StaticScan("Does this.", ("plan", "outcome"), ("request",))


@pytest.mark.parametrize("content", [b"def plan(:\n", b"\xff\xfe\x00", b"x = 1\0", b"(" * 5000, b""])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(content)
    assert scan(file) == StaticScan()
    assert scan(tmp_path / "none.py") == StaticScan()
