"""The answer to a plain HTTP client whose site did not open: a page for browsers, a sentence for other programs.

A script of the site may read both. So they name no relay, and no rule or stored status, which may name one. The page
says how this connection ended, the likely reason, and what to do.
"""

from __future__ import annotations

from proxy.detect.verdict.labels import whole_cause
from proxy.detect.verdict.site_status import SiteState, SiteStatus, site_state
from proxy.model import Action, Belief
from proxy.session.connection_record import ConnectionRecord
from proxy.session.inbound import refusal_status
from proxy.session.services import Services
from proxy.wire.html_page import CONTENT_SECURITY_POLICY, Html, document, element, facts
from proxy.wire.http1 import Headers, error_response, host_field


def error_answer(record: ConnectionRecord, services: Services, request_headers: Headers) -> bytes:
    """Returns the whole answer, in the form that the request prefers, by its `request_headers`."""
    status = refusal_status(record.symptom)
    # For a page of another site, our own name and a name that does not exist fail in the same way (`foreign_requests`).
    headers = [("Cross-Origin-Resource-Policy", "same-origin")]
    if not prefers_html(request_headers):
        return error_response(status, record.client_message, headers=headers)
    headers += [("Content-Security-Policy", CONTENT_SECURITY_POLICY), ("Referrer-Policy", "no-referrer")]
    # Commands stay `byway …`: a script of the site can read this page, and the path of a program may name the user.
    return error_response(status, _page(status, record, services), headers=headers, html=True)


def prefers_html(headers: Headers) -> bool:
    """Whether the Accept field names HTML and does not prefer plain text (RFC 9110, section 12.5.1). That is so when
    a browser opens a page; curl and scripts accept anything."""
    weights: dict[str, float] = {}
    for name, value in headers:
        if name.lower() != "accept":
            continue
        for item in value.lower().split(","):
            kind, *parameters = (part.strip() for part in item.split(";"))
            weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
            try:
                weights[kind] = float(weight)
            except ValueError:
                weights[kind] = 0.0
    html = max(weights.get(kind, 0.0) for kind in ("text/html", "application/xhtml+xml"))
    return html > 0.0 and html >= weights.get("text/plain", 0.0)


def _page(status: int, record: ConnectionRecord, services: Services) -> str:
    outcome, host = record.outcome, record.host
    before = outcome.plan.before
    if outcome.plan.kept_out:
        rows = [
            ("Result", "refused" if outcome.plan.action is Action.BLOCK else "not reached direct"),
            ("Reason", record.client_message),
            ("What to do", "To let this program use relays, name it: `byway config set listen.programs …`"),
        ]
    elif outcome.plan.action is Action.BLOCK and before is not None and before.action is not Action.BLOCK:
        rows = [
            ("Result", "refused by an addon on this computer"),
            ("Reason", outcome.plan.why),
            (
                "What to do",
                "To see which addons run: `byway addons list`. To allow it, change the addon, or disable it: "
                "`byway addons disable NAME`",
            ),
        ]
    elif outcome.plan.action is Action.BLOCK:
        rows = [
            ("Result", "refused by a rule or an override on this computer"),
            (
                "What to do",
                f"To see which: `byway rule test http://{host}/`. To allow it: `byway site set {host} auto`",
            ),
        ]
    else:
        verdict = _verdict(record, services)
        to_do = verdict.status.advice or "Reload the page to try again."
        if verdict.status is SiteStatus.NOT_TESTED and not record.setup.registry.relay_names:
            to_do = "Reload the page to try again. With a relay Byway can compare, and open it: `byway relay add URL`"
        if not outcome.plan.routes:
            to_do = "Add a relay with `byway relay add URL`, or change the rule."
        rows = [
            ("Result", f"{verdict.status.glyph} {verdict.status}"),
            *([("Cause", whole_cause(verdict.cause))] if verdict.cause else []),
            ("What happened", record.client_message),
            ("What to do", to_do),
        ]
    about: list[Html] = []
    if record.setup.own_url:  # no link: this page belongs to another site, and our pages refuse its requests
        about.append(element("p", f"About Byway, and how to set this browser: `{record.setup.own_url}`"))
    return document(
        f"{host_field(outcome.request.destination)} did not open",
        facts(rows),
        *about,
        element("p", f"This page comes from Byway, not from the site (HTTP {status}).", class_="quiet"),
    )


def _verdict(record: ConnectionRecord, services: Services) -> SiteState:
    """The status that this connection and the network give the site. The stored status is left out."""
    now, port = services.now(), record.outcome.request.destination.port
    results = services.beliefs.results_by_port(record.host, network=record.network, now=now)
    return site_state(
        Belief(record.host, record.network),
        next((result for result in results if result.port == port), None),
        services.beliefs.network_state(record.network),
        services.health.delivering(record.setup.registry.relay_names),
    )
