"""The rules of the house that no other tool keeps."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "proxy").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "shared", "lib"}

OF_TESTS = "tests/importlinter.toml"


def _lint_imports(folder: Path, config: str = "pyproject.toml") -> subprocess.CompletedProcess[str]:
    words = [str(Path(sys.executable).with_name("lint-imports")), config, "--no-cache"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["pyproject.toml", OF_TESTS])
def test_imports_run_one_way(config: str) -> None:
    done = _lint_imports(ROOT, config)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("proxy/wire/sniff.py", "import proxy.net.stream", "imports run one way"),
        ("proxy/net/tasks.py", "import proxy.store", "imports run one way"),
        ("proxy/detect/verdict/labels.py", "import time", "the pure half does no I/O"),
        (
            "proxy/features/demo/command.py",
            "import proxy.features.doctor.command",
            "features know nothing of each other",
        ),
        ("proxy/cli/open.py", "import proxy.features.today.page", "the command line knows features by the table"),
        ("proxy/probe/site_name.py", "import typer", "the core has neither commands nor pages"),
    ],
)
def test_an_import_the_wrong_way_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """The control: the contracts do fail."""
    shutil.copytree(ROOT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as source:
        source.write(f"\n{line}\n")
    done = _lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    broken = [said for said in done.stdout.splitlines() if "BROKEN" in said]
    assert len(broken) == 1, done.stdout
    assert contract in broken[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tests/control/test_endpoint.py", "import proxy.features.rules.lists", "rules is imported by its own tests"),
        ("tests/features/rules/test_lists.py", "import proxy.features.sites.reader", "sites is imported by its own"),
        ("tests/support/outcomes.py", "import tests.features.relays.test_edit", "relays is imported by its own tests"),
        ("tests/support/control_world.py", "from proxy.features.table import FEATURES", "the table of features"),
        ("tests/features/today/test_traffic.py", "from tests.whole import openapi", "no test imports tests of the"),
    ],
)
def test_a_test_that_needs_more_than_its_feature_is_found(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    for package in ("proxy", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    with (tmp_path / module).open("a") as source:
        source.write(f"\n{line}\n")
    done = _lint_imports(tmp_path, OF_TESTS)
    broken = [said for said in done.stdout.splitlines() if "BROKEN" in said]
    assert (done.returncode, len(broken)) == (1, 1), done.stdout
    assert contract in broken[0]


def test_the_tests_of_each_feature_are_under_contract() -> None:
    written = (ROOT / OF_TESTS).read_text()
    for folder in (ROOT / "proxy" / "features").glob("*/"):
        if (folder / "__init__.py").exists():
            assert f'["proxy.features.{folder.name}", "tests.features.{folder.name}"]\n' in written


def _imports(name: str, source: str, modules: set[str]) -> set[str]:
    """The modules that one imports anywhere: at the top, in a function, under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules or {node.module}
    return (found & modules) - {name}


def _circles(sources: dict[str, str]) -> set[frozenset[str]]:
    """Groups of modules that import each other, directly or through others."""
    imports = {name: _imports(name, source, set(sources)) for name, source in sources.items()}
    reached: dict[str, set[str]] = {}
    for name in sources:
        reached[name], todo = set(), [name]
        while todo:
            new = imports[todo.pop()] - reached[name]
            reached[name] |= new
            todo += new
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in sources
        if name in reached[name]
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Neither through TYPE_CHECKING nor in a function: who reads one of them would have to read them all."""
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path in MODULES
    }
    assert _circles(sources) == set()


def test_a_circle_is_found() -> None:
    """The control: one that closes through a function's import and one of TYPE_CHECKING's."""
    sources = {
        "proxy.a": "from proxy import b",
        "proxy.b": "def f():\n    import proxy.c",
        "proxy.c": "if TYPE_CHECKING:\n    from proxy.a import A",
        "proxy.d": "from proxy.a import A",
    }
    assert _circles(sources) == {frozenset({"proxy.a", "proxy.b", "proxy.c"})}


def test_every_module_of_the_pure_half_and_every_room_is_under_contract() -> None:
    """A new module at the top must be given its place."""
    layers = (ROOT / "pyproject.toml").read_text().split("layers = [", 1)[1].split("]", 1)[0]
    placed = set(re.findall(r"proxy\.(\w+)", layers))
    there = {path.relative_to(ROOT / "proxy").parts[0].removesuffix(".py") for path in MODULES}
    assert there - {"__init__", "__main__"} == placed


def test_no_module_is_a_drawer_and_each_opens_with_its_idea() -> None:
    assert [path for path in MODULES if {path.stem, path.parent.name} & DRAWERS] == []
    silent = [path for path in MODULES if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == [], "a module opens with what it is for"


def test_nothing_waits_for_later() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for path in (*MODULES, *TESTS):
        if path != Path(__file__):
            assert not unfinished.search(path.read_text()), path


def test_tests_do_not_sleep_blindly() -> None:
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
                raise AssertionError(f"{path}:{node.lineno} sleeps: wait for what is to happen")


def test_no_example_of_a_property_has_a_deadline() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check


def test_what_is_remembered_of_requests_and_answers_can_be_forgotten() -> None:
    for path in MODULES:
        if path.relative_to(ROOT / "proxy").parts[0] in ("wire", "session"):
            assert "lru_cache" not in path.read_text(), f"{path}: use proxy.model.remembered, which forgets"


def test_no_key_is_committed() -> None:
    kept = [path for path in ROOT.iterdir() if path.name in ("addons", "certs", "proxy", "tests")]
    for folder in kept:
        for path in folder.rglob("*"):
            assert path.suffix not in (".key", ".pem", ".p12", ".pfx"), path
            if path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt"):
                assert "PRIVATE KEY" + "-----" not in path.read_text(), path
