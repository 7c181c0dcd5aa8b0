"""Texts that a reader of lists takes longest for, each with a limit of CPU time, in a process that it ends.

    python -m tests.routing.lists.hostile

Writes a JSON array for each: its name, and what was wrong, "" when it was read or refused in time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import get_args

from proxy.config.files import decode_pieces
from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.routing.lists.formats import parse_list
from tests.support.cpu_limit import Note, cpu_limit, ended

SIZE = 30_000
LIMIT_S = 1.0
"""CPU seconds for a text of SIZE. An ordinary one takes 0.2 s at most; one that is tried at each character again, a
minute."""

LONG_LIMIT_S = 4.0
"""CPU seconds for one of TEXTS."""

HEADS: dict[str, tuple[str, ...]] = {
    "autoproxy": ("[AutoProxy 0.2.9]\n",),
    "adblock": ("[Adblock Plus 2.0]\n",),
    "v2fly": ("full:a.example\n",),
    "switchyomega": (
        "[SwitchyOmega Conditions]\n@with result\n",
        "[SwitchyOmega Conditions]\n",
        "; x\n#BEGIN\n[Wildcard]\n",
    ),
    "sing-box": ('{"version": 1, "rules": [', '{"version": 1, "rules": [{"domain": ["'),
    "pac": ("var a = ", "function FindProxyForURL(url, host) { ", 'function FindProxyForURL(u, h) { if (h == "'),
    "clash": ("payload:\n  - ", "DOMAIN,a.example\nDOMAIN-KEYWORD,", "payload: ["),
    "hosts": ("0.0.0.0 a.example\n",),
    "dnsmasq": ("server=/a.example/192.0.2.1\nserver=/",),
    "plain": ("",),
}
FILLERS = (
    "/**/", "(/[", " ", "\t", ".", "/", '"', "\\", "a.", "*", "a*.", "||", "(", "{", "[", "[]", "if(a)", "a=", "a?",
    '"a",', '"a":1,', "'a',", "a\n", ".\n", "!", "!a\n", "@@", "x.b", "-", "#", ":", ",", "\r", "\r\n", "=", "a b ",
    "a" * 1999 + "\n", "." * 1999 + '/"\n', "." * 1998 + "/\n",
)  # fmt: skip


def _calls(depth: int, times: int) -> str:
    """Functions each of which asks the next one so many times."""
    asks = [f"function f{n}(host) {{ {f'x = f{n + 1}(host); ' * times} return f{n + 1}(host); }}" for n in range(depth)]
    end = f'function f{depth}(host) {{ if (host == "a.example") return "PROXY p:1"; return "DIRECT"; }}'
    return "\n".join((*asks, end, "function FindProxyForURL(url, host) { return f0(host); }\n"))


def _exceptions(count: int) -> dict[str, str]:
    """Exceptions that are no domains, and as many entries before them."""
    omega = "".join(f"*x{n}.* +proxy\n" for n in range(count)) + "".join(f"*y{n}.* +direct\n" for n in range(count))
    pac = "".join(f'if (shExpMatch(host, "*x{n}.*")) return "PROXY p:1";\n' for n in range(count))
    pac += "".join(f'if (shExpMatch(host, "*y{n}.*")) return "DIRECT";\n' for n in range(count))
    return {
        "omega-exceptions": f"[SwitchyOmega Conditions]\n@with result\n\n{omega}\n* +direct\n",
        "pac-exceptions": f'function FindProxyForURL(url, host) {{\n{pac} return "DIRECT"; }}\n',
    }


TEXTS: dict[str, str] = {
    "comments": "/**/" * 40,
    "functions": _calls(3, 100),
    "members": "function FindProxyForURL(url, host) { if (a" + ".b" * 3000 + ') return "PROXY p:1"; }\n',
    "differences": "function FindProxyForURL(url, host) { if (a" + "+b-c" * 3000 + ') return "PROXY p:1"; }\n',
    "remainder": 'function FindProxyForURL(url, host) { if (x) return "%" == "0" ? "DIRECT" : "PROXY p:1"; }\n',
    **_exceptions(4000),
}
"""That are slow by what they mean, or that no reader expects."""


def jobs() -> Iterator[tuple[str, ListFormatName, str, float]]:
    """Yields the name of each text, the format that it is to be read in, the text, and the CPU seconds it may take."""
    for name, text in TEXTS.items():
        yield name, "auto", text, LONG_LIMIT_S
    for format_name in get_args(ListFormatName):
        for head in HEADS.get(format_name, ("",)):
            for filler in FILLERS:
                yield (
                    f"{format_name}: {head!r} {filler[-10:]!r}",
                    format_name,
                    head + filler * (SIZE // len(filler)),
                    LIMIT_S,
                )


def _read(format_name: ListFormatName, text: str, limit_s: float, note: Note) -> None:
    with cpu_limit(limit_s):
        note("takes too long")
        with suppress(ConfigError):
            data = text.encode()
            parse_list(decode_pieces(Path("l"), data), size=len(data), source="l", format=format_name)


def main() -> None:
    names, *given = zip(*jobs(), strict=True)
    works = [partial(_read, *one) for one in zip(*given, strict=True)]
    for row in zip(names, ended(works), strict=True):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
