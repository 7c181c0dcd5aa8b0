"""Answers about sites: their status and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.control.answers.overrides import OverrideJson
from proxy.detect.verdict.labels import cause_in_words, plain_cause
from proxy.detect.verdict.site_status import LastResult, SiteState, SiteStatus, Source, site_state, status_of
from proxy.model import Belief, Destination, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import StatusChange
from proxy.wire.relay_url import redact

if TYPE_CHECKING:
    from proxy.control.site_states import KnownSite


@frozen_dataclass
class LastResultJson:
    """The last result of a site: its status, glyph, the id of the cause, its plain word (`plain`), and the sentence of
    an engineer for it (`because`)."""

    words: SiteStatus
    glyph: str
    cause: str
    plain: str
    because: str
    text: str
    at: float
    source: Source

    @classmethod
    def of(cls, result: LastResult) -> LastResultJson:
        return cls(
            words=result.status,
            glyph=result.status.glyph,
            cause=result.cause,
            plain=plain_cause(result.cause),
            because=cause_in_words(result.cause),
            text=redact(result.text),
            at=result.at,
            source=result.source,
        )


@frozen_dataclass
class SiteJson:
    """The status of a site on a network, the same in every answer.

    `site` is its name: the scope of the stored status, or a host, with the port if the status is that of one port
    (`port`; otherwise null). `words`, `glyph`, `cause`, `plain` (the plain word for the cause), `because` (the sentence
    of an engineer for it) and `evidence` are the current status: the last result if that is newer than the stored
    status. `since` is the start of the current status, without a contrary result since then; a new measurement does
    not move it. `found_at` is its last confirmation. `works_by` is the route that opens the site (empty: unknown).
    `is_trouble`: whether the site, or the way to it, is in trouble now. `state`, `stored_words`, `stored_cause` and
    `stored_evidence` are the stored status alone, of `scope`."""

    site: str
    scope: str
    port: int | None
    network: str
    state: State
    words: SiteStatus
    glyph: str
    cause: str
    plain: str
    because: str
    evidence: str
    since: float | None
    found_at: float | None
    works_by: str
    stored_words: SiteStatus
    stored_cause: str
    stored_evidence: str
    last_result: LastResultJson | None
    score: float
    episodes: int
    until: float | None
    last_good: str
    last_good_at: float | None
    retest_at: float | None
    successes: int
    is_trouble: bool

    @classmethod
    def of_known(cls, site: KnownSite) -> SiteJson:
        return cls.of(site.stored, site.state, site.name)

    @classmethod
    def of(cls, stored: Belief, current: SiteState | None = None, site: str = "") -> SiteJson:
        """`site`: the name of the site, when it is not the scope. Without `current`, the current status is that of
        `stored`."""
        shown = current or site_state(stored)
        named = site or stored.scope
        return cls(
            site=str(Destination(named, shown.port)) if shown.port else named,
            scope=stored.scope,
            port=shown.port or None,
            network=stored.network,
            state=stored.state,
            words=shown.status,
            glyph=shown.status.glyph,
            cause=shown.cause,
            plain=plain_cause(shown.cause),
            because=cause_in_words(shown.cause),
            evidence=redact(shown.text),
            since=shown.since or None,
            found_at=shown.found_at or None,
            works_by=shown.works_by,
            stored_words=status_of(stored.state, stored.cause),
            stored_cause=stored.cause,
            stored_evidence=stored.why,
            last_result=None if shown.last is None else LastResultJson.of(shown.last),
            score=round(stored.score, 3),
            episodes=stored.episodes,
            until=stored.until or None,
            last_good=stored.last_good,
            last_good_at=stored.last_good_at or None,
            retest_at=shown.retest_at or None,
            successes=stored.successes,
            is_trouble=shown.status.is_trouble,
        )


@frozen_dataclass
class SpellJson:
    """One time for which a scope was in trouble: likely blocked, blocked, or refusing a route, by its `words`.
    `blocked_since` is null when it was never more than likely blocked. While the spell lasts, `until` is null and
    `ended` is empty."""

    scope: str
    network: str
    state: str
    words: SiteStatus
    cause: str
    since: float
    blocked_since: float | None
    until: float | None
    began: str
    ended: str


@frozen_dataclass
class SitesAnswer:
    """All sites with a stored status, and those that failed recently on this network."""

    network: str
    sites: tuple[SiteJson, ...]
    overrides: tuple[OverrideJson, ...]


@frozen_dataclass
class SiteAnswer:
    """One site: its status here and on other networks, the override that covers it, and its history. `belief` is the
    status of the host, or of the same with or without `www.` if only that is known (`belief.site`). `ports` are those
    of its ports that are in trouble on their own, `hosts` are other hosts of its registrable domain."""

    host: str
    belief: SiteJson
    ports: tuple[SiteJson, ...]
    hosts: tuple[SiteJson, ...]
    elsewhere: tuple[SiteJson, ...]
    override: OverrideJson | None
    timeline: tuple[SpellJson, ...]
    changes: tuple[StatusChange, ...]


@frozen_dataclass
class OverrideAnswer:
    """The override that was set."""

    host: str
    override: OverrideJson


@frozen_dataclass
class ForgottenSiteAnswer:
    """The scopes whose status was forgotten, and the hosts whose overrides were removed."""

    host: str
    forgotten: tuple[str, ...]
    overrides: tuple[str, ...]
