"""Mutation testing, by hand: changes single operators, constants and conditions of the product, and shows the changes
that no test of their room notices.

    make judges                                  # installs the operators of cosmic-ray
    .venv/bin/python -m tests.mutants > result   # draws the mutants of mutants.toml: a quarter of an hour
    .venv/bin/python -m tests.mutants NAME …     # these alone, by the names that the result has

A place in the code is drawn first, and then one of its mutations, so that an operator with many replacements weighs no
more than a constant. Left out are annotations, the `*` of parameters, and what does not compile. Each mutant is made in
a copy of the project, and meets the tests that ran a line of its statement, the shortest first; what runs at import
alone meets all. They run in a fork of this process, which has imported pytest and neither the product nor the tests. A
run that needs too much time or memory counts as killed. It needs Python 3.12 or newer.
"""

from __future__ import annotations

import difflib
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple, NoReturn

import hypothesis
import pytest

from tests.plant import ROOT, copy
from tests.support.programs import JUDGES

sys.path.append(str(JUDGES))
try:
    import parso
    from cosmic_ray.ast import ast_nodes
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.operators.provider import OperatorProvider
except ImportError as failure:
    sys.exit(f"{failure}: make judges")

TABLE = ROOT / "tests" / "mutants.toml"
MEMORY = 4 << 30
_OPTIONS = (
    *("-x", "-q", "-m", "not slow", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is imported
)
_PROVIDER = OperatorProvider()
_OPERATORS = {name: _PROVIDER[name]() for name in _PROVIDER if not _PROVIDER[name].arguments()}


class Room(NamedTuple):
    modules: str
    tests: str
    left_out: Sequence[str]

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(self.modules))

    def lines(self) -> int:
        """The lines of code, without blank ones and comments."""
        lines = (line.strip() for file in self.files() for line in (ROOT / file).read_text().splitlines())
        return sum(bool(line) and not line.startswith("#") for line in lines)

    def arguments(self) -> list[str]:
        """Those of pytest, for all tests of the room."""
        return [self.tests, *(f"--ignore={self.tests}/{name}" for name in self.left_out)]


class Mutant(NamedTuple):
    file: str
    operator: str
    occurrence: int
    first: int
    last: int
    """The lines of the statement."""

    def __str__(self) -> str:
        return f"{self.file}:{self.operator}:{self.occurrence}"

    def text(self) -> str:
        """Returns the module with the mutation."""
        return str(mutate_code((ROOT / self.file).read_text(), _OPERATORS[self.operator], self.occurrence))

    def compiles(self) -> bool:
        try:
            compile(self.text(), self.file, "exec")
        except SyntaxError:
            return False
        return True

    def diff(self) -> str:
        before, after = (ROOT / self.file).read_text().splitlines(), self.text().splitlines()
        return "\n".join(difflib.unified_diff(before, after, self.file, self.operator, lineterm="", n=2))


# -- drawing -----------------------------------------------------------------------------------------------------------


def chosen(rooms: Sequence[Room], names: Sequence[str], seed: int, count: int) -> Iterator[tuple[Room, Mutant]]:
    """Yields the mutants with these names, or without names those that are drawn."""
    if names:
        for name in names:
            file = name.partition(":")[0]
            room = next(room for room in rooms if file in room.files())
            yield room, next(mutant for place in _places(file) for mutant in place if str(mutant) == name)
        return
    rng = random.Random(seed)
    left, lines = count, sum(room.lines() for room in rooms)
    for room in rooms:
        share = round(left * room.lines() / lines)
        left, lines = left - share, lines - room.lines()
        places = [place for file in room.files() for place in _places(file)]
        while share:
            mutant = rng.choice(places.pop(rng.randrange(len(places))))
            if mutant.compiles():
                share -= 1
                yield room, mutant


def _places(file: str) -> list[list[Mutant]]:
    """Returns the mutants of a module, those of one place together."""
    nodes = list(ast_nodes(parso.parse((ROOT / file).read_text())))
    of_place: defaultdict[tuple[object, object], list[Mutant]] = defaultdict(list)
    for name, operator in _OPERATORS.items():
        positions = ((node, place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (node, place) in enumerate(positions):
            if not _is_annotation(node) and node.parent.type != "parameters":
                of_place[place].append(Mutant(file, name, occurrence, *_lines_of_statement(node)))
    return [of_place[place] for place in sorted(of_place)]


def _is_annotation(node: Any) -> bool:
    """Whether the node of parso stands in an annotation, which is not evaluated."""
    while node.parent is not None:
        parent = node.parent
        if parent.type in {"tfpdef", "annassign"} and node is parent.children[2 if parent.type == "tfpdef" else 1]:
            return True
        if parent.type == "funcdef" and node is parent.annotation:
            return True
        node = parent
    return False


def _lines_of_statement(node: Any) -> tuple[int, int]:
    while node.parent.type not in {"suite", "file_input"}:
        node = node.parent
    return node.start_pos[0], node.end_pos[0]


# -- running -----------------------------------------------------------------------------------------------------------


class Reached:
    """A plugin of pytest that notes which tests run which lines of some modules, and what each test takes."""

    def __init__(self, at: Path, files: Sequence[str], found: Path) -> None:
        """`found`: the file for the result."""
        self._files = {str(at / file): file for file in files}
        self._found = found
        self._tests: defaultdict[str, set[str]] = defaultdict(set)
        self._seconds = Counter[str]()
        self._running = ""
        self._monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]  # of 3.12

    def pytest_sessionstart(self) -> None:
        tool, line = self._monitoring.COVERAGE_ID, self._monitoring.events.LINE
        self._monitoring.use_tool_id(tool, "mutants")
        self._monitoring.register_callback(tool, line, self._on_line)
        self._monitoring.set_events(tool, line)

    def _on_line(self, code: CodeType, line: int) -> object:
        if self._running and (file := self._files.get(code.co_filename)):
            self._tests[f"{file}:{line}"].add(self._running)
        return self._monitoring.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._running = item.nodeid
        self._monitoring.restart_events()
        try:
            return (yield)
        finally:
            self._running = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration  # type: ignore[assignment]  # typeshed: int only

    def pytest_sessionfinish(self) -> None:
        tests = {line: sorted(tests) for line, tests in self._tests.items()}
        self._found.write_text(json.dumps([tests, self._seconds]))


def run(at: Path, arguments: Sequence[str], *, within_s: int | None = None, reached: Reached | None = None) -> bool:
    """Runs tests of the copy in a fork. Returns whether all pass. Raises LookupError if pytest does not find them."""
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            _run_here(at, arguments, output.fileno(), within_s, reached)
        _, status = os.waitpid(pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what a test started
        output.seek(0)
        code = os.waitstatus_to_exitcode(status)
        if code > pytest.ExitCode.INTERNAL_ERROR:
            raise LookupError(f"pytest ended with {code}:\n{output.read()}")
    return code == pytest.ExitCode.OK


def _run_here(
    at: Path, arguments: Sequence[str], output: int, within_s: int | None, reached: Reached | None
) -> NoReturn:
    code = int(pytest.ExitCode.USAGE_ERROR)
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(at)
        sys.dont_write_bytecode = within_s is not None
        if within_s is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (within_s, within_s))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.path[:] = [str(at), *(folder for folder in sys.path if folder not in {str(ROOT), str(JUDGES), ""})]
        os.environ["PYTHONPATH"] = str(at)
        for name in [name for name in sys.modules if name.split(".")[0] in {"tests", "proxy"}]:
            del sys.modules[name]
        code = int(pytest.main([*_OPTIONS, *arguments], [] if reached is None else [reached]))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        os._exit(code)


class Laboratory:
    """A copy of the project in which the mutants of one room are made, one at a time."""

    def __init__(self, at: Path, room: Room) -> None:
        """Raises RuntimeError if a test fails without a mutant, or if all pass without a module."""
        self._at = at
        self._room = room
        found = at / "reached.json"
        if not run(at, room.arguments(), reached=Reached(at, room.files(), found)):
            raise RuntimeError(f"{room.tests} fails without a mutant")
        self._tests, self._seconds = json.loads(found.read_text())
        if not self._finds(room.files()[-1], 'raise SystemError("control")\n', sorted(self._seconds)):
            raise RuntimeError(f"{room.tests} passes without {room.files()[-1]}")

    def kills(self, mutant: Mutant) -> bool:
        """Whether a test finds the mutant."""
        lines = (f"{mutant.file}:{line}" for line in range(mutant.first, mutant.last + 1))
        tests = {test for line in lines for test in self._tests.get(line, ())} or set(self._seconds)
        return self._finds(mutant.file, mutant.text(), sorted(tests, key=lambda test: (self._seconds[test], test)))

    def _finds(self, file: str, text: str, tests: Sequence[str]) -> bool:
        changed, chosen = self._at / file, self._at / "chosen-tests"
        chosen.write_text("\n".join(tests))
        within_s = 20 + round(5 * sum(self._seconds[test] for test in tests))
        changed.write_text(text)
        os.utime(changed, (0, 0))  # what is compiled of it is of another time
        try:
            return not run(self._at, [f"@{chosen}"], within_s=within_s)
        except LookupError:  # a test file cannot be imported, or has other tests
            return not run(self._at, self._room.arguments(), within_s=within_s)
        finally:
            shutil.copy2(ROOT / file, changed)


def main(names: Sequence[str]) -> None:
    table = tomllib.loads(TABLE.read_text())
    rooms = [Room(**row) for row in table["room"]]
    hypothesis.settings.register_profile(  # the same examples for each mutant, and no time for a smaller one
        "mutants", derandomize=True, database=None, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
    )
    hypothesis.settings.load_profile("mutants")
    mutants: defaultdict[str, list[Mutant]] = defaultdict(list)
    for room, mutant in chosen(rooms, names, table["seed"], table["count"]):
        mutants[room.tests].append(mutant)
    gc.freeze()
    with copy() as at:
        for room in rooms:
            if drawn := mutants[room.tests]:
                laboratory = Laboratory(at, room)
                survived = sum(not _examined(laboratory, mutant) for mutant in drawn)
                print(f"{room.tests}: {survived} of {len(drawn)} survived", flush=True)


def _examined(laboratory: Laboratory, mutant: Mutant) -> bool:
    """Whether a test finds the mutant. Prints the result."""
    began = time.monotonic()
    is_killed = laboratory.kills(mutant)
    print(f"{'killed' if is_killed else 'survived':8} {time.monotonic() - began:4.0f} s  {mutant}", flush=True)
    if not is_killed:
        print(mutant.diff(), flush=True)
    return is_killed


if __name__ == "__main__":
    main(sys.argv[1:])
