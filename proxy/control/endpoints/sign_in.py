"""Signing in to the dashboard: hands out one-time codes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.sign_in import CodeLine, CodeUsedLine
from proxy.control.dashboard.sign_in import CODE_S
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class SignInRequest:
    """The page to open first, by its name in `byway open`."""

    page: str = "home"


class SignInEndpoints:
    """Gives codes to clients of the API, which already have access to everything that the dashboard shows."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def routes(self) -> list[Endpoint]:
        return [Endpoint("POST", "/v1/sign-in", self.new_code)]

    async def new_code(self, asked: SignInRequest) -> AsyncGenerator[CodeLine | CodeUsedLine, None]:
        """Makes a code that opens a page. Streams the code at once, then whether it was used, at the latest when it
        expires."""
        pages = self._frame.pages
        if asked.page not in pages:
            raise Refused(400, f"unknown page {quoted(asked.page)}; it can be {one_of(list(pages))}")
        code = self._frame.sign_in.new_code(pages[asked.page].path, asyncio.get_running_loop().time())

        async def lines() -> AsyncGenerator[CodeLine | CodeUsedLine, None]:
            yield CodeLine(code.text, CODE_S)
            try:
                async with asyncio.timeout_at(code.ends_at):
                    await code.used.wait()
            except TimeoutError:
                pass
            yield CodeUsedLine(code.used.is_set())

        return lines()
