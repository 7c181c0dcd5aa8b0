"""The page of the networks: those with stored results, and their numbers of sites."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from aiohttp import web

from proxy.config import edit
from proxy.config.edit import Value
from proxy.config.load import load
from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.labels import hello_limits, network_in_words
from proxy.detect.verdict.site_status import BLOCKS
from proxy.model import UNKNOWN_NETWORK, NetworkId, NetworkState
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _


@frozen_dataclass
class NetworkRow:
    """A network. `state`, `do` and `limits` are empty for a network that this computer is not on."""

    name: str
    id: str
    is_here: bool
    state: str
    do: str
    limits: Sequence[str]
    blocked: int
    known: int
    latest: float | None


@frozen_dataclass
class NetworksView:
    """The values for the template of the page."""

    sentence: str
    rows: Sequence[NetworkRow]
    errors: Sequence[str]


def networks_view(
    sites: Sequence[KnownSite],
    names: Mapping[str, str],
    here: NetworkId,
    state: NetworkState,
    errors: Sequence[str] = (),
    portal_page: str = "",
    limits: Sequence[str] = (),
) -> NetworksView:
    """Returns the page: the present network first. `sites` are those of all networks, `names` of `[networks]` by id,
    `limits` what the present network punishes."""
    known = Counter(str(site.stored.network) for site in sites)
    blocked = Counter(str(site.stored.network) for site in sites if _is_blocked(site))
    problem = network_in_words(state, portal_page)
    rows = []
    for id_ in sorted({here, *known, *names}, key=lambda id_: (id_ != here, names.get(id_, "~"), id_)):
        is_here = id_ == here
        text, do = (problem or (_("Internet access works."), "")) if is_here else ("", "")
        times = [at for site in sites if site.stored.network == id_ and (at := site.state.found_at)]
        rows.append(
            NetworkRow(
                names.get(id_, ""),
                id_,
                is_here,
                text,
                do,
                limits if is_here else (),
                blocked[id_],
                known[id_],
                max(times, default=None),
            )
        )
    name = names.get(here, "")
    if here == UNKNOWN_NETWORK:
        sentence: str = _("This network cannot be identified: what is learned here is forgotten when you leave it.")
    elif name:
        sentence = _("This is {network}.", network=name)
    else:
        sentence = _("This network has no name. With one, rules can name it, and you recognise it in the log.")
    return NetworksView(sentence, rows, errors)


def _is_blocked(site: KnownSite) -> bool:
    return not BLOCKS.isdisjoint(site.called)


async def _page(visit: Visit, *, errors: Sequence[str] = (), status: int = 200) -> web.Response:
    parts, here = visit.parts, visit.parts.network()
    names = {id_: name for name, id_ in parts.settings.networks.items()}
    sites = await visit.frame.sites.known(time.time())
    beliefs, now = parts.beliefs, time.time()
    state, login = beliefs.network_state(here), beliefs.portal_page(here)
    limits = hello_limits(
        counted=beliefs.hellos_are_counted(here, now), cuts_punished=beliefs.cuts_are_punished(here, now)
    )
    view = await asyncio.to_thread(networks_view, sites, names, here, state, errors, login, limits)
    return await visit.page("networks.html", here="networks", view=view, status=status)


async def _networks(visit: Visit) -> web.Response:
    visit.query()
    return await _page(visit)


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


ROUTES = (Route("GET", "networks", _networks), Route("POST", "networks/name", _name))
