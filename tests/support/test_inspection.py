"""The tests that are left out where mitmproxy cannot be installed: as few as possible, and each of them listed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import inspection

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_what_imports_mitmproxy_by_itself_or_through_others_is_found() -> None:
    assert inspection.imports_mitmproxy(ROOT / "proxy/features/inspection/engine.py")
    assert not inspection.imports_mitmproxy(ROOT / "proxy/features/inspection/inspector.py"), (
        "it imports the engine when needed"
    )
    found = {path.relative_to(ROOT).as_posix() for path in inspection.files()}
    assert {
        "tests/features/inspection/mitm/test_contract.py",
        "tests/features/inspection/mitm/test_engine.py",
        "tests/e2e/test_inspection.py",
    } <= found
    assert not [
        name for name in found if not name.startswith(("tests/features/inspection/", "tests/e2e/", "tests/addons/"))
    ]


def test_all_of_byway_but_inspection_can_be_imported_without_it() -> None:
    """Every other test file can be collected where mitmproxy is missing."""
    left = [path for path in (ROOT / "proxy").rglob("*.py") if inspection.imports_mitmproxy(path)]
    assert {path.parent.name for path in left} == {"inspection"}


OLD_PYTHON = """
import sys
import aiohttp.web, pydantic  # for the Python that it is: they look at the version too
sys.version_info = (3, 11, 9, "final", 0)  # before anything asks for it
sys.modules["mitmproxy"] = None  # cannot be imported
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run_without_it(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", *arguments)
    command = [sys.executable, "-c", OLD_PYTHON, *options]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin", **environment},
    )


def test_ci_does_not_start_without_it() -> None:
    done = run_without_it("tests/config/test_mitmproxy_version.py", CI="true")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "INSPECT needs Python 3.12 or newer; this is 3.11" in done.stderr
