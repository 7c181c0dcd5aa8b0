"""What an endpoint takes and answers, from the types of its handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from proxy.control.answers.sites import OverrideAnswer
from proxy.control.endpoint import Endpoint
from proxy.features.desktop.answers import SystemProxyOffAnswer, SystemProxyOnAnswer
from proxy.features.rules.list_answers import RefreshedLine, RefreshEndLine
from proxy.features.sites.endpoints import OverrideRequest


class Handlers:
    async def set_site(self, host: str, asked: OverrideRequest) -> OverrideAnswer:
        raise NotImplementedError

    async def set_system_proxy(self) -> SystemProxyOnAnswer | SystemProxyOffAnswer:
        raise NotImplementedError

    async def refresh(self) -> AsyncGenerator[RefreshedLine | RefreshEndLine, None]:
        raise NotImplementedError


HANDLERS = Handlers()


def test_one_answer_to_what_is_asked() -> None:
    endpoint = Endpoint("PUT", "/v1/sites/{host}", HANDLERS.set_site)
    assert endpoint.has_body
    assert endpoint.asked is OverrideRequest
    assert (endpoint.streams, endpoint.answers) == (False, (OverrideAnswer,))


def test_one_of_two_answers_to_nothing() -> None:
    endpoint = Endpoint("GET", "/", HANDLERS.set_system_proxy)
    assert not endpoint.has_body
    assert endpoint.asked is None
    assert endpoint.answers == (SystemProxyOnAnswer, SystemProxyOffAnswer)


def test_lines_are_streamed() -> None:
    endpoint = Endpoint("POST", "/", HANDLERS.refresh)
    assert (endpoint.streams, endpoint.answers) == (True, (RefreshedLine, RefreshEndLine))
