"""sing-box as a judge of its rule-sets, as a proxy that runs (`running_proxy`), and made-up rule-sets."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Collection
from pathlib import Path

from tests.routing.lists.judges.questions import Verdict, judged
from tests.routing.lists.judges.running_proxy import ask_running_proxy
from tests.support.programs import require

HEAD = '{"version": 3, "rules": [\n'
TAIL = '{"domain": ["end.invalid"]}]}\n'
"""Of a rule-set with one rule on each line."""


class SingBox:
    """Judges rule-sets. `folder` is used for its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, text: str, hosts: Collection[str]) -> dict[str, bool]:
        (self._folder / "set.json").write_text(text)
        return asyncio.run(ask_running_proxy(self._configure, hosts, folder=self._folder))

    def _configure(self, *, port: int, listed: int, other: int) -> list[str]:
        settings = {
            "log": {"level": "error"},
            "inbounds": [{"type": "mixed", "listen": "127.0.0.1", "listen_port": port}],
            "outbounds": [
                {"type": "http", "tag": tag, "server": "127.0.0.1", "server_port": at}
                for tag, at in (("listed", listed), ("other", other))
            ],
            "route": {
                "rule_set": [{"type": "local", "tag": "set", "format": "source", "path": "set.json"}],
                "rules": [{"rule_set": "set", "action": "route", "outbound": "listed"}],
                "final": "other",
            },
        }
        (self._folder / "config.json").write_text(json.dumps(settings))
        return [require("sing-box"), "run", "-c", "config.json"]


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
