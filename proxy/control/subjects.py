"""The subjects of the API, each with what it reads and changes: built once, for the API and for the dashboard."""

from __future__ import annotations

from typing import NamedTuple

from proxy.control.config_edits import ConfigEdits
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.endpoint import Endpoint
from proxy.control.endpoints.sign_in import SignInEndpoints
from proxy.control.relay_reader import RelayReader
from proxy.control.site_reader import SiteReader
from proxy.features.relays.edits import RelayEdits
from proxy.features.relays.endpoints import RelayEndpoints
from proxy.features.rules.endpoints import RuleEndpoints
from proxy.features.rules.list_endpoints import ListEndpoints
from proxy.features.settings.endpoints import SettingsEndpoints
from proxy.features.sites.endpoints import SiteEndpoints
from proxy.features.sites.measurement_cache import Measurements
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints
from proxy.features.today.endpoints import StatusEndpoints
from proxy.features.traffic.connection_endpoints import ConnectionEndpoints
from proxy.features.traffic.log_endpoints import LogEndpoints


class Subjects(NamedTuple):
    """One of each."""

    status: StatusEndpoints
    log: LogEndpoints
    connections: ConnectionEndpoints
    sites: SiteEndpoints
    measurements: MeasurementEndpoints
    rules: RuleEndpoints
    lists: ListEndpoints
    relays: RelayEndpoints
    settings: SettingsEndpoints
    sign_in: SignInEndpoints

    def endpoints(self) -> list[Endpoint]:
        """Returns all endpoints of the API."""
        return [endpoint for subject in self for endpoint in subject.routes()]

    @classmethod
    def of(cls, parts: Dependencies, sign_in: SignIn) -> Subjects:
        sites, relays, measured = SiteReader(parts), RelayReader(parts), Measurements(parts)
        edits = ConfigEdits(parts)
        return cls(
            StatusEndpoints(parts, sites, relays),
            LogEndpoints(parts, sites),
            ConnectionEndpoints(parts),
            SiteEndpoints(parts, sites, relays, measured),
            MeasurementEndpoints(parts, sites, relays, measured),
            RuleEndpoints(parts),
            ListEndpoints(parts, sites),
            RelayEndpoints(parts, relays, RelayEdits(parts, edits)),
            SettingsEndpoints(parts, relays, measured, edits),
            SignInEndpoints(sign_in),
        )
