"""The formats of lists. A file's format is recognised by its text, so that no setting has to name it.

A new format is a module beside `plain`, its name in `ListFormatName` and a row in `FORMATS`. A format recognises its
own text only: one that took another's would read a list as something that it does not say.
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
"""Characters of a list. A million domains with long names, in a format with many words on a line, are fewer."""


RECOGNIZED_BY = 32 * 1024
"""Characters of the first piece of a text that tell its format. A piece is larger when it is one long line."""


_WORD = re.compile(r"[a-z0-9._-]+", re.IGNORECASE)


class ParseList(Protocol):
    """Parses a list's text into a builder. The text comes in pieces of whole lines: no call works longer than one piece
    takes, and each is asked for when the one before has been read, since the caller pauses between two. Lines that
    cannot be used are skipped by name. Raises ConfigError when the list is too large, or cannot be read at all."""

    def __call__(self, pieces: Iterator[str], builder: ListBuilder) -> None: ...


@frozen_dataclass
class ListFormat:
    """One format."""

    recognizes: Callable[[str], bool]
    """Gets the beginning of the text: its first piece, or RECOGNIZED_BY characters of it."""
    parse: ParseList
    included: int = 0
    """Characters of names in the files that a list includes, about: the list itself may only name them."""


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
"""In the order in which they are tried: the first that recognises a text parses it."""


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
    """Parses a list. `pieces` is its text, cut at ends of lines; each is asked for when the one before has been read.
    `size` is the number of their characters, or more; `source` the name of the file in messages; `format` "auto" is the
    first that recognises the text; `siblings` reads the files beside it. Lines that cannot be used are skipped and
    counted. Raises ConfigError when the list is too large, or no list of a format that was named, and for whatever else
    its reader raises: a list of a stranger must not end what reads it."""
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
    except Exception as error:  # a fault of a reader costs this list, and not what reads it
        place = f"{builder.source}:{builder.line}" if builder is not None else f"{source}:1"
        raise ConfigError(
            f"{place}: Byway cannot read the list from here on ({type(error).__name__}, in the reader of {name} "
            "lists). This is a fault of Byway: please report it, with the list"
        ) from error


def _share_of_names(head: str) -> float:
    """Returns how much of a list's text is names, as the beginning of it tells: tables of a million are sized by that.
    A quarter at least, since a list may begin otherwise than it goes on; all where no name is seen, as in base64."""
    lines = [line for line in head.split("\n") if not line.lstrip().startswith(("#", "//", ";", "!"))]
    words = [word.lstrip(".") for word in _WORD.findall("\n".join(lines))]
    names = [word for word in words if "." in word and word.rpartition(".")[2][:1].isalpha()]
    return max(0.25, len("\n".join(names)) / len("\n".join(lines))) if names else 1.0
