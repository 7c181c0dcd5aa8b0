"""Reads the input of `byway relay add`: a URL, a base64 bundle, a file or standard input; and the password of a URL
without one.

The input is only printed with *** in place of passwords.
"""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from proxy.config.edit import NewRelay
from proxy.config.files import read_text
from proxy.config.relay_input import Given, read_lines, read_relay
from proxy.terminal.exit_codes import Misused
from proxy.wire import relay_url
from proxy.wire.keys.pasted import TEXT_LIMIT, Form, form_of, subscription_of
from proxy.wire.relay_url import RelayKind
from proxy.wire.url_spelling import as_meant

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed

FILE_LIMIT = TEXT_LIMIT
STANDARD_INPUT = "-"

_OF_FILES = (".txt", ".list", ".lst", ".conf", ".csv", ".json", ".yaml", ".yml", ".toml")
"""Suffixes of file names that no host name has."""


def read_piped(text: str) -> str | None:
    """Returns the text of standard input for "-"; None for any other argument. Raises Misused."""
    if text != STANDARD_INPUT:
        return None
    if sys.stdin is None:
        raise Misused("standard input is closed; name a file, or pipe the URLs into the command")
    try:
        return sys.stdin.read(FILE_LIMIT)
    except UnicodeDecodeError:
        raise Misused("standard input is not UTF-8 text") from None


def subscription_in(text: str) -> str:
    """Returns the address of a subscription that is all of the input; empty: it is something else."""
    return subscription_of(as_meant(text.strip()))


def read_given(text: str, allowed: Allowed | None = None, *, piped: str | None = None) -> Given:
    """Reads a URL, a base64 bundle, the file of that name, or the text of standard input, which was `piped`. `allowed`
    is what the person says to keys. Raises Misused for a URL that cannot be parsed, and ConfigError for a text or
    bundle that cannot be read."""
    if piped is not None:
        return read_lines(piped, "standard input", allowed)
    if form_of(text) is Form.BUNDLE:
        return replace(read_lines(text, "the bundle", allowed), from_arguments=True)
    if "://" not in text and os.path.isfile(text):  # Path.is_file raises OSError for a long text
        return read_lines(read_text(Path(text), limit=FILE_LIMIT), text, allowed)
    try:
        return Given((read_relay(text, allowed),), from_arguments=True)
    except ValueError as error:
        if _names_file(text):
            raise Misused(f"there is no file {text}; as a URL of a relay: {error}") from None
        raise Misused(str(error)) from None


def _names_file(text: str) -> bool:
    """Whether a text that is no URL may mean a file. Links of other clients (`t.me/socks?server=…`) do not: they may
    have a password."""
    has_name = "/" in text or Path(text).suffix.lower() in _OF_FILES
    return has_name and not any(sign in text for sign in ":@?=&#>") and text.isprintable()


def ask_password(new: NewRelay) -> NewRelay:
    """Asks for the password when the URL has a user without one and stdin is a terminal. Returns the relay with it. It
    is not echoed; an empty one means that the relay has none. Raises KeyboardInterrupt at Ctrl-C and at the end of the
    input."""
    if not (_lacks_password(new) and sys.stdin is not None and sys.stdin.isatty()):
        return new
    url = relay_url.parse(new.url)
    try:
        password = getpass.getpass(f"Password of {url.user} at {url.endpoint} (Enter: none): ", stream=sys.stderr)
    except EOFError:
        raise KeyboardInterrupt from None
    if not password:
        return new
    before, _, after = new.url.rpartition("@")
    return replace(new, url=f"{before.removesuffix(':')}:{quote(password, safe='')}@{after}")


def _lacks_password(new: NewRelay) -> bool:
    if ">" in new.url:
        return False
    parsed = relay_url.parse(new.url, new.allowed)
    return bool(parsed.user) and not parsed.password and parsed.kind not in (RelayKind.SOCKS4, RelayKind.SOCKS4A)
