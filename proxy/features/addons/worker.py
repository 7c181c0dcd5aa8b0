"""The process that `isolated_run` starts: reads one request from stdin, does its task, writes one result to stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from proxy.features.addons.sandbox import block_network_and_programs
from proxy.model.errors import BywayError, ConfigError

Document = dict[str, Any]


def main() -> None:
    """Answers, then ends the process at once: a thread that the addon started would keep it alive."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # from here on, what the addon prints goes to stderr and cannot mix with the answer
    request = json.loads(sys.stdin.buffer.read())
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(json.dumps(_answer(request)).encode())
    os._exit(0)


def _answer(request: Mapping[str, Any]) -> Document:
    block_network_and_programs()
    try:
        return {"result": _perform(request)}
    except ConfigError as error:
        return {"problems": error.problems}
    except BywayError as error:
        return {"error": str(error)}


def _perform(request: Mapping[str, Any]) -> Document:
    """Imports what the task needs and no more: a check starts in half the time of a replay. Raises BywayError."""
    if request["task"] == "check":
        from proxy.features.addons.check import check

        return check(request)
    from proxy.features.addons.replay import replay

    return replay(request)


if __name__ == "__main__":
    main()
