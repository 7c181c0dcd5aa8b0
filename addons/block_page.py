"""Recognises a provider's block page by words that you set, when it is not in the fingerprint lists yet.

Plain HTTP only: HTTPS pages cannot be replaced on the way. Choose words that no other page has, such as the number of
the court order. Demo of `classify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api


@dataclass(frozen=True)
class Options:
    words: Annotated[tuple[str, ...], "a page that contains all of these is the block page"] = ()
    own: Annotated[tuple[str, ...], "a page that contains one of these is the site's own, whatever the lists say"] = ()
    page: Annotated[str, "name of the block page in `byway why` and the log"] = "provider"


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
