"""The last result of a site as the store keeps it, so that it is known after a restart."""

from __future__ import annotations

from proxy.model.connection import NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass

ResultKey = tuple[NetworkId, str, int]
"""A network, a host on it, and a port of that."""


@frozen_dataclass
class StoredResult:
    """What the last visit to one port of a host, or its last measurement, came to. Words and causes are plain text: the
    file may be of another version."""

    network: NetworkId
    host: str
    port: int
    status: str  # a word for a site, as `detect.verdict.site_status` has them
    at: float  # seconds since the epoch
    source: str  # a measurement, or a connection
    cause: str = ""
    text: str = ""  # one sentence
    relays: tuple[str, ...] = ()  # of which one must work for other sites, else the status is `otherwise`
    otherwise: str = ""
    since: float = 0.0  # when the first of the results that say the same came; 0: this is the first
    works_by: str = ""  # str(Route) that delivered it; empty: none did

    @property
    def key(self) -> ResultKey:
        """Of each there is one."""
        return self.network, self.host, self.port
