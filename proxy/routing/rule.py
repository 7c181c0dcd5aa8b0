"""A rule of the user as a value, and the situation that rules may depend on beside the destination.

A rule is a line `TYPE,value,ACTION[,INSPECT]`, as in Clash. `rule_parser` parses a file, `rules` finds the rule that
matches, and `router` makes a plan from it.
"""

from __future__ import annotations

from enum import StrEnum

from proxy.model import UNKNOWN_NETWORK, Action, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass

INSPECT = "INSPECT"
"""The option of a rule whose connections are inspected."""


class RuleType(StrEnum):
    """The type of a rule: the first word of its line."""

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
    """One line of a file. `relay` is empty for any relay. A file may have many thousands of rules, so a rule keeps no
    text that can be made from its other values."""

    line: int
    type: RuleType
    value: str  # in canonical spelling; empty for MATCH
    action: Action
    relay: str
    intercept: bool
    source: str
    written: str = ""
    """The line in the file, if its spelling is not canonical."""
    note: str = ""
    """The end of `why`."""

    @property
    def text(self) -> str:
        """The line in the file, without its comment."""
        return self.written or spelled(self.type, self.value, self.action, self.relay, intercept=self.intercept)

    @property
    def why(self) -> str:
        """The reason in the log when this rule decides."""
        return f"{self.source}:{self.line} {self.text}{self.note}"

    def __str__(self) -> str:
        return self.text


def spelled(rule_type: RuleType, value: str, action: Action, relay: str, *, intercept: bool) -> str:
    """Returns the canonical spelling of a rule."""
    matched = f"{rule_type},{value}" if value else rule_type
    return f"{matched},{action}{relay and ':'}{relay}{',' + INSPECT if intercept else ''}"


@frozen_dataclass
class Situation:
    """The facts that rules may depend on beside the destination."""

    network: NetworkId = UNKNOWN_NETWORK
    """The network in use."""
    program: str | None = ""
    """The name of the client's program, in lower case. Empty: the client is not a program of this computer. None: the
    program could not be determined."""


ANYWHERE = Situation()
