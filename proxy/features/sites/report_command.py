"""`byway report`: results for others, as OONI measurements, JSON, CSV, HAR or Markdown.

Nothing is uploaded: the user reads the file and decides who gets it. Private data is removed by default.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from proxy.features.sites.report_redact import Redact
from proxy.features.sites.report_sites import ROWS, Site, site_of
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_sites
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.terminal.options import choice_option

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.terminal.client import Client
    from proxy.terminal.stored import Stored


class Format(StrEnum):
    OONI = "ooni"
    JSON = "json"
    CSV = "csv"
    HAR = "har"
    MD = "md"


@root_command(example="byway report livejournal.com --format ooni -o report.jsonl")
def report(
    call: Invocation,
    sites: Annotated[
        list[str] | None,
        typer.Argument(metavar="SITE", help="Sites to include (default: all).", autocompletion=complete_sites),
    ] = None,
    form: Annotated[
        str, choice_option("--format", "FORMAT", Format, "ooni, json, csv, har or md (Markdown).")
    ] = Format.MD,
    redact: Annotated[
        str,
        choice_option(
            "--redact",
            "LEVEL",
            Redact,
            "full: redact addresses, networks and relays; relay: relays only; none: nothing.",
        ),
    ] = Redact.FULL,
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="Your provider, to be named: its AS number, its name, or both.")
    ] = "",
    country: Annotated[
        str, typer.Option(metavar="CC", help="Your country, to be named: two letters of ISO 3166.")
    ] = "",
    exact_times: Annotated[
        bool, typer.Option("--exact-times", help="Tell each visit to the second: it may identify you.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write to FILE (default: stdout).")] = None,
) -> None:
    """Export results with private data removed. Nothing is uploaded.

    It has what happened on this network: each day and result once, and no visit to the second. Provider and country
    make it convincing and narrow down who made it, so they are in it only when you name them."""
    from proxy.config.paths import write_private
    from proxy.features.sites.report_formats import FORMATS
    from proxy.features.sites.report_redact import redacted
    from proxy.features.sites.report_rounding import rounded
    from proxy.features.sites.report_vantage import Vantage

    with as_misuse():
        vantage = Vantage.parse(provider, country)
    client = call.reader()
    reported = _gather(client, sites or [])
    if not exact_times:
        reported = [rounded(site) for site in reported]
    relays = client.get("/v1/relays")["relays"]
    shape = Format.JSON if call.output.as_json else Format(form)
    text = FORMATS[shape](redacted(reported, relays, Redact(redact), _private_values(call.paths)), vantage)
    if out is not None:
        write_private(out, text)
        call.output.hint(f"{len(reported)} site{'' if len(reported) == 1 else 's'} written to {out}.")
    else:
        print(text, end="")
    if not reported:
        call.output.hint("No problem sites. Working sites are not reported; `byway why` and `byway test` test them.")
    if redact == Redact.RELAY:
        call.output.hint("Warning: only relays are redacted in this report.")
    elif redact == Redact.NONE:
        call.output.hint("Warning: this report is not redacted.")
    if exact_times:
        call.output.hint("Warning: your provider can find you in its log by the exact times of this report.")


def _gather(client: Client | Stored, hosts: Sequence[str]) -> list[Site]:
    """Returns the stored data of these sites, each once; without names, of all sites with a stored status. Raises
    Misused for a site without data."""
    if not hosts:
        scopes = {site["scope"] for site in client.get("/v1/sites")["sites"]}
        # A domain with its subdomains and an address prefix are no sites: their hosts are in the list.
        stored = sorted(scope for scope in scopes if not scope.startswith("*.") and "/" not in scope)
        return [_site(client, host) for host in stored]
    sites = {site.host: site for site in (_site(client, host) for host in hosts)}
    for host, site in sites.items():
        if not site.is_known:
            raise Misused(f"nothing is known about {host}; `byway why {host}` tests it")
    return list(sites.values())


def _private_values(paths: Paths) -> Collection[str]:
    """Returns the values of the configuration that a report must not contain; those of the defaults for a faulty
    one."""
    from proxy.config.load import load
    from proxy.config.schema import Settings
    from proxy.features.sites.report_redact import private_values
    from proxy.model.errors import ConfigError

    try:
        return private_values(load(paths.config_to_read).settings)
    except ConfigError:
        return private_values(Settings())


def _site(client: Client | Stored, host: str) -> Site:
    place = quote(host, safe="")
    answer = client.get(f"/v1/sites/{place}")
    measured = client.get(f"/v1/measurements/{place}")["measurements"]
    return site_of(answer, measured, client.get("/v1/log", site=answer["host"], limit=ROWS)["rows"])
