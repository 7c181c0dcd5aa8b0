"""The present problems, which features find, for `status` and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

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


@frozen_dataclass
class Button:
    """A button of the dashboard that solves a problem. It posts `fields` to `path`, which is without that of the
    session; with `leads`, it is a link to `path`, where the person goes on."""

    label: str
    path: str
    fields: Mapping[str, str] = MappingProxyType({})
    leads: bool = False


@frozen_dataclass
class Problem(ProblemJson):
    """A problem with the buttons that solve it, the most useful first. Documents have no buttons: see `said`."""

    buttons: tuple[Button, ...] = ()

    @property
    def said(self) -> ProblemJson:
        """The problem without its buttons."""
        return ProblemJson(self.subject, self.text, self.do)
