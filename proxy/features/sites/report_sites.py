"""The content of a report for each site: its status, its history, and its measurements and connections as steps.

A measurement and a logged connection both become an Examination, so that each format is written once. A connection has
less: only the last stage of each route. All are made from documents of the API, so that commands can make a report from
the files, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.model import Destination
from proxy.model.document import Document
from proxy.model.frozen_dataclass import frozen_dataclass

ROWS = 200
"""The most connections of one site in a report, the newest ones."""


@frozen_dataclass
class Examination:
    """One measurement of a site, by `byway why` or `byway test`, or one logged connection."""

    url: str
    at: float
    took_s: float
    source: str  # "measurement" or "connection"
    words: str
    cause: str
    seen: str
    anomaly: bool
    confirmed: bool
    network: str
    steps: tuple[Document, ...]  # measurement_answers.StepJson
    routes: tuple[Document, ...]  # measurement_answers.RouteResultJson


@frozen_dataclass
class Site:
    """All stored data about one site, on the network of `belief`."""

    host: str
    belief: Document
    timeline: tuple[Document, ...]
    examinations: tuple[Examination, ...]
    exact: bool = True
    """Whether its times are exact, and each connection has a row."""

    @property
    def is_known(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.examinations or self.timeline or self.belief["last_result"] or self.belief["since"])


def is_direct(route: str) -> bool:
    """Whether a route of a document uses no relay: `direct`, or direct with a local strategy."""
    return route.split("|", 1)[0] == "direct"


def site_of(
    answer: Mapping[str, Any], measured: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Site:
    """Returns a site from the answers about it: that of `/v1/sites/HOST`, its measurements, and rows of the log. Those
    of another network than that of the status are left out: they would seem to disprove it."""
    host, network = answer["host"], answer["belief"]["network"]
    examinations = [_of_measurement(one) for one in measured]
    examinations += [_of_connection(row) for row in rows if row["host"] == host and row["attempts"]]
    examinations = sorted((one for one in examinations if one.network == network), key=lambda one: one.at)
    timeline = tuple(spell for spell in answer["timeline"] if spell["network"] == network)
    return Site(host, answer["belief"], timeline, tuple(examinations))


def _of_measurement(answer: Mapping[str, Any]) -> Examination:
    verdict = answer["verdict"]
    return Examination(
        url=answer["url"],
        at=answer["measured_at"],
        took_s=answer["measured_s"],
        source="measurement",
        words=verdict["words"],
        cause=verdict["cause"],
        seen=verdict["seen"],
        anomaly=verdict["anomaly"],
        confirmed=verdict["confirmed"],
        network=answer["measured_on"],
        steps=tuple(answer["steps"]),
        routes=tuple(answer["routes"]),
    )


def _of_connection(row: Mapping[str, Any]) -> Examination:
    attempts = row["attempts"]
    direct = [tried for tried in attempts if tried["route"] == "direct"]
    failed = any(tried["stage"] != "done" and tried["symptom"] not in _NO_EVIDENCE for tried in direct)
    anomaly = failed and row["winner"] not in (None, "direct")
    confirmed = anomaly and any(
        tried["symptom"] == "block_page" or tried["evidence"].get("dns") == "dns_two_answers" for tried in direct
    )
    scheme = "http" if row["protocol"] == "http" else "https"
    usual_port = ":80" if scheme == "http" else ":443"
    if anomaly:
        words = "direct failed, another route delivered"
    else:
        words = f"{row['winner']} delivered" if row["winner"] else "no route delivered"
    return Examination(
        url=f"{scheme}://{str(Destination(row['host'], row['port'])).removesuffix(usual_port)}/",
        at=row["at"],
        took_s=max((tried["started_s"] + tried["elapsed_s"] for tried in attempts), default=0.0),
        source="connection",
        words=words,
        cause="",
        seen=next((tried["error"] or tried["symptom"] for tried in direct if tried["stage"] != "done"), ""),
        anomaly=anomaly,
        confirmed=confirmed,
        network=row["network"],
        steps=tuple(step for tried in attempts for step in _steps(tried, tls=row["protocol"] == "tls")),
        routes=tuple(_route(tried) for tried in attempts),
    )


_NO_EVIDENCE = ("", "abandoned", "local", "offline", "forbidden", "skipped")
"""Symptoms that are evidence neither for nor against a route."""


def _result(tried: Mapping[str, Any]) -> str:
    if tried["stage"] == "done":
        return "ok"
    return "not_tested" if tried["symptom"] in _NO_EVIDENCE else "failed"


def _route(tried: Mapping[str, Any]) -> Document:
    return {
        "route": tried["route"],
        "result": _result(tried),
        "stage": tried["stage"],
        "symptom": tried["symptom"],
        "text": tried["error"],
        "status": tried["evidence"].get("status"),
        "elapsed_s": tried["elapsed_s"],
    }


def _steps(tried: Mapping[str, Any], *, tls: bool) -> Iterator[Document]:
    """Yields the steps of an attempt up to its last stage, which has the time of the whole attempt: no other is
    logged."""
    last = tried["stage"]
    if last not in ("resolve", "connect", "relay"):
        last = "hello" if tls else "answer"
        first = "connect" if tried["route"].startswith("direct") else "relay"
        yield _step(tried, first, "ok", "", 0.0)
    yield _step(tried, last, _result(tried), tried["symptom"], tried["elapsed_s"])


def _step(tried: Mapping[str, Any], part: str, result: str, symptom: str, elapsed_s: float) -> Document:
    return {
        "route": tried["route"],
        "part": part,
        "result": result,
        "symptom": symptom,
        "text": tried["error"] if symptom else "",
        "address": tried["address"],
        "elapsed_s": elapsed_s,
        "evidence": tried["evidence"],
    }
