"""Parses relays that users paste: a URL or a chain, one of these in each line, or a configuration of another client.

The link of a key is a relay. SOCKS and HTTP proxies in such a configuration are relays; its keys are reported.

A line that cannot be parsed is reported with its number, and the others are used. No message contains a password.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.edit import NewRelay
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url
from proxy.wire.keys import sentences
from proxy.wire.keys.pasted import KEY_SCHEMES, Form, form_of, scheme_of, to_relay_url
from proxy.wire.relay_url import RelayKind
from proxy.wire.url_spelling import as_meant

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed, KeyRefused
    from proxy.wire.keys.values import Key, RelayLink

RELAYS_MAX = 256

KEYS_TOLD = 3
"""Keys that get a sentence each; more of them get one together."""


@frozen_dataclass
class Given:
    """The relays in the input, and a sentence with its place for each line that cannot be parsed."""

    relays: tuple[NewRelay, ...]
    problems: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """The lines that cannot be parsed."""
    from_arguments: bool = False  # from the command line, which stays in the shell's history


def read_lines(text: str, source: str, allowed: Allowed | None = None) -> Given:
    """Parses one relay a line. A # at the start of a line, or after a space, begins a comment. `source` names the input
    in messages. `allowed` is what the person says to keys. Raises ConfigError when there is no relay, or more than
    RELAYS_MAX."""
    if (form := form_of(text)) not in (None, Form.LINKS):
        return _limited(_of_configuration(text, form, source), source)
    first = as_meant(text.strip().partition("\n")[0])
    if "://" not in first and not first.startswith("#") and (sentence := sentences.explain(text.strip())):
        raise ConfigError(f"{source}: {sentence}")
    relays, problems, keys, refused = [], [], [], []  # `problems` has those of keys too
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        written = line.partition(" #")[0].partition("\t#")[0].strip()
        if not written or written.startswith(("#", "//")):
            continue
        try:
            relays.append(read_relay(written, allowed))
        except ValueError as error:
            problems.append(f"{source}:{number}: {error}")
            refused.append(written)
            if scheme_of(link := as_meant(written)) in KEY_SCHEMES:
                keys.append((link, problems[-1]))
    if not relays and not refused:
        raise ConfigError(f"{source}: no relay URL in it; write one a line")
    if len(keys) > KEYS_TOLD:
        together = f"{source}: {sentences.explain(chr(10).join(link for link, _ in keys))}"
        told = {sentence for _, sentence in keys}
        problems = [together, *(problem for problem in problems if problem not in told)]
    return _limited(Given(tuple(relays), tuple(problems), tuple(refused)), source)


def _of_configuration(text: str, form: Form, source: str) -> Given:
    from proxy.wire.keys.fields import KeyRefused  # these three: most input has no keys
    from proxy.wire.keys.reader import read_collection
    from proxy.wire.keys.values import RelayLink

    try:
        collection = read_collection(text)
    except KeyRefused as error:
        raise ConfigError(f"{source}: {sentences.of_unreadable(form, error)}") from None
    relays, problems = [], []
    for link in collection.items:
        if isinstance(link, RelayLink):
            try:
                relays.append(relay_of(link))
            except ValueError as error:
                problems.append(f"{source}: {error}")
    if any(not isinstance(item, RelayLink) for item in collection.items):
        problems.insert(0, f"{source}: {sentences.of_collection(collection)}")
    if not relays:
        raise ConfigError(problems)
    return Given(tuple(relays), tuple(problems))


def _limited(given: Given, source: str) -> Given:
    if len(given.relays) > RELAYS_MAX:
        raise ConfigError(f"{source}: at most {RELAYS_MAX} relays can be added at once, not {len(given.relays)}")
    return given


def read_relay(text: str, allowed: Allowed | None = None) -> NewRelay:
    """Parses a URL, a chain or a link, also with quotation marks around it or invisible characters in it. `allowed` is
    what the person says to a key. Raises ValueError with a sentence."""
    text = as_meant(text)
    if relay_url.is_key(text):  # as a whole, since its name may be anything
        key = relay_url.parse(text, allowed).key
        assert key is not None
        return NewRelay(text.partition("#")[0], label=key.name, allowed=allowed)
    items = [relay_url.without_label(item) for item in to_relay_url(text).split(">")]
    url, label = ">".join(item for item, _ in items), items[-1][1]
    is_chain = ">" in url.strip("<>")
    for item in relay_url.parse_chain(url) if is_chain else (url,):
        if ":" in item or not is_chain:  # only an item of a chain may be the name of a relay
            relay_url.parse(item)
    if "://" not in url and not is_chain:
        url = f"{RelayKind.SOCKS5H}://{url}"
    return NewRelay(url, label=label)


def relay_of(item: Key | RelayLink | KeyRefused, link: str = "") -> NewRelay:
    """Returns the relay of an entry of a text with keys. `link` is the entry, if it is a link. Raises ValueError with
    the sentence that `relay add` has for it: for a key in another notation, that it is taken as a link."""
    from proxy.wire.keys.fields import KeyRefused
    from proxy.wire.keys.values import RelayLink

    if isinstance(item, KeyRefused):
        raise ValueError(str(item) if item.protocol is None else sentences.of_refused(item))
    if not isinstance(item, RelayLink) and not link:
        raise ValueError(sentences.of_key_in_file(item))
    url = item.url if isinstance(item, RelayLink) else link.partition("#")[0]
    if ">" in url:
        raise ValueError("it is a chain, and no list of another client has one")
    if not isinstance(item, RelayLink):
        return read_relay(link)
    new = read_relay(item.url)
    return replace(new, label=item.label or new.label)
