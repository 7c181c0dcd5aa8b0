"""An endpoint of the control API as a value: method, path, and a handler whose types define the request and the answer.

A handler is a coroutine function. Its parameters are the names in the path, as text, and for further fields `asked`, a
frozen dataclass: of the body of a POST or PUT, and of the query for other methods. It returns an answer (a frozen
dataclass, see `proxy.control.answers`), or an AsyncGenerator of lines, which is streamed. The API document
(docs/openapi.json) is generated from the same types.
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
    """An endpoint. `refuses` are the statuses of Refused that the handler may raise, besides 400, and besides 404 when
    the path has a name."""

    method: str
    path: str
    handler: Callable[..., Awaitable[object]]
    refuses: tuple[int, ...] = ()

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT")

    @property
    def asked(self) -> type | None:
        """The type of the request's fields; None when it has no fields."""
        asked: type | None = self._hints.get(ASKED)
        return asked

    @property
    def streams(self) -> bool:
        return get_origin(self._hints["return"]) is AsyncGenerator

    @property
    def answers(self) -> tuple[type, ...]:
        """The types of the possible answers, or of the lines of a streamed answer."""
        answer = self._hints["return"]
        if self.streams:
            answer = get_args(answer)[0]
        return get_args(answer) if get_origin(answer) in (Union, UnionType) else (answer,)

    @property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.handler)
