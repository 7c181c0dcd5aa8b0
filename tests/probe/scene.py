"""The frame of a scene in which a probe acts beside visits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import Belief, NetworkId
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.session.services import Services
from proxy.session.setup import Setup
from tests.support.outcomes import HOME, HOST
from tests.support.scripted import FakeOracle
from tests.support.services import NO_PAGES, NO_RESOLVER, services


class BesideScene:
    """Real beliefs, the clock of the loop, and a setup of which the scene itself is the router and the registry."""

    schedule = None  # of the router

    def __init__(
        self,
        settings: Settings,
        *,
        near: Iterable[str] = (),
        resolver: object = NO_RESOLVER,
        knowledge: Knowledge = NOTHING_KNOWN,
    ) -> None:
        self.network: NetworkId = HOME
        self.private: set[str] = set()
        self.settings = settings
        self.beliefs = Beliefs(settings.detect, near=frozenset(near).__contains__)
        unused, here = cast(Any, None), cast(Any, self)
        self.setup = Setup(
            *(Loaded(settings), unused, unused, here, here, cast(Any, resolver)), pages=NO_PAGES, knowledge=knowledge
        )

    def services(self, **more: Any) -> Services:
        """Those of the scene; `more` as `tests.support.services` takes it."""
        return services(
            setup=lambda: self.setup,
            beliefs=self.beliefs,
            tcp_info=FakeOracle(),
            network=lambda: self.network,
            now=self.now,
            is_private=self.private.__contains__,
            **more,
        )

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def held(self) -> Belief:
        return self.beliefs.lookup(HOST, network=HOME, now=self.now())
