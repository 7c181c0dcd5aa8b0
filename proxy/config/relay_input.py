"""Parses relays that users paste: a URL or a chain, one of these in each line, or a configuration of another client.

The link of a key is a relay. Of a configuration SOCKS and HTTP proxies are relays, and keys, which become links.

A line or an entry that is no relay is reported with its number, and the others are used. No message contains a
password.
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
"""Keys that get a sentence each; of more of them the first does."""


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
        return _limited(_of_configuration(text, form, source, allowed), source)
    first = as_meant(text.strip().partition("\n")[0])
    if "://" not in first and not first.startswith("#") and (sentence := sentences.explain(text.strip())):
        raise ConfigError(f"{source}: {sentence}")
    relays, problems, refused = [], [], []
    keys: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        written = line.partition(" #")[0].partition("\t#")[0].strip()
        if not written or written.startswith(("#", "//")):
            continue
        try:
            relays.append(read_relay(written, allowed))
        except ValueError as error:
            problems.append(f"{source}:{number}: {error}")
            refused.append(written)
            if scheme_of(as_meant(written)) in KEY_SCHEMES:
                keys.append((number, str(error)))
    if not relays and not refused:
        raise ConfigError(f"{source}: no relay URL in it; write one a line")
    if len(keys) > KEYS_TOLD:
        (number, sentence), told = keys[0], {f"{source}:{number}: {sentence}" for number, sentence in keys}
        together = f"{source}: {len(keys)} keys are not taken. The first, in line {number}: {sentence}"
        problems = [together, *(problem for problem in problems if problem not in told)]
    return _limited(Given(tuple(relays), tuple(problems), tuple(refused)), source)


def _of_configuration(text: str, form: Form, source: str, allowed: Allowed | None) -> Given:
    from proxy.wire.keys.fields import NOTHING_ALLOWED, KeyRefused  # these two: most input has no keys
    from proxy.wire.keys.reader import read_collection

    try:
        collection = read_collection(text, allowed or NOTHING_ALLOWED)
    except KeyRefused as error:
        raise ConfigError(f"{source}: {sentences.of_unreadable(form, error)}") from None
    relays, refused = [], []
    for number, (item, link) in enumerate(collection.entries, 1):
        try:
            relays.append(relay_of(item, link, allowed))
        except ValueError as error:
            refused.append((number, str(error)))
    problems = [f"{source}: number {number}: {sentence}" for number, sentence in refused]
    if len(refused) > KEYS_TOLD:
        number, sentence = refused[0]
        taken = f"{len(refused)} of {len(collection.items)} entries of {form} are not taken"
        problems = [f"{source}: {taken}. The first, number {number}: {sentence}"]
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
        if ">" in text.partition("#")[0]:  # in the file that would be a chain, whose next relay a stranger names
            raise ValueError("the key contains >, which joins the relays of a chain: write it as %3E")
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


def relay_of(item: Key | RelayLink | KeyRefused, link: str = "", allowed: Allowed | None = None) -> NewRelay:
    """Returns the relay of an entry of a text with keys. `link` is the entry, if it is a link; a key in another
    notation is written as one. `allowed` is what the person says to keys, with which the entry was read. Raises
    ValueError with the sentence that `relay add` has for it."""
    from proxy.wire.keys.fields import KeyRefused
    from proxy.wire.keys.values import RelayLink
    from proxy.wire.keys.writer import write_key

    if isinstance(item, KeyRefused):
        raise ValueError(str(item) if item.protocol is None else sentences.of_refused(item))
    if isinstance(item, RelayLink):
        if ">" in item.url:
            raise ValueError("it is a chain, and no list of another client has one")
        new = read_relay(item.url)
        return replace(new, label=item.label or new.label)
    if ">" in link.partition("#")[0]:
        raise ValueError("it is a chain, and no list of another client has one")
    if link:
        return read_relay(link, allowed)
    if sentence := sentences.without_engine(item):  # first, since a link need not say what no engine can do
        raise ValueError(sentence)
    try:
        written = write_key(item)  # it has been read back; what the person allows is in it
    except KeyRefused as error:
        raise ValueError(sentences.of_refused(error)) from None
    return NewRelay(written.partition("#")[0], label=item.name)
