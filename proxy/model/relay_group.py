"""A group: relays that are used under one name, in an order that its policy decides."""

from __future__ import annotations

from enum import StrEnum

from proxy.model.frozen_dataclass import frozen_dataclass


class GroupPolicy(StrEnum):
    """How a group orders its members."""

    FALLBACK = "fallback"  # as written; a member that failed goes last until it works again
    FASTEST = "fastest"  # by the time that visits through each member took
    STICKY = "sticky"  # one member for a site
    SELECT = "select"  # the member that the user selected, and no other


@frozen_dataclass
class RelayGroup:
    """Relays under one name. `choices` are the names that `byway relay use` takes, one for each member: the members
    themselves, except for a chain over a group, which follows the selection of that group (`selected_in`)."""

    name: str
    members: tuple[str, ...]
    policy: GroupPolicy
    choices: tuple[str, ...]
    selected_in: str
