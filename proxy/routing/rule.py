"""One rule of the user as a value, and what rules may depend on beside the destination.

A rule is a line `TYPE,value,ACTION[,INSPECT]`. The syntax is that of Clash. `rule_parser` makes rules of a file's text,
`rules` finds the one that matches, and the `router` decides what follows from it.
"""

from __future__ import annotations

from enum import StrEnum

from proxy.model import UNKNOWN_NETWORK, Action, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass

INSPECT = "INSPECT"
"""The option of a rule: what it matches is inspected."""


class RuleType(StrEnum):
    """What a rule matches: the first word of its line."""

    DOMAIN = "DOMAIN"
    DOMAIN_SUFFIX = "DOMAIN-SUFFIX"
    DOMAIN_KEYWORD = "DOMAIN-KEYWORD"
    DOMAIN_REGEX = "DOMAIN-REGEX"
    IP_CIDR = "IP-CIDR"
    DST_PORT = "DST-PORT"
    LIST = "LIST"
    PROCESS_NAME = "PROCESS-NAME"
    NETWORK = "NETWORK"
    MATCH = "MATCH"


@frozen_dataclass
class Rule:
    """One line of a file. `relay` is empty for any relay. A file may have many thousands, so a rule keeps no text that
    its other values tell."""

    line: int
    type: RuleType
    value: str  # in canonical spelling; empty for MATCH
    action: Action
    relay: str
    intercept: bool
    source: str
    written: str = ""
    """The line as it is in the file, when its spelling is not the canonical one."""
    note: str = ""
    """What is to be added to `why`."""

    @property
    def text(self) -> str:
        """The line as it is in the file, without its comment."""
        return self.written or spelled(self.type, self.value, self.action, self.relay, intercept=self.intercept)

    @property
    def why(self) -> str:
        """The reason in the log when this rule decides."""
        return f"{self.source}:{self.line} {self.text}{self.note}"

    def __str__(self) -> str:
        return self.text


def spelled(rule_type: RuleType, value: str, action: Action, relay: str, *, intercept: bool) -> str:
    """The canonical spelling of a rule."""
    matched = f"{rule_type},{value}" if value else rule_type
    return f"{matched},{action}{relay and ':'}{relay}{',' + INSPECT if intercept else ''}"


@frozen_dataclass
class Situation:
    """What rules may depend on beside the destination."""

    network: NetworkId = UNKNOWN_NETWORK
    """The network in use."""
    program: str | None = ""
    """The name of the client's program, in lower case. Empty: the client is none of this computer's programs. None: it
    could not be found out which one it is."""


ANYWHERE = Situation()
