"""The page of the networks: what is known of each, its name, and how sites without a rule of their own go there.

That is a NETWORK rule in rules.txt, behind all others but MATCH: what another rule closes stays closed.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from aiohttp import web

from proxy.config import edit
from proxy.config.edit import Value
from proxy.config.load import load
from proxy.control.access import Refused
from proxy.control.dashboard.sign_in import RulesChange
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.kept_sites import SiteKind
from proxy.control.request_parsing import parse_field, parse_number
from proxy.detect.verdict.labels import hello_limits, network_in_words, plain_cause
from proxy.detect.verdict.site_status import BLOCKS
from proxy.model import UNKNOWN_NETWORK, NetworkId, NetworkState
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _
from proxy.routing.edited_rules import NotInUse, RulesText
from proxy.routing.rule import RuleType
from proxy.routing.rules_text import RuleLine, added, removed, rule_lines

ROWS = 50
"""Networks on a page."""

ACTIONS: Mapping[str, Phrase] = {
    "": _("auto: direct first, another way where a site is blocked"),
    "DIRECT": _("direct only, never a relay"),
    "RELAY": _("relays only, never direct"),
    "BLOCK": _("not at all"),
}
"""How sites without a rule of their own go, by the action of a NETWORK rule; empty: there is none."""


@frozen_dataclass
class NetworkRow:
    """A network. `state`, `do` and `limits` are empty for a network that this computer is not on. `causes` are the
    numbers of blocked sites by how they are blocked; `action` is that of its rule, None for one that the page does not
    offer."""

    name: str
    id: str
    is_here: bool
    state: str
    do: str
    limits: Sequence[str]
    blocked: int
    causes: Sequence[tuple[str, int]]
    known: int
    latest: float | None
    action: str | None


@frozen_dataclass
class NetworksView:
    """The values for the template of the page. `version` is that of rules.txt; empty rules have the version ""."""

    sentence: str
    rows: Sequence[NetworkRow]
    page: int
    pages: int
    actions: Mapping[str, Phrase]
    version: str
    errors: Sequence[str]


@frozen_dataclass
class Here:
    """The present network: its id, its state, the page where people log in, and what it punishes."""

    id: NetworkId
    state: NetworkState
    portal_page: str = ""
    limits: Sequence[str] = ()


def networks_view(
    counts: Mapping[SiteKind, int],
    latest: Mapping[str, float],
    names: Mapping[str, str],
    here: Here,
    rules: RulesText,
    *,
    page: int = 1,
    errors: Sequence[str] = (),
) -> NetworksView:
    """Returns a page: the present network first. `counts` are the numbers of sites of all networks, `latest` is when a
    site was last found in trouble, by network, and `names` are those of `[networks]` by id."""
    known: Counter[str] = Counter()
    blocked: dict[str, Counter[str]] = {}
    for kind, count in counts.items():
        known[kind.network] += count
        if kind.status in BLOCKS:
            blocked.setdefault(kind.network, Counter())[plain_cause(kind.cause)] += count
    problem = network_in_words(here.state, here.portal_page)
    order = sorted({here.id, *known, *names}, key=lambda id_: (id_ != here.id, names.get(id_, "~"), id_))
    pages = max(1, -(-len(order) // ROWS))
    page = min(page, pages)
    rows = []
    for id_ in order[(page - 1) * ROWS : page * ROWS]:
        is_here, name = id_ == here.id, names.get(id_, "")
        text, do = (problem or (_("Internet access works."), "")) if is_here else ("", "")
        causes = blocked.get(id_, Counter())
        rows.append(
            NetworkRow(
                name,
                id_,
                is_here,
                text,
                do,
                here.limits if is_here else (),
                causes.total(),
                causes.most_common(),
                known[id_],
                latest.get(id_) or None,
                action_on(rules.text, id_, name),
            )
        )
    return NetworksView(_sentence(here.id, names.get(here.id, "")), rows, page, pages, ACTIONS, rules.version, errors)


def _sentence(here: NetworkId, name: str) -> str:
    if here == UNKNOWN_NETWORK:
        return _("This network cannot be identified: what is learned here is forgotten when you leave it.")
    if name:
        return _("This is {network}.", network=name)
    return _("This network has no name. With one, rules can name it, and you recognise it in the log.")


def action_on(rules: str, network: str, name: str) -> str | None:
    """Returns the action of the first NETWORK rule for a network, by its id or its name; "": there is none. None: it is
    one that the page does not offer."""
    rule = next(_rules_for(rules, network, name), None)
    if rule is None:
        return ""
    action = rule.text.rpartition(",")[2].strip().upper()
    return action if action in ACTIONS else None


def with_action(rules: str, network: str, name: str, action: str) -> str:
    """Returns the text of rules with this action for a network alone; "": with none."""
    for rule in reversed([*_rules_for(rules, network, name)]):
        rules = removed(rules, rule.number)
    return added(rules, f"{RuleType.NETWORK},{name or network},{action}") if action else rules


def _rules_for(rules: str, network: str, name: str) -> Iterator[RuleLine]:
    wanted = {text.lower() for text in (network, name) if text}
    for rule in rule_lines(rules):
        words = [word.strip() for word in rule.text.split(",")]
        if rule.is_on and len(words) > 2 and words[0].upper() == RuleType.NETWORK and words[1].lower() in wanted:
            yield rule


async def _page(visit: Visit, *, page: int = 1, errors: Sequence[str] = (), status: int = 200) -> web.Response:
    parts, network, now = visit.parts, visit.parts.network(), time.time()
    names = {id_: name for name, id_ in parts.settings.networks.items()}
    beliefs = parts.beliefs
    limits = hello_limits(
        counted=beliefs.hellos_are_counted(network, now), cuts_punished=beliefs.cuts_are_punished(network, now)
    )
    here = Here(network, beliefs.network_state(network), beliefs.portal_page(network), limits)
    rules = RulesText("", "")
    with contextlib.suppress(BywayError):  # the page of the rules says what is wrong with the file
        rules = await parts.rules_file.read()
    kept = await visit.frame.sites.kept(now)
    first = {network: kept.on_network(network)[0] for network in kept.networks()}  # in trouble, and the latest of these
    latest = {str(network): site.state.found_at or 0.0 for network, site in first.items() if site.is_trouble}
    view = networks_view(kept.counts(), latest, names, here, rules, page=page, errors=errors)
    return await visit.page("networks.html", here="networks", view=view, status=status)


async def _networks(visit: Visit) -> web.Response:
    asked = visit.query("page").get("page", "1")
    return await _page(visit, page=parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked))


async def _decide(visit: Visit) -> web.Response:
    """Sets how sites without a rule of their own go on a network."""
    form = await visit.form("id", "action", "version")
    id_, action, version = form.get("id", ""), form.get("action", ""), form.get("version", "")
    names = {its: name for name, its in visit.parts.settings.networks.items()}
    name, before = names.get(id_, ""), ""

    def change(text: str) -> str:
        nonlocal before
        before = text
        return with_action(text, id_, name, action)

    visit.session.rules_change = None
    words = _("On {network}: {action}", network=name or id_, action=ACTIONS.get(action, ""))
    try:
        if action not in ACTIONS or (id_ not in names and id_ != visit.parts.network()):
            raise Refused(400, _("The form asks for something unknown."))
        edited = await visit.parts.rules_file.edit(change, version=version)
        if edited is None:
            raise Refused(409, _("The rules have changed since this page was made, so nothing was changed. Try again."))
    except NotInUse as error:
        return visit.see_other("networks", str(error))
    except ConfigError as error:
        return await _page(visit, errors=error.problems, status=400)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    except BywayError as error:
        return await _page(visit, errors=[str(error)], status=409)
    visit.session.rules_change = RulesChange(before, edited.version, words)
    return visit.see_other("networks", _("{what}.", what=words))


async def _name(visit: Visit) -> web.Response:
    """Names a network in the configuration, or removes its name."""
    form = await visit.form("id", "name")
    id_, name = form.get("id", ""), form.get("name", "").strip()
    try:
        await visit.frame.edits.run(partial(_rename, id_=id_, name=name))
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    return visit.see_other("networks", _("Its name is {name}.", name=name) if name else _("It has no name any more."))


def _rename(file: Path, id_: str, name: str) -> None:
    """Gives a network this name alone, whatever the file has since the page was opened; empty: no name. Raises Refused
    and the errors of an edit."""
    names = load(file if file.exists() else None).settings.networks
    if name and names.get(name, id_) != id_:
        raise Refused(400, _("Another network has the name {name}.", name=name))
    changes: dict[tuple[str, str], Value | None] = {
        ("networks", old): None for old, named in names.items() if named == id_ and old != name
    }
    if name:
        changes["networks", name] = id_
    edit.change_settings(file, changes)


ROUTES = (
    Route("GET", "networks", _networks),
    Route("POST", "networks/name", _name),
    Route("POST", "networks/decide", _decide),
)
