"""What an endpoint takes and answers, from the types of its handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from proxy.control.endpoint import Endpoint
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class OverrideRequest:
    action: str


@frozen_dataclass
class OverrideAnswer:
    host: str


@frozen_dataclass
class OnAnswer:
    url: str


@frozen_dataclass
class OffAnswer:
    restored: bool


@frozen_dataclass
class FetchedLine:
    name: str


@frozen_dataclass
class EndLine:
    problem: str


class Handlers:
    async def set_site(self, host: str, asked: OverrideRequest) -> OverrideAnswer:
        raise NotImplementedError

    async def set_system_proxy(self) -> OnAnswer | OffAnswer:
        raise NotImplementedError

    async def refresh(self) -> AsyncGenerator[FetchedLine | EndLine, None]:
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
    assert endpoint.answers == (OnAnswer, OffAnswer)


def test_lines_are_streamed() -> None:
    endpoint = Endpoint("POST", "/", HANDLERS.refresh)
    assert (endpoint.streams, endpoint.answers) == (True, (FetchedLine, EndLine))
