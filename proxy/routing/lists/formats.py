"""The formats of lists. A format is recognized by the text of a file, so no setting has to name it.

A new format is a module beside `plain`, a name in `ListFormatName` and a row in `FORMATS`. A format must recognize only
its own text: if it takes that of another format, the list gets a wrong meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Protocol

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists import adblock, autoproxy, clash, dnsmasq, hosts, pac, sing_box, switchyomega, v2fly
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.list_builder import ListBuilder, Siblings, no_siblings
from proxy.routing.lists.plain import parse_plain

LIST_LIMIT = 64 * 1024 * 1024
"""Characters of the largest list. A million long domains, in a format with many words on a line, need less."""

RECOGNIZED_BY = 32 * 1024
"""Characters at the beginning of a text by which its format is recognized. The first piece may be one longer line."""

_WORD = re.compile(r"[a-z0-9._-]+", re.IGNORECASE)


class ParseList(Protocol):
    """Parses a list into a builder. The text comes in pieces of whole lines. A parser takes a piece only after it has
    parsed the one before, since the caller pauses between pieces. Lines that cannot be used are skipped with a reason.
    Raises ConfigError when the list is too large, or cannot be read at all."""

    def __call__(self, pieces: Iterator[str], builder: ListBuilder) -> None: ...


@frozen_dataclass
class ListFormat:
    """One format."""

    recognizes: Callable[[str], bool]
    """Gets the beginning of the text: its first piece, or RECOGNIZED_BY characters of it."""
    parse: ParseList
    included: int = 0
    """About the number of characters of names in files that a list may include."""


FORMATS: Mapping[ListFormatName, ListFormat] = {
    "autoproxy": ListFormat(autoproxy.recognizes, autoproxy.parse_autoproxy),
    "adblock": ListFormat(adblock.recognizes, adblock.parse_adblock),
    "v2fly": ListFormat(v2fly.recognizes, v2fly.parse_v2fly, included=1024 * 1024),
    "switchyomega": ListFormat(switchyomega.recognizes, switchyomega.parse_switchyomega),
    "sing-box": ListFormat(sing_box.recognizes, sing_box.parse_sing_box),
    "pac": ListFormat(pac.recognizes, pac.parse_pac),
    "clash": ListFormat(clash.recognizes, clash.parse_clash),
    "hosts": ListFormat(hosts.recognizes, hosts.parse_hosts),
    "dnsmasq": ListFormat(dnsmasq.recognizes, dnsmasq.parse_dnsmasq),
    "plain": ListFormat(lambda text: True, parse_plain),  # the last: it accepts every text
}
"""In the order in which they are tried: the first format that recognizes a text parses it."""


def parse_list(
    pieces: Iterator[str],
    *,
    size: int,
    source: str,
    format: ListFormatName = "auto",  # noqa: A002  # as the setting is called
    allow_empty: bool = False,
    allow_suffixes: bool = False,
    siblings: Siblings = no_siblings,
) -> DomainList:
    """Parses a list. `pieces` is its text, cut at line ends; a piece is taken only after the one before was parsed.
    `size` is the number of characters, or more; `source` is the name of the file in messages; with "auto" as `format`,
    the first format that recognizes the text is used; `siblings` reads the files beside it. Lines that cannot be used
    are skipped and counted. Raises ConfigError when the list is too large or is not of the given format, and also for
    any other exception of a parser: a published list must not stop Byway."""
    if size > LIST_LIMIT:
        raise ConfigError(f"{source}: a list can have at most {LIST_LIMIT // 1024 // 1024} million characters")
    first = next(pieces, "")
    head = first[:RECOGNIZED_BY]
    name, builder = format, None
    try:
        name = format if format != "auto" else next(name for name, it in FORMATS.items() if it.recognizes(head))
        chosen = FORMATS[name]
        builder = ListBuilder(
            source,
            size=int(size * _share_of_names(head)) + chosen.included,
            format=name,
            allow_empty=allow_empty,
            allow_suffixes=allow_suffixes,
            siblings=siblings,
        )
        chosen.parse(chain((first,), pieces), builder)
        return builder.build()
    except ConfigError:
        raise
    except Exception as error:  # a fault of a parser costs this list only
        place = f"{builder.source}:{builder.line}" if builder is not None else f"{source}:1"
        raise ConfigError(
            f"{place}: Byway cannot read the list from here on ({type(error).__name__}, in the reader of {name} "
            "lists). This is a fault of Byway: please report it, with the list"
        ) from error


def _share_of_names(head: str) -> float:
    """Returns the share of names in the text of a list, estimated from its beginning. Tables for a million domains are
    sized by it. At least a quarter, since the beginning may be untypical; 1 if there is no name, as in base64."""
    lines = [line for line in head.split("\n") if not line.lstrip().startswith(("#", "//", ";", "!"))]
    words = [word.lstrip(".") for word in _WORD.findall("\n".join(lines))]
    names = [word for word in words if "." in word and word.rpartition(".")[2][:1].isalpha()]
    return max(0.25, len("\n".join(names)) / len("\n".join(lines))) if names else 1.0
