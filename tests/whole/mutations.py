"""Keys, subscriptions and configurations of other programs with something wrong in them: each is read, or refused with
a sentence that is printable. What is read names one server, no rule is more than one line, and the engine gets nothing
but fields of its table.

    python -m tests.whole.mutations [--count 1000000] [--seed 1]        or: make fuzz

What is raised but for KeyRefused, Unreadable and ConfigError is a crash, and ends this. At the end it says what took
longest for its size, and the memory at its highest.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections import Counter

from proxy.wire.keys.fields import KeyRefused
from proxy.wire.keys.reader import read_collection, read_key
from proxy.wire.keys.sentences import explain, without_engine
from proxy.wire.keys.values import Key
from proxy.wire.relay_url import ALTERNATIVES_LIMIT, parse
from tests.features.imports.mutations import SAMPLES, damaged
from tests.features.imports.mutations import read as read_foreign_text
from tests.whole.test_attacks_by_keys import AWG, SSH, TROJAN, TUNNEL_FILES, TUNNEL_LINKS, WG, check_engine_gets
from tests.wire.keys.real_keys import ROWS
from tests.wire.keys.test_hostile import LINKS as OF_READER
from tests.wire.keys.test_hostile import TEXTS as OF_COLLECTIONS

CONFIGURATIONS = (*SAMPLES, *OF_COLLECTIONS)
KEYS = (*OF_READER, *(text for _, text, _ in ROWS))
TUNNELS = (
    *(f"{link}&alt=b.example:443&alt=192.0.2.9:443" for link in (WG, AWG, SSH, f"{TROJAN}?sni=a.example")),
    *(text for _, text, _ in (*TUNNEL_LINKS, *TUNNEL_FILES) if len(text) < 2000),
)
"""Of WireGuard, AmneziaWG and SSH, and with other addresses of a key's server."""

_SHARES = {KEYS: 0.6, TUNNELS: 0.25, CONFIGURATIONS: 0.15}
"""A key is read in a twentieth of the time of a configuration."""


def read(text: str) -> set[str]:
    """Reads a text as a key, a relay, many keys, a subscription and a configuration. Returns what it was."""
    found = set[str]()
    try:
        check_key(read_key(text))
        found.add("a key")
    except KeyRefused as error:
        check_said(str(error))
    try:
        for item in read_collection(text).items:
            if isinstance(item, Key):
                check_key(item)
            check_said(str(item))
        found.add("keys")
    except KeyRefused as error:
        check_said(str(error))
    check_said(explain(text))
    try:
        url = parse(text)
        check_said(f"{url} {url!r}")
        assert len(url.alternatives) <= ALTERNATIVES_LIMIT
        if url.key is not None:
            check_key(url.key)
            assert not (url.key.protocol.is_over_udp and {it.port for it in url.endpoints} != {url.port})
            found |= {"with other addresses"} if url.alternatives else set()
    except ValueError as error:
        check_said(str(error))
    return found | ({"a configuration or a subscription"} if read_foreign_text(text) else set())


def check_said(text: str) -> None:
    assert text.isprintable(), repr(text)


def check_key(key: Key) -> None:
    """Checks what a key shows, and what the engine gets of it."""
    check_said(repr(key))
    if not without_engine(key):
        check_engine_gets(key)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    found, slowest = Counter[str](), (0.0, 0, 0.0)
    began = time.process_time()
    for number in range(given.count):
        (samples,) = rng.choices([*_SHARES], [*_SHARES.values()])
        text = damaged(rng, samples)
        before = time.process_time()
        try:
            kinds = read(text)
        except Exception:
            print(f"crash at number {number} of seed {given.seed}:\n{text!r}", flush=True)
            raise
        took_s = time.process_time() - before
        slowest = max(slowest, (took_s / (len(text) + 1000), len(text), took_s))
        found.update(kinds or {"nothing"})
        if (number + 1) % 50_000 == 0:
            print(f"{number + 1:,}: {dict(found)}, {time.process_time() - began:.0f} s of CPU", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{given.count:,} damaged texts of seed {given.seed}, no crash: {dict(found)}, the others refused")
    print(f"slowest for its size: {slowest[1]:,} characters in {slowest[2] * 1000:.1f} ms; at most {peak} MiB")


if __name__ == "__main__":
    main()
