"""Streams answers: one JSON object a line, sent when it is ready, until either side closes.

`byway log -f` follows connections that end, `byway why` the steps of a measurement. Each such answer is a task that
waits for the next line. When Byway ends, these tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import web

from proxy.model.document import PHRASES_HEADER, document, phrase_parts
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)

FAULT = _("Byway has an internal error; `byway run -vv` logs the details.")


@frozen_dataclass
class ErrorAnswer:
    """The fault of a request, or the error that stopped its answer, in one sentence. It may be the last line of a
    streamed answer."""

    error: str


class Followers:
    """The answers that are being streamed."""

    def __init__(self) -> None:
        self._answering: set[asyncio.Task[Any]] = set()

    async def answer(self, request: web.Request, lines: AsyncGenerator[object, None]) -> web.StreamResponse:
        """Sends each of `lines` when it is yielded, and closes them. An internal error is sent as the last line,
        `error`: an answer without it would look as if Byway had ended."""
        said = phrases_as(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    await response.write(json.dumps(document(line, said)).encode() + b"\n")
        except ConnectionError:
            pass  # the reader has closed the connection
        except Exception as error:
            text = redact(str(error)) if isinstance(error, BywayError) else FAULT
            log.error("internal error while streaming an answer: %s", type(error).__name__)
            log.debug("traceback:", exc_info=True)
            with contextlib.suppress(ConnectionError):
                await response.write(json.dumps(document(ErrorAnswer(text))).encode() + b"\n")
        finally:
            self._answering.discard(task)
        return response

    async def stop(self, _app: web.Application) -> None:
        """Cancels all answers, since aiohttp would wait for them."""
        for task in tuple(self._answering):
            task.cancel()


def phrases_as(request: web.BaseRequest) -> Callable[[Phrase], Any]:
    """Returns the function that turns a phrase into JSON in the form that the request's header selects."""
    return phrase_parts if request.headers.get(PHRASES_HEADER) == "parts" else str
