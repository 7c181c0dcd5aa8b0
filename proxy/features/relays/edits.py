"""Edits of relays that a page may make, in the configuration file.

A page may do less than its user in a terminal: nothing here takes a file (`?ca=`), code (`addon://`) or a command. Nor
does it take a relay at an address of the local network, or at a name that resolves to one: a page could explore the
network with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from proxy.config import edit
from proxy.config.edit import Added, NewRelay, Removal
from proxy.config.load import load
from proxy.config.relay_input import read_lines
from proxy.config.relays import is_loopback, is_member, withheld_credentials
from proxy.control.access import Refused
from proxy.control.config_edits import ConfigEdits, refused
from proxy.control.dependencies import Dependencies
from proxy.model import Destination
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, semicolons
from proxy.routing.address_guard import Guard
from proxy.routing.relay_references import references
from proxy.wire import relay_url
from proxy.wire.relay_url import RelayKind, redact

_PASTED = "pasted text"
_REFERENCES_SHOWN = 5


@frozen_dataclass
class Additions:
    """The result of pasted text: the relays, a sentence for each line that is no relay or that a page may not add
    (`problems`), those lines (`left`), and the new relays whose user and password are not sent, because they would
    cross the network unencrypted (`withheld`)."""

    added: Sequence[Added]
    problems: Sequence[str]
    left: Sequence[str]
    withheld: Sequence[str]


class RelayEdits:
    """Edits the relays of one Byway. Its methods raise Refused with a sentence, and then have changed nothing."""

    def __init__(self, parts: Dependencies, edits: ConfigEdits) -> None:
        self._parts = parts
        self._edits = edits

    async def add(self, text: str, name: str = "") -> Additions:
        """Adds the relays in a text, one a line. `name` is for a text with one relay; empty: a name is made."""
        try:
            given = read_lines(text, _PASTED)
        except ConfigError as error:
            raise Refused(400, _without_place(redact(str(error)))) from None
        settings = self._parts.settings
        ports = frozenset((settings.listen.port, int(self._parts.counters().get("port", 0))))
        guard = Guard((), settings.dns.local, own_ports=ports)
        allowed, problems, left = list[NewRelay](), [_without_place(each) for each in given.problems], [*given.refused]
        for relay in given.relays:
            sentence = next(_refusals(relay.url, guard, ports), "")
            if sentence:
                problems.append(sentence)
                left.append(relay.url)
            else:
                allowed.append(relay)
        if name and len(allowed) > 1:
            raise Refused(400, _("A name is for one relay. Leave it empty, or add one relay at a time."))
        # The addresses of a name may change at any time: they are checked whenever the relay is dialed.
        allowed = [replace(relay, name=name or None, public_only=_has_name(relay.url)) for relay in allowed]
        added = await self._edits.run(partial(edit.add_relays, relays=allowed)) if allowed else []
        new = {each.name for each in added if each.was_there is None}
        return Additions(added, problems, left, [name for name in self.withheld() if name in new])

    def withheld(self) -> Sequence[str]:
        """Returns the configured relays whose user and password are not sent, because they would cross the network
        unencrypted. Those of subscriptions are left out: for them nothing can be allowed."""
        configured = self._parts.setup().loaded.settings.relay
        return [each.name for each in configured if withheld_credentials(each) and not is_member(each.name)]

    async def allow_plaintext(self, name: str) -> None:
        """Allows that a relay gets its user and password unencrypted."""
        await self._edits.run(partial(edit.allow_plaintext_credentials, name=name))

    async def move(self, name: str, *, by: int) -> int:
        """Moves a relay by so many positions, and returns its position, counted from 1."""
        return await self._edits.run(partial(edit.move_relay, name=name, by=by))

    async def enable(self, name: str, enabled: bool) -> Sequence[str]:
        """Enables or disables a relay. Returns the places that name a relay which is now disabled, in words."""
        await self._edits.run(partial(edit.enable_relays, names=[name], enabled=enabled))
        return [] if enabled else await asyncio.to_thread(self._named_in, name)

    async def remove(self, name: str) -> Removal:
        """Removes a relay or a subscription. Raises Refused when other settings name it."""
        try:
            places = await asyncio.to_thread(self._named_in, name)
        except ConfigError as error:
            raise refused(error) from None
        if places:
            text = _(
                "{relay} was not removed, because other settings need it: {places}. Change these first.",
                relay=name,
                places=semicolons(places),
            )
            raise Refused(409, text)
        is_subscription = any(item.name == name for item in self._parts.settings.subscription)
        remove = edit.remove_subscriptions if is_subscription else edit.remove_relays
        return await self._edits.run(partial(remove, names=[name]))

    async def restore(self, removed: Removal) -> None:
        """Undoes a removal."""
        await self._edits.run(partial(edit.restore_relays, removed=removed))

    def _named_in(self, name: str) -> list[str]:
        """Returns the places that name a relay, in words, at most _REFERENCES_SHOWN. Raises ConfigError."""
        loaded, router = load(self._parts.setup().loaded.path), self._parts.setup().router
        places = [place for _, place in references({name}, loaded, router.rules.rules, router.overrides)]
        return places[:_REFERENCES_SHOWN]


def _refusals(url: str, guard: Guard, own_ports: frozenset[int]) -> Iterator[str]:
    """Yields the reasons for which a page may not add a relay, as sentences."""
    for hop in relay_url.parse_hops(url):
        if isinstance(hop, str):
            continue
        if hop.kind is RelayKind.ADDON:
            command = f"byway relay add addon://{hop.host}"
            yield _("Relays of addons are added in a terminal: {command}", command=command)
        elif hop.ca is not None:
            yield _(
                "{relay}: a page may not name a file (?ca=). Add this relay in a terminal: `byway relay add URL`",
                relay=str(hop.endpoint),
            )
        else:
            yield from (sentence for each in hop.endpoints if (sentence := _refused_endpoint(each, guard, own_ports)))


def _refused_endpoint(endpoint: Destination, guard: Guard, own_ports: frozenset[int]) -> str:
    """Returns the reason for which a page may not add a relay at this endpoint; empty: it may. Other programs of this
    computer are usual relays."""
    sentence = guard.refuse_host(endpoint)
    if is_loopback(endpoint.host):
        is_ours = endpoint.port in own_ports
        return _("{relay} is Byway itself; requests would loop.", relay=str(endpoint)) if is_ours else ""
    if sentence is None and not guard.is_near(endpoint.host):
        return ""
    return _(
        "{relay} is on this network, or is no public address, and a page may not connect there. Add this relay in a "
        "terminal: `byway relay add URL`",
        relay=str(endpoint),
    )


def _has_name(url: str) -> bool:
    """Whether a relay of a chain has a host name that is looked up."""
    urls = (hop for hop in relay_url.parse_hops(url) if not isinstance(hop, str))
    return any(each.address is None and not is_loopback(each.host) for hop in urls for each in hop.endpoints)


def _without_place(problem: str) -> str:
    """Returns a problem with the number of its line, but without the name of the text."""
    return problem.removeprefix(f"{_PASTED}: ").removeprefix(f"{_PASTED}:1: ").removeprefix(f"{_PASTED}:")
