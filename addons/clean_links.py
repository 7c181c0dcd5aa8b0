"""Removes tracking parameters from the addresses that you open.

Works only for sites that a rule INSPECTs: `DOMAIN-SUFFIX,example.org,AUTO,INSPECT`. Demo of a mitmproxy hook,
`request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from proxy.extend.api import Api

if TYPE_CHECKING:
    from mitmproxy.http import HTTPFlow  # only for the type checker: Byway hands the flow over


@dataclass(frozen=True)
class Options:
    parameters: Annotated[tuple[str, ...], "parameter names; `*` at the end matches any ending"] = (
        "utm_*", "fbclid", "gclid", "yclid", "msclkid", "mc_eid", "igshid",
    )  # fmt: skip


class CleanLinks:
    def start(self, api: Api) -> None:
        self.names = frozenset(name for name in api.options.parameters if not name.endswith("*"))
        self.beginnings = tuple(name[:-1] for name in api.options.parameters if name.endswith("*"))

    def request(self, flow: HTTPFlow) -> None:
        query = flow.request.query
        wanted = [(name, value) for name, value in query.items(multi=True) if not self._tracks(name)]
        if len(wanted) != len(query.items(multi=True)):  # else the address stays exactly as it was written
            flow.request.query = wanted

    def _tracks(self, name: str) -> bool:
        return name in self.names or name.startswith(self.beginnings)


addons = [CleanLinks()]
