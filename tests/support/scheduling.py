"""Which worker runs which test file, and when: slow files first, and those that need a core to themselves one by one.

pytest-xdist starts the files with the most tests first. Here those that took longest in the last run start first, so
that no worker is left alone with a long file at the end. Two marks, set for a whole file by its `pytestmark`, say more:

`alone`  labs whose times count, and whole browsers. They take the processor that another such file needs, so one worker
         runs them as long as there are any, and the others run the rest beside it.
`waits`  files that use less than a third of a core: they wait for real clocks, and for programs to start. All workers
         but two run such files as long as there are any. Two cores carry three such workers beside two that compute.

The controller imports no test, so it finds the marks in the text of the files.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

COMPUTING = ("gw0", "gw1")
"""The workers that leave what waits to the others as long as possible."""

_SECONDS = "byway/seconds"
"""In pytest's cache: file → what its tests took in the last run that ended, in seconds. Without it, as in CI, the files
with a mark, those with slow tests and those with the most tests come first."""


_MARK = re.compile(r"\bpytest\.mark\.(\w+)")
_SLOW = "pytest.mark.slow"


class Durations:
    """What the tests of each file take. Kept for the next run, file by file."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def add(self, report: pytest.TestReport) -> None:
        self._seconds[_file(report.nodeid)] += report.duration  # type: ignore[assignment]  # typeshed: int only

    def keep(self, config: pytest.Config) -> None:
        if (cache := _cache(config)) is not None and self._seconds:
            cache.set(_SECONDS, _known(config) | {file: round(s, 1) for file, s in self._seconds.items()})


def _cache(config: pytest.Config) -> pytest.Cache | None:
    """Returns None with `-p no:cacheprovider`."""
    return getattr(config, "cache", None)


def _known(config: pytest.Config) -> dict[str, float]:
    cache = _cache(config)
    found = cache.get(_SECONDS, None) if cache is not None else None
    return found if isinstance(found, dict) else {}


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


class SlowFirst(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Hands out one file at a time, as `--dist loadfile` does, in another order."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        self._seconds: Mapping[str, float] = _known(config)
        self._root = config.rootpath

    @cached_property
    def _alone(self) -> frozenset[str]:
        return self._marked("alone")

    @cached_property
    def _waiting(self) -> frozenset[str]:
        return self._marked("waits")

    @cached_property
    def _slow(self) -> frozenset[str]:
        """The files with slow tests, which are few and long."""
        return frozenset(file for file in self.workqueue if _SLOW in (self._root / file).read_text(encoding="utf-8"))

    def _marked(self, mark: str) -> frozenset[str]:
        return frozenset(file for file in self.workqueue if mark in marks_of(self._root / file))

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Ends a worker for which there is nothing: what is left then is run by another one."""
        alone, waiting = self._alone, self._waiting
        allowed = [file for file in self.workqueue if file not in alone or not self._run_elsewhere(node)]
        if not allowed:
            node.shutdown()
            return
        computes = node.gateway.id in COMPUTING
        first = max(
            allowed,
            key=lambda file: (
                computes and file in alone,
                (file in waiting) is not computes,
                self._seconds.get(file, 0),
                file in self._slow,
                len(self.workqueue[file]),
            ),
        )
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def _run_elsewhere(self, node: WorkerController) -> bool:
        """Whether another worker has a file marked `alone` that it has not ended."""
        return any(
            file in self._alone and not all(unit.values())
            for other, units in self.assigned_work.items()
            if other is not node
            for file, unit in units.items()
        )


def shuffled(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Returns the tests in another order, which the seed decides: the files, and the tests of each. Tests of one file
    stay together, since they share what takes long to make."""
    rng, by_file = random.Random(seed), dict[Path, list[pytest.Item]]()
    for item in items:
        by_file.setdefault(item.path, []).append(item)
    return [test for tests in rng.sample([*by_file.values()], len(by_file)) for test in rng.sample(tests, len(tests))]


@cache
def marks_of(path: Path) -> frozenset[str]:
    """Returns the marks that the text of a test file gives all its tests: those of its `pytestmark`."""
    _, _, text = path.read_text(encoding="utf-8").partition("\npytestmark = ")
    return frozenset(_MARK.findall(text.partition("\n\n")[0]))
