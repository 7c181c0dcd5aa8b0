"""The process that `isolated_run` starts: it reads one request from stdin, and writes one result to stdout."""

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
    """Answers, then ends the process at once: a thread of the addon would keep it alive."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # from here on, the output of the addon goes to stderr, and not into the answer
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
    """Performs the task. Imports its modules alone: a check starts in half the time of a replay. Raises BywayError."""
    if request["task"] == "check":
        from proxy.features.addons.check import check

        return check(request)
    from proxy.features.addons.replay import replay

    return replay(request)


if __name__ == "__main__":
    main()
