"""What share of the lines of rule providers mean to Byway what they mean to mihomo.

    python -m tests.routing.lists.judges [--lines 2000] [--seed 1] [FILE:BEHAVIOR:FORMAT …]

Without files, made-up ones are judged: each behavior in each format. BEHAVIOR is domain, ipcidr or classical, FORMAT is
yaml or text. Lines that are skipped for a documented reason are counted, and left out. `make judges` installs mihomo.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tests.routing.lists.judges.mihomo import Mihomo
from tests.routing.lists.judges.questions import judged
from tests.routing.lists.judges.rule_providers import Behavior, Format, rule_provider


def main() -> None:
    parser = argparse.ArgumentParser(description="Judges how lists are read")
    parser.add_argument("files", nargs="*", metavar="FILE:BEHAVIOR:FORMAT")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for name, text, behavior, format in list(_lists(asked.files, lines=asked.lines, seed=asked.seed)):  # noqa: A001
        with tempfile.TemporaryDirectory() as folder:
            judge = Mihomo(Path(folder), behavior=behavior, format=format)
            head = "payload:\n" if format == "yaml" else ""
            verdict = judged(text, judge, format="clash", lines=asked.lines, seed=asked.seed, head=head)
        skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(verdict.skipped.items())) or "none"
        print(f"{name:40} {verdict.share:7.2f} % of {verdict.asked:5} lines; skipped: {skipped}", flush=True)
        print(*(f"    {line}" for line in verdict.wrong[:10]), sep="\n", end="\n" if verdict.wrong else "")


def _lists(files: list[str], *, lines: int, seed: int) -> Iterator[tuple[str, str, Behavior, Format]]:
    behaviors: dict[str, Behavior] = {it: it for it in get_args(Behavior)}
    formats: dict[str, Format] = {it: it for it in get_args(Format)}
    for file in files:
        path, behavior, format = file.rsplit(":", 2)  # noqa: A001
        yield Path(path).name, Path(path).read_text(), behaviors[behavior], formats[format]
    if not files:
        for behavior in behaviors.values():
            for made in formats.values():
                yield (
                    f"made up: {behavior}, {made}",
                    rule_provider(behavior, made, lines=lines, seed=seed),
                    behavior,
                    made,
                )


if __name__ == "__main__":
    main()
