"""`make lab CONFIG=DIR`: what cannot be used is refused with a sentence; a good configuration ends with 0, and one with
an addon that raises does not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.model import State
from proxy.wire.relay_url import RelayKind
from tests.lab import with_config
from tests.lab.all_scenarios import BY_NAME
from tests.lab.judging import Seen, Trial
from tests.lab.run import BROKEN
from tests.lab.scenarios import Way
from tests.lab.with_config import (
    CONFIG,
    TABLE,
    USAGE,
    Line,
    Refused,
    configuration,
    main,
    rows,
    stood_in,
    table,
    uninspected,
)

CONFIGURED = """\
config_version = 1  # of this file
[listen]
user = "me"
password_cmd = "cat secret"

# two of mine
[[relay]]
name = "vps"
url = "https://zoya:hunter2@vps.example.org:443?sni=other.example.org&alt=192.0.2.7:8443#mine"
public_only = true

[[relay]]
name = "old"
url = "socks4a://zoya@old.example.org"
password_cmd = "pass old"

[[relay]]
name = "far"
url = "vps > socks5h://far.example.org:1080 > http://near.example.org"

[[relay]]
name = "local"
url = "socks5://127.0.0.1:9050?resolve=local"

[[relay]]
name = "own"
url = "addon://tunnel"

[[relay]]
name = "key"
url = "vless://00000000-0000-4000-8000-000000000000@192.168.7.7:443?security=tls&allowInsecure=1&odd=1#hunter2"
ignore_fields = ["odd"]
pin = "0000000000000000000000000000000000000000000000000000000000000000"
local = true

[[subscription]]
name = "shop"
source = "https://shop.example.org/hunter2"
disabled = ["shop/DE"]

[[group]]
name = "eu"
relays = ["vps", "old"]

[[list]]
name = "fetched"
source = "https://lists.example/list.txt"

[addons.pin]
hosts = ["pinned.example.org"]
"""
RULES = """\
DOMAIN-SUFFIX,by-rule.example.org,RELAY:vps
DOMAIN,by-key.example.org,RELAY:key
DOMAIN,by-shop.example.org,RELAY:shop
DOMAIN,refused.example.org,BLOCK
MATCH,AUTO
"""
PIN = """\
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    hosts: tuple[str, ...] = ()

class Pin:
    def start(self, api):
        self.hosts = api.options.hosts

    def plan(self, request, plan):
        if request.destination.host in self.hosts:
            return plan.via("old")

addons = [Pin()]
"""
RAISES = """\
def plan(request, plan):
    if request.destination.host == "pinned.example.org":
        return plan.via(1 / 0)
"""
RAISES_WHEN_LOADED = "\n\nhosts = [][0]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "byway"
    made.joinpath("addons").mkdir(mode=0o700, parents=True)
    made.chmod(0o700)
    made.joinpath("config.toml").write_text(CONFIGURED)
    made.joinpath("rules.txt").write_text(RULES)
    made.joinpath("addons", "pin.py").write_text(PIN)
    return made


# -- what cannot be used -----------------------------------------------------------------------------------------------


def refusal(given: Path | str) -> str:
    with pytest.raises(Refused) as raised:
        configuration(str(given))
    return str(raised.value)


def test_another_folder_is_refused_with_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration(str(folder)) == folder
    assert refusal("").startswith("name a configuration folder: make lab CONFIG=DIR")
    assert refusal(folder / "none") == f"{folder}/none: no such folder"
    assert refusal(folder / "config.toml") == f"{folder}/config.toml: is a file; name the folder that it is in"
    assert refusal(folder / "addons").startswith(f"{folder}/addons: has no config.toml; `byway config path` shows")
    monkeypatch.setattr(with_config, "FILES_MAX", 2)
    assert refusal(folder).endswith("has more than 2 files or 67,108,864 bytes; is this the right one?")


def test_a_refusal_is_one_line_and_a_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "none")]) == USAGE
    assert capsys.readouterr().err == f"lab: {folder}/none: no such folder\n"
    assert main([str(folder), "a.example=nonsense"]) == USAGE
    assert capsys.readouterr().err.startswith("lab: no scenario of one site is called nonsense: dns-race-bogon, ")
    assert main([str(folder), "--only", "nonsense-*"]) == USAGE
    assert capsys.readouterr().err == "lab: no scenario matches nonsense-*\n"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.toml", CONFIGURED.replace("public_only = true", "publc_only = true"), "config.toml:10: unknown key"),
        ("config.toml", CONFIGURED + "[", "config.toml:"),
        ("rules.txt", f"{RULES}DOMAIN,x.example,RELAY:unknown\n", "rules.txt:6: "),
        ("addons/pin.py", RAISES_WHEN_LOADED, "addons/pin.py:3: "),
        ("addons/pin.py", "def plan(request): return None\n", "addons/pin.py:1: "),
    ],
)
def test_an_error_is_shown_with_its_file_and_line(
    folder: Path, capfd: pytest.CaptureFixture[str], file: str, text: str, said: str
) -> None:
    folder.joinpath("rules.txt").write_text(RULES)
    folder.joinpath(file).write_text(text)
    assert main([str(folder)]) == CONFIG
    (line,) = capfd.readouterr().err.splitlines()
    assert line.removeprefix(f"{folder}/").startswith(said), line


# -- the configuration in the country ----------------------------------------------------------------------------------


def test_each_relay_has_a_stand_in_of_its_kind_and_no_secret_is_left(tmp_path: Path) -> None:
    text, kinds = stood_in(CONFIGURED, Path("/trust.crt"))
    first = [RelayKind.HTTPS, RelayKind.SOCKS4A, RelayKind.SOCKS5H, RelayKind.HTTP, RelayKind.SOCKS5]
    assert kinds == [*first, RelayKind.SOCKS5H, RelayKind.SOCKS5H]
    file = tmp_path / "config.toml"
    file.write_text(f"config_version = 1\n{text}")
    settings = load(file).settings
    assert {relay.name: relay.url for relay in settings.relay} == {
        "vps": "https://192.0.2.129:2000?ca=/trust.crt",
        "old": "socks4a://192.0.2.129:2001",
        "far": "vps>socks5h://192.0.2.129:2002>http://192.0.2.129:2003",
        "local": "socks5://192.0.2.129:2004?resolve=local",
        "own": "addon://tunnel",
        "key": "socks5h://192.0.2.129:2005",
        "shop": "socks5h://192.0.2.129:2006",
    }
    for secret in ("zoya", "hunter2", "example.org:", "password_cmd", "9050", "user ="):
        assert secret not in text
    assert "# two of mine" in text
    assert settings.group[0].relays == ("vps", "old")
    assert settings.list[0].allow_empty
    assert settings.addons["pin"].options == {"hosts": ("pinned.example.org",)}


def test_inspect_is_left_out_of_rules() -> None:
    assert uninspected("DOMAIN,a.example,AUTO , inspect\nMATCH,AUTO,INSPECT # all\n") == (
        "DOMAIN,a.example,AUTO\nMATCH,AUTO # all\n"
    )
    assert uninspected(RULES) == RULES


def test_a_configuration_without_relays_stays() -> None:
    assert stood_in("# nothing\n", Path("/trust.crt")) == ("# nothing\n", [])


def test_hosts_of_rules_and_named_ones_are_sites() -> None:
    chosen = rows(["sni-drop-*"], ["Wiki.example=sni-drop-records", "by-rule.example.org=address-drop"], RULES)
    named = {row.name: row for row, is_named in chosen if is_named}
    assert list(named) == [
        *(f"{name}.example.org" for name in ("by-rule", "by-key", "by-shop", "refused")), "wiki.example"
    ]  # fmt: skip
    assert [row.arrange for row in named.values()] == [
        BY_NAME[name].arrange for name in ("address-drop", "healthy", "healthy", "healthy", "sni-drop-records")
    ]
    others = [row.name for row, is_named in chosen if not is_named]
    assert len(others) > 2
    assert all(name.startswith("sni-drop-") for name in others)
    many = "".join(f"DOMAIN,{number}.example,RELAY\n" for number in range(100))
    assert sum(is_named for _, is_named in rows([], [], many)) == with_config.SITES_MAX


# -- what it comes to --------------------------------------------------------------------------------------------------

CAME = Seen(genuine=True, way=Way.RELAY, added_s=0.01, state=State.BLOCKED, cause="sni_reset")
LOST = replace(CAME, genuine=False, way=Way.NONE, said="refused")
ALL = {Way.DIRECT, Way.RUNG, Way.RELAY}


def line(name: str, *seen: Seen, lasting: State = State.UNKNOWN, action: str = "AUTO") -> Line:
    return Line(BY_NAME[name], Trial(name, 0, seen, lasting), action)


def test_a_page_that_can_come_must_come() -> None:
    assert line("sni-reset-tcp", CAME, CAME, CAME).problems(ALL) == []
    lost = line("sni-drop-records", CAME, LOST, LOST)
    assert lost.problems(ALL) == ["sni-drop-records: 1 of 3 pages came: refused"]
    assert lost.problems({Way.DIRECT, Way.RUNG}) == [], "there is no relay"
    assert replace(lost, action="BLOCK").problems(ALL) == [], "a rule refuses it"
    assert line("freeze", LOST, CAME, CAME).problems(ALL) == [], "no way saves the first page"
    suspect = line("healthy", *[replace(CAME, way=Way.DIRECT, why="a drop")] * 3, lasting=State.SUSPECT)
    assert suspect.problems(ALL) == ["healthy: the site works, and is still suspect: a drop"]


def test_the_table_shows_pages_and_ways() -> None:
    named = replace(line("sni-reset-tcp", CAME), named=True, why="rules.txt:1")
    shown = table([line("healthy", CAME, CAME, LOST), named])
    rows_shown = [row.split() for row in shown.splitlines()[2:5]]
    assert rows_shown[0] == ["healthy", "2/3", "relay*", "none*", "0.01", "blocked", "sni_reset"]
    assert rows_shown[1] == ["sni-reset-tcp", "1/1", "relay", "0.01", "blocked", "sni_reset"]
    assert rows_shown[2] == ["AUTO", "rules.txt:1"]
    shown = table([line("freeze", replace(LOST, way=Way.DIRECT), CAME, CAME)])
    assert shown.splitlines()[2].split()[:4] == ["freeze", "2/3", "direct", "relay"], "no way saves the first page"


def test_the_table_has_the_scenarios_of_one_site() -> None:
    assert len(TABLE) > 50


# -- a run -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.namespaces
@pytest.mark.parametrize("addon", [PIN, RAISES], ids=["a good addon", "one that raises"])
def test_the_country_with_rules_and_an_addon(folder: Path, addon: str) -> None:
    folder.joinpath("addons", "pin.py").write_text(addon)
    if addon is RAISES:
        config = folder / "config.toml"
        config.write_text(config.read_text().partition("[addons.pin]")[0])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = [str(folder), "pinned.example.org=sni-reset-records", "--only", "sni-reset-records healthy dns-nxdomain"]
    command = [sys.executable, "-m", "tests.lab.with_config", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words}
    assert said["healthy"][:2] == ["3/3", "direct"], done.stdout + done.stderr
    assert said["sni-reset-records"][:2] == ["3/3", "relay"], done.stdout
    assert said["dns-nxdomain"][0] == "3/3", done.stdout
    assert said["by-rule.example.org"][:2] == ["3/3", "relay*"], done.stdout
    assert "\n    RELAY rules.txt:1 DOMAIN-SUFFIX,by-rule.example.org,RELAY:vps" in done.stdout
    for name in ("key", "shop"):
        assert said[f"by-{name}.example.org"][:2] == ["3/3", "relay*"], done.stdout
        assert f",RELAY:{name}" in done.stdout
    assert said["refused.example.org"][:2] == ["0/3", "none*"], done.stdout
    assert said["pinned.example.org"][:2] == ["3/3", "relay"], done.stdout
    if addon is PIN:
        assert (done.returncode, "addon pin" in done.stdout) == (0, True), "the reason of the plan names it"
        assert done.stdout.endswith("Every page came that can come, and no addon had a fault.\n")
    else:
        assert done.returncode == BROKEN, done.stdout
        assert f"addon pin: {folder}/addons/pin.py:3: " in done.stdout
        assert "(faults: 3, stopped)" in done.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.namespaces
async def test_a_byway_that_does_not_start_is_refused_with_its_own_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_config, "stood_in", lambda *_: ("[auto]\nretset = true\n", []))
    with pytest.raises(Refused, match=r'exit code 7 before it listened; .*unknown key "retset"'):
        await with_config.run(folder, rows(["healthy"], [], ""), lambda _: None)
