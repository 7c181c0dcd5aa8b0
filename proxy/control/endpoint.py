"""An endpoint of the control API as a value: its method, its path, and the handler whose types say what it takes and
answers.

A handler is a coroutine function. It takes the names of the path as text and, where there is more to ask, `asked`: a
frozen dataclass that is read from the body of a POST or PUT, and from the query of any other method. It returns an
answer of `proxy.control.answers`, or an AsyncGenerator of lines, which is streamed. The API document
(docs/openapi.json) is made of the same types, so it cannot say anything else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from proxy.model.frozen_dataclass import frozen_dataclass

ASKED = "asked"
"""The parameter of a handler that takes the body or the query."""


@frozen_dataclass
class Endpoint:
    """`refuses` are the statuses of refusals that its handler raises beside 400, and beside 404 where the path has a
    name."""

    method: str
    path: str
    handler: Callable[..., Awaitable[object]]
    refuses: tuple[int, ...] = ()

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT")

    @property
    def asked(self) -> type | None:
        """What is asked; None: neither a body with fields nor a query."""
        asked: type | None = self._hints.get(ASKED)
        return asked

    @property
    def streams(self) -> bool:
        return get_origin(self._hints["return"]) is AsyncGenerator

    @property
    def answers(self) -> tuple[type, ...]:
        """The answers that are possible, or the lines of one that is streamed."""
        answer = self._hints["return"]
        if self.streams:
            answer = get_args(answer)[0]
        return get_args(answer) if get_origin(answer) in (Union, UnionType) else (answer,)

    @property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.handler)
