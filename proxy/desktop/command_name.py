"""How a user starts Byway's commands, so that a printed command can be copied as it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_NAME = "byway"


def command_name(started_as: str, env: Mapping[str, str]) -> str:
    """Returns `byway` where PATH leads to this installation; else the way in which it was started, such as
    `.venv/bin/byway`. `started_as` is `sys.argv[0]`."""
    import shutil  # it loads the modules of bz2 and xz, which no start of Byway needs

    file = os.path.basename(started_as)
    if file == "__main__.py":
        return f"{os.path.basename(sys.executable)} -m proxy"
    if file.removesuffix(".exe") != _NAME:  # another program that uses Byway's code
        return _NAME
    found = shutil.which(_NAME, path=env.get("PATH", ""))
    is_in_path = found is not None and os.path.exists(started_as) and os.path.samefile(found, started_as)
    return _NAME if is_in_path else started_as
