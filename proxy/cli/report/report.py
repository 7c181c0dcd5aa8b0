"""`byway report`: results for others, as OONI measurements, JSON, CSV, HAR or Markdown.

Nothing is uploaded: the user reads the file and decides who gets it. Private data is removed by default.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.completion import complete_sites
from proxy.cli.exit_codes import Exit
from proxy.cli.options import choice_option
from proxy.control.report.redact import Redact


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
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write to FILE (default: stdout).")] = None,
) -> Exit | None:
    """Export results with private data removed. Nothing is uploaded."""
    from proxy.cli.report.sites import gather
    from proxy.config.paths import write_private
    from proxy.control.report.formats import FORMATS
    from proxy.control.report.redact import redacted

    client = call.reader()
    reported = gather(client, sites or [])
    relays = client.get("/v1/relays")["relays"]
    shape = Format.JSON if call.output.as_json else Format(form)
    text = FORMATS[shape](redacted(reported, relays, Redact(redact)))
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
    return None
