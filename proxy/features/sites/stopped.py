"""Changes overrides and the stored status while no Byway runs. The next start loads them."""

from __future__ import annotations

import time

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.config.relays import relay_names
from proxy.control.answers.overrides import OverrideJson
from proxy.features.sites.answers import ForgottenSiteAnswer, OverrideAnswer
from proxy.model import Override
from proxy.model.document import Document, document
from proxy.probe.site_name import scope
from proxy.routing.rule_parser import parse_action
from proxy.terminal.exit_codes import as_misuse
from proxy.terminal.overrides import set_overrides, stopped_store


def set_stopped(paths: Paths, site: str, action: str, for_s: int | None) -> Document:
    """Sets an override while no Byway runs. Returns the answer of a running one. Raises Misused and BywayError."""
    from proxy.terminal.offline import read_configuration

    settings = read_configuration(paths).settings
    with as_misuse():
        host = scope(site)
        parsed, relay = parse_action(action, relays=relay_names(settings))
    override = Override(parsed, relay, 0.0 if for_s is None else time.time() + for_s)
    set_overrides(paths, None, {host: override})
    return document(OverrideAnswer(host, OverrideJson.of(host, override)))


def forget_stopped(paths: Paths, site: str) -> Document:
    """Deletes the stored status and the overrides of a site while no Byway runs. Returns the answer of a running one.
    Raises Misused and BywayError."""
    from proxy.detect.beliefs.beliefs import Beliefs

    with as_misuse():
        host = scope(site)
    with stopped_store(paths) as store:
        below = [name for name in store.load_overrides() if name == host or name.endswith(f".{host}")]
        for name in below:
            store.clear_override(name)
        detect = load(paths.config_to_read).settings.detect
        changes = Beliefs(detect, store.load_beliefs(), results=store.load_results(), store=store).forget(host)
        store.believe(changes)
    forgotten = tuple(sorted({change.scope for change in changes}))
    return document(ForgottenSiteAnswer(host, forgotten, tuple(sorted(below))))
