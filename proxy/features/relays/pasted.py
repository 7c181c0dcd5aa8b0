"""What is understood of a pasted text: relays with a name for each, or a subscription; and what is not. Pure.

A person sees this before anything is tested or saved. No sentence here shows a password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from proxy.config.edit import NewRelay, free_name, identity
from proxy.config.relay_input import read_lines, read_relay
from proxy.config.relays import has_hidden_host, withheld_credentials
from proxy.config.schema import RelayConfig, Settings
from proxy.model import bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import https_url, relay_url
from proxy.wire.keys.pasted import Form, form_of, subscription_of
from proxy.wire.url_mending import mended, split_line
from proxy.wire.url_spelling import as_meant

_SOURCE = "pasted text"

NAMED_MAX = 20
"""Relays of one text that get a field for their name, and a question about their password."""


@frozen_dataclass
class Understood:
    """A relay in the text. `shown` is its URL without secrets, `name` the proposed name, `there` the name of the
    configured relay with the same host, port and user (empty: none). `asks`: its user and password would cross the
    network unencrypted, so the user has to say whether they may. `is_mended`: it was written in another way."""

    new: NewRelay
    shown: str
    name: str
    there: str = ""
    asks: bool = False
    is_mended: bool = False


@frozen_dataclass
class FoundSubscription:
    """The address of a subscription, which is a secret, with its host and the proposed name."""

    address: str
    host: str
    name: str


@frozen_dataclass
class Pasted:
    """The content of a text: relays or a subscription, a sentence for each line that is neither or that a page may not
    add, and those lines."""

    relays: Sequence[Understood] = ()
    subscription: FoundSubscription | None = None
    problems: Sequence[str] = ()
    left: Sequence[str] = ()

    @property
    def is_new(self) -> bool:
        """Whether something can be added."""
        return self.subscription is not None or any(not each.there for each in self.relays)


def understand(text: str, settings: Settings, refusal: Callable[[str], str]) -> Pasted:
    """Reads a text. `settings` are those of the configuration file; `refusal` returns the reason for which a page may
    not add the relay of a URL (empty: it may). Raises ConfigError when nothing can be read, and ValueError for the
    address of a subscription that is wrong."""
    if address := subscription_of(as_meant(text.strip())):
        return Pasted(subscription=_subscription(address, settings))
    is_list = form_of(text) in (None, Form.LINKS)
    text, mended_urls = _mended(text) if is_list else (text, set[str]())
    given = read_lines(text, _SOURCE)
    taken = {*(relay.name for relay in settings.relay), *(group.name for group in settings.group)}
    taken |= {item.name for item in settings.subscription}
    there = {identity(relay.url, relay.allowed): relay.name for relay in settings.relay}
    relays, problems, left = list[Understood](), [without_place(each) for each in given.problems], [*given.refused]
    for new in given.relays:
        if sentence := refusal(new.url):
            problems.append(sentence)
            left.append(new.url)
            continue
        place = identity(new.url, new.allowed)
        name = there.get(place, "") or free_name(new, taken)
        # The addresses of a name may change at any time: they are checked whenever the relay is dialed.
        relay = replace(new, name=name, public_only=has_hidden_host(new.url))
        configured = RelayConfig(name, new.url)
        relays.append(
            Understood(
                new=relay,
                shown=relay_url.shown(new.url, new.allowed),
                name=name,
                there=there.get(place, ""),
                asks=place not in there and bool(withheld_credentials(configured)),
                is_mended=new.url in mended_urls,
            )
        )
        taken.add(name)
        there.setdefault(place, name)
    return Pasted(relays, None, problems, left)


def named(pasted: Pasted, names: Mapping[int, str], answers: Mapping[int, str]) -> Pasted:
    """Returns the text with what the user said: names by the number of the relay, and whether the password may be sent
    unencrypted ("yes" or "no")."""
    relays = [
        replace(
            each,
            name=each.name if each.there else names.get(number, "").strip() or each.name,
            new=replace(
                each.new,
                name=each.name if each.there else names.get(number, "").strip() or each.name,
                allow_plaintext_credentials=each.asks and answers.get(number) == "yes",
            ),
        )
        for number, each in enumerate(pasted.relays)
    ]
    return replace(pasted, relays=relays)


def without_place(problem: str) -> str:
    """Returns a problem with the number of its line, but without the name of the text."""
    return problem.removeprefix(f"{_SOURCE}: ").removeprefix(f"{_SOURCE}:1: ").removeprefix(f"{_SOURCE}:")


def _subscription(address: str, settings: Settings) -> FoundSubscription:
    """Raises ValueError."""
    host = https_url.parse(address).host
    if there := next((item.name for item in settings.subscription if item.url == address), ""):
        raise ValueError(f"subscription {there} has this address already")
    taken = {*(it.name for it in settings.relay), *(it.name for it in settings.group)}
    taken |= {item.name for item in settings.subscription}
    return FoundSubscription(address, host, free_name(NewRelay(f"https://{bracketed(host)}"), taken))


def _mended(text: str) -> tuple[str, set[str]]:
    """Returns the text with each refused line as it was meant, and the URLs that were written in another way."""
    lines, changed = list[str](), set[str]()
    for line in text.removeprefix("\ufeff").splitlines():
        written = line.partition(" #")[0].partition("\t#")[0].strip()
        if not written or written.startswith(("#", "//")):
            continue
        if _is_read(written):
            lines.append(line)
            continue
        for part in split_line(written):
            url = "" if _is_read(part) else mended(part, _is_read)
            if url:
                changed.add(read_relay(url).url)
            lines.append(url or part)
    return "\n".join(lines), changed


def _is_read(text: str) -> bool:
    try:
        read_relay(text)
    except ValueError:
        return False
    return True
