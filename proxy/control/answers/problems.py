"""The present problems, which features find, for `status` and the pages."""

from __future__ import annotations

from enum import StrEnum

from proxy.model.frozen_dataclass import frozen_dataclass


class ProblemSubject(StrEnum):
    """The subject of a problem, in the order in which problems are shown: first that nothing opens, and failing relays,
    since without them no blocked site opens; then the user's files, the network, the sites and the log."""

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
    """A problem that the user can solve: its subject, a sentence about it, and the remedy."""

    subject: ProblemSubject
    text: str
    do: str
