"""`byway status`: the problems, then the instance, the success of each route, the relays and the blocked sites."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from proxy.detect.verdict.site_status import status_in_words
from proxy.features.today.relay_rows import relay_rows
from proxy.languages.amounts import ago, clock, share, short_moment, size
from proxy.model.phrase import _, commas, ngettext, pgettext, semicolons
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit
from proxy.terminal.mode_text import mode_sentences
from proxy.terminal.output import action_of, override_of

_WATCH_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"
_HEADINGS = ("kind", "name", "state", "detail")


@root_command(example="byway status --watch", is_translated=True)
def status(
    call: Invocation,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every 2 seconds, until Ctrl-C.")] = False,
) -> Exit | None:
    """Show problems, routes, relays and blocked sites."""
    client = call.client()
    while True:
        answer = client.get("/v1/status")
        if watch and call.output.fancy:
            sys.stdout.write(_CLEAR)
        if call.output.as_json:
            call.output.document(answer)
        elif call.output.fancy:
            _show(call, answer)
        else:
            call.output.table(_HEADINGS, _lines(answer))
        if not watch:
            return None
        sys.stdout.flush()
        time.sleep(_WATCH_S)


def _show(call: Invocation, answer: dict[str, Any]) -> None:
    out, now = call.output, answer["now"]
    for text, do in mode_sentences(answer["mode"]):
        out.line(text)
        out.line(do, before="  → ")
    for problem in answer["problems"]:
        out.line(problem["text"], before="! ")
        out.line(problem["do"], before="  → ")
    if answer["problems"] or any(mode_sentences(answer["mode"])):
        out.line()
    out.line(_headline(answer, with_id=out.verbose > 0))
    for title, headings, rows in (
        (_("Routes, last {hours} h", hours=answer["routes_hours"]), (
            pgettext("column", "route"),
            pgettext("column", "delivered"),
            pgettext("column", "failed"),
            pgettext("column", "success"),
        ), [
            (route["route"], route["delivered"], route["failed"], _share(route)) for route in answer["routes"]
        ]),
        (_("Relays"), (
            pgettext("column", "relay"), pgettext("column", "state"), pgettext("column", "when"), "url"
        ), [
            (relay["name"], relay["words"], ago(relay.get("found_at"), now=now), relay.get("url", ""))
            for relay in relay_rows(answer["relays"], answer["groups"], lambda each: str(each["name"]))
        ]),
        (_("Overrides that end"), (pgettext("column", "site"), pgettext("column", "override")), [
            (override["scope"], override_of(override, fancy=True)) for override in answer["overrides"]
        ]),
        (_lan_title(answer["lan"]), (
            pgettext("column", "device"),
            pgettext("column", "state"),
            pgettext("column", "since"),
            pgettext("column", "open"),
            pgettext("column", "visits"),
            pgettext("column", "data"),
        ), [*_devices(answer)]),
        (_("Problem sites on this network"), (
            pgettext("column", "site"),
            pgettext("column", "status"),
            pgettext("column", "cause"),
            pgettext("column", "since"),
            pgettext("column", "works by"),
        ), [
            (site["site"], _status_word(site), site["plain"], short_moment(site["since"]), site["works_by"])
            for site in answer["sites"]
        ]),
    ):  # fmt: skip
        if rows:
            out.line()
            out.line(title)
            out.table(headings, rows)
    if not answer["sites"] and answer["traffic"] is None:
        out.line()
        out.line(_("No problem sites on this network."))
    for notice in answer["notices"]:
        out.hint(notice)


def _lan_title(lan: dict[str, Any] | None) -> str:
    if lan is None:
        return ""
    return _("Devices of the network, at {address} until {time}", address=lan["address"], time=clock(lan["ends_at"]))


def _devices(answer: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yields a row for each device of the network that uses Byway or may, and one for none."""
    lan = answer["lan"]
    if lan is None:
        return
    for device in lan["guests"]:
        data = size(device["bytes_up"] + device["bytes_down"])
        when = ago(device["since"], now=answer["now"])
        yield device["address"], _("allowed"), when, str(device["open"]), str(device["visits"]), data
    for device in lan["waiting"]:
        yield device["address"], _("waits: `byway lan allow {address}`", address=device["address"]), "", "", "", ""
    for address in lan["expected"]:
        yield address, _("allowed, not seen yet"), "", "", "", ""
    if not (lan["guests"] or lan["waiting"] or lan["expected"]):
        yield "–", _("none yet"), "", "", "", ""


def _headline(answer: dict[str, Any], *, with_id: bool) -> str:
    """`with_id`: also with the id of the network, which says nothing to people, but names it in `[networks]`."""
    live = answer["live"]
    started = ago(live.get("started_at"), now=answer["now"])
    listens: str = _("Byway {version} listens on {address}", version=answer["byway"], address=answer["listen"])
    if started:
        listens = commas([listens, _("started {when}", when=started)])
    connections = int(live.get("tunnels", 0))
    facts: list[str] = [listens, ngettext("{count} open connections", "{count} open connections", connections)]
    if answer["network"] == "unknown":
        facts.append(_("unknown network: results are not stored"))
    elif name := _network(answer) if with_id else answer["network_name"]:
        facts.append(_("network {network}", network=name))
    return _("{facts}.", facts=semicolons(facts))


def _status_word(site: dict[str, Any]) -> str:
    """Returns the glyph and the status of a site in words."""
    return _("{glyph} {status}", glyph=site["glyph"], status=status_in_words(site["words"]))


def _network(answer: dict[str, Any]) -> str:
    """Returns the network in use: its name, if it has one, and its id."""
    name = answer["network_name"]
    return f"{name} ({answer['network']})" if name else str(answer["network"])


def _share(route: dict[str, Any]) -> str:
    return share(route["delivered"], route["delivered"] + route["failed"])


def _lines(answer: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yields the rows of the answer for programs."""
    for text, do in mode_sentences(answer["mode"]):
        yield "mode", "", text, do
    for problem in answer["problems"]:
        yield "problem", "", problem["text"], problem["do"]
    yield (
        "byway",
        answer["listen"],
        "running",
        f"version {answer['byway']}, pid {answer['pid']}, network {_network(answer)}",
    )
    for route in answer["routes"]:
        detail = f"{route['delivered']} of {route['delivered'] + route['failed']} delivered"
        yield "route", route["route"], _share(route), detail
    for relay in answer["relays"]:
        yield "relay", relay["name"], relay["words"], relay["url"]
    for override in answer["overrides"]:
        yield "override", override["scope"], action_of(override), clock(override["until"])
    if (lan := answer["lan"]) is not None:
        until = clock(lan["ends_at"])
        yield "lan", lan["address"], "on", f"{lan['interface']}, network {lan['network']}, until {until}"
    for device, state, *rest in _devices(answer):
        yield "device", device, state, " ".join(filter(None, rest))
    for site in answer["sites"]:
        yield "site", site["site"], site["words"], site["evidence"]
    for notice in answer["notices"]:
        yield "notice", "", notice, ""
