"""Signing in to the dashboard: hands out one-time codes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.sign_in import CodeAnswer, CodeUsedAnswer
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.sign_in import CODE_S, SignIn
from proxy.control.request_parsing import parse_body
from proxy.control.streaming import Followers
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class SignInEndpoints:
    """Hands out codes to those who may use the API anyway."""

    sign_in: SignIn
    followers: Followers

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/sign-in", self.new_code)]

    async def new_code(self, request: web.Request) -> web.StreamResponse:
        """Makes a code that opens a page. Streams it at once, then whether it was used, at the latest when it ends."""
        page = (await parse_body(request, {"page": str})).get("page", "home")
        if page not in PAGE_NAMES:
            raise Refused(400, f"unknown page {quoted(page)}; it can be {one_of(list(PAGE_NAMES))}")
        code = self.sign_in.new_code(PAGE_NAMES[page], asyncio.get_running_loop().time())

        async def lines() -> AsyncGenerator[object, None]:
            yield CodeAnswer(code.text, CODE_S)
            try:
                async with asyncio.timeout_at(code.ends_at):
                    await code.used.wait()
            except TimeoutError:
                pass
            yield CodeUsedAnswer(code.used.is_set())

        return await self.followers.answer(request, lines())
