"""Node as a judge of PAC files, which it runs in a context of its own, and made-up PAC files."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from proxy.routing.lists.formats import parse_list
from proxy.wire import hostnames
from tests.routing.lists.judges.questions import Verdict
from tests.support.programs import require

_SCRIPT = Path(__file__).with_suffix(".mjs")
_STRING = re.compile(r"""["'](?:[a-z*]*://)?([a-z0-9*.-]+\.[a-z0-9*.-]+)(?:/\*)?["']""", re.IGNORECASE)


def judged_script(text: str, *, lines: int, seed: int) -> Verdict:
    """Judges a seeded sample of the names that stand in a PAC file: what is asked about one is asked of the whole
    script. Hosts that end with a name of the script but are not below it are not asked: `dnsDomainIs` is true there."""
    names = sorted({match[1].lower() for match in _STRING.finditer(text)})
    sample = random.Random(seed).sample(names, min(lines, len(names)))
    ends = {name.strip("*.") for name in names}
    questions = {name: sorted({host for host in _hosts(name) if not _cuts_a_label(host, ends)}) for name in sample}
    found = parse_list(
        iter(text.splitlines(keepends=True)), size=len(text), source="l", format="pac", allow_suffixes=True
    )
    hosts = sorted({host for asked in questions.values() for host in asked})
    done = subprocess.run(
        [require("node"), str(_SCRIPT)],
        input=json.dumps({"script": text, "hosts": hosts}),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    answers = dict(zip(hosts, json.loads(done.stdout), strict=True))
    right, wrong = 0, []
    for name, asked in questions.items():
        listed = {host: not answers[host].upper().startswith("DIRECT") for host in asked}
        differing = [host for host in asked if listed[host] != (found.covering(host) is not None)]
        right += not differing
        wrong += [f"{name!r}: {host}: the judge says {listed[host]}" for host in differing]
    return Verdict(len(questions), right, dict(found.skips), tuple(wrong[:50]))


def _hosts(name: str) -> Iterator[str]:
    """The host, its parent, names below it and a neighbour."""
    host = name.replace("*", "ab").strip(".")
    parent = host.partition(".")[2]
    for text in (host, parent, f"www.{host}", f"a.b.{host}", f"neighbour.{parent}", f"{host}.invalid"):
        try:
            if "." in text and hostnames.host(text) == text:
                yield text
        except ValueError:
            continue


def _cuts_a_label(host: str, ends: Collection[str]) -> bool:
    return any(host[at:] in ends and host[at - 1] != "." for at in range(1, len(host)))


_WORDS = ("news", "video", "cdn", "img", "blog", "api", "x", "foo-bar", "example")
_TOP = ("com", "net", "org", "ru", "kz", "cn", "co.uk", "com.tr", "example")


def made_script(kind: str, *, lines: int, seed: int) -> str:
    """Returns a PAC file with about so many names: of one of KINDS."""
    chance = random.Random(f"{kind} {seed}")
    names = [
        ".".join([*chance.choices(_WORDS, k=chance.choice((0, 0, 1, 2))), f"site{number}", chance.choice(_TOP)])
        for number in range(lines)
    ]
    proxy = "var proxy = 'SOCKS5 127.0.0.1:1080; DIRECT';\n"
    below = [f"{chance.choice(_WORDS)}.{name}" for name in chance.sample(names, lines // 10)]
    match kind:
        case "dictionary":
            keys = json.dumps(dict.fromkeys(names, 1), indent=chance.choice((None, 2)))
            return (
                f"var domains = {keys};\n{proxy}function FindProxyForURL(url, host) {{ var p; do {{\n"
                "if (domains.hasOwnProperty(host)) { return proxy; } p = host.indexOf('.') + 1; host = host.slice(p);\n"
                "} while (p >= 1); return 'DIRECT'; }\n"
            )
        case "pairs":
            groups = [[below[:3], names[: lines // 4]], [below[3:], names[lines // 4 :]]]
            return (
                f"{proxy}var rules = {json.dumps(groups, indent=4)};\nvar lastRule = '';\n"
                "function FindProxyForURL(url, host) { for (var i = 0; i < rules.length; i++) {\n"
                "ret = testHost(host, i); if (ret != undefined) return ret; } return 'DIRECT'; }\n"
                "function testHost(host, index) { for (var i = 0; i < rules[index].length; i++) {\n"
                "for (var j = 0; j < rules[index][i].length; j++) { lastRule = rules[index][i][j];\n"
                "if (host == lastRule || host.endsWith('.' + lastRule)) return i % 2 == 0 ? 'DIRECT' : proxy; } }\n"
                "lastRule = ''; }\n"
            )
        case "array":
            return (
                f"{proxy}var direct = {json.dumps(below)};\nvar sites = {json.dumps(names)};\n"
                "function FindProxyForURL(url, host) {\nif (direct.indexOf(host) != -1) return 'DIRECT';\n"
                "for (var i = 0; i < sites.length; i++) {\n"
                "if (dnsDomainIs(host, '.' + sites[i]) || host == sites[i]) { return proxy; } }\nreturn 'DIRECT'; }\n"
            )
        case "wildcards":
            patterns = [chance.choice(_URL_WILDCARDS).replace("NAME", name) for name in names]
            return (
                f"{proxy}var direct = {json.dumps([f'*://{name}/*' for name in below])};\n"
                f"var sites = {json.dumps(patterns[: lines // 2])};\n"
                "function FindProxyForURL(url, host) { var i = 0;\n"
                "for (i = 0; i < direct.length; i++) { if (shExpMatch(url, direct[i])) return 'DIRECT'; }\n"
                "for (i = 0; i < sites.length; i++) if (shExpMatch(url, sites[i])) return proxy;\n"
                + "".join(f"if (shExpMatch(url, '{pattern}')) return proxy;\n" for pattern in patterns[lines // 2 :])
                + "return 'DIRECT'; }\n"
            )
        case "chain":
            branches = [chance.choice(_BRANCHES).replace("NAME", name) for name in names]
            return (
                f"{proxy}function FindProxyForURL(url, host) {{\nif (isPlainHostName(host)) return 'DIRECT';\n"
                + "\n".join(branches)
                + f"\nreturn host == '{names[0]}' ? proxy : host == '{names[1]}' ? proxy : 'DIRECT';\n}}\n"
            )
    conditions = [chance.choice(_CONDITIONS).replace("NAME", name) for name in names]
    listed = " ||\n".join(conditions)
    direct = " || ".join(f"host == '{name}'" for name in below) or "false"
    return (
        f"{proxy}function FindProxyForURL(url, host) {{\nif (isPlainHostName(host) || {direct}) return 'DIRECT';\n"
        f"if ({listed}) {{ return proxy; }}\nelse return 'DIRECT';\n}}\n"
    )


_CONDITIONS = (
    "dnsDomainIs(host, 'NAME')", "dnsDomainIs(host, '.NAME')", "shExpMatch(host, '*.NAME')", "host == 'NAME'",
    "shExpMatch(host, 'NAME')", "shExpMatch(url, '*://NAME/*')", "host.endsWith('.NAME')",
    "shExpMatch(host, 'cdn*.NAME')",
    "(host === 'NAME' || shExpMatch(host, '*.NAME'))",
)  # fmt: skip
_URL_WILDCARDS = (
    "*://NAME/*",
    "*://*.NAME/*",
    "*.NAME/*",
    "*://cdn*.NAME/*",
    "https://NAME/*",
    "http*://NAME/*",
)
_BRANCHES = (
    "if (host == 'NAME') return proxy;",
    "if (host === 'NAME') { return proxy; } else if (host == 'www.NAME') { return proxy; }",
    "if (dnsDomainIs(host, '.NAME') || host == 'NAME') { if (host == 'www.NAME') alert(host); return proxy; }",
    "if (shExpMatch(host, '*.NAME')) return proxy;",
)
KINDS = ("dictionary", "pairs", "array", "conditions", "wildcards", "chain")
