"""The control of a measurement: another site, tested direct. Where it does not answer either, a failure says nothing
about the measured site.

Control pages are the user's own (`[auto] controls`), as far as rules and addons allow them direct and they work.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from proxy.detect.scopes import registrable
from proxy.model import DIRECT, MeasurementStep, StepKind, StepResult, Symptom
from proxy.model.phrase import _
from proxy.probe.control_page import control_pages
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.probe.site_probe import SiteProbe
from proxy.probe.target import ProbeTarget

_CONTROLS_MAX = 2
"""Pages that are requested at most: one that does not answer may be blocked itself, two at once would be chance."""


class SharedControls:
    """The latest results of control pages, for all measurements on one network. When hundreds of sites fail at once,
    one measurement requests the page and the others wait for its result."""

    def __init__(self) -> None:
        self._locks: defaultdict[ProbeTarget, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._results: dict[ProbeTarget, tuple[float, MeasurementStep]] = {}

    async def check(
        self, page: ProbeTarget, probe: Callable[[], Awaitable[MeasurementStep]], *, keep_s: float
    ) -> MeasurementStep:
        """Returns the result of a page that is not older than `keep_s`, else that of `probe`."""
        async with self._locks[page]:
            now = asyncio.get_running_loop().time()
            checked_at, step = self._results.get(page, (-math.inf, None))
            if step is None or now - checked_at >= keep_s:
                step = await probe()
                self._results[page] = now, step
            return step


class Controls:
    """The control pages of one measurement."""

    def __init__(
        self, env: ProbeEnvironment, request: MeasurementRequest, probe: SiteProbe, shared: SharedControls
    ) -> None:
        self._env = env
        self._request = request
        self._probe = probe
        self._shared = shared

    async def check(self, emit: Callable[[MeasurementStep], None]) -> None:
        """Requests control pages until one answers, and emits a step for each."""
        site = registrable(self._request.page.host)
        pages = [page for page in await self._pages() if registrable(page.host) != site]
        if not pages:
            text = _("no control site may be tested direct (`[auto] controls`)")
            emit(MeasurementStep(StepKind.CONTROL, DIRECT, StepResult.NOT_TESTED, text=text))
            return
        random.shuffle(pages)  # Byway is not to be recognised by the page that it always requests first
        keep_s = self._env.settings.detect.measure_control_s
        for page in pages[:_CONTROLS_MAX]:
            step = await self._shared.check(page, partial(self._probe_page, page), keep_s=keep_s)
            emit(step)
            if step.ok:
                return

    async def _probe_page(self, page: ProbeTarget) -> MeasurementStep:
        loop = asyncio.get_running_loop()
        began = loop.time()
        steps: list[MeasurementStep] = []
        reached = await replace(self._probe, emit=steps.append).visit(
            DIRECT, self._env.dialer(DIRECT), page.destination, page, connect_s=self._env.settings.detect.syn_s * 2
        )
        last = steps[-1]
        return MeasurementStep(
            StepKind.CONTROL,
            DIRECT,
            StepResult.OK if reached else StepResult.FAILED,
            Symptom.NONE if reached else last.symptom,
            _("{host} answered", host=page.host)
            if reached
            else _("{host}: {reason}", host=page.host, reason=last.text),
            last.address,
            round(loop.time() - began, 4),
            {"host": page.host},
        )

    async def _pages(self) -> list[ProbeTarget]:
        pages = [control.target for control in control_pages(self._env.settings.auto)]
        return [page for page in pages if await self._env.may_be_control(page)]

    async def neutral_name(self) -> str:
        """A name that censors have no reason to block, for another SNI; empty when no control page may be used."""
        return next((page.host for page in await self._pages() if page.host != self._request.page.host), "")
