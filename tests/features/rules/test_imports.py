"""`byway rule import`: lists, and rules of other programs."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Byway, Home, Running

pytestmark = pytest.mark.usefixtures("lists_tried_once")

CONFIG = '# mine\nconfig_version = 1\n\n[[relay]]  # the only one\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'
LIST = "[Adblock Plus 2.0]\n||blocked.example^\n||other.example^\n@@||fine.other.example^\n##.banner\n|http://path.example/x\n"


@pytest.fixture
def source(home: Home, tmp_path: Path) -> Path:
    home.config.write_text(CONFIG)
    file = tmp_path / "My list.txt"
    file.write_text(LIST)
    return file


def test_a_list_is_copied_and_added_to_the_configuration(byway: Byway, home: Home, source: Path) -> None:
    ran = byway("rule", "import", str(source))
    copy = home.config.with_name("My-list.txt")
    assert ran.code == 0, ran.err
    assert copy.read_text() == LIST
    assert copy.stat().st_mode & 0o777 == 0o600
    assert home.config.read_text() == f'{CONFIG}[[list]]\nname = "My-list"\nsource = "My-list.txt"\n'
    assert ran.out.splitlines()[0] == f"{copy}: list My-list is added."
    facts = dict(row[:2] for row in ran.rows[1:] if row[0])
    assert facts["format"] == "adblock"
    assert facts["entries"] == "3 (3 domains)"
    assert facts["exceptions"] == "1"
    assert facts["skipped"].startswith("1 ")
    assert facts["widened"].startswith("1 ")
    assert "byway rule add LIST,My-list,RELAY" in ran.err
    assert byway("rule", "add", "LIST,My-list,RELAY").code == 0
    assert byway("rule", "list").rows[1][3:6] == ["My-list", "3", "RELAY"]


def test_a_list_is_read_from_standard_input(
    byway: Byway, home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.example\n192.0.2.0/24\n")))
    told = byway("rule", "import", "-", "--list", "mine", "--json").json
    assert (told["new"], told["file"]) == (True, str(home.config.with_name("mine.txt")))
    assert (told["list"]["format"], told["list"]["kinds"]) == ("plain", {"domain": 1, "prefix": 1})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.example\n")))
    ran = byway("rule", "import", "-")
    assert (ran.code, "give one with --list NAME" in ran.err) == (2, True)


def test_what_a_list_includes_comes_with_it(byway: Byway, home: Home, source: Path) -> None:
    (source.parent / "category").write_text("include:one @cn\ninclude:none\nregexp:^x\n")
    (source.parent / "one").write_text("full:a.example @cn\nb.example\n")
    ran = byway("rule", "import", str(source.parent / "category"))
    assert ran.code == 0, ran.err
    assert dict(row[:2] for row in ran.rows[1:] if row[0])["entries"] == "1 (1 domain)"
    copy = home.config.with_name("category.txt")
    assert copy.read_text() == "# include:one @cn\nfull:a.example @cn\ninclude:none\nregexp:^x\n"
    before = copy.read_text()
    assert byway("rule", "import", str(copy), "--list", "category").code == 0
    assert copy.read_text() == before


def test_importing_again_replaces_the_file_and_nothing_else(byway: Byway, home: Home, source: Path) -> None:
    byway("rule", "import", str(source), "--list", "gfw")
    byway("rule", "add", "LIST,gfw,RELAY")
    config = home.config.read_text()
    source.write_text(f"{LIST}||third.example^\n")
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, home.config.read_text()) == (0, config)
    assert ran.out.splitlines()[0].endswith("gfw.txt: list gfw is replaced.")
    assert ran.err == "It is used by rules.txt:1 LIST,gfw,RELAY.\n"
    assert home.config.with_name("gfw.txt").read_text() == source.read_text()


def test_lists_are_added_behind_those_that_are_there(byway: Byway, home: Home, source: Path) -> None:
    for name in ("one", "two"):
        assert byway("rule", "import", str(source), "--list", name, "--format", "adblock").code == 0
    table = '[[list]]\nname = "{0}"\nsource = "{0}.txt"\nformat = "adblock"\n'
    assert home.config.read_text() == f"{CONFIG}{table.format('one')}\n{table.format('two')}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("||one.example^\n", "it has shrunk from 3 entries to 1"),
        ("", "it is empty"),
        ("[AutoProxy 0.2.9]\n@@||fine.example\n/regular/\n", "it has exceptions only"),
        ("<!doctype html><html><body>no such page</body></html>\n", "is a web page, not a list"),
        ("?? no\n!! list\n&& at all\na.example\n", "more lines cannot be read"),
    ],
)
def test_what_is_worse_than_before_is_not_taken(
    byway: Byway, home: Home, source: Path, content: str, said: str
) -> None:
    byway("rule", "import", str(source), "--list", "gfw")
    byway("rule", "add", "LIST,gfw,DIRECT")
    source.write_text(content)
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, said in ran.err, "--force" in ran.err) == (7, True, True), ran.err
    assert home.config.with_name("gfw.txt").read_text() == LIST
    assert byway("rule", "import", str(source), "--list", "gfw", "--force").code == 0
    assert home.config.with_name("gfw.txt").read_text() == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388#x\n", "it has keys of relays (ss://)"),
        (
            base64.encodebytes(b"ss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388#x\n").decode(),
            "this is a base64 bundle of keys, which has relays",
        ),
        ("proxies:\n  - {name: a, type: ss, password: hunter2}\n", "this is a Clash configuration, which has relays"),
        ('{"log": {}, "outbounds": [{"password": "hunter2"}]}', "this is a sing-box configuration, which has relays"),
    ],
)
def test_relays_are_no_list_and_nothing_of_them_is_shown(
    byway: Byway, home: Home, source: Path, content: str, said: str
) -> None:
    source.write_text(content)
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, ran.err.startswith(f"{source}: is no list of sites: {said}")) == (7, True), ran.err
    assert content.split()[-1][:20] not in ran.err
    source.write_text('{"error": "not found"}')
    assert "no line of it can be used" in byway("rule", "import", str(source), "--list", "gfw").err


def test_a_list_that_a_rule_could_not_use_is_not_taken_by_force_either(byway: Byway, home: Home, source: Path) -> None:
    byway("rule", "import", str(source), "--list", "gfw")
    byway("rule", "add", "LIST,gfw,RELAY")
    source.write_text("")
    ran = byway("rule", "import", str(source), "--list", "gfw", "--force")
    assert (ran.code, "rules.txt:1: this rule would cover almost no site" in ran.err) == (7, True)
    assert home.config.with_name("gfw.txt").read_text() == LIST


@pytest.mark.parametrize("damage", [lambda copy: copy.unlink(), lambda copy: copy.write_bytes(b"\xff\xfe")])
def test_a_copy_that_is_missing_or_damaged_is_repaired(
    byway: Byway, home: Home, source: Path, damage: Callable[[Path], object]
) -> None:
    byway("rule", "import", str(source), "--list", "gfw")
    byway("rule", "add", "LIST,gfw,RELAY")
    copy = home.config.with_name("gfw.txt")
    damage(copy)
    assert byway("rule", "check").code == 7
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, ran.err) == (0, "It is used by rules.txt:1 LIST,gfw,RELAY.\n")
    assert copy.read_text() == LIST
    assert byway("rule", "check").code == 0


def test_lists_that_are_missing_are_all_told_and_repaired_one_by_one(byway: Byway, home: Home, source: Path) -> None:
    for name in ("one", "two"):
        byway("rule", "import", str(source), "--list", name)
        byway("rule", "add", f"LIST,{name},RELAY")
    for name in ("one", "two"):
        home.config.with_name(f"{name}.txt").unlink()
    problems = [
        f"{home.config.with_name(f'{name}.txt')}: no such file; put list {name} there, or remove its [[list]]"
        for name in ("one", "two")
    ]
    checked = byway("rule", "check")
    assert (checked.code, checked.err.splitlines()) == (7, problems)
    ran = byway("rule", "import", str(source), "--list", "one")
    assert (ran.code, ran.err.splitlines()) == (
        0,
        [
            "It is used by rules.txt:1 LIST,one,RELAY.",
            f"Byway cannot use its configuration until another list is mended: {problems[1]}",
        ],
    )
    assert byway("rule", "import", str(source), "--list", "two").err == "It is used by rules.txt:2 LIST,two,RELAY.\n"
    assert byway("rule", "check").code == 0


def test_another_file_of_that_name_is_not_overwritten(byway: Byway, home: Home, source: Path) -> None:
    mine = home.config.with_name("gfw.txt")
    mine.write_text("mine.example\n")
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, mine.read_text()) == (7, "mine.example\n")
    assert home.config.read_text() == CONFIG
    assert byway("rule", "import", str(mine), "--list", "gfw").code == 0  # itself
    assert mine.read_text() == "mine.example\n"
    assert 'source = "gfw.txt"' in home.config.read_text()
    assert byway("rule", "import", str(source), "--list", "rules").code == 0
    assert not home.config.with_name("rules.txt").exists()


def test_a_configuration_with_a_fault_is_left_alone(byway: Byway, home: Home, source: Path) -> None:
    home.config.write_text(f"{CONFIG}colour = 3\n")
    assert byway("rule", "import", str(source), "--list", "gfw").code == 7
    assert not home.config.with_name("gfw.txt").exists()


@pytest.mark.parametrize(
    "words", [["--list", "a b"], ["--format", "adblok"], ["--list", "x" * 40], ["--add", "--list", "gfw"]]
)
def test_wrong_usage(byway: Byway, home: Home, source: Path, words: list[str]) -> None:
    ran = byway("rule", "import", str(source), *words)
    assert ran.code in (2, 7)
    assert home.config.read_text() == CONFIG
    assert {file.name for file in home.config.parent.iterdir()} == {"config.toml"}


def test_rules_with_actions_are_added_or_read_as_a_list(byway: Byway, home: Home, source: Path) -> None:
    source.write_text("DOMAIN-SUFFIX,a.example,DIRECT\n")
    ran = byway("rule", "import", str(source), "--list", "gfw", "--add")
    assert (ran.code, "give only one of them" in ran.err) == (2, True), ran.err


def test_a_url_is_added_and_not_fetched(byway: Byway, home: Home, source: Path) -> None:
    url = "https://lists.example/data/gfwlist.txt"
    ran = byway("rule", "import", url)
    assert ran.code == 0, ran.err
    assert home.config.read_text() == f'{CONFIG}[[list]]\nname = "gfwlist"\nsource = "{url}"\n'
    assert "byway list refresh gfwlist" in ran.err
    assert "is there already" in byway("rule", "import", url).out
    assert byway("rule", "import", "https://other.example/gfwlist.txt").code == 2
    assert byway("rule", "import", str(source), "--list", "gfwlist").code == 2
    assert byway("rule", "import", "http://lists.example/x.txt").code == 7


RULES = """\
rules:
  - DOMAIN-SUFFIX,google.com,PROXY
  - DOMAIN,known.example,REJECT
  - DOMAIN-KEYWORD,bad keyword,DIRECT
  - GEOIP,CN,DIRECT
  - MATCH,DIRECT
"""


def test_rules_of_another_program_are_shown_and_only_added_when_asked(
    byway: Byway, home: Home, source: Path, running: Running
) -> None:
    own = home.config.with_name("rules.txt")
    own.write_text("DOMAIN,known.example,BLOCK\n# all else\nMATCH,AUTO\n")
    source.write_text(RULES)
    ran = byway("rule", "import", str(source))
    assert ran.out == "DOMAIN-SUFFIX,google.com,RELAY\n"
    told = ran.err.splitlines()
    assert told[0].startswith(f'{source}:4: not taken: keyword "bad keyword" can never match')
    assert told[1] == f'{source}:5: not taken: "GEOIP,CN,DIRECT": Byway has no rules of type "GEOIP"'
    assert told[2] == f"{source}:6: not taken: MATCH,DIRECT: rules.txt has a MATCH already"
    assert "nothing is written" in told[3]
    assert "MATCH,AUTO" in own.read_text()
    assert "google" not in own.read_text()
    added = byway("rule", "import", str(source), "--add", "--json").json
    assert (added["rules"], added["added_at"]) == (["DOMAIN-SUFFIX,google.com,RELAY"], 2)
    assert own.read_text() == "DOMAIN,known.example,BLOCK\nDOMAIN-SUFFIX,google.com,RELAY\n# all else\nMATCH,AUTO\n"
    assert byway("rule", "import", str(source), "--add").out == ""  # nothing is new
    assert "google" in own.read_text()


def test_a_file_of_rules_is_a_list_when_it_is_named_one(byway: Byway, home: Home, source: Path) -> None:
    source.write_text("DOMAIN-SUFFIX,google.com,PROXY\n")
    assert byway("rule", "import", str(source), "--list", "proxied", "--json").json["list"]["entries"] == 1


def test_standard_input_that_is_closed_is_said(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ran = byway("rule", "import", "-", "--list", "a")
    assert (ran.code, ran.err) == (
        2, "byway: standard input is closed; name a file, or pipe the list into the command\n"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["bad name", "../up", "", "-x", "a" * 33])
def test_a_name_that_no_list_can_have_is_refused_before_a_file_has_it(
    byway: Byway, home: Home, source: Path, name: str
) -> None:
    before = sorted(home.config.parent.rglob("*"))
    ran = byway("rule", "import", str(source), f"--list={name}")
    assert (ran.code, "must start with a letter or digit" in ran.err) == (2, True)
    assert sorted(home.config.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "content",
    [
        "h.example:1080:user:hunter2\n",
        "machine h.example login user password hunter2\n",
        '{"server": "h.example", "password": "hunter2"}\n',
        "shadowsocks=h.example:1, method=x, password=hunter2, tag=a\n[filter_local]\nhost-suffix, a.test, proxy\n",
    ],
)
def test_a_line_that_may_hold_a_password_is_not_shown(byway: Byway, home: Home, source: Path, content: str) -> None:
    source.write_text(content)
    ran = byway("rule", "import", str(source), "--list", "gfw")
    assert (ran.code, "hunter2" in ran.out + ran.err) == (7, False)
    assert "no line of it can be used (the first of them is not shown, because it may hold a password)" in ran.err
    source.write_text("some words\n")
    assert '"some words" is neither' in byway("rule", "import", str(source), "--list", "gfw").err


def test_a_source_that_is_no_https_url_is_said_without_a_line_of_the_configuration(byway: Byway, home: Home) -> None:
    home.config.write_text(CONFIG)
    for url in ("http://lists.example/x.txt", "ftp://lists.example/x", "https://u:secret@lists.example/x"):
        ran = byway("rule", "import", url)
        assert (ran.code, ran.err.startswith("the source of a list is a file or an https:// URL: ")) == (7, True)
        assert "secret" not in ran.err
        assert home.config.read_text() == CONFIG


def test_a_backup_of_switchyomega_is_shown_as_rules(byway: Byway, home: Home, source: Path) -> None:
    home.config.write_text(CONFIG)
    source.write_text(
        '{"+p": {"name": "p", "profileType": "FixedProfile"}, "+auto": {"name": "auto", "profileType": "SwitchProfile",'
        '"defaultProfileName": "direct", "rules": [{"condition": {"conditionType": "HostWildcardCondition",'
        '"pattern": "*.a.example"}, "profileName": "p"}]}}'
    )
    ran = byway("rule", "import", str(source))
    assert (ran.code, ran.out) == (0, "DOMAIN-SUFFIX,a.example,RELAY\nMATCH,DIRECT\n")
    source.write_text('{"+p": {"profileType": "SwitchProfile"}}')
    ran = byway("rule", "import", str(source))
    assert ran.code == 7
    assert ran.err == f"{source}: the backup of SwitchyOmega is damaged, or of an unknown version\n"
