"""Reads the input of `byway relay add`: a URL, a file of URLs or standard input; and the password that a URL lacks.

Lines that cannot be read are reported with file and line, and the others are added. The input is never printed without
*** in place of passwords.
"""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from proxy.cli.configure import NewRelay
from proxy.cli.exit_codes import Misused
from proxy.config.files import read_text
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url, share_links
from proxy.wire.relay_url import RelayKind

FILE_LIMIT = 256 * 1024
RELAYS_MAX = 256
STANDARD_INPUT = "-"


@frozen_dataclass
class Given:
    """The relays in the input, and a sentence with its place for each line that is none."""

    relays: tuple[NewRelay, ...]
    problems: tuple[str, ...] = ()
    from_arguments: bool = False  # a command line stays in the shell's history


def read_given(text: str) -> Given:
    """Reads a URL, the file of that name, or standard input for "-". Raises Misused for a URL that cannot be parsed,
    and ConfigError for a file that cannot be read."""
    if text == STANDARD_INPUT:
        return _read_lines(sys.stdin.read(FILE_LIMIT), "standard input")
    if "://" not in text and Path(text).is_file():
        return _read_lines(read_text(Path(text), limit=FILE_LIMIT), text)
    try:
        return Given((_new_relay(text),), from_arguments=True)
    except ValueError as error:
        names_file = "://" not in text and ":" not in text and ("/" in text or text.endswith(".txt"))
        hint = f"; there is no file {text} either" if names_file and text.isprintable() else ""
        raise Misused(f"{error}{hint}") from None


def ask_password(new: NewRelay) -> NewRelay:
    """Asks for the password when the URL has a user without one and stdin is a terminal, and returns the relay with
    it. It is not shown while it is typed; an empty one means that the relay has none."""
    if not (_lacks_password(new.url) and sys.stdin is not None and sys.stdin.isatty()):
        return new
    url = relay_url.parse(new.url)
    password = getpass.getpass(f"Password of {url.user} at {url.endpoint} (Enter: none): ", stream=sys.stderr)
    if not password:
        return new
    before, _, after = new.url.rpartition("@")
    return replace(new, url=f"{before.removesuffix(':')}:{quote(password, safe='')}@{after}")


def _read_lines(text: str, source: str) -> Given:
    """Reads one URL a line; a # at the start of a line, or after a space, begins a comment."""
    first = text.lstrip().partition("\n")[0]
    if "://" not in first and not first.startswith("#") and (sentence := share_links.explain(text.strip())):
        raise ConfigError(f"{source}: {sentence}")
    relays, problems = [], []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        written = line.partition(" #")[0].partition("\t#")[0].strip()
        if not written or written.startswith(("#", "//")):
            continue
        try:
            relays.append(_new_relay(written))
        except ValueError as error:
            problems.append(f"{source}:{number}: {error}")
    if len(relays) > RELAYS_MAX:
        raise ConfigError(f"{source}: at most {RELAYS_MAX} relays can be added at once, not {len(relays)}")
    if not relays and not problems:
        raise ConfigError(f"{source}: no relay URL in it; write one a line")
    return Given(tuple(relays), tuple(problems))


def _new_relay(text: str) -> NewRelay:
    """Raises ValueError with a sentence."""
    items = [relay_url.without_label(item) for item in share_links.to_relay_url(text.strip()).split(">")]
    url, label = ">".join(item for item, _ in items), items[-1][1]
    is_chain = ">" in url.strip("<>")
    for item in relay_url.parse_chain(url) if is_chain else (url,):
        if ":" in item or not is_chain:  # a name stands for a relay in a chain only
            relay_url.parse(item)
    if "://" not in url and not is_chain:
        url = f"{RelayKind.SOCKS5H}://{url}"
    return NewRelay(url, label=label)


def _lacks_password(url: str) -> bool:
    if ">" in url:
        return False
    parsed = relay_url.parse(url)
    return bool(parsed.user) and not parsed.password and parsed.kind not in (RelayKind.SOCKS4, RelayKind.SOCKS4A)
