"""Knows a provider's block page by words of your own, where the lists of fingerprints do not have it yet.

Plain HTTP only: what comes over HTTPS nobody on the way can replace. Take words that no other page has, such as the
number of the order. Demo of `classify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api


@dataclass(frozen=True)
class Options:
    words: Annotated[tuple[str, ...], "a page that has all of these is the block page"] = ()
    own: Annotated[tuple[str, ...], "a page that has one of these is the site's own, whatever the lists say"] = ()
    page: Annotated[str, "what `byway why` and the log call the block page"] = "provider"


class BlockPage:
    def start(self, api: Api) -> None:
        self.options: Options = api.options

    def classify(self, head: str, body: bytes) -> str | bool | None:
        text = f"{head}\n{body.decode('utf-8', 'replace')}"
        if any(word in text for word in self.options.own):
            return False
        if self.options.words and all(word in text for word in self.options.words):
            return self.options.page
        return None


addons = [BlockPage()]
