"""sing-box as a judge of its rule-sets, by `sing-box rule-set match`, and made-up rule-sets.

It is asked about each host by a process of its own, which says on its standard error which rules match.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.routing.lists.judges.questions import Verdict, judged
from tests.support.programs import require

HEAD = '{"version": 3, "rules": [\n'
TAIL = '{"domain": ["end.invalid"]}]}\n'
"""Of a rule-set with one rule on each line."""

_ANSWER_S = 60.0
"""An answer takes 50 ms; this is what a machine under load may take before it counts as failed."""


class SingBox:
    """Judges rule-sets. `folder` is used for its files."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "set.json"
        self._program = require("sing-box")

    def __call__(self, text: str, hosts: Collection[str]) -> dict[str, bool]:
        self._file.write_text(text)
        with ThreadPoolExecutor(2) as pool:
            return dict(zip(hosts, pool.map(self._matches, hosts), strict=True))

    def _matches(self, host: str) -> bool:
        command = [self._program, "rule-set", "match", str(self._file), host]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ANSWER_S)
        return "match rules." in done.stderr


def judged_rule_set(text: str, folder: Path, *, lines: int, seed: int) -> Verdict:
    """Judges a seeded sample of the rules of a rule-set that has one on each line."""
    return judged(text, SingBox(folder), format="sing-box", lines=lines, seed=seed, head=HEAD, tail=TAIL)


_WORDS = ("news", "video", "cdn", "img", "blog", "api", "x", "1st", "foo-bar", "a_b", "example")
_TOP = ("com", "net", "org", "ru", "kz", "cn", "co.uk", "com.tr", "example")


def made_rule_set(*, lines: int, seed: int) -> str:
    """Returns a rule-set of every kind of rule, one a line, the same for a seed."""
    chance = random.Random(f"sing-box {seed}")
    rules: list[dict[str, object]] = []
    for number in range(lines):
        own = f"site{number}" if chance.random() < 0.7 else f"site{number % 50}"
        host = ".".join([*chance.choices(_WORDS, k=chance.choice((0, 0, 1, 2))), own, chance.choice(_TOP)])
        other = f"{chance.choice(_WORDS)}{number}.{chance.choice(_TOP)}"
        prefix = f"198.{chance.randrange(256)}.{chance.randrange(256)}.0/24"
        made: list[dict[str, object]] = [
            {"domain_suffix": host}, {"domain_suffix": [host, f".{other}"]}, {"domain_suffix": f".{host}"},
            {"domain": host}, {"domain": [host, other]}, {"domain": host, "domain_suffix": other},
            {"domain_keyword": f"{chance.choice(_WORDS)}{number}"}, {"ip_cidr": prefix},
            {"ip_cidr": ["2001:db8::/48", f"203.0.{number % 250}.7"], "domain": other},
            {"domain": host, "port": 443}, {"domain": host, "invert": True}, {"process_name": "curl", "domain": host},
            {"type": "logical", "mode": "and", "rules": [{"domain": host}]},
            {"domain_regex": f"^{number}\\.", "domain": host},
        ]  # fmt: skip
        weights = [6, 3, 3, 4, 3, 3, 1, 2, 1, 1, 1, 1, 1, 1]
        rules.append(chance.choices(made, weights)[0])
    return HEAD + "".join(f"{json.dumps(rule)},\n" for rule in rules) + TAIL
