"""Configurations of other programs and files of subscriptions with something wrong in them: each is read, or refused
with a sentence, and no rule of it is more than one line. What is raised but for Unreadable and ConfigError is a crash.

`python -m tests.whole.mutations` does that with as many as one likes, and with keys.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence

from proxy.config.schema import Settings
from proxy.config.subscriptions import names_of, read_entries
from proxy.features.imports.foreign import Unreadable
from proxy.features.imports.plan import Options, plan, rows_of, warnings_of
from proxy.features.imports.reading import read_foreign
from proxy.model.errors import ConfigError
from tests.features.imports.planned import clash, sing_box
from tests.features.imports.test_clash import REFUSED, SERVERS, TAKEN
from tests.features.imports.test_nekoray import ROUTES, bean, link
from tests.features.imports.test_omega import TAKEN as CONDITIONS
from tests.features.imports.test_omega import backup, fixed, switch
from tests.features.imports.test_sing_box import TAKEN as OF_SING_BOX
from tests.features.imports.test_xray import CONFIG
from tests.features.imports.test_xray import TAKEN as OF_V2RAYN

_PIECES = (
    '"', "{", "}", "[", "]", ":", ",", "\n", "\0", "\x1b", "\u202e", "&a ", "*a", "!!x ", "<<: ", "- ", "null", "true",
    "9" * 40, "-1", "é", "\ud800", "\\ud83d", "\\udc00\\u202e", "../", "file://", "%00", "%0d%0a", "%", "&", "=", "?",
    "\\n", "//", "#", "0x7f.1", "'", "|", ">", "{}", "@", "?ca=/etc/passwd", "://", "vless://", "ss://", "insecure=1",
    "A" * 300, "&amp;", "%252F", "server", "type",
)  # fmt: skip

LINKS = "\n".join(
    (link("socks", json.dumps(bean(v=5))), "socks5h://me:x@h.example:1080#One", "trojan://x@k.example:443")
)

SAMPLES = (
    clash(*(rule for rule, _ in TAKEN), *(rule for rule, _, _ in REFUSED), proxies=SERVERS),
    sing_box(*(rule for rule, _ in OF_SING_BOX), final="s"),
    json.dumps([rule for rule, _ in OF_V2RAYN]),
    json.dumps(CONFIG),
    json.dumps(ROUTES),
    json.dumps({"type": "http", "bean": bean(v=-80, username="me", stream={"sec": "tls"})}),
    backup(fixed(bypass=["*.corp.example"]), switch(*((it, "vps") for it, _ in CONDITIONS))),
    LINKS,
    base64.b64encode(LINKS.encode()).decode(),
)


def damaged(rng: random.Random, samples: Sequence[str] = SAMPLES) -> str:
    """Returns a sample with one to four damages: something in it replaced, taken out, doubled or turned around."""
    text = rng.choice(samples)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 0, 1, 2, 5, 30, 200)))
        other = rng.randrange(len(text) + 1)
        pieces: Sequence[str] = (
            rng.choice(_PIECES),
            rng.choice(_PIECES),
            "",
            text[other : other + rng.choice((5, 40, 300))] + text[start:end],
            text[start:end][::-1],
        )
        text = text[:start] + rng.choice(pieces) + text[end:]
    return text


def read(text: str) -> bool:
    """Reads a text as both. Returns whether it was a configuration."""
    try:
        names_of("shop", read_entries(text), {})
    except ConfigError as error:
        if not error.problems[0]:
            raise
    try:
        made = plan(read_foreign(text), Settings(), Options({}))
    except Unreadable as error:
        if not str(error):
            raise
        return False
    for rule in made.rules:
        assert all(line.isprintable() for line in rule.lines), rule.lines
    assert all(row.text for row in (*made.rows, *rows_of(made.rules, frozenset())))
    assert all(warnings_of(made.rules, "AUTO"))
    return True
