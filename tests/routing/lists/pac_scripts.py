"""PAC scripts around a body or a condition, and what is read of them."""

from __future__ import annotations

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.pac import parse_pac

PROXY = "'SOCKS5 127.0.0.1:1080; DIRECT'"


def read(text: str) -> DomainList:
    builder = ListBuilder("proxy.pac", size=len(text), format="pac")
    parse_pac(iter(text.splitlines(keepends=True)), builder)
    return builder.build()


def read_body(body: str, before: str = "") -> DomainList:
    return read(f"{before}\nfunction FindProxyForURL(url, host) {{\n{body}\n}}\n")


def read_condition(condition: str, before: str = "") -> DomainList:
    return read_body(f"if ({condition} || host == 'sure.example') return {PROXY}; return 'DIRECT';", before)


def listed(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.entries() if entry.text != "sure.example"}


def excepted(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.exceptions.entries()}


SITE, HOST, SUBDOMAINS = Covers.SITE, Covers.HOST, Covers.SUBDOMAINS
DATA = """var sites = ["a.example", 'B.example',]; var hosts = {"a.example": 1, "b.example": 1, c: 1};
var globs = ["*.a.example", "b*.example"]; var dotted = [".a.example"]; var set = new Set(["a.example"]);"""
BOTH = {"a.example": HOST, "b.example": HOST}
SITES = {"a.example": SITE, "b.example": SITE}
