"""Edits of relays that a page may make, in the configuration file.

A page may do less than its user in a terminal: nothing here takes a file (`?ca=`), code (`addon://`) or a command. Nor
does it take a relay at an address of the local network, or at a name that resolves to one: a page could explore the
network with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from proxy.config import edit
from proxy.config.edit import Added, NewRelay, Removal
from proxy.config.load import load
from proxy.config.relays import is_loopback, is_member, withheld_credentials
from proxy.control.access import Refused
from proxy.control.config_edits import ConfigEdits, refused
from proxy.control.dependencies import Dependencies
from proxy.features.relays.pasted import Pasted, understand, without_place
from proxy.features.relays.subscriptions import REFRESH
from proxy.model import Destination
from proxy.model.errors import BywayError, ConfigError
from proxy.model.phrase import _, semicolons
from proxy.routing.address_guard import Guard
from proxy.routing.relay_references import references
from proxy.wire import relay_url
from proxy.wire.relay_url import RelayKind, redact

_REFERENCES_SHOWN = 5


class RelayEdits:
    """Edits the relays of one Byway. Its methods raise Refused with a sentence, and then have changed nothing."""

    def __init__(self, parts: Dependencies, edits: ConfigEdits) -> None:
        self._parts = parts
        self._edits = edits

    async def understand(self, text: str) -> Pasted:
        """Returns what is understood of a pasted text."""
        settings = self._parts.settings
        ports = frozenset((settings.listen.port, int(self._parts.counters().get("port", 0))))
        guard = Guard((), settings.dns.local, own_ports=ports)
        configured = await self._parts.configured()
        try:
            pasted = understand(text, configured, lambda url: next(_refusals(url, guard, ports), ""))
        except ConfigError as error:
            raise Refused(400, without_place(redact(str(error)))) from None
        except ValueError as error:
            raise Refused(400, redact(str(error))) from None
        subscription = pasted.subscription
        if subscription is not None:
            endpoint = Destination(subscription.host, 443)
            if is_loopback(subscription.host) or guard.refuse_host(endpoint) or guard.is_near(subscription.host):
                raise Refused(400, _near(endpoint))
        return pasted

    async def check(self, relays: Sequence[NewRelay]) -> None:
        """Checks new relays with names, and that the file can be edited."""
        try:
            await asyncio.to_thread(edit.check_new, self._parts.config_file, relays)
        except (ValueError, BywayError) as error:
            raise refused(error) from None

    async def add(self, relays: Sequence[NewRelay]) -> list[Added]:
        """Adds relays."""
        return await self._edits.run(partial(edit.add_relays, relays=relays))

    async def subscribe(self, name: str, address: str) -> None:
        """Adds a subscription, which has no relays before it is fetched."""
        table = {"name": name, "source": address, "refresh": REFRESH}
        await self._edits.run(partial(edit.add_subscription, table=table))

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

    async def order(self, names: Sequence[str], *, version: str) -> None:
        """Puts these relays in this order, in the places that they have now. `version` is that of the page."""
        await self._edits.run(partial(edit.permute_relays, names=names), version=version)

    async def rename(self, name: str, new: str, *, version: str) -> None:
        """Gives a relay another name, with its past."""
        if new == name:
            return
        await self._check_free(
            name,
            lambda places: _(
                "{relay} was not renamed, because other settings name it: {places}. Change these first.",
                relay=name,
                places=semicolons(places),
            ),
            of_files=True,
        )
        parts = self._parts
        health = [replace(known, relay=new) for known in parts.health.remembered() if known.relay == name]
        tested = (await asyncio.to_thread(parts.relay_tests.all)).get(name)
        selected = [group for group, relay in parts.groups.selected.items() if relay == name]
        await self._edits.run(partial(edit.rename_relay, name=name, new=new), version=version)
        parts.health.restore(health)
        for group in selected:
            await parts.select(group, new)
        if tested is not None:
            await asyncio.to_thread(parts.relay_tests.record, [replace(tested, relay=new)])
        await asyncio.to_thread(parts.store.rename_relay, name, new)

    async def enter(self, name: str, user: str, password: str, *, in_the_clear: bool, version: str) -> None:
        """Sets the user and the password of a relay. `in_the_clear`: allows sending them unencrypted."""
        change = partial(edit.set_credentials, name=name, user=user, password=password, in_the_clear=in_the_clear)
        await self._edits.run(change, version=version)

    async def enable(self, name: str, enabled: bool) -> Sequence[str]:
        """Enables or disables a relay. Returns the places that name a relay which is now disabled, in words."""
        await self._edits.run(partial(edit.enable_relays, names=[name], enabled=enabled))
        return [] if enabled else await asyncio.to_thread(self._named_in, name)

    async def remove(self, name: str) -> Removal:
        """Removes a relay or a subscription. Raises Refused when other settings name it."""
        await self._check_free(
            name,
            lambda places: _(
                "{relay} was not removed, because other settings need it: {places}. Change these first.",
                relay=name,
                places=semicolons(places),
            ),
        )
        is_subscription = any(item.name == name for item in self._parts.settings.subscription)
        remove = edit.remove_subscriptions if is_subscription else edit.remove_relays
        return await self._edits.run(partial(remove, names=[name]))

    async def restore(self, removed: Removal) -> None:
        """Undoes a removal."""
        await self._edits.run(partial(edit.restore_relays, removed=removed))

    async def _check_free(self, name: str, sentence: Callable[[Sequence[str]], str], *, of_files: bool = False) -> None:
        """Refuses, with a sentence about the places, when something names a relay. `of_files`: groups and chains do not
        count."""
        try:
            places = await asyncio.to_thread(self._named_in, name, of_files=of_files)
        except ConfigError as error:
            raise refused(error) from None
        if places:
            raise Refused(409, sentence(places))

    def _named_in(self, name: str, *, of_files: bool = False) -> list[str]:
        """Returns the places that name a relay, in words, at most _REFERENCES_SHOWN. `of_files`: without groups and
        chains. Raises ConfigError."""
        loaded, router = load(self._parts.setup().loaded.path), self._parts.setup().router
        if of_files:
            settings = replace(loaded.settings, relay=(), group=())
            loaded = replace(loaded, settings=settings)
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
    return _near(endpoint)


def _near(endpoint: Destination) -> str:
    return _(
        "{relay} is on this network, or is no public address, and a page may not connect there. Add this relay in a "
        "terminal: `byway relay add URL`",
        relay=str(endpoint),
    )
