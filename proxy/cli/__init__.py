"""The entry point of the command line, `byway …`. The commands are in the features."""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Sequence

from proxy import __version__
from proxy.terminal.terminal import leave_stdout, prepare_streams

_YOUNG_OBJECTS = 20_000
"""Allocations between two collections of the youngest generation. Imports and connections make many objects and few
cycles: this saves a tenth of a start, and a few per cent of a tunnel's cost (measured)."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Runs the command of the arguments, and ends the process with its exit code."""
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    prepare_streams()
    try:
        _run(sys.argv[1:])
    except BrokenPipeError:
        leave_stdout()
    except OSError as error:
        _end_unwritten(error)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer printed a help text into a closed pipe
            leave_stdout()
            sys.exit()
        raise
    finally:
        _flush()


def _run(words: Sequence[str]) -> None:
    """Runs a command. typer is not loaded for `--version`, which scripts use, and for `run`."""
    if words == ["--version"]:
        print(f"byway {__version__}")
        return
    from proxy.cli.run_options import read_run_options

    options = read_run_options(words)
    if options is not None:
        from proxy.app.process import run
        from proxy.features.table import FEATURES
        from proxy.terminal.exit_codes import Exit, translated

        sys.exit(translated(lambda: Exit(run(options, FEATURES)), debug=options.verbose > 1))
    from proxy.cli.commands import app

    app(prog_name="byway")


def _flush() -> None:
    """Flushes stdout. Here a closed pipe is no error; at the interpreter's exit it would be one."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()
    except OSError as error:
        _end_unwritten(error)


def _end_unwritten(error: OSError) -> None:
    """Ends with a sentence when the disk has no room for the output. Raises any other error again."""
    if error.errno not in _NO_ROOM:
        raise error
    from proxy.model.errors import reason_of

    leave_stdout()
    sys.exit(f"byway: the output cannot be written: {reason_of(error)}")
