"""@ghostery/adblocker as a judge of filters, line by line, and made-up Adblock and AutoProxy lists.

A filter about a path means its whole host to Byway, so each question has a URL that the rest of the filter matches: the
scheme and path that it names. An exception is asked for as what it is without `@@`. AutoProxy and Adblock differ from
what is asked here in one thing: after a name without `^` this judge goes on, `||example.com` being `example.com.cn`
too; the questions have no such host.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from proxy.config.schema import ListFormatName
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.formats import parse_list
from proxy.wire import hostnames
from tests.routing.lists.judges.questions import PINNED, Verdict
from tests.support.programs import require

_SCRIPT = Path(__file__).with_suffix(".mjs")
_NAME = re.compile(r"[a-z0-9*_-]+(?:\.[a-z0-9*_-]+)*", re.IGNORECASE)
_OPTIONS = re.compile(r"\$~?[a-z0-9_-]+(?:[=,].*)?$")


def judged_filters(text: str, *, format: ListFormatName, lines: int, seed: int) -> Verdict:  # noqa: A002
    """Judges a seeded sample of a list's lines."""

    def parsed(line: str) -> DomainList:
        return parse_list(iter([f"{line}\n"]), size=len(line), source="l", format=format)

    candidates = [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "![#"]
    sample = random.Random(seed).sample(candidates, min(lines, len(candidates)))
    skipped: Counter[Skip] = Counter()
    asked: list[tuple[str, DomainList, list[str]]] = []
    for line in sample:
        found = parsed(line)
        pinned = {reason: count for reason, count in found.skips.items() if reason in PINNED}
        skipped.update(pinned)
        if not pinned:
            asked.append((line, found, _hosts(line)))
    questions = [(line, [_url(line, host) for host in hosts]) for line, _, hosts in asked]
    right, wrong, unknown = 0, [], 0
    for (line, found, hosts), told in zip(asked, answers(questions), strict=True):
        if told is None:
            unknown += 1  # an option or a form that only others know
            continue
        entries = found.exceptions if line.startswith("@@") else found.listed
        differing = [host for host, yes in zip(hosts, told, strict=True) if yes != (entries.covering(host) is not None)]
        right += not differing
        wrong += [f"{line!r}: {host}: the judge says {host not in differing}" for host in differing]
    return Verdict(len(asked) - unknown, right, dict(skipped), tuple(wrong[:50]))


def answers(questions: Sequence[tuple[str, Sequence[str]]]) -> list[list[bool] | None]:
    """Asks about lines, each with its URLs: which of them it matches. None: the judge knows no such filter."""
    done = subprocess.run(
        [require("node"), str(_SCRIPT), require("adblocker")],
        input=json.dumps({"filters": questions}),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    told: list[list[bool] | None] = json.loads(done.stdout)
    return told


def _hosts(line: str) -> list[str]:
    """The host of a line, its parent, names below it and its neighbours."""
    name = _place(line)[1].strip("*.").lower()
    filled = [re.sub(r"\*+", filling, name) for filling in (("ab", "x.y") if "*" in name else ("",))]
    found: list[str] = []
    for host in filled:
        parent = host.partition(".")[2]
        found += [host, parent, f"www.{host}", f"a.b.{host}", f"x{host}", f"neighbour.{parent}"]
    return sorted({host for host in found if "." in host and _is_host(host)})


def _place(line: str) -> tuple[str, str, str]:
    """The scheme, the host and the rest of a filter."""
    text = _OPTIONS.sub("", line).removeprefix("@@")
    scheme = re.match(r"\|?(https?)://", text)
    text = re.sub(r"^\|{0,2}(?:[a-z*]*:)?(?://)?", "", text)
    host = _NAME.search(text)
    return (scheme[1] if scheme else "https", host[0] if host else "", text[host.end() :] if host else "")


def _url(line: str, host: str) -> str:
    scheme, _, rest = _place(line)
    rest = rest.rstrip("|").replace("^", "/", 1).replace("^", "/").replace("*", "x")
    port = re.match(r":[0-9]+", rest)
    path = rest[port.end() :] if port else rest
    path = path.removeprefix(".") if path.startswith(".") else path
    return f"{scheme}://{host}{port[0] if port else ''}{path if path.startswith(('/', '?')) else f'/{path}'}"


def _is_host(text: str) -> bool:
    try:
        return hostnames.host(text) == text
    except ValueError:
        return False


_WORDS = ("news", "video", "cdn", "img", "blog", "api", "x", "1st", "foo-bar", "a_b", "example")
_TOP = ("com", "net", "org", "ru", "kz", "cn", "co.uk", "com.tr", "example")
_MADE_OPTIONS = (
    "third-party",
    "important",
    "script",
    "domain=a.example",
    "document",
    "~third-party",
    "image,third-party",
)


def made_filters(format: ListFormatName, *, lines: int, seed: int) -> str:  # noqa: A002
    """Returns a list of every kind of filter, the same for a seed."""
    chance = random.Random(f"{format} {seed}")
    text = ["[AutoProxy 0.2.9]" if format == "autoproxy" else "[Adblock Plus 2.0]"]
    for number in range(lines):
        host = ".".join([*chance.choices(_WORDS, k=chance.choice((0, 0, 1, 2))), f"site{number}", chance.choice(_TOP)])
        wild = f"{chance.choice(_WORDS)}*.{host}"
        path = f"p{number}/{chance.choice(_WORDS)}"
        made = [
            f"||{host}^", f"||{host}^", f"||{host}", f"||{host}/", f"||{host}/{path}", f"||{wild}^", f"||*.{host}^",
            f"|http://{host}/", f"|https://{host}/{path}", f"|http://{wild}/", f"|https://*.{host}/", f".{host}", host,
            f".{host}/{path}", f"{host}/{path}", f"{host}^", f"-{chance.choice(_WORDS)}{number}-", f"/{path}/*",
            f"/^https?:\\/\\/{number}/", f"||{host}:8080^", f"@@||{host}^", f"@@|https://{host}/{path}", f"@@.{host}",
            f"||192.0.{number % 250}.{number % 9}^", f"://{host}/", f"|https://{host}^",
        ]  # fmt: skip
        line = chance.choice(made)
        if format == "adblock" and chance.random() < 0.3:
            line = chance.choice((f"{line}${chance.choice(_MADE_OPTIONS)}", f"{host}##.{chance.choice(_WORDS)}"))
        text.append(line)
    return "\n".join(text) + "\n"
