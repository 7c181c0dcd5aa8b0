"""The control of a measurement: another site, tested direct. If it does not answer either, a failure shows nothing
about the measured site.

Control pages are those of `[auto] controls` that rules and addons allow direct, and that are not in trouble themselves.
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
from proxy.model import DIRECT, ConnectivityResult, Evidence, MeasurementStep, StepKind, StepResult, Symptom, bracketed
from proxy.model.phrase import _
from proxy.probe.control_page import ControlPage, check_control_page, control_pages, portal_page
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.probe.site_probe import SiteProbe
from proxy.probe.target import ProbeTarget

_CONTROLS_MAX = 2
"""The most pages that are requested: one without an answer may be blocked itself; two at once are improbable."""


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
        random.shuffle(pages)  # a fixed first page would identify Byway
        keep_s = self._env.settings.detect.measure_control_s
        for page in pages[:_CONTROLS_MAX]:
            step = await self._shared.check(page, partial(self._probe_page, page), keep_s=keep_s)
            emit(step)
            if step.ok:
                return
        plain = portal_page(self._env.settings.auto)
        if plain is not None and await self._env.may_be_control(plain.target):
            emit(await self._shared.check(plain.target, partial(self._probe_portal, plain), keep_s=keep_s))

    async def _probe_portal(self, page: ControlPage) -> MeasurementStep:
        """Requests the page over plain http, since no control site answers. A captive portal answers in its place. Any
        other answer shows only the time of day."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        checked = await check_control_page(
            self._env.dialer(DIRECT), page.url, timeout_s=self._env.settings.detect.control_timeout_s
        )
        evidence: Evidence = {"host": page.target.host}
        if checked.portal:
            evidence["portal"] = checked.portal
        if checked.clock_s is not None:
            evidence["clock_s"] = round(checked.clock_s)
        is_portal = checked.result is ConnectivityResult.PORTAL
        return MeasurementStep(
            StepKind.CONTROL,
            DIRECT,
            StepResult.FAILED if is_portal else StepResult.NOT_TESTED,
            Symptom.REDIRECTED if is_portal else Symptom.NONE,
            _("{host}: {reason}", host=page.url, reason=checked.detail),
            "",
            round(loop.time() - began, 4),
            evidence,
        )

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
            {"host": page.host, **_kept_of(last.evidence)},
        )

    async def _pages(self) -> list[ProbeTarget]:
        pages = [control.target for control in control_pages(self._env.settings.auto)]
        return [page for page in pages if await self._env.may_be_control(page)]

    async def neutral_name(self) -> str:
        """Returns a name that censors have no reason to block, for another SNI; empty when no control page may be
        used."""
        return next((page.host for page in await self._pages() if page.host != self._request.page.host), "")


def _kept_of(evidence: Evidence) -> Evidence:
    """Returns the evidence of a control page's last step beside its result: a certificate that is not valid today, or a
    forged address, which a captive portal gives for every name."""
    kept: Evidence = {}
    if "clock" in evidence:
        kept["clock"] = evidence["clock"]
    if forged := evidence.get("forged"):
        kept["portal"] = f"http://{bracketed(forged)}/"
    return kept
