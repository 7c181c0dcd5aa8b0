"""The rules of the house that no other tool keeps."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


def _broken_by(folder: Path, lines: Mapping[str, Sequence[tuple[str, str]]], config: str) -> dict[str, set[str]]:
    """Appends imports to modules, by the contract that each breaks. Returns the broken contracts and, of each, who
    imports whom."""
    for added in lines.values():
        for module, line in added:
            with (folder / module).open("a") as source:
                source.write(f"\n{line}\n")
    done = _lint_imports(folder, config)
    assert done.returncode == 1, done.stdout
    _, _, told = done.stdout.partition("Broken contracts\n")
    parts = re.split(r"\n(.+)\n-{3,}\n", told)
    return {
        contract: set(re.findall(r"^- +(\S+ -> \S+) \(l", said, re.MULTILINE))
        for contract, said in zip(parts[1::2], parts[2::2], strict=True)
    }


def _named(lines: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, set[str]]:
    """As `_broken_by` returns it."""
    return {
        contract: {
            f"{module.removesuffix('.py').replace('/', '.')} -> "
            + re.sub(r"^(?:from (\S+) )?import (\S+)$", lambda found: found[1] or found[2], line)
            for module, line in added
        }
        for contract, added in lines.items()
    }


@pytest.mark.slow
def test_imports_the_wrong_way_are_found(tmp_path: Path) -> None:
    """The control: the contracts do fail, each by what breaks it."""
    shutil.copytree(ROOT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    wrong = {
        "imports run one way": [
            ("proxy/wire/sniff.py", "import proxy.net.stream"),
            ("proxy/net/tasks.py", "import proxy.store"),
        ],
        "the pure half does no I/O and reads no clock": [("proxy/detect/verdict/labels.py", "import time")],
        "features know nothing of each other": [
            ("proxy/features/demo/command.py", "import proxy.features.doctor.command")
        ],
        "the command line knows features by the table alone": [
            ("proxy/cli/open.py", "import proxy.features.today.page")
        ],
        "the core has neither commands nor pages": [("proxy/probe/site_name.py", "import typer")],
    }
    assert _broken_by(tmp_path, wrong, "pyproject.toml") == _named(wrong)


@pytest.mark.slow
def test_tests_that_need_more_than_their_feature_are_found(tmp_path: Path) -> None:
    for package in ("proxy", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    wrong = {
        "rules is imported by its own tests": [
            ("tests/control/test_endpoint.py", "import proxy.features.rules.lists"),
        ],
        "sites is imported by its own tests": [
            ("tests/features/rules/test_lists.py", "import proxy.features.sites.reader"),
        ],
        "relays is imported by its own tests": [
            ("tests/support/outcomes.py", "import tests.features.relays.test_edit"),
        ],
        "the table of features and the commands are for tests of the whole": [
            ("tests/support/control_world.py", "from proxy.features.table import FEATURES"),
        ],
        "no test imports tests of the whole": [
            ("tests/features/today/test_traffic.py", "import tests.whole.openapi"),
        ],
    }
    assert _broken_by(tmp_path, wrong, OF_TESTS) == _named(wrong)


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
    silent = [path for path in MODULES if path.stat().st_size and not re.match('"""[^"]', path.read_text())]
    assert silent == [], "a module opens with what it is for"


def test_nothing_waits_for_later() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for path in (*MODULES, *TESTS):
        if path != Path(__file__):
            assert not unfinished.search(path.read_text()), path


def test_tests_do_not_sleep_blindly() -> None:
    for path in TESTS:
        if not re.search(r"\bsleep\b", text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node) == "time.sleep":
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
