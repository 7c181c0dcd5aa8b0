"""Controls of a measurement: other sites, asked direct. Where none of them answers, a failure says nothing of this one.

They are the user's own (`[auto] controls`), as far as rules and addons let them go direct and nothing is held against
them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from proxy.detect.scopes import registrable
from proxy.model import DIRECT, MeasurementStep, StepKind, StepResult, Symptom
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.probe.site_probe import SiteProbe
from proxy.probe.target import ProbeTarget, page_of

_CONTROLS = 2
"""Controls that are asked at most: one that does not answer may be blocked itself, two would be chance."""


class Controls:
    """The controls of one measurement."""

    def __init__(
        self,
        env: ProbeEnvironment,
        request: MeasurementRequest,
        new_probe: Callable[[Callable[[MeasurementStep], None]], SiteProbe],
    ) -> None:
        self._env = env
        self._request = request
        self._new_probe = new_probe

    async def check(self, emit: Callable[[MeasurementStep], None]) -> None:
        """Whether other sites are reached direct: without one, a failure says nothing about this one."""
        pages = [page for page in await self._pages() if not self._is_same_site(page)]
        if not pages:
            text = "no control site may be tested direct (`[auto] controls`)"
            emit(MeasurementStep(StepKind.CONTROL, DIRECT, StepResult.NOT_TESTED, text=text))
            return
        random.shuffle(pages)  # no habit
        for page in pages[:_CONTROLS]:
            step = await self._check(page)
            emit(step)
            if step.ok:
                return

    async def _check(self, page: ProbeTarget) -> MeasurementStep:
        if self._env.controls is None:
            return await self._probe_control(page)
        keep_s = self._env.settings.detect.measure_control_s
        return await self._env.controls.ask(page, lambda: self._probe_control(page), keep_s=keep_s)

    async def _probe_control(self, page: ProbeTarget) -> MeasurementStep:
        began = _now()
        steps: list[MeasurementStep] = []
        place, dialer = page.destination, self._env.dialer(DIRECT)
        probe = self._new_probe(steps.append)
        reached = await probe.visit(DIRECT, dialer, place, page, connect_s=self._env.settings.detect.syn_s * 2)
        last = steps[-1]
        text = f"{page.host} answered" if reached else f"{page.host}: {last.text}"
        symptom = Symptom.NONE if reached else last.symptom
        found = StepResult.OK if reached else StepResult.FAILED
        elapsed = round(_now() - began, 4)
        return MeasurementStep(
            StepKind.CONTROL, DIRECT, found, symptom, text, last.address, elapsed, {"host": page.host}
        )

    def _is_same_site(self, page: ProbeTarget) -> bool:
        return registrable(self._request.page.host) == registrable(page.host)

    async def _pages(self) -> list[ProbeTarget]:
        """Those that rules and addons let go direct, and that are not in trouble themselves."""
        env = self._env
        pages = [page for page in map(page_of, env.settings.auto.controls) if not env.is_troubled(page.host)]
        return [page for page in pages if await env.may_go_direct(page.destination)]

    async def neutral_name(self) -> str:
        """A name that censors have no reason to block; empty when no control may be asked."""
        others = [page.host for page in await self._pages()]
        return next((host for host in others if host != self._request.page.host), "")


def _now() -> float:
    return asyncio.get_running_loop().time()
