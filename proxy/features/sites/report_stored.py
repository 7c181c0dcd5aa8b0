"""Gathers the sites of a report, from the running Byway or from the files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from proxy.features.sites.report_sites import ROWS, Site, site_of
from proxy.terminal.exit_codes import Misused

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.terminal.client import Client
    from proxy.terminal.stored import Stored


def gather(client: Client | Stored, hosts: Sequence[str]) -> list[Site]:
    """Returns what is known about these sites, each once; about all with a stored status when none is named. Raises
    Misused for a site about which nothing is known."""
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


def private(paths: Paths) -> Collection[str]:
    """Returns what a report may not tell of the configuration; nothing of a faulty one."""
    from proxy.config.load import load
    from proxy.config.schema import Settings
    from proxy.features.sites.report_redact import private_values
    from proxy.model.errors import ConfigError

    try:
        return private_values(load(paths.config_to_read).settings)
    except ConfigError:
        return private_values(Settings())


def _site(client: Client | Stored, named: str) -> Site:
    place = quote(named, safe="")
    shown = client.get(f"/v1/sites/{place}")
    measured = client.get(f"/v1/measurements/{place}")["measurements"]
    return site_of(shown, measured, client.get("/v1/log", site=shown["host"], limit=ROWS)["rows"])
