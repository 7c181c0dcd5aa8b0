"""What the endpoints of the API and the pages of the dashboard are made of: the parts of a running Byway, its features,
and what several of them read and change by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from proxy.control.answers.problems import ProblemJson, ProblemSubject
from proxy.control.config_edits import ConfigEdits
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.relay_reader import RelayReader
from proxy.control.site_reader import FLUSH_S, SiteReader
from proxy.control.site_states import KnownSite
from proxy.model import Override
from proxy.model.feature import BrokenFeature, Feature, Page, Role, pages_of
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

    async def problems(self, moment: Moment) -> tuple[ProblemJson, ...]:
        """Returns the problems of a moment, in the order of their subjects."""
        found: list[ProblemJson] = []
        for find in self.loaded((feature, feature.problems) for feature in self.features):
            found += await find(moment)
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

    def provided(self, role: Role) -> Any:
        """Imports what one of the features is for others in this role; None: none is, or it does not work."""
        return next(self.loaded((feature, feature.provides.get(role, "")) for feature in self.features), None)

    def forget(self, what: Forgotten) -> None:
        """Forgets what features hold in memory."""
        for forget in self.loaded((feature, feature.forgets) for feature in self.features):
            forget(self, what)

    @property
    def pages(self) -> Mapping[str, Page]:
        """The pages of the menu, by their names, in its order."""
        return pages_of([feature for feature in self.features if feature.name not in self.broken])


class Moment:
    """One moment, about which several features say something: what they read of it is read once."""

    def __init__(self, frame: Frame, now: float) -> None:
        self.frame = frame
        self.now = now
        self._read: dict[Callable[..., Any], Any] = {}

    async def once(self, read: Callable[[Moment], Awaitable[T]]) -> T:
        """Returns what `read` reads of this moment."""
        if read not in self._read:
            self._read[read] = await read(self)
        found: T = self._read[read]
        return found

    async def sites(self) -> Sequence[KnownSite]:
        """Returns all known sites, as `SiteReader.known`."""
        return await self.once(_sites)

    async def troubled(self) -> list[KnownSite]:
        """Returns the sites that are in trouble on this network."""
        network = self.frame.parts.network()
        return [site for site in await self.sites() if site.stored.network == network and site.is_trouble]


async def _sites(moment: Moment) -> Sequence[KnownSite]:
    return await moment.frame.sites.known(moment.now)
