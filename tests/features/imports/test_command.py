"""`byway import`: what is shown, asked, written and undone."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from proxy.features.imports import command
from proxy.terminal.exit_codes import Exit
from tests.features.imports.planned import clash
from tests.features.imports.test_omega import backup, condition, fixed, switch
from tests.support.command_line import Byway, Home, Running

pytestmark = pytest.mark.uses("settings", "rules")

CONFIG = """\
# mine
config_version = 1

[log]
keep_days = 3    # few

[[relay]]   # the only one
name = "tor"
url = "socks5h://127.0.0.1:9050"

# the end
"""
RULES = "\ufeff# own\r\nDOMAIN,own.example,BLOCK\r\n# all else\r\nMATCH,AUTO\r\n"
GROUPS = "  - {name: Auto, type: url-test, proxies: [S, T]}\n"
PROXIES = (
    "  - {name: T, type: http, server: t.example, port: 8443, tls: true, username: me, password: hunter2}\n"
    "  - {name: Key, type: trojan, server: k.example, port: 443, password: hunter3, skip-cert-verify: true}\n"
)


@pytest.fixture
def source(home: Home, tmp_path: Path) -> Path:
    home.config.write_text(CONFIG)
    home.config.with_name("rules.txt").write_bytes(RULES.encode())
    file = tmp_path / "config.yaml"
    file.write_text(
        clash("DOMAIN-SUFFIX,a.example,Auto", "GEOSITE,ru,DIRECT", "DOMAIN,b.example,REJECT", "MATCH,DIRECT",
              proxies=PROXIES, groups=GROUPS)
    )  # fmt: skip
    return file


def files(home: Home) -> tuple[str, bytes]:
    return home.config.read_text(), home.config.with_name("rules.txt").read_bytes()


ADDED_CONFIG = (
    CONFIG + '\n[[relay]]\nname = "S"\nurl = "socks5h://s.example:1080"\npublic_only = true\n'
    '\n[[relay]]\nname = "T"\nurl = "https://me:hunter2@t.example:8443"\npublic_only = true\n'
    '\n[[group]]\nname = "Auto"\nrelays = ["S", "T"]\npolicy = "fastest"\n'
)
ADDED_RULES = RULES.replace("# all else", "DOMAIN-SUFFIX,a.example,RELAY:Auto\r\nDOMAIN,b.example,BLOCK\r\n# all else")


def test_all_is_shown_and_nothing_is_written_before_the_person_agrees(byway: Byway, home: Home, source: Path) -> None:
    before = files(home)
    ran = byway("import", str(source))
    assert (ran.code, files(home)) == (Exit.USAGE, before)
    assert ran.rows == [
        ["entry", "in the file", "result", "as, or why not"],
        ["relay", "S", "taken", "S: socks5h://s.example:1080"],
        ["relay", "T", "taken", "T: https://me:***@t.example:8443"],
        ["relay", "Key", "not taken", ran.rows[3][3]],
        ["group", "Auto", "taken", "Auto: fastest of S, T"],
        ["rule 1", "DOMAIN-SUFFIX,a.example,Auto", "taken", "DOMAIN-SUFFIX,a.example,RELAY:Auto"],
        ["rule 2", "GEOSITE,ru,DIRECT", "not taken", 'it needs a list: name one with --list "GEOSITE,ru=NAME"'],
        ["rule 3", "DOMAIN,b.example,REJECT", "taken", "DOMAIN,b.example,BLOCK"],
        ["rule 4", "MATCH,DIRECT", "not taken", "rules.txt has a MATCH already"],
    ]
    assert ran.rows[3][3].startswith("this Trojan key for k.example:443 (Key) is not supported: field skip-cert-verify")
    assert (
        "Warning: 2 rules that keep sites off relays are not taken; other rules decide, in the end "
        "MATCH,AUTO:\n  rule 2: GEOSITE,ru,DIRECT\n  rule 4: MATCH,DIRECT\n"
    ) in ran.err
    assert ran.err.splitlines()[0] == f"{source} is a Clash configuration."
    assert ran.err.endswith("nothing was imported: without a terminal, check what is shown and use --yes\n")
    assert "hunter" not in ran.out + ran.err


def test_with_yes_both_files_are_edited_and_all_else_in_them_stays(byway: Byway, home: Home, source: Path) -> None:
    ran = byway("import", str(source), "--yes")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "Imported: 2 relays, 1 group, 2 rules.")
    assert files(home) == (ADDED_CONFIG, ADDED_RULES.encode())
    assert home.config.stat().st_mode & 0o777 == 0o600
    assert byway("config", "check").code == 0
    assert byway("rule", "check").code == 0
    again = byway("import", str(source), "--yes")
    assert (again.code, again.err.splitlines()[-1]) == (0, "Nothing in it is new.")
    assert [row[2] for row in again.rows[1:] if not row[0].startswith("rule")].count("is there already") == 3
    assert files(home) == (ADDED_CONFIG, ADDED_RULES.encode())


def test_keys_of_a_configuration_are_relays(byway: Byway, home: Home, source: Path) -> None:
    text = clash("DOMAIN,k.example,Key", proxies=PROXIES.replace(", skip-cert-verify: true", ", sni: a.example"))
    source.write_text(text)
    ran = byway("import", str(source), "--yes")
    assert (ran.code, ran.rows[3]) == (0, ["relay", "Key", "taken", "Key: trojan://k.example:443"])
    assert 'name = "Key"\nurl = "trojan://hunter3@k.example:443?security=tls&sni=a.example"\n' in files(home)[0]
    assert b"DOMAIN,k.example,RELAY:Key" in files(home)[1]
    assert "hunter" not in ran.out + ran.err
    assert byway("config", "check").code == 0


def test_an_import_is_undone_whole(byway: Byway, home: Home, source: Path) -> None:
    before = files(home)
    byway("import", str(source), "--yes")
    undo = home.state / "import-undo.json"
    assert undo.stat().st_mode & 0o777 == 0o600
    ran = byway("import", "--undo")
    assert (ran.code, files(home), undo.exists()) == (0, before, False)
    assert byway("import", "--undo").err == "byway: there is no import to undo\n"


def test_files_that_were_not_there_are_not_there_again(byway: Byway, home: Home, source: Path) -> None:
    rules = home.config.with_name("rules.txt")
    rules.unlink()
    assert byway("import", str(source), "--yes").code == 0
    assert rules.read_text() == "DOMAIN-SUFFIX,a.example,RELAY:Auto\nDOMAIN,b.example,BLOCK\nMATCH,DIRECT\n"
    assert byway("import", "--undo").code == 0
    assert (rules.exists(), home.config.read_text()) == (False, CONFIG)


@pytest.mark.parametrize("edited", ["config.toml", "rules.txt"])
def test_what_was_edited_since_is_not_undone(byway: Byway, home: Home, source: Path, edited: str) -> None:
    byway("import", str(source), "--yes")
    file = home.config.with_name(edited)
    file.write_bytes(file.read_bytes() + b"# later\n")
    after = files(home)
    ran = byway("import", "--undo")
    assert (ran.code, files(home)) == (Exit.FAILED, after)
    assert "was edited since the import" in ran.err


def test_a_damaged_undo_is_said(byway: Byway, home: Home, source: Path) -> None:
    for content in ("{", "[]", '{"config": ["a"], "rules": [null, null], "file": ""}'):
        (home.state / "import-undo.json").write_text(content)
        assert "is damaged, so the last import cannot be undone" in byway("import", "--undo").err
    other = {"config": ["a", "b"], "rules": [None, None], "file": "/elsewhere/config.toml"}
    (home.state / "import-undo.json").write_text(json.dumps(other))
    assert "was into another configuration" in byway("import", "--undo").err


def test_a_rules_file_that_cannot_be_written_leaves_the_configuration_as_it_was(
    byway: Byway, home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.features.imports import writing
    from proxy.model.errors import BywayError

    def full(*_: object, **__: object) -> int:
        raise BywayError("the disk is full")

    before = files(home)
    monkeypatch.setattr(writing, "add_rules", full)
    ran = byway("import", str(source), "--yes")
    assert (ran.code, "the disk is full" in ran.err, files(home)) == (1, True, before)
    assert not (home.state / "import-undo.json").exists()


def test_a_running_byway_uses_it_and_one_that_refuses_it_has_both_files_back(
    byway: Byway, home: Home, source: Path, running: Running
) -> None:
    before = files(home)
    running.world.problems = ["config.toml:1: not now"]
    ran = byway("import", str(source), "--yes")
    assert (ran.code, files(home)) == (Exit.CONFIG, before)
    assert "nothing is imported" in ran.err
    running.world.problems = []
    ran = byway("import", str(source), "--yes")
    assert (ran.code, "The running Byway uses it." in ran.err) == (0, True), ran.err
    assert files(home)[0] == ADDED_CONFIG


@pytest.mark.parametrize(("answer", "is_written"), [(True, True), (False, False)])
def test_a_person_is_asked(
    byway: Byway,
    home: Home,
    source: Path,
    person: None,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool,
    is_written: bool,
) -> None:
    asked = []

    def confirm(question: str) -> bool:
        asked.append((question, files(home)[0] == CONFIG))
        return answer

    monkeypatch.setattr(command, "confirm", confirm)
    monkeypatch.setattr(sys, "stdin", Terminal())
    ran = byway("import", str(source))
    assert asked == [("Import this?", True)]
    assert (ran.code, files(home)[0] == ADDED_CONFIG) == (0, is_written)
    assert ("Nothing was imported." in ran.err) is not is_written


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_answer_as_json(byway: Byway, home: Home, source: Path) -> None:
    ran = byway("import", str(source), "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["written"], document["form"]) == (Exit.USAGE, False, "a Clash configuration")
    assert document["rules"] == ["DOMAIN-SUFFIX,a.example,RELAY:Auto", "DOMAIN,b.example,BLOCK"]
    assert document["entries"][1] == {
        "entry": "relay", "name": "T", "result": "taken", "text": "T: https://me:***@t.example:8443"
    }  # fmt: skip
    assert len(document["warnings"]) == 1
    assert "hunter" not in ran.out
    assert byway("import", str(source), "--json", "--yes").json["written"] is True
    assert byway("import", "--undo", "--json").json["undone"] is True


def test_lists_and_a_relay_that_the_person_names(byway: Byway, home: Home, source: Path) -> None:
    (home.config.parent / "ru.txt").write_text("ru.example\n")
    home.config.write_text(f'{CONFIG}\n[[list]]\nname = "ru"\nsource = "ru.txt"\n')
    source.write_text(clash("GEOSITE,RU,DIRECT", "DOMAIN,k.example,Key", proxies=PROXIES))
    ran = byway("import", str(source), "--list", "geosite,ru=ru", "--relay", "tor", "--yes")
    assert ran.code == 0, ran.err
    assert b"LIST,ru,DIRECT\r\nDOMAIN,k.example,RELAY:tor\r\n" in files(home)[1]
    assert "(by tor, since" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--list", "GEOSITE,ru=none"], '--list: unknown list "none"; no list is configured'),
        (["--list", "ru=none"], "--list takes TYPE,NAME=LIST"),
        (["--list", "DOMAIN,x=none"], "--list takes TYPE,NAME=LIST"),
        (["--relay", "torr"], '--relay: unknown relay "torr"; did you mean tor?'),
        (["--undo"], "give either a configuration to import, or --undo"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_read(
    byway: Byway, home: Home, source: Path, words: list[str], said: str
) -> None:
    ran = byway("import", str(source), *words)
    assert (ran.code, said in ran.err) == (Exit.USAGE, True), ran.err
    assert byway("import").code == Exit.USAGE


def test_a_list_that_cannot_protect_a_site_refuses_the_rule(byway: Byway, home: Home, source: Path) -> None:
    (home.config.parent / "ads.txt").write_text("")
    home.config.write_text(f'{CONFIG}\n[[list]]\nname = "ads"\nsource = "ads.txt"\n')
    source.write_text(clash("GEOSITE,ads,REJECT"))
    ran = byway("import", str(source), "--list", "GEOSITE,ads=ads")
    assert ran.rows[-1][2] == "not taken"
    assert "this rule would cover almost no site" in ran.rows[-1][3]
    assert "1 rule that blocks sites is not taken" in ran.err


def test_a_backup_of_omega(byway: Byway, home: Home, source: Path) -> None:
    source.write_text(backup(fixed(), switch((condition("HostWildcard", "*.a.example"), "vps"))))
    home.config.with_name("rules.txt").unlink()
    ran = byway("import", str(source), "--yes", "--profile", "auto switch")
    assert ran.code == 0, ran.err
    assert files(home)[1] == b"DOMAIN-SUFFIX,a.example,RELAY:vps\nMATCH,DIRECT\n"
    assert "MATCH,DIRECT sends all other sites direct, also blocked ones." in ran.err


@pytest.mark.parametrize(
    ("content", "said", "code"),
    [
        ("hello", "it is no configuration of Clash, sing-box, v2rayN or Xray", Exit.CONFIG),
        ("proxies: [\n", "it is not valid YAML: the fault is in line 2", Exit.CONFIG),
        ("\x00", "config.yaml:1", Exit.CONFIG),
        ("proxies: []\nrules: []\n", "It has no relay, no group and no rule.", Exit.BAD),
        ("rules: ['GEOSITE,a,DIRECT']\n", "Nothing in it can be taken.", Exit.BAD),
    ],
)
def test_a_file_with_nothing_to_take_is_said_in_a_sentence(
    byway: Byway, home: Home, source: Path, content: str, said: str, code: int
) -> None:
    before = files(home)
    source.write_text(content)
    ran = byway("import", str(source), "--yes")
    assert (ran.code, said in ran.err, files(home)) == (code, True, before), ran.err
    assert "Traceback" not in ran.err


def test_files_that_are_none(byway: Byway, home: Home, source: Path, tmp_path: Path) -> None:
    assert byway("import", str(tmp_path / "none")).code == Exit.CONFIG
    assert "is a folder, not a file" in byway("import", str(tmp_path)).err
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    assert "is larger than" in byway("import", str(big)).err
    for url in ("file:///etc/passwd", "http://h.example/x", "https://u:hunter2@h.example/x", "ftp://h.example"):
        ran = byway("import", url)
        assert (ran.code, "give a file, -, or an https:// URL" in ran.err) == (Exit.USAGE, True)
        assert "hunter2" not in ran.err


def test_standard_input(byway: Byway, home: Home, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    ran = byway("import", "-", "--yes")
    assert (ran.code, ran.err.splitlines()[0]) == (0, "standard input is a Clash configuration.")
    assert files(home)[0] == ADDED_CONFIG
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in byway("import", "-").err


def test_on_a_terminal_a_rule_of_several_lines_is_named_once(
    byway: Byway, home: Home, source: Path, person: None
) -> None:
    source.write_text(clash("DST-PORT,22/80,REJECT"))
    ran = byway("import", str(source))
    assert ran.out.count("DST-PORT,22/80,REJECT") == 1
    assert "DST-PORT,80,BLOCK" in ran.out


def test_the_other_imports_point_here(byway: Byway, home: Home, source: Path) -> None:
    assert f"`byway import {source}`" in byway("rule", "import", str(source)).err
    assert f"`byway import {source}`" in byway("config", "import", str(source)).err
