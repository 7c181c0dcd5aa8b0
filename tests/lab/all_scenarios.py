"""The whole scenario table: the rows of all files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tests.lab import scenarios, scenarios_2025, scenarios_dns
from tests.lab.scenarios import Scenario

SCENARIOS: tuple[Scenario, ...] = (*scenarios.ROWS, *scenarios_2025.ROWS, *scenarios_dns.ROWS)

BY_NAME: Mapping[str, Scenario] = MappingProxyType({row.name: row for row in SCENARIOS})
