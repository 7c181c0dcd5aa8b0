"""Rules that tests read, with lists, relays and networks that they may name."""

from __future__ import annotations

import pytest

from proxy.model import NetworkId
from proxy.model.errors import ConfigError
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules
from proxy.wire import hostnames as names

NETWORKS = {"Home": NetworkId("0123456789abcdef"), "cafe": NetworkId("fedcba9876543210")}


LISTS = {"press": parse_list(iter(["news.example\n203.0.113.9\n"]), size=0, source="press.txt")}


def read(text: str, source: str, *, allow_empty: bool = False) -> DomainList:
    return parse_list(iter([text]), size=len(text), source=source, format="plain", allow_empty=allow_empty)


RELAYS = ("tor", "vps")


def parsed(text: str) -> Rules:
    return parse_rules(text, source="rules.txt", lists=LISTS, relays=RELAYS, networks=NETWORKS)


def decides(rules: Rules, host: str, port: int = 443) -> int | None:
    """The line that decides."""
    rule = rules.match(names.destination(host, port))
    return None if rule is None else rule.line


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return caught.value.problems


ALL_KINDS = """\
# what Clash users know
DOMAIN,exact.example,DIRECT
DOMAIN-SUFFIX,suffix.example,RELAY:tor
DOMAIN-KEYWORD,blog,PREFER-RELAY
DOMAIN-REGEX,^cdn[0-9]{1,3}\\.example$,BLOCK
IP-CIDR,192.0.2.0/24,RELAY,no-resolve
IP-CIDR6,2001:db8::/32,BLOCK
DST-PORT,8000-8100,DIRECT
LIST,press,PREFER-RELAY:vps
MATCH,AUTO
"""
