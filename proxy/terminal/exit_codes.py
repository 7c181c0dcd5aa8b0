"""The exit codes of commands, on which scripts rely, and the code and message of each error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from proxy.model.errors import BywayError, ConfigError
from proxy.model.phrase import Phrase
from proxy.terminal.terminal import leave_stdout

if TYPE_CHECKING:
    from proxy.terminal.output import Output


class Exit(IntEnum):
    DONE = 0
    FAILED = 1  # cannot run, or unexpected
    USAGE = 2
    NOT_RUNNING = 3
    NOT_ALLOWED = 4
    BAD = 5  # checked, and the answer is bad
    NO_NETWORK = 6  # says nothing about sites
    CONFIG = 7  # configuration, rule or addon error
    INTERRUPTED = 130


class NotRunning(BywayError):
    """No Byway answers for this state folder."""


class NotAllowed(BywayError):
    """The running Byway belongs to another user, or refuses our token."""


class Misused(BywayError):
    """A value is invalid: not a host, an unknown relay."""


@contextlib.contextmanager
def as_misuse() -> Iterator[None]:
    """Raises a ValueError of the block again as Misused. Its message must be a sentence for the user."""
    try:
        yield
    except ValueError as error:
        raise Misused(str(error)) from None


_EXITS = ((NotRunning, Exit.NOT_RUNNING), (NotAllowed, Exit.NOT_ALLOWED), (Misused, Exit.USAGE))
"""The exit codes of commands that end with such an error; with another one it is `Exit.FAILED`."""


def translated(body: Callable[[], Exit | None], *, debug: bool = False, out: Output | None = None) -> Exit:
    """Runs a command's body and returns its exit code. Prints a BywayError to stderr as a sentence in the language of
    `out`; with `debug`, after its traceback."""
    try:
        code = body() or Exit.DONE
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        leave_stdout()
        return Exit.DONE
    except ConfigError as error:
        from proxy.terminal.output import say

        for problem in error.problems:
            say(problem)
        return Exit.CONFIG
    except BywayError as error:
        from proxy.terminal.output import Output, say

        if debug:
            import traceback

            say("".join(traceback.format_exception(error)).rstrip())
        message = error.args[0] if error.args and isinstance(error.args[0], Phrase) else str(error)
        (out or Output()).error(message)
        return next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.FAILED)
    return code
