"""`byway report`: what is known of sites, for others: OONI's shape, JSON, CSV, HAR or Markdown.

It sends nothing anywhere: the user reads the file, and gives it to whom he wants. What may harm him is taken out
unless he says otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit
from proxy.cli.report_redact import Redact


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
        list[str] | None, typer.Argument(metavar="[D…]", help="Which sites; all of which something is held.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="The shape of the report.")] = Format.MD,
    redact: Annotated[
        Redact, typer.Option("--redact", help="What is hidden: addresses, networks and relays; relays alone; nothing.")
    ] = Redact.FULL,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Where to write it; else to stdout.")] = None,
) -> Exit | None:
    """Write down what is known of sites, without what may harm you. Nothing is sent."""
    from proxy.cli.report_formats import FORMATS
    from proxy.cli.report_redact import redacted
    from proxy.cli.report_sites import gather
    from proxy.config.paths import write_private

    client = call.client()
    found = gather(client, sites or [])
    relays = client.get("/v1/relays")["relays"]
    shape = Format.JSON if call.output.as_json else form
    text = FORMATS[shape](redacted(found, relays, redact))
    if out is not None:
        write_private(out, text)
        call.output.hint(f"{len(found)} sites are in {out}.")
    else:
        print(text, end="")
    looks = sum(len(site.examinations) for site in found)
    if not looks:
        call.output.hint("Nothing was measured or seen of them lately: `byway why` and `byway test` measure.")
    if redact is not Redact.FULL:
        call.output.hint(
            f"This report hides {'relays alone' if redact is Redact.RELAY else 'nothing'}: mind who reads it."
        )
    return None
