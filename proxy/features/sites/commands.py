"""`byway site`: the status of sites, and the user's overrides. A site includes its subdomains."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import quote

import typer

from proxy.languages.amounts import ago, clock, dated, moment, short_moment
from proxy.model import literal
from proxy.model.document import Document
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import complete_actions, complete_sites
from proxy.terminal.exit_codes import Misused
from proxy.terminal.in_use import STORED
from proxy.terminal.options import length_s
from proxy.terminal.output import Output, override_of
from proxy.terminal.terminal import width

group = typer.Typer(help="Site status and overrides.", no_args_is_help=True)


Site = Annotated[
    str, typer.Argument(metavar="SITE", help="Host name; subdomains are included.", autocompletion=complete_sites)
]


_WIDE = 100
"""Columns of a terminal from which on the list has the plain words for causes, without breaking names in two."""


@command(group, "list", example="byway site list --json")
def list_sites(
    call: Invocation,
    everywhere: Annotated[bool, typer.Option("--all", help="Show all networks, not only the current one.")] = False,
) -> None:
    """List sites with a stored status or an override."""
    answer = call.reader().get("/v1/sites")
    if call.output.answered(answer):
        return
    actions = {it["scope"]: override_of(it, fancy=call.output.fancy) for it in answer["overrides"]}
    here = answer["network"]
    listed = [site for site in answer["sites"] if everywhere or site["network"] == here]
    cause = "cause" if not call.output.fancy else "plain" if width() >= _WIDE else ""
    rows = [
        (site["site"], _status(call.output, site), *([site[cause]] if cause else []),
         _since(call.output, site), site["works_by"], actions.pop(site["site"], ""),
         *([_network(call.output, site["network"], here)] if everywhere else []))
        for site in sorted(listed, key=lambda site: (str(site["site"]), str(site["network"])))
    ]  # fmt: skip
    for scope, action in actions.items():
        empty = [""] * (4 if cause else 3)
        rows.append((scope, *empty, action, *([""] if everywhere else [])))
    headings = (
        "site",
        "status",
        *(["cause"] if cause else []),
        "since",
        "works by",
        "override",
        *(["network"] if everywhere else []),
    )
    call.output.table(headings, rows, empty="No problem sites. Working sites are not listed.")


@command(group, "show", example="byway site show livejournal.com")
def show(call: Invocation, site: Site) -> None:
    """Show a site's status, history and evidence."""
    answer = call.reader().get(_path(site))
    if call.output.as_json:
        call.output.document(answer)
    elif call.output.fancy:
        _show(call.output, answer)
    else:
        rows = [
            (
                belief["network"],
                belief["words"],
                _since(call.output, belief),
                "; ".join(filter(None, (belief["evidence"], _retest(belief)))),
            )
            for belief in (answer["belief"], *answer["ports"], *answer["elsewhere"])
        ]
        rows += [
            (spell["network"], _spell(spell), clock(spell["since"]), _story(spell)) for spell in answer["timeline"]
        ]
        call.output.table(("network", "status", "since", "evidence"), rows)
        if answer["override"] is not None:
            override = override_of(answer["override"], fancy=False)
            call.output.hint(f"Override for {answer['override']['scope']}: {override}.")


@command(group, "set", example="byway site set example.org relay:tor --for 1h")
def set_action(
    call: Invocation,
    site: Site,
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="auto, direct, relay[:NAME], prefer-relay[:NAME] or block.",
            autocompletion=complete_actions,
        ),
    ],
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End the override after TIME: 30m, 2h, 7d.")
    ] = None,
) -> None:
    """Override routing for a site and its subdomains.

    Overrides win over rules. With `--for` it ends by itself, also while Byway does not run."""
    from proxy.terminal.usable import relay_warning, relays_now

    ends = {} if length is None else {"for_s": length_s(length)}
    path, client = _path(site), call.running()
    if client is not None:
        answer = client.put(path, {"action": action, **ends})
    else:
        from proxy.features.sites.stopped import set_stopped

        answer = set_stopped(call.paths, site, action, ends.get("for_s"))
    host, override = answer["host"], answer["override"]
    if not call.output.answered(answer):
        below = " and its subdomains" if literal(host) is None else ""
        call.output.line(f"{host}{below}: {override_of(override, fancy=True)}")
    if override["action"] in ("RELAY", "PREFER-RELAY"):
        then = f"{host} does not open" if override["action"] == "RELAY" else f"{host} goes direct"
        paths = call.for_config_of(client).paths
        if warning := relay_warning(relays_now(paths, client), relay=override["relay"], then=then):
            call.output.hint(warning)
    if not call.output.as_json:
        call.output.hint(f"Undo with `byway site forget {host}`.")
    if client is None:
        call.output.hint(STORED)


@command(group, "forget", example="byway site forget livejournal.com")
def forget(call: Invocation, site: Site) -> None:
    """Delete the stored status and override of a site.

    Those of its subdomains are deleted as well. The log keeps its entries."""
    path, client = _path(site), call.running()
    if client is not None:
        answer = client.delete(path)
    else:
        from proxy.features.sites.stopped import forget_stopped

        answer = forget_stopped(call.paths, site)
    if call.output.answered(answer):
        return
    deleted = sorted({*answer["forgotten"], *answer["overrides"]})
    call.output.line(f"Deleted: {', '.join(deleted)}" if deleted else f"No stored data for {answer['host']}.")


def _show(out: Output, answer: Document) -> None:
    """Prints a site for a person: its status, its history, and other networks."""
    belief, override, last = answer["belief"], answer["override"], answer["belief"]["last_result"]
    is_last_result = last is not None and last["at"] == belief["found_at"]
    out.line(f"{belief['glyph']} {belief['words']}: {belief['site']}")
    out.facts(
        [
            ("cause", belief["plain"]),
            ("in detail", belief["because"]),
            ("evidence", belief["evidence"]),
            ("since", dated(belief["since"])),
            ("last confirmed", dated(belief["found_at"])),
            (
                "stored status",
                belief["stored_words"] if is_last_result and belief["state"] in ("suspect", "blocked") else "",
            ),
            ("works by", belief["works_by"]),
            ("re-test", _retest(belief)),
            ("override", f"{override_of(override, fancy=True)} (set for {override['scope']})" if override else ""),
        ]
    )
    if belief["words"] == "not tested":
        out.hint(f"`byway why {answer['host']}` tests it.")
    for title, headings, rows in (
        ("Other hosts of this site", ("host", "status", "since", "works by"), [
            (it["site"], _status(out, it), _since(out, it), it["works_by"]) for it in answer["hosts"]
        ]),
        ("Ports", ("port", "status", "since", "evidence"), [
            (it["site"], _status(out, it), _since(out, it), it["evidence"]) for it in answer["ports"]
        ]),
        ("History", ("since", "status", "until", "evidence"), [
            (moment(spell["since"]), spell["words"], moment(spell["until"]) or "now", spell["began"])
            for spell in answer["timeline"]
        ]),
        ("Other networks", ("network", "status", "since", "evidence"), [
            (it["network"], _status(out, it), _since(out, it), it["evidence"]) for it in answer["elsewhere"]
        ]),
    ):  # fmt: skip
        if rows:
            out.line()
            out.line(title)
            out.table(headings, rows)


def _spell(spell: Document) -> str:
    """Returns the status of a spell, with the domain when it applied to all subdomains."""
    above = f" with all of {spell['scope'][2:]}" if spell["scope"].startswith("*.") else ""
    return f"{spell['words']}{above}, {'ended' if spell['until'] else 'now'}"


def _story(spell: Document) -> str:
    """Returns the dates of a spell, its evidence, and its end."""
    story = [f"{spell['cause']}: {spell['began']}" if spell["cause"] else spell["began"]]
    if spell["blocked_since"] and spell["blocked_since"] != spell["since"]:
        story.append(f"blocked since {clock(spell['blocked_since'])}")
    if spell["until"]:
        story.append(f"until {clock(spell['until'])}: {spell['ended']}")
    return "; ".join(story)


def _path(site: str) -> str:
    if not site.strip():
        raise Misused("name a site, such as example.org")
    return f"/v1/sites/{quote(site, safe='')}"


def _status(out: Output, belief: Document) -> str:
    return f"{belief['glyph']} {belief['words']}" if out.fancy else str(belief["words"])


def _since(out: Output, belief: Document) -> str:
    at = belief["since"]
    return "" if at is None else short_moment(at) if out.fancy else clock(at)


def _network(out: Output, network: str, here: str) -> str:
    if not out.fancy:
        return network
    return "this one" if network == here else network[:8]


def _retest(belief: Document) -> str:
    """Returns the time of the next test of direct. A re-test runs beside a visit and never delays one."""
    if not belief["retest_at"]:
        return ""
    due = belief["retest_at"] <= time.time()
    return f"direct is tested again {'at the next visit' if due else ago(belief['retest_at'])}"
