"""Reads lists in tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import files
from proxy.config.files import decode_pieces
from proxy.config.schema import ListFormatName
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.matcher import EntryKind, Matcher

SIGNS = {Covers.HOST: "=", Covers.SUBDOMAINS: ".", Covers.SITE: "+", Covers.CHILDREN: "*"}


def read(text: str, *, format: ListFormatName = "auto", piece: int | None = None) -> DomainList:  # noqa: A002
    """Parses a text, cut as the text of a file is; `piece` makes the pieces smaller."""
    with pytest.MonkeyPatch.context() as patch:
        if piece is not None:
            patch.setattr(files, "PIECE", piece)
        data = text.encode()
        return parse_list(decode_pieces(Path("l"), data), size=len(data), source="l", format=format)


def shown(matcher: Matcher) -> list[str]:
    """Each entry, a domain with a sign before it: `=` the host, `.` what is below it, `+` both, `*` one label below."""
    return [
        f"{SIGNS.get(covers, covers)}{text}" if kind is EntryKind.DOMAIN else f"{kind} {text}"
        for kind, text, covers in matcher.entries()
    ]
