"""The process that checks or replays: one JSON request on stdin, one JSON answer on stdout. Started by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxy.features.addons import worker


def answer_to(**request: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", worker.__name__],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_it_answers_with_a_result_or_with_problems_or_with_an_error(tmp_path: Path) -> None:
    config, file = tmp_path / "config.toml", tmp_path / "pin.py"
    config.touch()
    file.write_text("def plan(request, plan): ...\n")
    shared = {"file": str(file), "config": str(config), "state": str(tmp_path), "load_s": 10.0}
    assert answer_to(task="check", **shared)["result"]["hooks"] == ["plan"]
    assert "no log yet" in answer_to(task="replay", since=0.0, **shared)["error"]
    file.write_text("1 / 0\n")
    assert "pin.py:1: ZeroDivisionError" in answer_to(task="check", **shared)["problems"][0]
