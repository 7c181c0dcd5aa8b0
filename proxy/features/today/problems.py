"""Lists the present problems that belong to no other feature, for `byway status` and Home: each in a sentence, with one
remedy.

The user can end a problem: a file to correct, a relay to add, a certificate to trust. A fault from which Byway recovers
by itself is none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from proxy.control.answers.problems import Problem, ProblemSubject
from proxy.detect.verdict.labels import network_in_words, wrong_clock
from proxy.features.today.answers import TrafficJson
from proxy.model import NetworkState
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.wire.relay_url import redact

Problems = Iterator[tuple[str, str]]
"""Problems, each as a sentence and its remedy."""


@frozen_dataclass
class StatusSnapshot:
    """The facts from which these problems follow, at one moment."""

    live: Mapping[str, int | float | str]
    """The present counters."""
    network: NetworkState
    log_trouble: str
    """The error when the log is written; empty: none."""
    portal_page: str = ""
    """The URL of the login page of a captive portal; empty: unknown."""
    clock_s: float = 0.0
    """The seconds by which this computer's clock is ahead, by certificates and a control page; 0: it may be right."""
    traffic: TrafficJson | None = None


def present(status: StatusSnapshot) -> tuple[Problem, ...]:
    """Returns the problems."""
    parts = (
        (ProblemSubject.TRAFFIC, _of_traffic),
        (ProblemSubject.CONFIGURATION, _of_configuration),
        (ProblemSubject.NETWORK, _of_network),
        (ProblemSubject.LOG, _of_log),
        (ProblemSubject.BYWAY, _of_faults),
    )
    return tuple(Problem(subject, text, do) for subject, part in parts for text, do in part(status))


def _of_traffic(status: StatusSnapshot) -> Problems:
    if status.traffic is not None:
        yield status.traffic.text, status.traffic.do


def _of_configuration(status: StatusSnapshot) -> Problems:
    if rejected := status.live.get("config_problem"):
        text = _("The edited configuration is not in use: {reason}", reason=redact(str(rejected)))
        yield text, "byway config check"


def _of_network(status: StatusSnapshot) -> Problems:
    if uninspected := status.live.get("uninspected"):
        text = _("{hosts}: a client rejected Byway's certificate; inspection is off for 6 h.", hosts=str(uninspected))
        yield text, _("byway ca trust, or remove INSPECT from its rule")
    if status.clock_s:
        yield wrong_clock(status.clock_s), _("set the clock")
    if problem := network_in_words(status.network, status.portal_page):
        yield problem


def _of_log(status: StatusSnapshot) -> Problems:
    if not_stored := status.live.get("not_stored"):
        text = _("Nothing is stored: {reason}", reason=str(not_stored))
        yield text, _("free space or make the folder writable, then restart Byway")
    if status.log_trouble:
        text = _("The log cannot be written: {reason}", reason=status.log_trouble)
        yield text, _("check whether the disk is full")
    elif dropped := status.live.get("dropped_rows"):
        text = ngettext("{count} log entry was lost.", "{count} log entries were lost.", int(dropped))
        yield text, _("nothing: new ones are written again")


def _of_faults(status: StatusSnapshot) -> Problems:
    if place := status.live.get("fault"):
        since = time.strftime("%H:%M", time.localtime(float(status.live["fault_since"])))
        text = _(
            "Internal error in {work}, since {time}: {place}. Byway continues to run.",
            work=str(status.live["fault_work"]),
            time=since,
            place=str(place),
        )
        yield text, "byway restart"
