"""The types of single settings: shape and bounds of a number, an address, a name, a command."""

from __future__ import annotations

import ipaddress
import shlex
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from proxy.config.suggestions import quoted
from proxy.wire import hostnames


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(hostnames.host(text)))
    except ValueError:
        hint = '; write "127.0.0.1" for this computer only' if text.lower() == "localhost" else ""
        raise ValueError(f"{quoted(text)} is not an IP address{hint}") from None


def _suffix(text: str) -> str:
    """A name with its subdomains, or an address. A leading star and dot, as other tools write them, are removed."""
    return hostnames.host(text.removeprefix("*").removeprefix("."))


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a command: {str(error).lower()}") from None
    if text and not words:
        raise ValueError("is not a command: it is empty")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} contains a control character")
    return text


def _page(text: str) -> str:
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not a page URL such as https://example.com/")
    return text


Seconds = Annotated[float, Field(gt=0, le=315_360_000, allow_inf_nan=False)]  # at most ten years
Number = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Divisor = Annotated[float, Field(ge=1, le=1000)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Steps = Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=20)]
Extra = Annotated[int, Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=0, le=65535)]
Address = Annotated[str, AfterValidator(_address)]
Host = Annotated[str, AfterValidator(hostnames.host)]
Suffix = Annotated[str, AfterValidator(_suffix)]
Command = Annotated[str, AfterValidator(_command)]
Text = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Page = Annotated[str, AfterValidator(_page)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
RelayName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class Section(BaseModel):
    """One table of the configuration: frozen, and no key or type but those declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
