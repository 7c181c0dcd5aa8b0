"""Parses relays that users paste: a URL or a chain, a link of another client, or one of these in each line.

A line that cannot be parsed is reported with its number, and the others are used. No message contains a password.
"""

from __future__ import annotations

from proxy.config.edit import NewRelay
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url, share_links
from proxy.wire.relay_url import RelayKind
from proxy.wire.url_spelling import as_meant

RELAYS_MAX = 256


@frozen_dataclass
class Given:
    """The relays in the input, and a sentence with its place for each line that cannot be parsed."""

    relays: tuple[NewRelay, ...]
    problems: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """The lines that cannot be parsed."""
    from_arguments: bool = False  # from the command line, which stays in the shell's history


def read_lines(text: str, source: str) -> Given:
    """Parses one relay a line. A # at the start of a line, or after a space, begins a comment. `source` names the input
    in messages. Raises ConfigError when there is no relay, or more than RELAYS_MAX."""
    first = as_meant(text.strip().partition("\n")[0])
    if "://" not in first and not first.startswith("#") and (sentence := share_links.explain(text.strip())):
        raise ConfigError(f"{source}: {sentence}")
    relays, problems, refused = [], [], []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        written = line.partition(" #")[0].partition("\t#")[0].strip()
        if not written or written.startswith(("#", "//")):
            continue
        try:
            relays.append(read_relay(written))
        except ValueError as error:
            problems.append(f"{source}:{number}: {error}")
            refused.append(written)
    if len(relays) > RELAYS_MAX:
        raise ConfigError(f"{source}: at most {RELAYS_MAX} relays can be added at once, not {len(relays)}")
    if not relays and not problems:
        raise ConfigError(f"{source}: no relay URL in it; write one a line")
    return Given(tuple(relays), tuple(problems), tuple(refused))


def read_relay(text: str) -> NewRelay:
    """Parses a URL, a chain or a link, also with quotation marks around it or invisible characters in it. Raises
    ValueError with a sentence."""
    text = as_meant(text)
    items = [relay_url.without_label(item) for item in share_links.to_relay_url(text).split(">")]
    url, label = ">".join(item for item, _ in items), items[-1][1]
    is_chain = ">" in url.strip("<>")
    for item in relay_url.parse_chain(url) if is_chain else (url,):
        if ":" in item or not is_chain:  # only an item of a chain may be the name of a relay
            relay_url.parse(item)
    if "://" not in url and not is_chain:
        url = f"{RelayKind.SOCKS5H}://{url}"
    return NewRelay(url, label=label)
