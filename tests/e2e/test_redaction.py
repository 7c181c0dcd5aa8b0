"""Forty things that nobody else may read, in a real Byway, and everything that it hands out.

Passwords and tokens are in nothing that it prints, logs or answers. Names, rules, users and paths are its user's to
read; in a report for others they are not."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from proxy.features.sites.report_formats import FORMATS
from tests.support.byway import IMPATIENT, Byway
from tests.support.client import fetch

pytestmark = [pytest.mark.waits, pytest.mark.slow]

TOKENS = (
    "seed-relay-password-1", "seed-relay-password-2", "seed-relay-password-3", "seed-listen-password",
    "seed-command-password", "seed-list-token-1", "seed-list-token-2", "s33dl1stp4th7t0k3n", "seed-list-fragment",
    "5eed1ist-0f8f-ad5b-d9cb-469fa1657086", "seed-addon-token",
)  # fmt: skip
NAMES = (
    *("seed-relay-tor", "seed-relay-vps", "seed-relay-chain", "seed-relay-off"),
    *("seed-group-eu", "seed-group-all", "seed-group-one"),
    *("seed-list-zoya", "seed-list-work", "seed-list-far", "seed-list-ids"),
    *("seed-network-home", "seed-network-work"),
    *("seed-rule-one.test", "seed-rule-two.test", "seed-rule-three", "seed_program", "seed-override.test"),
    *("seed-relay-user", "seed-vps-user", "seed-listen-user"),
    *("seed-folder/seed-list-file", "seed-never.test", "seed-never-relay.test"),
    *("seed-relay-host.test", "seed_addon"),
    *("seed-list-source.test", "seed-far-source.test", "seed-note"),
)  # fmt: skip
assert len(set(TOKENS + NAMES)) >= 40

CONFIG = f"""{IMPATIENT}[listen]
user = "seed-listen-user"
password_cmd = "echo seed-listen-password"
[safety]
allow = ["seed-relay-host.test:*"]
[networks]
seed-network-home = "0123456789abcdef"
seed-network-work = "fedcba9876543210"
[log]
never = ["*.seed-never.test"]
[auto]
never_relay = ["seed-never-relay.test"]
[dns]
secure = "never"
[dns.hosts]
"seen.test" = "127.0.0.1"
"listed.test" = "127.0.0.1"
"free.test" = "127.0.0.1"
"set.test" = "127.0.0.1"
"programs.test" = "127.0.0.1"
"networks.test" = "127.0.0.1"
[[relay]]
name = "seed-relay-tor"
url = "socks5h://seed-relay-user:seed-relay-password-1@127.0.0.1:1"
[[relay]]
name = "seed-relay-vps"
url = "https://seed-vps-user:seed-relay-password-2@127.0.0.1:1"
[[relay]]
name = "seed-relay-chain"
url = "seed-relay-tor>http://x:seed-relay-password-3@seed-relay-host.test:3128"
[[relay]]
name = "seed-relay-off"
url = "https://x@seed-relay-host.test:444"
password_cmd = "echo seed-command-password"
enabled = false
[[group]]
name = "seed-group-eu"
relays = ["seed-relay-tor", "seed-relay-vps"]
[[group]]
name = "seed-group-all"
relays = ["seed-relay-vps"]
[[group]]
name = "seed-group-one"
relays = ["seed-relay-tor"]
[[list]]
name = "seed-list-zoya"
source = "seed-folder/seed-list-file"
[[list]]
name = "seed-list-work"
source = "https://seed-list-source.test/x?token=seed-list-token-1&k=seed-list-token-2#seed-list-fragment"
[[list]]
name = "seed-list-far"
source = "https://seed-list-source.test/s33dl1stp4th7t0k3n/open.txt"
[[list]]
name = "seed-list-ids"
source = "https://seed-far-source.test/5eed1ist-0f8f-ad5b-d9cb-469fa1657086/seed-note.txt"
[addons.seed_addon]
enabled = false
api_token = "seed-addon-token"
"""
RULES = """# seed-note
DOMAIN,seed-rule-one.test,RELAY:seed-relay-tor
DOMAIN-KEYWORD,seed-rule-three,BLOCK
DOMAIN,seen.test,RELAY:seed-group-eu
LIST,seed-list-zoya,RELAY:seed-group-all
PROCESS-NAME,seed_program,RELAY
NETWORK,seed-network-home,RELAY:seed-group-one
DOMAIN,seed-rule-two.test,DIRECT
MATCH,AUTO
"""
SITES = ("seen.test", "listed.test", "free.test", "set.test", "programs.test")


@pytest.fixture
async def byway(tmp_path: Path) -> Byway:
    made = Byway(tmp_path, config=CONFIG, rules=RULES, arguments=["-vv"])
    (made.config.parent / "seed-folder").mkdir()
    (made.config.parent / "seed-folder" / "seed-list-file").write_text("listed.test\n")
    made.config.chmod(0o600)
    return made


LET_IN = (("Proxy-Authorization", f"Basic {base64.b64encode(b'seed-listen-user:seed-listen-password').decode()}"),)


async def printed(byway: Byway, *words: str) -> str:
    """What a command prints, as it ends."""
    ran = await byway.command(*words, check=False)
    assert ran.stdout, (words, ran.stderr)
    return f"{ran.stdout}{ran.stderr}"


def found(texts: tuple[str, ...], seeds: tuple[str, ...]) -> set[str]:
    """The seeds that are in one of the texts; Markdown escapes some characters."""
    return {seed for text in texts for seed in seeds if seed in text.replace("\\", "")}


async def test_nothing_that_may_not_be_read_is_told(byway: Byway, tmp_path: Path) -> None:
    with_passwords = tmp_path / "with.toml"
    async with byway:
        await byway.command("site", "set", "set.test", "relay:seed-group-one")
        await byway.command("site", "set", "seed-override.test", "block")
        await asyncio.gather(*(byway.command("why", f"http://{site}:1/seed?x=1", check=False) for site in SITES))
        for site in SITES:
            answer = await fetch(f"http://{site}:1/", via=byway.proxy, headers=LET_IN)
            assert answer.status in (502, 503)
        shown = [
            await printed(byway, *words)
            for words in (
                *(("config", "export"), ("config", "show"), ("config", "show", "--all"), ("config", "show", "--json")),
                *(("config", "check"), ("list", "show"), ("list", "show", "seed-list-work"), ("status",)),
                *(("status", "--json"), ("relay", "list", "--json"), ("rule", "list", "--json"), ("log", "--json")),
                *(("list", "show", "seed-list-ids", "--json"), ("site", "list", "--json"), ("doctor",)),
            )
        ]
        reports = [await printed(byway, "report", *SITES, "--format", form) for form in FORMATS]
        bare = [await printed(byway, "report", *SITES, "--format", form, "--redact", "none") for form in FORMATS]
        await byway.command("config", "export", "--with-passwords", "-o", str(with_passwords))
    logged = byway.said.read_text()
    assert found((*shown, *reports, logged), TOKENS) == set()
    assert found(tuple(reports), NAMES) == set()
    assert len(found(tuple(bare), NAMES)) >= 4, "the control: they were there"
    assert found((with_passwords.read_text(),), TOKENS) == set(TOKENS), "the control"
