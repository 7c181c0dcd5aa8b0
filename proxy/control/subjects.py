"""The subjects of the API, each with what it reads and changes: built once, for the API and for the dashboard."""

from __future__ import annotations

from typing import NamedTuple

from proxy.control.dashboard.sign_in import SignIn
from proxy.control.dependencies import Dependencies
from proxy.control.endpoints.lists import ListEndpoints
from proxy.control.endpoints.log import LogEndpoints
from proxy.control.endpoints.measurements import MeasurementEndpoints
from proxy.control.endpoints.relays import RelayEndpoints
from proxy.control.endpoints.rules import RuleEndpoints
from proxy.control.endpoints.settings import SettingsEndpoints
from proxy.control.endpoints.sign_in import SignInEndpoints
from proxy.control.endpoints.sites import SiteEndpoints
from proxy.control.endpoints.status import StatusEndpoints
from proxy.control.measurement_cache import Measurements
from proxy.control.relay_reader import RelayReader
from proxy.control.site_reader import SiteReader
from proxy.control.streaming import Followers


class Subjects(NamedTuple):
    """One of each."""

    status: StatusEndpoints
    log: LogEndpoints
    sites: SiteEndpoints
    measurements: MeasurementEndpoints
    rules: RuleEndpoints
    lists: ListEndpoints
    relays: RelayEndpoints
    settings: SettingsEndpoints
    sign_in: SignInEndpoints

    @classmethod
    def of(cls, parts: Dependencies, sign_in: SignIn) -> Subjects:
        sites, relays = SiteReader(parts), RelayReader(parts)
        followers, measured = Followers(), Measurements(parts)
        return cls(
            StatusEndpoints(parts, sites, relays),
            LogEndpoints(parts, sites, followers),
            SiteEndpoints(parts, sites, relays),
            MeasurementEndpoints(parts, sites, relays, followers, measured),
            RuleEndpoints(parts),
            ListEndpoints(parts, sites, followers),
            RelayEndpoints(parts, relays),
            SettingsEndpoints(parts, relays, measured),
            SignInEndpoints(sign_in, followers),
        )
