"""Notifies you when a site becomes blocked or works again: on the desktop, and through a webhook.

The webhook receives one JSON object for each change, sent through Byway itself. It tells the receiver which sites you
visit: use only a webhook of your own. Demo of `change`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import aiohttp

from proxy.extend.api import Api
from proxy.model import Change, State


@dataclass(frozen=True)
class Options:
    desktop: Annotated[bool, "show a desktop notification"] = True
    webhook: Annotated[str, "URL to POST to; empty: none"] = ""
    proxy: Annotated[str, "proxy for the webhook: Byway's own port; empty: none"] = "http://127.0.0.1:8119"


class Notify:
    def start(self, api: Api) -> None:
        self.api = api
        self.options: Options = api.options

    async def change(self, change: Change) -> None:
        if (change.before is State.BLOCKED) == (change.after is State.BLOCKED):
            return
        word = "is blocked" if change.after is State.BLOCKED else "is free again"
        if self.options.desktop:
            self.api.notify(f"{change.scope} {word}", change.why)
        if self.options.webhook:
            self.api.spawn(self._post({"site": change.scope, "state": change.after, "why": change.why}))

    async def _post(self, message: dict[str, str]) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.options.webhook, json=message, proxy=self.options.proxy or None) as answer,
            ):
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            status = getattr(error, "status", None)  # the error's text has the address
            self.api.log.warning(f"the webhook failed: {status or type(error).__name__}")


addons = [Notify()]
