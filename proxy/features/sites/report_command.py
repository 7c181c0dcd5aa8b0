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
from proxy.model.phrase import _, ngettext
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_sites
from proxy.terminal.exit_codes import Exit, Misused, as_misuse
from proxy.terminal.options import choice_option

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.terminal.client import Client
    from proxy.terminal.stored import Stored


_NO_AUTHOR = _("Neither its hash nor a signature shows who made a report or that it is true.")


class Format(StrEnum):
    OONI = "ooni"
    JSON = "json"
    CSV = "csv"
    HAR = "har"
    MD = "md"


@root_command(example="byway report livejournal.com --format ooni -o report.jsonl", is_translated=True)
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
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign the hash of the report with a key made for it alone; ooni and json.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Check the hash and the signature of a report.")
    ] = None,
) -> Exit | None:
    """Export results with private data removed. Nothing is uploaded.

    It has what happened on this network: each day and result once, and no visit to the second. Provider and country
    make it convincing and narrow down who made it, so they are in it only when you name them.

    In the formats ooni and json it has a SHA-256 of its content. Neither this nor a signature shows who made a report
    or that it is true. Exit code of --verify: 0, unchanged; 5, changed, or without a hash."""
    from proxy.config.paths import write_private
    from proxy.features.sites.report_formats import FORMATS, SIGNED_FORMATS
    from proxy.features.sites.report_redact import redacted
    from proxy.features.sites.report_rounding import rounded
    from proxy.features.sites.report_vantage import Vantage

    if verify is not None:
        if sites or out is not None or sign:
            raise Misused(_("--verify checks one file: give neither sites, nor -o, nor --sign"))
        return _verify(call, verify)
    shape = Format.JSON if call.output.as_json else Format(form)
    write = (SIGNED_FORMATS if sign else FORMATS).get(shape)
    if write is None:
        raise Misused(
            _("a report in the format {format} has no hash to sign; use --format ooni or json", format=shape.value)
        )
    with as_misuse():
        vantage = Vantage.parse(provider, country)
    client = call.reader()
    reported = _gather(client, sites or [])
    if not exact_times:
        reported = [rounded(site) for site in reported]
    relays = client.get("/v1/relays")["relays"]
    text = write(redacted(reported, relays, Redact(redact), _private_values(call.paths)), vantage)
    if sign and not text:
        raise Misused(_("there is nothing to sign: no measurement and no connection is reported"))
    if out is not None:
        write_private(out, text)
        call.output.hint(
            ngettext(
                "{count} site written to {file}.", "{count} sites written to {file}.", len(reported), file=str(out)
            )
        )
    else:
        print(text, end="")
    if not reported:
        call.output.hint(_("No problem sites. Working sites are not reported; `byway why` and `byway test` test them."))
    if redact == Redact.RELAY:
        call.output.hint(_("Warning: only relays are redacted in this report."))
    elif redact == Redact.NONE:
        call.output.hint(_("Warning: this report is not redacted."))
    if exact_times:
        call.output.hint(_("Warning: your provider can find you in its log by the exact times of this report."))
    if sign:
        call.output.hint(_("The key of the signature was made for this report and thrown away."), _NO_AUTHOR)
    return None


def _verify(call: Invocation, file: Path) -> Exit | None:
    """Checks the hash and the signature of a report, and prints the result."""
    from proxy.config.files import read_text, shown
    from proxy.features.sites.report_proof import FILE_LIMIT, BadProof, check
    from proxy.model.document_version import VERSION
    from proxy.model.errors import ConfigError

    try:
        text = read_text(file, limit=FILE_LIMIT)
    except ConfigError as error:
        raise Misused(str(error)) from None
    name = shown(file)
    document = {"version": VERSION, "file": name, "unchanged": False, "problem": "", "sha256": "", "public_key": ""}
    try:
        digest, key = check(text, name)
    except BadProof as bad:
        if not call.output.answered(document | {"problem": str(bad)}):
            call.output.error(bad.args[0])
        return Exit.BAD
    if call.output.answered(document | {"unchanged": True, "sha256": digest, "public_key": key}):
        return None
    if key:
        call.output.line(_("{file}: unchanged since it was signed with the key {key}", file=name, key=key))
    else:
        call.output.line(_("{file}: unchanged since it was written; not signed", file=name))
    call.output.hint(_NO_AUTHOR)
    return None


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
            raise Misused(_("nothing is known about {host}; `byway why {host}` tests it", host=host))
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
