"""What the endpoints of the API and the pages of the dashboard are made of: the parts of a running Byway, its features,
and what several of them read and change by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from proxy.control.answers.problems import ProblemJson, ProblemSubject
from proxy.control.config_edits import ConfigEdits
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.relay_reader import RelayReader
from proxy.control.site_reader import FLUSH_S, SiteReader
from proxy.model import Override
from proxy.model.feature import BrokenFeature, Feature, Page, pages_of
from proxy.model.phrase import _
from proxy.store.forgetting import Forgotten

T = TypeVar("T")

_SUBJECTS = [*ProblemSubject]

_REMEDY = _("install Byway again, then `byway restart`")

log = logging.getLogger(__name__)


class Frame:
    """One for a running Byway."""

    def __init__(self, parts: Dependencies, sign_in: SignIn) -> None:
        self.parts = parts
        self.features = parts.features
        self.sign_in = sign_in
        self.sites = SiteReader(parts)
        self.relays = RelayReader(parts)
        self.edits = ConfigEdits(parts)
        self.broken: dict[str, BrokenFeature] = {}
        self._made: dict[Callable[..., Any], Any] = {}

    def one(self, make: Callable[[Frame], T]) -> T:
        """Returns what `make` makes of this Frame: of each there is one."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    async def set_override(self, host: str, override: Override | None) -> None:
        """Sets an override, or removes it. Returns once that is stored."""
        self.parts.override(host, override)
        await asyncio.to_thread(self.parts.store.flush, FLUSH_S)

    async def problems(self, now: float) -> tuple[ProblemJson, ...]:
        """Returns the problems of now, in the order of their subjects."""
        found: list[ProblemJson] = []
        for find in self.loaded((feature, feature.problems) for feature in self.features):
            found += await find(self, now)
        broken = {**self.parts.broken_features(), **{name: str(error) for name, error in self.broken.items()}}
        found += [ProblemJson(ProblemSubject.BYWAY, f"{text}.", _REMEDY) for text in broken.values()]
        return tuple(sorted(found, key=lambda problem: _SUBJECTS.index(problem.subject)))

    def loaded(self, named: Iterable[tuple[Feature, str]]) -> Iterator[Any]:
        """Imports what features name; empty names name nothing. A feature that does not work is left out, and is among
        the problems."""
        for feature, name in named:
            try:
                if name:
                    yield feature.load(name)
            except BrokenFeature as error:
                if feature.name not in self.broken:
                    log.warning("%s", error)
                self.broken[feature.name] = error

    def forget(self, what: Forgotten) -> None:
        """Forgets what features hold in memory."""
        for forget in self.loaded((feature, feature.forgets) for feature in self.features):
            forget(self, what)

    @property
    def pages(self) -> Mapping[str, Page]:
        """The pages of the menu, by their names, in its order."""
        return pages_of([feature for feature in self.features if feature.name not in self.broken])
