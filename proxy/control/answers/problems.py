"""The present problems, which features find, for `status` and the pages."""

from __future__ import annotations

from enum import StrEnum

from proxy.model.frozen_dataclass import frozen_dataclass


class ProblemSubject(StrEnum):
    """What a problem is with, in the order in which they are shown: that nothing opens first, and failing relays, since
    without them no blocked site opens; then the user's files, the network, the sites and the log."""

    TRAFFIC = "traffic"  # nothing opens
    RELAYS = "relays"
    CONFIGURATION = "configuration"
    ADDONS = "addons"
    NETWORK = "network"
    SITES = "sites"
    LOG = "log"
    BYWAY = "byway"
    """A fault of its own."""


@frozen_dataclass
class ProblemJson:
    """A problem that the user can end: what it is with, what is wrong in a sentence, and the one thing to do."""

    subject: ProblemSubject
    text: str
    do: str
