"""Runs `byway` commands one after the other, in this process: their words are in a JSON list, the only argument. Prints
a JSON list with the words, the exit code and both outputs of each."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys

import proxy.__main__

if __name__ == "__main__":
    ran = []
    commands = json.loads(sys.argv[1])
    sys.argv[0] = proxy.__main__.__file__
    for words in commands:
        sys.argv[1:] = words
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code: int | str = 0
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit as ended:
                code = ended.code or 0
        ran.append((words, code, out.getvalue(), err.getvalue()))
    print(json.dumps(ran))
