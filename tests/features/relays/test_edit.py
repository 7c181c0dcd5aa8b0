"""`byway relay rm|order|enable|disable`: the file is edited, whatever names a relay is respected, and a running Byway
takes the edit."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from proxy.config.schema import Log
from proxy.model import Action, Override
from proxy.store.store import Store
from tests.support.byway import Byway as RealByway
from tests.support.command_line import Byway, Home, Running

CONFIG = """\
config_version = 1

# by hand
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"

[[relay]]
name = "vps"   # mine
url = "https://relay.example"

[[relay]]
name = "both"
url = "tor>vps"
"""


@pytest.fixture
def configured(home: Home) -> Home:
    home.config.write_text(CONFIG)
    return home


def names(home: Home) -> list[str]:
    return [relay["name"] for relay in tomllib.loads(home.config.read_text()).get("relay", [])]


def test_a_relay_is_removed(byway: Byway, configured: Home) -> None:
    ran = byway("relay", "rm", "both", "vps")
    assert (ran.code, ran.out) == (0, "Removed: both, vps\n")
    assert ran.err == f"Saved in {configured.config}.\n"
    assert names(configured) == ["tor"]
    assert "# by hand" in configured.config.read_text()
    assert stat.S_IMODE(configured.config.stat().st_mode) == 0o600
    shown = byway("relay", "rm", "tor", "--json")
    assert shown.json == {
        "version": shown.json["version"], "relays": [], "config": str(configured.config), "running": False
    }  # fmt: skip


def override(home: Home, host: str, said: Override) -> None:
    store = Store(home.state / "byway.sqlite", Log())
    store.start()
    store.set_override(host, said)
    store.close()


def test_a_relay_that_something_names_is_not_removed(byway: Byway, configured: Home) -> None:
    with configured.config.open("a") as config:
        config.write('[addons.by_the_clock]\nrelay = "vps>tor"\n[addons.fastest]\nrelays = ["tor", "vps"]\n')
    (configured.config.parent / "rules.txt").write_text("MATCH,AUTO\nDOMAIN,a.example,RELAY:vps\nMATCH,RELAY:tor\n")
    override(configured, "b.example", Override(Action.PREFER_RELAY, "vps"))
    before = configured.config.read_bytes()
    ran = byway("relay", "rm", "vps")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "byway: not removed, because other settings need it; change these first:",
        "  rules.txt:2 (DOMAIN,a.example,RELAY:vps) names vps",
        f"  {configured.config}:14 (chain of relay both) names vps",
        "  override (site set b.example PREFER-RELAY:vps) names vps",
        f"  {configured.config}:16 (option relay of addon by_the_clock) names vps",
        f"  {configured.config}:18 (option relays of addon fastest) names vps",
    ]
    assert configured.config.read_bytes() == before
    assert byway("relay", "rm", "both").code == 0, "nothing names it"


@pytest.mark.parametrize("verb", ["rm", "order", "enable", "disable"])
def test_a_relay_that_there_is_not_is_wrong_usage(byway: Byway, configured: Home, verb: str) -> None:
    ran = byway("relay", verb, "tro")
    assert ran.code == 2
    assert ran.err == 'byway: there is no relay "tro"; did you mean tor?\n'
    assert configured.config.read_text() == CONFIG


def test_the_order_is_changed(byway: Byway, configured: Home) -> None:
    ran = byway("relay", "order", "both", "vps")
    assert (ran.code, ran.out) == (0, "Order: both, vps, tor\n")
    assert names(configured) == ["both", "vps", "tor"]
    assert [relay["name"] for relay in byway("relay", "order", "tor", "--json").json["relays"]] == [
        "tor",
        "both",
        "vps",
    ]


@pytest.mark.uses("rules")
def test_a_relay_is_disabled_and_enabled(byway: Byway, configured: Home) -> None:
    (configured.config.parent / "rules.txt").write_text("DOMAIN,a.example,RELAY:vps\nMATCH,AUTO\n")
    ran = byway("relay", "disable", "vps")
    assert (ran.code, ran.out) == (0, "Disabled: vps\n")
    assert ran.err.splitlines() == [
        "Warning: rules.txt:1 (DOMAIN,a.example,RELAY:vps) names vps, which is not used now.",
        f"Warning: {configured.config}:14 (chain of relay both) names vps, which is not used now.",
        f"Saved in {configured.config}.",
    ]
    assert [row[1] for row in byway("relay", "list").rows[1:]] == ["not tested", "disabled", "disabled"]
    tested = byway("rule", "test", "a.example", "--json").json
    assert tested["plan"]["routes"] == [], "a rule fails closed"
    assert "relay vps is disabled" in tested["plan"]["why"]
    assert byway("rule", "test", "b.example", "--json").json["plan"]["routes"][-1] == "tor"
    byway("relay", "disable", "tor")
    (configured.config.parent / "rules.txt").write_text("MATCH,RELAY\n")
    assert byway("rule", "test", "a.example", "--json").json["plan"]["why"].endswith("; all relays are disabled")
    (configured.config.parent / "rules.txt").write_text("DOMAIN,a.example,RELAY:vps\nMATCH,AUTO\n")
    assert byway("relay", "enable", "vps").out == "Enabled: vps\n"
    assert byway("rule", "test", "a.example", "--json").json["plan"]["routes"] == ["vps"]


def test_a_running_byway_takes_the_edit(byway: Byway, configured: Home, running: Running) -> None:
    for words in (("order", "vps"), ("disable", "vps"), ("enable", "vps"), ("rm", "both")):
        ran = byway("relay", *words)
        assert ran.code == 0
        assert ran.err.endswith(f"Saved in {configured.config}; the running Byway uses it.\n")
    assert running.world.reloads == 4


@pytest.mark.uses("sites")
def test_overrides_of_a_running_byway_count(byway: Byway, configured: Home, running: Running) -> None:
    assert byway("site", "set", "c.example", "relay:vps").code == 0
    ran = byway("relay", "rm", "vps", "both")
    assert ran.code == 2
    assert "override (site set c.example RELAY:vps) names vps" in ran.err


def test_a_faulty_configuration_is_left_alone(byway: Byway, home: Home) -> None:
    home.config.write_text("[listen\n")
    for verb in ("rm", "order", "enable", "disable"):
        assert byway("relay", verb, "tor").code == 7
    assert home.config.read_text() == "[listen\n"


@pytest.mark.uses("rules")
async def test_a_real_one_uses_it_at_once(tmp_path: Path) -> None:
    """A relay that is disabled while Byway runs is no route any more, and is one again when it is enabled."""
    tables = '[[relay]]\nname = "a"\nurl = "127.0.0.1:9"\n[[relay]]\nname = "b"\nurl = "127.0.0.1:10"\n'
    async with RealByway(tmp_path, config=tables, rules="MATCH,RELAY\n") as byway:

        async def routes() -> list[str]:
            shown = (await byway.command("rule", "test", "x.example", "--plain")).stdout
            return next(line for line in shown.splitlines() if line.startswith("routes")).split("\t")[1].split(" → ")

        assert await routes() == ["a", "b"]
        await byway.command("relay", "order", "b")
        assert await routes() == ["b", "a"]
        await byway.command("relay", "disable", "b")
        assert await routes() == ["a"]
        await byway.command("relay", "enable", "b")
        await byway.command("relay", "rm", "a")
        assert await routes() == ["b"]
        await byway.command("relay", "rm", "b")
        assert await routes() == ["none"]


def test_a_groups_name_is_no_relays(byway: Byway, home: Home) -> None:
    """A label or a host that is called as a group refused the whole input, with a sentence about the group."""
    relay = '[[relay]]\nname = "a"\nurl = "socks5h://127.0.0.1:1"\n'
    home.config.write_text(f'config_version = 1\n{relay}[[group]]\nname = "eu"\nrelays = ["a"]\n')
    home.config.chmod(0o600)
    for url in ("socks5h://192.0.2.1:1080#eu", "https://eu.relay.example"):
        assert byway("relay", "add", url, "--no-test").code == 0
    assert [row[0] for row in byway("relay", "list").rows[1:4]] == ["a", "eu-2", "eu-3"]
    ran = byway("relay", "add", "socks5h://192.0.2.2:1080", "--name", "eu", "--no-test")
    assert (ran.code, ran.err) == (2, "byway: a relay or group eu exists already; choose another name with --name\n")
    for command in ("rm", "order", "enable", "disable"):
        ran = byway("relay", command, "eu")
        assert (ran.code, ran.err) == (2, "byway: eu is a group, not a relay: name its relays, a\n")
