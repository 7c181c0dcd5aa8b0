"""What the page of the relays shows: the cards, subscriptions and groups as values, made of what is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from proxy.config.relays import takes_password, withheld_credentials
from proxy.config.schema import RelayConfig
from proxy.detect.relay_faults import RelayFault
from proxy.features.relays.answers import GroupJson, RelayJson
from proxy.features.relays.cards import Strip, Verdict, strip_of, verdict_of
from proxy.features.relays.pasted import Pasted
from proxy.features.relays.subscription_answers import SubscriptionJson
from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext
from proxy.store.route_queries import RelayHalf, RelaySite
from proxy.wire import relay_url

ROWS = 50
"""Cards or rows on one page."""

_LABELS = {
    "test": pgettext("button", "Test"),
    "up": pgettext("button", "Up"),
    "down": pgettext("button", "Down"),
    "enable": pgettext("button", "Enable"),
    "disable": pgettext("button", "Disable"),
    "remove": pgettext("button", "Remove"),
}
"""The actions on a relay by their values in the form, with the labels of their buttons."""

_NAMED = 8
"""Names in a sentence; of the others, the number."""

_OPPOSITES = {"up": "down", "down": "up", "enable": "disable", "disable": "enable"}


@frozen_dataclass
class Pages:
    """The pages of a list. `page` is the present one, from 1."""

    page: int
    count: int

    @classmethod
    def of(cls, rows: int, page: int) -> Pages:
        """Returns the pages of so many rows. A page that is not there becomes the nearest one."""
        count = max(1, -(-rows // ROWS))
        return cls(min(max(page, 1), count), count)

    @property
    def rows(self) -> slice:
        """The rows of the present page."""
        return slice((self.page - 1) * ROWS, self.page * ROWS)


@frozen_dataclass
class Credentials:
    """The form for the user and the password of a relay. `user` is the present user; `is_open`: the relay refuses what
    it got; `asks`: they would cross the network unencrypted, and that is not allowed yet."""

    user: str
    is_open: bool
    asks: bool


@frozen_dataclass
class Card:
    """A relay with its actions, each as the value in the form and the label of its button. `sites` is the number of
    sites that it opens and direct does not. `is_withheld`: its user and password are not sent, because they would cross
    the network unencrypted. `is_written`: it stands in the configuration file, not in a subscription. `credentials`:
    None when it takes none."""

    relay: RelayJson
    verdict: Verdict
    strip: Strip
    sites: int
    actions: Sequence[tuple[str, str]]
    is_written: bool
    is_withheld: bool
    credentials: Credentials | None


@frozen_dataclass
class SubscriptionCard:
    """A subscription with the relays of one page of it. `is_open`: the last form was about one of them, or another page
    was asked for."""

    subscription: SubscriptionJson
    cards: Sequence[Card]
    pages: Pages
    count: int
    is_open: bool


@frozen_dataclass
class Focus:
    """The focus when the page opens: a button of a card, or `UNDO`, the undo of a removal."""

    relay: str = ""
    action: str = ""


NOWHERE, UNDO = Focus(), Focus(action="undo")


@frozen_dataclass
class Adding:
    """The form that adds relays: its text, what is understood of it (None: nothing was asked), and the answers by the
    number of a relay."""

    text: str = ""
    pasted: Pasted | None = None
    answers: Mapping[int, str] = MappingProxyType({})


NOTHING_ADDED = Adding()


@frozen_dataclass
class Known:
    """The state from which the page is made. `written` are the relays of the configuration file, in order; an answer
    also has a relay for each member of a chain over a group. `sites` are the numbers of sites by relay."""

    relays: Sequence[RelayJson]
    groups: Sequence[GroupJson]
    subscriptions: Sequence[SubscriptionJson]
    written: Sequence[RelayConfig]
    halves: Mapping[str, Sequence[RelayHalf]]
    sites: Mapping[str, int]
    version: str
    now: float
    language: Language

    def verdict(self, relay: RelayJson) -> Verdict:
        return verdict_of(relay, self.halves.get(relay.name, ()), self.now, self.language)


@frozen_dataclass
class RelaysView:
    """The values for the template of the page. `errors` are sentences about the last form."""

    sentence: str
    cards: Sequence[Card]
    pages: Pages
    subscriptions: Sequence[SubscriptionCard]
    groups: Sequence[GroupJson]
    version: str
    removed: Sequence[str]
    focus: Focus
    errors: Sequence[str]
    adding: Adding


def relays_view(
    known: Known,
    *,
    removed: Sequence[str] = (),
    after: Focus = NOWHERE,
    errors: Sequence[str] = (),
    adding: Adding = NOTHING_ADDED,
    page: int = 0,
    of: str = "",
) -> RelaysView:
    """Returns the page. `removed` are the relays that can be restored, and `after` is the action of the last form.
    `page` is a page of the cards, or of the relays of the subscription `of`; 0: the one with the relay of `after`."""
    names = {each.name for each in known.subscriptions}
    written = {relay.name: relay for relay in known.written}
    own = [relay for relay in known.relays if relay.name.partition("/")[0] not in names]

    def cards(relays: Sequence[RelayJson], asked: int) -> tuple[Sequence[Card], Pages]:
        place = next((place for place, relay in enumerate(relays) if relay.name == after.relay), 0)
        pages = Pages.of(len(relays), asked or place // ROWS + 1)
        return [_card(relay, known, written, names) for relay in relays[pages.rows]], pages

    subscriptions = list[SubscriptionCard]()
    for each in known.subscriptions:
        members = [relay for relay in known.relays if relay.name.startswith(f"{each.name}/")]
        shown, pages = cards(members, page if of == each.name else 0)
        is_open = of == each.name or any(relay.name == after.relay for relay in members)
        subscriptions.append(SubscriptionCard(each, shown, pages, len(members), is_open))
    shown, pages = cards(own, 0 if of else page)
    everywhere = [*shown, *(card for each in subscriptions for card in each.cards)]
    return RelaysView(
        _sentence(known, names),
        shown,
        pages,
        subscriptions,
        known.groups,
        known.version,
        removed,
        _focus(everywhere, after),
        errors,
        adding,
    )


def _card(relay: RelayJson, known: Known, written: Mapping[str, RelayConfig], subscriptions: Collection[str]) -> Card:
    halves, configured = known.halves.get(relay.name, ()), written.get(relay.name)
    is_withheld = configured is not None and bool(withheld_credentials(configured))
    return Card(
        relay,
        known.verdict(relay),
        strip_of(halves, known.now, known.language),
        known.sites.get(relay.name, 0),
        _actions(relay, [*written], subscriptions),
        configured is not None,
        is_withheld,
        None if configured is None else _credentials(relay, configured),
    )


def _credentials(relay: RelayJson, configured: RelayConfig) -> Credentials | None:
    """Returns the form for user and password; None for a relay that takes none there."""
    if not takes_password(configured):
        return None
    faults = {RelayFault.CREDENTIALS_REFUSED.text, RelayFault.CREDENTIALS_IN_CLEAR.text}
    told = {relay.fault.text if relay.fault is not None else "", relay.test.fault if relay.test is not None else ""}
    would_be = replace(configured, url=_with_user(configured.url))
    return Credentials(
        relay_url.parse(configured.url).user, not faults.isdisjoint(told), bool(withheld_credentials(would_be))
    )


def _with_user(url: str) -> str:
    """Returns the URL of a relay as it would be with a user."""
    parsed = relay_url.parse(url)
    return f"{parsed.kind}://user@{parsed.endpoint}"


def _sentence(known: Known, subscriptions: Collection[str]) -> str:
    """Returns what can be said of all relays. Those of subscriptions count only where there are no others: many of them
    are often gone."""
    in_use = [relay for relay in known.relays if relay.enabled]
    in_use = [relay for relay in in_use if relay.name.partition("/")[0] not in subscriptions] or in_use
    kinds = {
        relay.name: verdict_of(relay, known.halves.get(relay.name, ()), known.now, known.language).kind
        for relay in in_use
    }
    failing = [name for name, kind in kinds.items() if kind == "bad"]
    unknown = [name for name, kind in kinds.items() if kind == "quiet"]
    if not in_use:
        return _("There is no relay in use. Blocked sites open only where a local strategy is enough.")
    if failing:
        return ngettext(
            "{count} of {all} relays in use fails: {names}.",
            "{count} of {all} relays in use fail: {names}.",
            len(failing),
            all=len(in_use),
            names=some(failing),
        )
    if len(unknown) == len(in_use):
        return ngettext(
            "{count} relay is in use; it was not tested yet.",
            "{count} relays are in use; none was tested yet.",
            len(in_use),
        )
    if unknown:
        return ngettext(
            "{working} of {count} relay works; the other was not tested yet.",
            "{working} of {count} relays work; the others were not tested yet.",
            len(in_use),
            working=len(in_use) - len(unknown),
        )
    return ngettext("{count} relay is in use; it works.", "All {count} relays in use work.", len(in_use))


def some(names: Sequence[str]) -> str:
    """Returns a list of names that is not too long to read."""
    more = len(names) - _NAMED
    if more <= 0:
        return commas(names)
    rest = ngettext("and {count} more", "and {count} more", more)
    return _("{first} {rest}", first=commas(names[:_NAMED]), rest=rest)


def _actions(relay: RelayJson, written: Sequence[str], subscriptions: Collection[str]) -> Sequence[tuple[str, str]]:
    actions = ["test"] if relay.enabled else []
    if relay.name.partition("/")[0] in subscriptions:
        actions += ["disable" if relay.enabled else "enable"]
    if relay.name in written:
        place = written.index(relay.name)
        actions += ["up"] if place else []
        actions += ["down"] if place < len(written) - 1 else []
        actions += ["disable" if relay.enabled else "enable", "remove"]
    return [(action, _LABELS[action]) for action in actions]


def _focus(cards: Sequence[Card], after: Focus) -> Focus:
    """Returns the same button of the same card, else its opposite, else the first one of the card."""
    for card in cards:
        can_ask = {"allow": card.is_withheld, "password": card.credentials is not None}
        if card.relay.name == after.relay and can_ask.get(after.action):
            return after
        if card.relay.name == after.relay and card.actions:
            actions = [action for action, _ in card.actions]
            preferred = (after.action, _OPPOSITES.get(after.action, ""))
            return Focus(after.relay, next((action for action in preferred if action in actions), actions[0]))
    return after if after == UNDO else NOWHERE


@frozen_dataclass
class RelayView:
    """The values for the page of one relay: its half-hours with visits, the newest first, and the sites that it opened
    last and that direct does not open."""

    relay: RelayJson
    verdict: Verdict
    strip: Strip
    halves: Sequence[RelayHalf]
    sites: Sequence[RelaySite]
    count: int
    pages: Pages
