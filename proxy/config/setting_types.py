"""The types of settings: tables, and the bounds and forms of single values.

`Annotated[float, Bounds(more_than=0)]` is a type with a constraint on its values, which `read_settings` checks. Every
start needs the settings, so these are plain dataclasses: pydantic would take a fifth of a start's time and memory.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from proxy.config.suggestions import quoted
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.strategy import parse_rung
from proxy.wire import hostnames

_OTHERS = "others"


@frozen_dataclass
class Section:
    """One table of the configuration. Its fields are the keys; `setting` makes them."""


def setting(default: Any, description: str) -> Any:
    """Returns the field of a key that has a default."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata={"description": description})
    return dataclasses.field(default=default, metadata={"description": description})


def required(description: str, *, shown: bool = True) -> Any:
    """Returns the field of a key that must be set. `shown`: whether messages may contain its value."""
    return dataclasses.field(metadata={"description": description}, repr=shown)


def other_keys(description: str) -> Any:
    """Returns the field for all other keys of the table: their values, of any type, by name."""
    return dataclasses.field(default_factory=dict, repr=False, metadata={"description": description, _OTHERS: True})


def keys_of(section: type[Section]) -> dict[str, dataclasses.Field[Any]]:
    """Returns the fields of a section that are keys of its table, by name."""
    return {field.name: field for field in dataclasses.fields(section) if _OTHERS not in field.metadata}


def others_of(section: type[Section]) -> str | None:
    """Returns the name of the field made by `other_keys`; None when the section has none."""
    return next((field.name for field in dataclasses.fields(section) if _OTHERS in field.metadata), None)


def is_section(kind: Any) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def bare(kind: Any) -> Any:
    """Returns the type without the constraints of `Annotated`."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


@frozen_dataclass
class Bounds:
    """The bounds of a number."""

    at_least: float = -math.inf
    at_most: float = math.inf
    more_than: float = -math.inf


@frozen_dataclass
class Size:
    """The bounds of a size: characters of a text, elements of an array, or keys of a table."""

    at_least: int = 0
    at_most: int = 1_000_000


@frozen_dataclass
class Parsed:
    """The form of a text: `parse` returns its canonical spelling. It raises ValueError with a predicate such as `is not
    an IP address`, which may begin with the quoted text."""

    parse: Callable[[str], str]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(hostnames.host(text)))
    except ValueError:
        hint = '; write "127.0.0.1" for this computer only' if text.lower() == "localhost" else ""
        raise ValueError(f"{quoted(text)} is not an IP address{hint}") from None


def _suffix(text: str) -> str:
    """Returns a domain name, which covers its subdomains, or an address. Removes a leading `*.` or dot, which other
    tools write."""
    return hostnames.host(text.removeprefix("*").removeprefix("."))


_OF_A_SHELL = ("|", "||", "&&", "&", ";", ">", "<", ">/dev/null", "2>/dev/null", "2>&1")


def _command(text: str) -> str:
    """Refuses shell syntax: without a shell, `echo secret | tr …` would print another password."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a command: {str(error).lower()}") from None
    if text and not words:
        raise ValueError("is not a command: it is empty")
    unquoted = text.split()
    if operator := next((word for word in words if word in _OF_A_SHELL and word in unquoted), ""):
        raise ValueError(f"is run without a shell, so {operator} means nothing: write it as sh -c '…'")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} contains a control character")
    return text


def _program(text: str) -> str:
    if not text or not text.isprintable() or text in (".", "..") or ("/" in text and not text.startswith("/")):
        raise ValueError(f"{quoted(text)} is neither the path of a program, from / on, nor the name of one")
    return text


def _header_text(text: str) -> str:
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError(f"{quoted(text)} is not a text of one line in ASCII")
    return text


def _pin(text: str) -> str:
    if text and not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise ValueError("a pin is the SHA-256 of a certificate, in 64 hexadecimal digits")
    return text.lower()


def _page(text: str) -> str:
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not a page URL such as https://example.com/")
    return text


def _plain_page(text: str) -> str:
    if text and (not text.startswith("http://") or not text.isprintable() or " " in text):
        raise ValueError(f"{quoted(text)} is not a page of plain http such as http://example.com/")
    return text


_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])\Z")
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


def seconds_of(duration: str) -> int:
    """Returns the seconds of a duration such as `15m`, `6h` or `1d`. Raises ValueError."""
    match = _DURATION.match(duration)
    if match is None:
        raise ValueError(f"{quoted(duration)} is not a duration such as 15m, 6h or 1d")
    return int(match[1]) * _UNITS_S[match[2]]


def _refresh(text: str) -> str:
    if text and not seconds_of("15m") <= seconds_of(text) <= seconds_of("30d"):
        raise ValueError(f"{quoted(text)} must be between 15m and 30d")
    return text


def relay_name(text: str) -> str:
    """Returns the name of a relay, a group or a list. Raises ValueError for an invalid one."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", text) is None:
        raise ValueError(
            f"{quoted(text)} must start with a letter or digit and have at most 32 letters, digits, dots, - and _"
        )
    return text


def _network_id(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{16}", text) is None:
        raise ValueError(f"{quoted(text)} is not the id of a network: `byway status -v` shows the one in use")
    return text


Seconds = Annotated[float, Bounds(more_than=0, at_most=315_360_000)]  # at most ten years
Number = Annotated[float, Bounds(at_least=0, at_most=1_000_000)]
Count = Annotated[int, Bounds(at_least=1, at_most=10_000_000)]
Days = Annotated[float, Bounds(more_than=0, at_most=3650)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
Divisor = Annotated[float, Bounds(at_least=1, at_most=1000)]
Weight = Annotated[float, Bounds(at_least=0, at_most=100)]
Steps = Annotated[tuple[Seconds, ...], Size(at_least=1, at_most=20)]
Extra = Annotated[int, Bounds(at_least=0, at_most=100)]
Port = Annotated[int, Bounds(at_least=0, at_most=65535)]
Address = Annotated[str, Parsed(_address)]
Host = Annotated[str, Parsed(hostnames.host)]
Suffix = Annotated[str, Parsed(_suffix)]
Command = Annotated[str, Parsed(_command)]
Text = Annotated[str, Size(at_most=255), Parsed(_printable)]
Program = Annotated[str, Size(at_least=1, at_most=4096), Parsed(_program)]
HeaderText = Annotated[str, Size(at_least=1, at_most=200), Parsed(_header_text)]
Pin = Annotated[str, Parsed(_pin)]
Page = Annotated[str, Parsed(_page)]
PlainPage = Annotated[str, Parsed(_plain_page)]
Url = Annotated[str, Size(at_least=1, at_most=2000)]
RelayUrlText = Annotated[str, Size(at_least=1, at_most=16 * 1024)]  # a key may have one of post-quantum cryptography
Refresh = Annotated[str, Parsed(_refresh)]
RelayName = Annotated[str, Parsed(relay_name)]
NetworkIdText = Annotated[str, Parsed(_network_id)]
Rung = Annotated[str, Size(at_most=100), Parsed(parse_rung)]
