"""A separate process that parses a list first, with limits on its time and memory (`store/list_trials.py`).

    python -m proxy.setup.list_trial FORMAT OPTION FOLDER < LIST

OPTION is `allow_suffixes`, or empty. FOLDER has the files that the list may include; empty: there are none. The exit
code is 0 also for a list with faults: the parent then parses it itself and reports them. The parent ends this process
when it takes too long; when the parent has ended, it ends by itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
from pathlib import Path
from typing import cast

from proxy.config.file_owners import FolderFiles
from proxy.config.files import decode_pieces
from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.routing.lists.formats import LIST_LIMIT, parse_list
from proxy.routing.lists.list_builder import no_siblings
from proxy.store.list_trials import CPU_S, MEMORY_LIMIT, NEEDS_MEMORY, TRIAL_S

if sys.platform == "win32":

    def _bound() -> None:
        """Sets no limits: Windows has none that a process sets for itself. Only the time is limited there."""

else:
    import resource

    def _bound() -> None:
        for kind, wanted in (
            (resource.RLIMIT_CPU, CPU_S),
            (resource.RLIMIT_AS, MEMORY_LIMIT),
            (resource.RLIMIT_CORE, 0),
        ):
            _, most = resource.getrlimit(kind)
            limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            with contextlib.suppress(OSError, ValueError):  # macOS has no limit of memory
                resource.setrlimit(kind, (limit, most))


def main() -> int:
    """Parses the list on standard input. Returns the exit code."""
    format_name, option, folder = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process at once
    # Its thread needs no interpreter lock, so it can end a search of `re`, too. The parent's time limit comes first.
    faulthandler.dump_traceback_later(TRIAL_S + 5, exit=True)
    _bound()
    try:
        data = sys.stdin.buffer.read()
        parse_list(
            decode_pieces(Path("list"), data),
            size=len(data),
            source="list",
            format=cast(ListFormatName, format_name),
            allow_suffixes=option == "allow_suffixes",
            siblings=FolderFiles(Path(folder), limit=LIST_LIMIT, only_obeyed=False) if folder else no_siblings,
        )
    except ConfigError as error:
        return NEEDS_MEMORY if isinstance(error.__cause__, MemoryError) else 0
    except MemoryError:
        return NEEDS_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main())
