"""Adds a header to the requests to one API: a key, a language, anything that programs on this computer should not know.

Over HTTPS only, and only what a rule INSPECTs: `DOMAIN,api.example.org,AUTO,INSPECT`. The value is read from a
file, so that it is not in the configuration. Demo of a mitmproxy hook, `request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from proxy.extend.api import Api

if TYPE_CHECKING:
    from mitmproxy.http import HTTPFlow  # only for the type checker: Byway hands the flow over


@dataclass(frozen=True)
class Options:
    host: Annotated[str, "the host, exactly"] = ""
    header: Annotated[str, "name of the header"] = "Authorization"
    file: Annotated[str, "file whose first line is the value"] = ""


class ApiHeader:
    def start(self, api: Api) -> None:
        self.options: Options = api.options
        path = Path(self.options.file).expanduser()
        self.value = path.read_text(encoding="utf-8").partition("\n")[0].strip() if self.options.file else ""

    def request(self, flow: HTTPFlow) -> None:
        asked = flow.request
        if self.value and asked.scheme == "https" and asked.host == self.options.host:
            asked.headers[self.options.header] = self.value


addons = [ApiHeader()]
