"""`byway site`: what is held about sites, and what the user says of them. A site stands for itself and all below it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit
from proxy.cli.output import ago, clock

group = typer.Typer(help="Sites: what was learned, and what you say of them.", no_args_is_help=True)

Site = Annotated[str, typer.Argument(metavar="SITE", help="A host; all below it is meant too.")]


@command(group, "list", example="byway site list --json")
def list_sites(
    call: Invocation,
    everywhere: Annotated[bool, typer.Option("--all", help="On every network, not on this one alone.")] = False,
) -> Exit | None:
    """List the sites of which something is held, and those you have set."""
    told = call.reader().get("/v1/sites")
    if call.output.as_json:
        call.output.document(told)
        return None
    said = {override["scope"]: _said(override) for override in told["overrides"]}
    shown = [site for site in told["sites"] if everywhere or site["network"] == told["network"]]
    rows = [
        (site["scope"], _word(call, site), site["cause"], _since(call, site), site["last_good"],
         said.pop(site["scope"], ""), *([site["network"]] if everywhere else []))
        for site in sorted(shown, key=lambda site: (str(site["scope"]), str(site["network"])))
    ]  # fmt: skip
    rows += [(scope, "", "", "", "", action, *([""] if everywhere else [])) for scope, action in said.items()]
    headings = ("site", "state", "cause", "since", "opened through", "set", *(["network"] if everywhere else []))
    call.output.table(headings, rows, empty="Nothing is held about any site: what works is not listed.")
    return None


@command(group, "show", example="byway site show livejournal.com")
def show(call: Invocation, site: Site) -> Exit | None:
    """Show what is held about one site, since when and on what evidence."""
    told = call.reader().get(_path(site))
    if call.output.as_json:
        call.output.document(told)
        return None
    rows = [
        (held["network"], _word(call, held), _since(call, held), _evidence(held))
        for held in (told["belief"], *told["elsewhere"])
    ]
    rows += [(spell["network"], _spell(spell), clock(spell["since"]), _story(spell)) for spell in told["timeline"]]
    call.output.table(("network", "state", "since", "evidence"), rows)
    if told["override"] is not None:
        call.output.hint(f"You set {told['override']['scope']} to {_said(told['override'])}.")
    return None


@command(group, "set", example="byway site set example.org relay:tor")
def set_action(
    call: Invocation,
    site: Site,
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="auto, direct, relay[:NAME], prefer-relay[:NAME] or block.")
    ],
) -> Exit | None:
    """Say what to do with a site and all below it; it is asked before any rule."""
    told = call.client().put(_path(site), {"action": action})
    if call.output.as_json:
        call.output.document(told)
    else:
        call.output.line(f"{told['host']} and all below it: {_said(told['override'])}")
        call.output.hint(f"Undo with `byway site forget {told['host']}`.")
    return None


@command(group, "forget", example="byway site forget livejournal.com")
def forget(call: Invocation, site: Site) -> Exit | None:
    """Forget what was learned and set about a site and all below it. The log keeps its lines."""
    told = call.client().delete(_path(site))
    if call.output.as_json:
        call.output.document(told)
        return None
    gone = sorted({*told["forgotten"], *told["overrides"]})
    call.output.line(f"Forgotten: {', '.join(gone)}" if gone else f"Nothing was held about {told['host']}.")
    return None


def _spell(spell: dict[str, Any]) -> str:
    """What it was, and of how much, when more than the site itself was meant."""
    word = "blocked" if spell["blocked_since"] else "likely blocked"
    above = f" with all of {spell['scope'][2:]}" if spell["scope"].startswith("*.") else ""
    return f"{word}{above}, {'ended' if spell['until'] else 'lasts'}"


def _story(spell: dict[str, Any]) -> str:
    """From when to when, why, and how it ended."""
    told = [f"{spell['cause']}: {spell['began']}" if spell["cause"] else spell["began"]]
    if spell["blocked_since"] and spell["blocked_since"] != spell["since"]:
        told.append(f"blocked since {clock(spell['blocked_since'])}")
    if spell["until"]:
        told.append(f"until {clock(spell['until'])}: {spell['ended']}")
    return "; ".join(told)


def _path(site: str) -> str:
    return f"/v1/sites/{quote(site, safe='')}"


def _said(override: dict[str, Any]) -> str:
    return f"{override['action']}:{override['relay']}" if override["relay"] else str(override["action"])


def _word(call: Invocation, held: dict[str, Any]) -> str:
    return f"{held['glyph']} {held['words']}" if call.output.fancy else str(held["words"])


def _since(call: Invocation, held: dict[str, Any]) -> str:
    if held["since"] is None:
        return ""
    return ago(held["since"]) if call.output.fancy else clock(held["since"])


def _evidence(held: dict[str, Any]) -> str:
    again = f"; direct is tried again {ago(held['retest_at'])}" if held["retest_at"] else ""
    return f"{held['evidence']}{again}"
