"""What share of the lines of lists mean to Byway what they mean to the program whose format it is.

    python -m tests.routing.lists.judges [--lines 2000] [--seed 1] [FILE:FORMAT …]

Without files, made-up ones of each kind are judged. FORMAT is autoproxy, adblock, sing-box, pac, or that of a rule
provider of Clash: domain-yaml, domain-text, ipcidr-yaml, ipcidr-text, classical-yaml or classical-text. The judges are
mihomo, sing-box, @ghostery/adblocker and Node; `make test-deps` installs them. Lines that are skipped for a documented
reason are counted, and left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import get_args

from tests.routing.lists.judges import adblocker, pac, sing_box
from tests.routing.lists.judges.mihomo import Mihomo
from tests.routing.lists.judges.questions import Verdict, judged
from tests.routing.lists.judges.rule_providers import Behavior, Format, rule_provider

Judgement = Callable[[str, int, int], Verdict]
"""Gets the text of a list, how many of its lines to ask about, and a seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Judges how lists are read")
    parser.add_argument("files", nargs="*", metavar="FILE:FORMAT")
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    for name, text, judgement in list(_lists(asked.files, lines=asked.lines, seed=asked.seed)):
        verdict = judgement(text, asked.lines, asked.seed)
        skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(verdict.skipped.items())) or "none"
        print(f"{name:40} {verdict.share:7.2f} % of {verdict.asked:5} lines; skipped: {skipped}", flush=True)
        print(*(f"    {line}" for line in verdict.wrong[:10]), sep="\n", end="\n" if verdict.wrong else "")


def _lists(files: list[str], *, lines: int, seed: int) -> Iterator[tuple[str, str, Judgement]]:
    for file in files:
        path, _, kind = file.rpartition(":")
        yield Path(path).name, Path(path).read_text(), JUDGEMENTS[kind]
    if files:
        return
    for behavior in get_args(Behavior):
        for form in get_args(Format):
            made = rule_provider(behavior, form, lines=lines, seed=seed)
            yield f"made up: Clash, {behavior}, {form}", made, JUDGEMENTS[f"{behavior}-{form}"]
    yield "made up: AutoProxy", adblocker.made_filters("autoproxy", lines=lines, seed=seed), JUDGEMENTS["autoproxy"]
    yield "made up: Adblock", adblocker.made_filters("adblock", lines=lines, seed=seed), JUDGEMENTS["adblock"]
    for kind in pac.KINDS:
        yield f"made up: PAC, {kind}", pac.made_script(kind, lines=lines, seed=seed), JUDGEMENTS["pac"]
    yield "made up: sing-box", sing_box.made_rule_set(lines=lines, seed=seed), JUDGEMENTS["sing-box"]


def _by_mihomo(text: str, lines: int, seed: int, *, behavior: Behavior, form: Format) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        judge = Mihomo(Path(folder), behavior=behavior, format=form)
        head = "payload:\n" if form == "yaml" else ""
        return judged(text, judge, format="clash", lines=lines, seed=seed, head=head)


def _by_sing_box(text: str, lines: int, seed: int) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        return sing_box.judged_rule_set(text, Path(folder), lines=lines, seed=seed)


JUDGEMENTS: Mapping[str, Judgement] = {
    "autoproxy": lambda text, lines, seed: adblocker.judged_filters(text, format="autoproxy", lines=lines, seed=seed),
    "adblock": lambda text, lines, seed: adblocker.judged_filters(text, format="adblock", lines=lines, seed=seed),
    "pac": lambda text, lines, seed: pac.judged_script(text, lines=lines, seed=seed),
    "sing-box": _by_sing_box,
    **{
        f"{behavior}-{form}": partial(_by_mihomo, behavior=behavior, form=form)
        for behavior in get_args(Behavior)
        for form in get_args(Format)
    },
}


if __name__ == "__main__":
    main()
