"""Mutation testing, by hand: changes single operators, constants and conditions of the product, and counts the changes
that no test notices.

    make judges                                  # installs the operators of cosmic-ray
    .venv/bin/python -m tests.mutants > result   # draws the mutants of mutants.toml: about an hour
    .venv/bin/python -m tests.mutants NAME …     # these alone, by the names that the result has

A place in the code is drawn first, and then one of its mutations, so that an operator with many replacements weighs no
more than a constant. Left out are annotations, the `*` of parameters, and what does not compile. Each mutant is made in
a copy of the project. Its tests run in a fork of this process, which has imported pytest and neither the product nor
the tests: a start of pytest would take longer than most tests of one module. A run that needs too much time or memory
counts as killed. Prints each mutant, and a diff for those that survived.
"""

from __future__ import annotations

import difflib
import gc
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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
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
SLACK_S = 30
"""CPU time that a mutant may take beyond five times that of the tests without it."""
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

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(self.modules))

    def lines(self) -> int:
        """The lines of code, without blank ones and comments."""
        lines = (line.strip() for file in self.files() for line in (ROOT / file).read_text().splitlines())
        return sum(bool(line) and not line.startswith("#") for line in lines)

    def own_tests(self, file: str) -> str | None:
        """The test file of a module, where it has one."""
        path = f"{self.tests}/test_{Path(file).name}"
        return path if (ROOT / path).is_file() else None


class Mutant(NamedTuple):
    file: str
    operator: str
    occurrence: int

    def __str__(self) -> str:
        return ":".join(map(str, self))

    def text(self) -> str:
        """Returns the module with the mutation."""
        made = mutate_code((ROOT / self.file).read_text(), _OPERATORS[self.operator], self.occurrence)
        if made is None:
            raise ValueError(f"{self} is not in the code")
        return str(made)

    def compiles(self) -> bool:
        try:
            compile(self.text(), self.file, "exec")
        except SyntaxError:
            return False
        return True

    def diff(self) -> str:
        before, after = (ROOT / self.file).read_text().splitlines(), self.text().splitlines()
        return "\n".join(difflib.unified_diff(before, after, self.file, self.operator, lineterm="", n=2))


def drawn(room: Room, count: int, rng: random.Random) -> list[Mutant]:
    """Draws mutants of different places."""
    places = [place for file in room.files() for place in _places(file)]
    mutants: list[Mutant] = []
    while len(mutants) < count:
        mutant = rng.choice(places.pop(rng.randrange(len(places))))
        if mutant.compiles():
            mutants.append(mutant)
    return mutants


def _places(file: str) -> list[list[Mutant]]:
    """Returns the mutants of a module, those of one place together."""
    nodes = list(ast_nodes(parso.parse((ROOT / file).read_text())))
    of_place: defaultdict[tuple[object, object], list[Mutant]] = defaultdict(list)
    for name, operator in _OPERATORS.items():
        positions = ((node, place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (node, place) in enumerate(positions):
            if not _is_annotation(node) and node.parent.type != "parameters":
                of_place[place].append(Mutant(file, name, occurrence))
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


class Run(NamedTuple):
    passed: bool
    cpu_s: float
    output: str


def run(at: Path, tests: str, *, within_s: int | None = None) -> Run:
    """Runs tests of the copy in a fork. Raises RuntimeError if pytest finds none, or does not start."""
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            _run_here(at, tests, output.fileno(), within_s)
        _, status, used = os.wait4(pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what a test started
        output.seek(0)
        text = output.read()
    code = os.waitstatus_to_exitcode(status)
    if code > pytest.ExitCode.INTERNAL_ERROR:
        raise RuntimeError(f"pytest ended with {code}:\n{text}")
    return Run(code == pytest.ExitCode.OK, used.ru_utime + used.ru_stime, text)


def _run_here(at: Path, tests: str, output: int, within_s: int | None) -> NoReturn:
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
        code = int(pytest.main([*_OPTIONS, tests]))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        os._exit(code)


class Laboratory:
    """A copy of the project in which mutants are made, one at a time."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._limits_s: dict[str, int] = {}

    def killer(self, room: Room, file: str, text: str) -> str | None:
        """Returns the tests that find a module with this text. None: none do. Raises RuntimeError if they find the
        module as it is."""
        for tests in filter(None, (room.own_tests(file), room.tests)):
            limit_s = self._limit_s(tests)
            changed = self._at / file
            changed.write_text(text)
            os.utime(changed, (0, 0))  # what is compiled of it is of another time
            try:
                if not run(self._at, tests, within_s=limit_s).passed:
                    return tests
            finally:
                shutil.copy2(ROOT / file, changed)
        return None

    def _limit_s(self, tests: str) -> int:
        """The CPU time that the tests may take with a mutant."""
        if tests not in self._limits_s:
            sound = run(self._at, tests)
            if not sound.passed:
                raise RuntimeError(f"{tests} fails without a mutant:\n{sound.output}")
            self._limits_s[tests] = SLACK_S + round(5 * sound.cpu_s)
        return self._limits_s[tests]


def chosen(rooms: Sequence[Room], names: Sequence[str], seed: int, count: int) -> Iterator[tuple[Room, Mutant]]:
    """Yields the mutants with these names, or without names those that are drawn."""
    if names:
        for name in names:
            file, operator, occurrence = name.split(":")
            room = next(room for room in rooms if file in room.files())
            yield room, Mutant(file, operator, int(occurrence))
        return
    rng = random.Random(seed)
    left, lines = count, sum(room.lines() for room in rooms)
    for room in rooms:
        share = round(left * room.lines() / lines)
        left, lines = left - share, lines - room.lines()
        for mutant in drawn(room, share, rng):
            yield room, mutant


def main(names: Sequence[str]) -> None:
    table = tomllib.loads(TABLE.read_text())
    rooms = [Room(**row) for row in table["room"]]
    hypothesis.settings.register_profile(  # the same examples for each mutant, and no time for a smaller one
        "mutants", derandomize=True, database=None, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
    )
    hypothesis.settings.load_profile("mutants")
    mutants = list(chosen(rooms, names, table["seed"], table["count"]))
    gc.freeze()
    counts: Counter[tuple[str, str]] = Counter()
    with copy() as at:
        laboratory = Laboratory(at)
        room, mutant = mutants[0]
        if laboratory.killer(room, mutant.file, 'raise SystemError("control")\n') is None:
            raise RuntimeError(f"{room.tests} passes without {mutant.file}")
        for room, mutant in mutants:
            began = time.monotonic()
            killer = laboratory.killer(room, mutant.file, mutant.text())
            taken = f"{time.monotonic() - began:4.0f} s"
            counts[room.tests, "survived" if killer is None else "killed"] += 1
            if killer is None:
                print(f"survived {taken}  {mutant}\n{mutant.diff()}", flush=True)
            else:
                print(f"killed   {taken}  {mutant}  {killer}", flush=True)
    for (tests, what), number in sorted(counts.items()):
        print(f"{tests}: {number} {what}")


if __name__ == "__main__":
    main(sys.argv[1:])
