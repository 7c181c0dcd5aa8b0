"""The frame for endpoints of the API and pages of the dashboard: the parts of a running Byway, its features, and the
readers and edits that several features share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from proxy.config.relays import enabled_relays, relay_names
from proxy.control.answers.lan import LanJson
from proxy.control.answers.problems import Problem, ProblemSubject
from proxy.control.config_edits import ConfigEdits
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.site_reader import SiteReader
from proxy.control.site_states import KnownSite
from proxy.model import Override
from proxy.model.feature import BrokenFeature, Feature, Page, Role, pages_of
from proxy.model.phrase import _
from proxy.session.events import HostsForgotten
from proxy.store.forgetting import Forgotten

T = TypeVar("T")

_SUBJECTS = [*ProblemSubject]

_REMEDY = _("install Byway again, then `byway restart`")

log = logging.getLogger(__name__)


class Frame:
    """The frame of one running Byway. Belongs to one loop."""

    def __init__(self, parts: Dependencies, sign_in: SignIn) -> None:
        self.parts = parts
        self.features = parts.features
        self.sign_in = sign_in
        self.sites = SiteReader(parts)
        parts.services.events.on(HostsForgotten, lambda _: self.sites.forget())
        self.relays = RelayReader(parts)
        self.edits = ConfigEdits(parts)
        self.broken: dict[str, BrokenFeature] = {}
        self.lan: Callable[[], LanJson] | None = None
        """Returns the devices of the network that use Byway; None: none has been served in this run."""
        self._made: dict[Callable[..., Any], Any] = {}

    def one(self, make: Callable[[Frame], T]) -> T:
        """Returns the one object that `make` makes from this Frame. The first call makes it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    async def set_override(self, host: str, override: Override | None) -> None:
        """Sets an override; None removes it. Returns when it is stored."""
        self.parts.override(host, override)
        await self.parts.flush()

    async def problems(self, moment: Moment) -> tuple[Problem, ...]:
        """Returns the problems that features find, in the order of their subjects."""
        problems: list[Problem] = []
        for find in self.loaded((feature, feature.problems) for feature in self.features):
            problems += await find(moment)
        broken = {**self.parts.broken_features(), **{name: str(error) for name, error in self.broken.items()}}
        problems += [Problem(ProblemSubject.BYWAY, f"{text}.", _REMEDY) for text in broken.values()]
        return tuple(sorted(problems, key=lambda problem: _SUBJECTS.index(problem.subject)))

    def loaded(self, named: Iterable[tuple[Feature, str]]) -> Iterator[Any]:
        """Yields the objects with these names, `module:attribute`, of features; empty names are skipped. A feature that
        cannot be imported is skipped as well, and becomes a problem."""
        for feature, name in named:
            try:
                if name:
                    yield feature.load(name)
            except BrokenFeature as error:
                if feature.name not in self.broken:
                    log.warning("%s", error)
                self.broken[feature.name] = error

    def provided(self, role: Role) -> Any:
        """Returns the object that a feature provides in this role; None when no feature does, or it cannot be
        imported."""
        return next(self.loaded((feature, feature.provides.get(role, "")) for feature in self.features), None)

    def forget(self, what: Forgotten) -> None:
        """Removes names from the memory of features."""
        for forget in self.loaded((feature, feature.forgets) for feature in self.features):
            forget(self, what)

    @property
    def pages(self) -> Mapping[str, Page]:
        """The pages of the menu by name, in the menu's order."""
        return pages_of([feature for feature in self.features if feature.name not in self.broken])


class RelayReader:
    """Reads the configured relays and groups."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def enabled(self) -> list[str]:
        return [relay.name for relay in enabled_relays(self._parts.settings.relay)]

    def worked_at(self) -> float:
        """Returns the time when a relay last delivered, in seconds since the epoch; 0: never."""
        return max((self._parts.health.of(name).worked_at for name in self.enabled()), default=0.0)

    def configured(self) -> list[str]:
        """Returns the names of all configured relays, also of disabled ones."""
        return [relay.name for relay in self._parts.settings.relay]

    def usable_names(self) -> tuple[str, ...]:
        """Returns the names that rules and overrides may use: those of relays and of groups."""
        return relay_names(self._parts.setup().loaded.settings)

    def lost_selections(self) -> Mapping[str, str]:
        """Returns a sentence for each group whose selected relay is no longer a member, by group."""
        return self._parts.groups.lost_selections(self._parts.setup().groups)


class Moment:
    """The state at one moment, for an answer to which several features contribute. Each reading is made once."""

    def __init__(self, frame: Frame, now: float) -> None:
        self.frame = frame
        self.now = now
        self._read: dict[Callable[..., Any], Any] = {}

    async def once(self, read: Callable[[Moment], Awaitable[T]]) -> T:
        """Returns the result of `read`, which is called once for a moment."""
        if read not in self._read:
            self._read[read] = await read(self)
        value: T = self._read[read]
        return value

    async def sites(self) -> Sequence[KnownSite]:
        """Returns all known sites, as `SiteReader.known`."""
        return await self.once(_sites)

    async def troubled(self) -> list[KnownSite]:
        """Returns the sites with a problem on this network."""
        network = self.frame.parts.network()
        return [site for site in await self.sites() if site.stored.network == network and site.is_trouble]


async def _sites(moment: Moment) -> Sequence[KnownSite]:
    return await moment.frame.sites.known(moment.now)
