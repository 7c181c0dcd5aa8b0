"""`byway report`: results for others, as OONI measurements, JSON, CSV, HAR or Markdown.

Nothing is uploaded: the user reads the file and decides who gets it. Private data is removed by default.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxy.features.sites.report_redact import Redact
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import complete_sites
from proxy.terminal.exit_codes import Exit, as_misuse
from proxy.terminal.options import choice_option


class Format(StrEnum):
    OONI = "ooni"
    JSON = "json"
    CSV = "csv"
    HAR = "har"
    MD = "md"


def add_to(app: typer.Typer) -> None:
    command(app, "report", example="byway report livejournal.com --format ooni -o report.jsonl")(_report)


def _report(
    call: Invocation,
    sites: Annotated[
        list[str] | None,
        typer.Argument(metavar="SITE", help="Sites to include (default: all).", autocompletion=complete_sites),
    ] = None,
    form: Annotated[
        str,
        choice_option("--format", "FORMAT", Format, "ooni, json, csv, har or md (Markdown)."),
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
) -> Exit | None:
    """Export results with private data removed. Nothing is uploaded.

    It has what happened on this network: each day and result once, and no visit to the second. Provider and country
    make it convincing and narrow down who made it, so they are in it only when you name them."""
    from proxy.config.paths import write_private
    from proxy.features.sites.report_formats import FORMATS
    from proxy.features.sites.report_redact import redacted
    from proxy.features.sites.report_rounding import rounded
    from proxy.features.sites.report_stored import gather, private
    from proxy.features.sites.report_vantage import Vantage

    with as_misuse():
        vantage = Vantage.parse(provider, country)
    client = call.reader()
    reported = gather(client, sites or [])
    if not exact_times:
        reported = [rounded(site) for site in reported]
    relays = client.get("/v1/relays")["relays"]
    shape = Format.JSON if call.output.as_json else Format(form)
    text = FORMATS[shape](redacted(reported, relays, Redact(redact), private(call.paths)), vantage)
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
    return None
