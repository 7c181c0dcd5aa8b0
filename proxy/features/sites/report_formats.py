"""Writes a report as OONI measurements, HAR, CSV, Markdown or Byway's own JSON.

The OONI measurements have the shape of web_connectivity, but their own test name, `byway`, because the control differs:
at OONI a vantage point elsewhere, here a relay. `anomaly` and `confirmed` have OONI's meaning: only a fingerprint of a
block page, a known interception root, or two answers to one DNS query are proof.

Reports in the formats of OONI and Byway carry the hash of their content (`report_proof`).
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from proxy import __version__
from proxy.control.attempts import result
from proxy.detect.verdict.labels import whole_cause
from proxy.detect.verdict.site_status import BLOCKS
from proxy.features.sites.report_proof import proven
from proxy.features.sites.report_sites import Examination, Site, is_direct
from proxy.features.sites.report_vantage import UNTOLD, Vantage
from proxy.model import TROUBLED, Destination, host_and_port, literal
from proxy.model.document import Document
from proxy.model.document_version import VERSION
from proxy.wire.inert_text import csv_cell, inert

_OONI_VERSION = "0.2.0"  # data_format_version of github.com/ooni/spec, data-formats
_TEST_VERSION = "0.2.0"

_FAILURES = {
    "no_name": "dns_nxdomain_error",
    "resolve_failed": "dns_server_misbehaving",
    "forged": "dns_bogon_error",
    "timeout": "generic_timeout_error",
    "dropped": "generic_timeout_error",
    "silent": "generic_timeout_error",
    "frozen": "generic_timeout_error",
    "refused": "connection_refused",
    "unreachable": "host_unreachable",
    "offline": "network_unreachable",
    "reset": "connection_reset",
    "eof": "eof_error",
    "alert": "ssl_failed_handshake",
    "certificate": "ssl_invalid_certificate",
}
"""OONI's names for failures (data-formats/df-007-errors); others are `unknown_failure: …`."""

_BLOCKING = {
    "dns": "dns",
    "ip": "tcp_ip",
    "block_page": "http-diff",
    "sni_reset": "http-failure",
    "sni_drop": "http-failure",
    "ech": "http-failure",
    "interception": "http-failure",
    "http_host": "http-failure",
    "frozen": "http-failure",
    "throttled": "http-failure",
}
"""The value of `blocking` in OONI's web_connectivity for each cause."""

_BLOCKING_BY_PART = {"resolve": "dns", "connect": "tcp_ip"}
"""The value of `blocking` for each step of direct that failed without a known cause."""

_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w.])")


# -- OONI --------------------------------------------------------------------------------------------------------------


def to_ooni(sites: Sequence[Site], vantage: Vantage = UNTOLD, *, sign: bool = False) -> str:
    """Returns OONI's measurements as JSON, one a line (github.com/ooni/spec, data-formats)."""
    began = min((one.at for site in sites for one in site.examinations), default=0.0)
    measurements = [_measurement(one, began, vantage, site) for site in sites for one in site.examinations]
    return "".join(f"{json.dumps(each)}\n" for each in proven(measurements, sign=sign))


def _measurement(one: Examination, began: float, vantage: Vantage, site: Site) -> Document:
    times = "exact" if site.exact else "rounded"
    return {
        "annotations": {"source": one.source, "network": one.network, "times": times},
        "data_format_version": _OONI_VERSION,
        "extensions": {"dnst": 0, "httpt": 0, "tcpconnect": 0, "tlshandshake": 0},
        "input": one.url,
        "measurement_start_time": _utc(one.at),
        # OONI's values for an unknown network, country and address, unless the user says where the report was made.
        "probe_asn": vantage.asn or "AS0",
        "probe_cc": vantage.country or "ZZ",
        "probe_ip": "127.0.0.1",
        "probe_network_name": vantage.provider,
        "report_id": "",
        "resolver_asn": "AS0",
        "resolver_ip": "127.0.0.2",
        "resolver_network_name": "",
        "software_name": "byway",
        "software_version": __version__,
        "test_helpers": {},
        "test_keys": _test_keys(one),
        "test_name": "byway",
        "test_runtime": round(one.took_s, 3),
        "test_start_time": _utc(began),
        "test_version": _TEST_VERSION,
    }


def _test_keys(one: Examination) -> Document:
    timed = _timed(one.steps)
    direct = [step for step in timed if is_direct(step["route"]) and step["part"] != "control"]
    relayed = [step for step in timed if not is_direct(step["route"])]
    plain = [step for step in direct if step["route"] == "direct"]
    failed = next((step for step in plain if step["result"] == "failed" and step["part"] != "secure"), None)
    accessible = _accessible(one)
    if one.anomaly:
        part = "" if failed is None else failed["part"]
        blocking: str | bool | None = _BLOCKING.get(one.cause) or _BLOCKING_BY_PART.get(part, "http-failure")
    else:  # None where no conclusion was possible
        blocking = None if accessible is None or one.words in ("not tested", "no network", "portal") else False
    queries = [step for step in plain if step["part"] == "resolve" and _is_done(step)]
    answers = [step for step in relayed if step["part"] == "answer" and _is_done(step)]
    return {
        "agent": "agent",  # redirects are not followed
        "socksproxy": None,
        "client_resolver": "127.0.0.2",
        "anomaly": one.anomaly,
        "confirmed": one.confirmed,
        "accessible": accessible,
        "blocking": blocking,
        "dns_consistency": _dns_consistency(one, queries),
        "dns_experiment_failure": next((_failure(step) for step in queries), None),
        "http_experiment_failure": None if failed is None else _failure(failed),
        "body_length_match": None,
        "headers_match": None,
        "status_code_match": _status_match(plain, answers),
        "title_match": None,
        "byway_verdict": one.words,
        "byway_cause": one.cause,
        "byway_seen": one.seen,
        "queries": [_query(step, one) for step in direct if step["part"] in ("resolve", "secure") and _is_done(step)],
        "tcp_connect": [
            _connect(step, address)
            for step in direct
            if step["part"] == "connect" and _is_done(step) and (address := step["address"] or _resolved(one, queries))
        ],
        "tls_handshakes": [_handshake(step, one) for step in direct if step["part"] in ("hello", "neutral")],
        "requests": [_request(step, one) for step in direct if step["part"] == "answer" and _is_done(step)],
        "control": _control(relayed, answers),
        "control_failure": _control_failure(relayed),
        "byway_relays": {
            "routes": sorted({step["route"] for step in relayed}),
            "requests": [_request(step, one) for step in answers],
        },
    }


def _timed(steps: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Returns the steps with `t0` and `t`, in seconds after the first step of their route. The steps of a route follow
    each other; routes are measured side by side."""
    ends: dict[object, float] = {}
    timed = []
    for step in steps:
        lane = (step["route"], step["part"] == "control")
        began = ends.get(lane, 0.0)
        ends[lane] = began + step["elapsed_s"]
        timed.append({**step, "t0": round(began, 4), "t": round(ends[lane], 4)})
    return timed


def _accessible(one: Examination) -> bool | None:
    """Whether direct reaches the site; None when it was not tested."""
    results = {route["result"] for route in one.routes if route["route"] == "direct"}
    if one.anomaly:
        return False
    return True if "ok" in results else False if "failed" in results else None


def _dns_consistency(one: Examination, queries: Sequence[Mapping[str, Any]]) -> str | None:
    if one.cause == "dns" and one.anomaly:
        return "inconsistent"
    return "consistent" if any(step["result"] == "ok" for step in queries) else None


def _status_match(plain: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether direct and a relay got the same HTTP status; None unless both got one."""
    direct, relayed = (
        {step["evidence"]["status"] for step in steps if step["part"] == "answer" and step["evidence"].get("status")}
        for steps in (plain, answers)
    )
    return bool(direct & relayed) if direct and relayed else None


def _query(step: Mapping[str, Any], one: Examination) -> Document:
    addresses = _ADDRESS.findall(step["text"]) if step["result"] == "ok" else []
    answers = [
        {"answer_type": "AAAA", "ipv6": address, "ttl": None}
        if ":" in address
        else {"answer_type": "A", "ipv4": address, "ttl": None}
        for address in addresses
    ]
    return {
        "answers": answers,
        "engine": "getaddrinfo" if step["part"] == "resolve" else "doh",
        "failure": _failure(step),
        "hostname": _host(one),
        "query_type": "ANY",
        "resolver_address": "",
        **_when(step),
    }


def _when(step: Mapping[str, Any]) -> Document:
    return {"t0": step["t0"], "t": step["t"], "tags": [step["route"], step["part"]]}


def _resolved(one: Examination, queries: Sequence[Mapping[str, Any]]) -> str:
    """Returns the address of the site, with port, for a step without the dialed address; empty: unknown."""
    host = _host(one)
    addresses = next((_ADDRESS.findall(step["text"]) for step in queries if step["result"] == "ok"), [])
    address = next(iter(addresses), "" if literal(host) is None else host)
    port = urlsplit(one.url).port or (80 if one.url.startswith("http:") else 443)
    return str(Destination(address, port)) if address else ""


def _connect(step: Mapping[str, Any], address: str) -> Document:
    ip, port = host_and_port(address)
    failure = _failure(step)
    return {
        "ip": ip,
        "port": int(port) if port.isdigit() else 0,
        "status": {"blocked": None, "failure": failure, "success": failure is None},
        **_when(step),
    }


def _handshake(step: Mapping[str, Any], one: Examination) -> Document:
    certificate = [s for s in one.steps if s["part"] == "certificate" and s["route"] == step["route"]]
    bad = next((s for s in certificate if s["result"] == "failed"), None)
    # OONI counts a bad certificate as a failed handshake; here it is a separate step after the handshake.
    failed = bad if bad is not None and step["part"] == "hello" and step["result"] == "ok" else step
    return {
        "network": "tcp",
        "address": step["address"] or str(Destination(_host(one), urlsplit(one.url).port or 443)),
        "cipher_suite": "",
        "failure": _failure(failed),
        "negotiated_protocol": "",
        "no_tls_verify": step["part"] == "neutral",
        "peer_certificates": [],
        "server_name": "" if step["part"] == "neutral" else _host(one),
        "tls_version": "",
        **_when(step),
    }


def _request(step: Mapping[str, Any], one: Examination) -> Document:
    nothing = {"body": "", "headers": {}, "headers_list": []}  # not kept
    return {
        "network": "tcp",
        "address": step["address"],
        "failure": _failure(step),
        "request": {
            **nothing,
            "method": "GET",
            "url": one.url,
            "tor": {"exit_ip": None, "exit_name": None, "is_tor": False},
            "x_transport": "tcp",
        },
        "response": {**nothing, "code": step["evidence"].get("status") or 0, "body_is_truncated": True},
        **_when(step),
    }


def _control(relayed: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> Document:
    """Returns the results of the relays, in the form of OONI's test helper: -1 for an unknown number."""
    best = next((step for step in answers if step["result"] == "ok"), None)
    status = None if best is None else best["evidence"].get("status")
    return {
        "tcp_connect": {},
        "tls_handshake": {},
        "http_request": {
            "body_length": -1,
            "failure": _control_failure(relayed),
            "title": "",
            "headers": {},
            "status_code": status or -1,
        },
        "dns": {"failure": None, "addrs": []},
    }


def _control_failure(relayed: Sequence[Mapping[str, Any]]) -> str | None:
    if any(step["result"] == "ok" and step["part"] in ("answer", "hello") for step in relayed):
        return None
    failed = next((step for step in relayed if step["result"] == "failed"), None)
    return "unknown_failure: no relay was asked" if failed is None else _failure(failed)


def _failure(step: Mapping[str, Any]) -> str | None:
    if step["result"] == "ok":
        return None
    return _FAILURES.get(step["symptom"], f"unknown_failure: {step['symptom'] or 'not judged'}")


# -- the others --------------------------------------------------------------------------------------------------------


def to_json(sites: Sequence[Site], vantage: Vantage = UNTOLD, *, sign: bool = False) -> str:
    where = asdict(vantage)
    report = {"version": VERSION, "byway": __version__, "at": time.time(), **where, "sites": list(map(asdict, sites))}
    (report,) = proven([report], sign=sign)
    return json.dumps(report, indent=2) + "\n"


_COLUMNS = (
    "at", "url", "source", "route", "result", "stage", "symptom", "status", "elapsed_s",
    "verdict", "cause", "anomaly", "confirmed", "network", "asn", "provider", "country",
)  # fmt: skip


def to_csv(sites: Sequence[Site], vantage: Vantage = UNTOLD) -> str:
    """Returns CSV: one line for each route of each measurement and connection."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for site in sites:
        for one in site.examinations:
            for route in one.routes:
                answer = {**route, "at": _moment(one.at), "url": one.url, "source": one.source, "verdict": one.words,
                        "cause": one.cause, "anomaly": str(one.anomaly).lower(),
                        "confirmed": str(one.confirmed).lower(), "network": one.network, **asdict(vantage)}  # fmt: skip
                writer.writerow([csv_cell(answer[name]) for name in _COLUMNS])
    return file.getvalue()


def to_har(sites: Sequence[Site], vantage: Vantage = UNTOLD) -> str:
    """HAR 1.2: one entry for each route of each measurement and connection, without bodies and headers."""
    entries = [
        _entry(one, route)
        for site in sites
        for one in site.examinations
        for route in one.routes
        if route["result"] != "not_tested"
    ]
    where = ", ".join(part for part in (str(vantage), vantage.country) if part)
    log = {"version": "1.2", "creator": {"name": "byway", "version": __version__}, "entries": entries}
    if where:
        log["comment"] = where
    return json.dumps({"log": log}, indent=2) + "\n"


def _entry(one: Examination, route: Mapping[str, Any]) -> Document:
    steps = [step for step in one.steps if step["route"] == route["route"] and step["part"] != "control"]
    timings = _timings(steps)
    address = next((step["address"] for step in steps if step["address"]), "")
    if not is_direct(route["route"]):
        address = ""  # of the relay, not of the site
    error = "" if route["result"] == "ok" else route["text"] or route["symptom"]
    return {
        "startedDateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.at)),
        "time": round(sum(value for name, value in timings.items() if value > 0 and name != "ssl"), 1),
        "request": {
            "method": "GET", "url": one.url, "httpVersion": "HTTP/1.1", "cookies": [], "headers": [],
            "queryString": [], "headersSize": -1, "bodySize": 0,
        },
        "response": {
            "status": route["status"] or 0, "statusText": "", "httpVersion": "HTTP/1.1", "cookies": [], "headers": [],
            "content": {"size": 0, "mimeType": ""}, "redirectURL": "", "headersSize": -1, "bodySize": -1,
            "_error": error,
        },
        "cache": {},
        "timings": timings,
        **({"serverIPAddress": host_and_port(address)[0]} if address else {}),
        "comment": f"{route['route']}: {route['result']}; {one.words}",
    }  # fmt: skip


_PHASES = {"dns": ("resolve", "secure"), "connect": ("connect", "relay"), "ssl": ("hello",), "wait": ("answer",)}


def _timings(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns HAR's timings in milliseconds: -1 for a phase that did not take place, which `send`, `wait` and `receive`
    must not have; `connect` includes `ssl`."""
    spent: dict[str, float] = {}
    for name, parts in _PHASES.items():
        times = [float(step["elapsed_s"]) for step in steps if step["part"] in parts]
        spent[name] = round(sum(times) * 1000, 1) if times else -1
    if spent["ssl"] >= 0:
        spent["connect"] = round(max(spent["connect"], 0) + spent["ssl"], 1)
    return {"blocked": -1, **spent, "send": 0, "wait": max(spent["wait"], 0), "receive": 0}


def to_markdown(sites: Sequence[Site], vantage: Vantage = UNTOLD, at: float | None = None) -> str:
    """Returns Markdown for people: a title, date and version, then a section for each site."""
    networks = dict.fromkeys(site.belief["network"] for site in sites)
    head = [
        "# Byway report",
        "",
        f"* Date: {_moment(time.time() if at is None else at)}",
        f"* Version: Byway {__version__}",
        f"* Network: {', '.join(map(_md, networks)) or 'unknown'}",
        *([f"* Provider: {_md(str(vantage))}"] if str(vantage) else []),
        *([f"* Country: {vantage.country}"] if vantage.country else []),
        f"* Sites: {len(sites)}",
    ]
    if not all(site.exact for site in sites):
        head.append("* Times: by the hour; each day and result of connections once")
    return "\n".join([*head, *(line for site in sites for line in _section(site))]) + "\n"


def _section(site: Site) -> Iterator[str]:
    """Yields the lines about one site: status, evidence, history, measurements, connections."""
    belief = site.belief
    yield ""
    yield f"## {_md(site.host)}"
    yield ""
    yield f"**{belief['glyph']} {_md(belief['words'])}**{_because(belief)}"
    if belief["evidence"]:
        yield ""
        yield f"Evidence: {_md(belief['evidence'])}"
    if belief["state"] in TROUBLED and belief["words"] not in BLOCKS:  # the history says that it goes on
        yield ""
        yield f"Stored status: {_md(belief['stored_words'])}; it changes once re-tests agree"
    if site.timeline:
        yield from ("", "History:", "")
    for spell in site.timeline:
        until = f"until {_moment(spell['until'])} ({_md(spell['ended'])})" if spell["until"] else "until now"
        yield f"* {_md(spell['words'])} from {_moment(spell['since'])} {until}: {_md(spell['began'])}"
    for one in site.examinations:
        if one.source == "measurement":
            yield from _measurement_section(one)
    connections = [one for one in site.examinations if one.source == "connection"]
    if connections:
        yield from ("", "### Connections", "")
        yield f"| {'time' if site.exact else 'day'} | result | delivered by | failed before |"
        yield "|---|---|---|---|"
    for one in connections:
        moment = _moment(one.at)
        yield _connection_row(moment if site.exact else moment.partition("T")[0], one)


def _because(belief: Document) -> str:
    cause = f": {_md(whole_cause(belief['cause']))}" if belief["cause"] else ""
    since = f", since {_moment(belief['since'])}" if belief["since"] else ""
    confirmed = f", last confirmed {_moment(belief['found_at'])}" if belief["found_at"] else ""
    return f"{cause}{since}{confirmed}"


def _measurement_section(one: Examination) -> Iterator[str]:
    kind = "confirmed" if one.confirmed else "anomaly" if one.anomaly else "no anomaly"
    yield ""
    yield f"### Measurement of {_moment(one.at)}: {_md(one.words)} ({kind})"
    if one.seen:
        yield ""
        yield _md(one.seen)
    yield from ("", "| route | result | stage | seconds |", "|---|---|---|---|")
    for route in one.routes:
        ended = " ".join(str(part) for part in (route["stage"], route["symptom"], route["status"]) if part)
        word = route["result"].replace("_", " ")
        yield f"| {_md(route['route'])} | {word} | {_md(ended)} | {route['elapsed_s']:g} |"


def _connection_row(moment: str, one: Examination) -> str:
    by = next((route["route"] for route in one.routes if route["result"] == "ok"), "")
    protocol = "http" if one.url.startswith("http:") else "tls"
    failed = ", ".join(
        f"{it['route']}: {result(it['stage'], it['symptom'], protocol)}"
        for it in one.routes
        if it["result"] == "failed"
    )
    return f"| {moment} | {'✓' if by else '✗'} | {_md(by or 'none')} | {_md(failed)} |"


def _md(text: str) -> str:
    """Escapes the characters with a meaning in Markdown or HTML: hosts and errors come from outside."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|])", r"\\\1", inert(text))


class Writer(Protocol):
    """Returns a report of sites, made at a vantage point, as text."""

    def __call__(self, sites: Sequence[Site], vantage: Vantage = ..., /) -> str: ...


FORMATS: Mapping[str, Writer] = {"ooni": to_ooni, "json": to_json, "csv": to_csv, "har": to_har, "md": to_markdown}

SIGNED_FORMATS: Mapping[str, Writer] = {"ooni": partial(to_ooni, sign=True), "json": partial(to_json, sign=True)}


def _host(one: Examination) -> str:
    return urlsplit(one.url).hostname or ""


def _is_done(step: Mapping[str, Any]) -> bool:
    return bool(step["result"] != "not_tested")


def _utc(at: float) -> str:
    """Returns a moment in UTC, in OONI's format."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _moment(at: float) -> str:
    """Returns a moment as ISO 8601 in UTC: a report does not show the user's time zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
