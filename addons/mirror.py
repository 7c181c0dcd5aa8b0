"""Redirects a plain HTTP request that no route could deliver to a mirror that you set.

    [addons.mirror.mirrors]
    "livejournal.com" = "https://mirror.example/{host}{path}"

`{host}` and `{path}` are replaced by those of the request. Demo of `unreachable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Outcome, Request


@dataclass(frozen=True)
class Options:
    mirrors: Annotated[dict[str, str], "site (subdomains included) and the URL to redirect to"] = field(
        default_factory=dict
    )


class Mirror:
    def start(self, api: Api) -> None:
        self.mirrors: Mapping[str, str] = api.options.mirrors

    def unreachable(self, request: Request, outcome: Outcome) -> str | None:
        host = outcome.host or request.destination.host
        path = request.http.target if request.http is not None else "/"
        for site, mirror in self.mirrors.items():
            if f".{host}".endswith(f".{site}"):
                return mirror.replace("{host}", host).replace("{path}", path)
        return None


addons = [Mirror()]
