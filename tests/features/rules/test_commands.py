"""`byway rule`, with a running Byway and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.languages.amounts import clock
from proxy.model import Action, Override
from tests.support.command_line import Byway, Home, Running

pytestmark = pytest.mark.usefixtures("lists_tried_once")

RULES = "# mine\nDOMAIN-SUFFIX,ads.example,BLOCK\nDOMAIN,example.org,RELAY:tor\n"
RELAY = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'


@pytest.fixture
def files(home: Home) -> Home:
    home.config.write_text(f"config_version = 1\n{RELAY}")
    home.config.with_name("rules.txt").write_text(RULES)
    return home


def test_a_url_is_tested_from_the_files(byway: Byway, files: Home) -> None:
    ran = byway("rule", "test", "http://Example.org/")
    assert ran.code == 0
    assert ran.rows == [
        ["what", "value"],
        ["host", "example.org:80"],
        ["action", "RELAY"],
        ["routes", "tor"],
        ["why", "rules.txt:3 DOMAIN,example.org,RELAY:tor"],
        ["trace", "RELAY:tor by rules.txt:3 DOMAIN,example.org,RELAY:tor"],
    ]
    assert "No Byway is running" in ran.err
    told = byway("rule", "test", "x.ads.example", "--json").json
    assert (told["version"], told["plan"]["action"], told["plan"]["routes"]) == (2, "BLOCK", [])


def test_a_running_byway_knows_what_was_set(byway: Byway, files: Home, running: Running) -> None:
    running.world.parts.override("example.org", Override(Action.DIRECT))
    ran = byway("rule", "test", "http://example.org/")
    assert ["action", "DIRECT"] in ran.rows
    assert ran.err == ""


def test_the_line_of_a_list_is_named(byway: Byway, files: Home) -> None:
    files.config.with_name("near.txt").write_text("# near\na.example\nbücher.example\n")
    with files.config.open("a") as file:
        file.write('[[list]]\nname = "near"\nsource = "near.txt"\n')
    assert byway("rule", "test", "www.a.example").rows[-1] == ["list", "near, line 2: a.example"]
    assert byway("rule", "test", "bücher.example").rows[-1] == ["list", "near: xn--bcher-kva.example"]
    told = byway("rule", "test", "a.example", "--json").json
    assert told["listed"] == [{"list": "near", "entry": "a.example", "line": 2, "text": "a.example"}]


def test_what_is_no_url_is_wrong_usage(byway: Byway, files: Home) -> None:
    assert byway("rule", "test", "a..b").code == 2


HEADINGS = ["no", "at", "type", "value", "entries", "action", "hits", "last hit"]


def test_rules_are_listed(byway: Byway, files: Home) -> None:
    ran = byway("rule", "list")
    assert ran.rows == [
        HEADINGS,
        ["1", "rules.txt:2", "DOMAIN-SUFFIX", "ads.example", "", "BLOCK", "", ""],
        ["2", "rules.txt:3", "DOMAIN", "example.org", "", "RELAY:tor", "", ""],
    ]
    assert byway("rule", "list", "--json").json["rules"][0]["line"] == 2


def test_rules_of_the_running_byway_are_listed_with_their_hits(byway: Byway, files: Home, running: Running) -> None:
    world = running.world
    world.parts.override("example.org", Override(Action.RELAY, "tor"))
    for at in (1000.0, 1_600_000_000.0):
        world.rule_hits.count("DOMAIN-SUFFIX,ads.example,BLOCK", at)
    world.rule_hits.count("site set example.org RELAY:tor", 1_600_000_000.0)
    last = clock(1_600_000_000.0)
    assert byway("rule", "list").rows == [
        HEADINGS,
        ["", "site set", "DOMAIN-SUFFIX", "example.org", "", "RELAY:tor", "1", last],
        ["1", "rules.txt:1", "DOMAIN-SUFFIX", "ads.example", "", "BLOCK", "2", last],
        ["2", "rules.txt:2", "DOMAIN-SUFFIX", "example.org", "", "RELAY:tor", "0", ""],
    ]
    (never,) = [rule for rule in byway("rule", "list", "--json").json["rules"] if not rule["hits"]]
    assert (never["line"], never["last_hit_at"]) == (2, None)


def test_the_entries_of_a_list_are_counted(byway: Byway, files: Home, gfwlist: Path) -> None:
    gfwlist.write_text("a.example\nb.example\n")
    files.config.with_name("rules.txt").write_text("LIST,gfw,RELAY\nMATCH,AUTO\n")
    assert [row[3:5] for row in byway("rule", "list").rows[1:]] == [["gfw", "2"], ["", ""]]


def test_good_rules_have_no_fault(byway: Byway, files: Home, tmp_path: Path) -> None:
    assert byway("rule", "check").out.endswith("rules.txt: 2 rules, no errors\n")
    other = tmp_path / "other.txt"
    other.write_text("MATCH,AUTO\nDOMAIN,x.example,BLOCK\n")
    ran = byway("rule", "check", str(other))
    assert ran.out == f"{other}: 2 rules, no errors\n"
    assert "MATCH applies to everything" in ran.err
    assert byway("rule", "check", str(other), "--json").json["rules"] == 2


def test_no_rules_are_no_fault(byway: Byway, home: Home) -> None:
    ran = byway("rule", "check")
    assert ran.code == 0
    assert "every site is AUTO" in ran.out
    assert "There are no rules" in byway("rule", "list").err


def test_all_faults_are_shown_with_their_lines_and_end_with_7(byway: Byway, files: Home) -> None:
    files.config.with_name("rules.txt").write_text("DOMAN,x,BLOCK\nMATCH,AUTO\nDOMAIN,x.example,RELAY:none\n")
    ran = byway("rule", "check")
    assert ran.code == 7
    assert ran.out == ""
    assert [line.partition(": ")[0] for line in ran.err.splitlines()] == ["rules.txt:1", "rules.txt:3"]
    for words in (("rule", "list"), ("rule", "test", "x.example"), ("config", "check")):
        assert byway(*words).code == 7


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read_ends_with_7(byway: Byway, files: Home, tmp_path: Path, name: str) -> None:
    ran = byway("rule", "check", str(tmp_path / name))
    assert ran.code == 7
    assert len(ran.err.splitlines()) == 1


def test_lists_of_the_configuration_may_be_named(byway: Byway, files: Home, tmp_path: Path) -> None:
    with files.config.open("a") as config:
        config.write('[[list]]\nname = "gfw"\nsource = "gfw.txt"\n')
    files.config.with_name("gfw.txt").write_text("blocked.example\n")
    other = tmp_path / "other.txt"
    other.write_text("LIST,gfw,RELAY\n")
    assert byway("rule", "check", str(other)).code == 0
    other.write_text("LIST,gwf,RELAY\n")
    ran = byway("rule", "check", str(other))
    assert ran.code == 7
    assert "did you mean gfw?" in ran.err


BASE64 = "W0F1dG9Qcm94eSAwLjIuOV0KISBDaGVja3N1bTogSmlSdnVGNjdrYlhydVB0cUxPYU1nMTN\n" * 9 + "fD\n"
"""As gfwlist is published; its short last line looks like a domain."""


@pytest.fixture
def gfwlist(files: Home) -> Path:
    with files.config.open("a") as config:
        config.write('[[list]]\nname = "gfw"\nsource = "gfw.txt"\n')
    file = files.config.with_name("gfw.txt")
    file.write_text(BASE64)
    return file


def test_a_list_that_protects_nobody_is_an_error_under_relay(byway: Byway, files: Home, gfwlist: Path) -> None:
    files.config.with_name("rules.txt").write_text("MATCH,AUTO\nLIST,gfw,RELAY\n")
    for words in (("rule", "check"), ("config", "check"), ("rule", "test", "x.example"), ("run", "--port", "0")):
        ran = byway(*words)
        assert ran.code == 7, words
        assert f"rules.txt:2: this rule would cover almost no site: {gfwlist}:1: " in ran.err
        assert "1 line read, 9 lines skipped" in ran.err
    with files.config.open("a") as config:
        config.write("allow_empty = true\n")
    for words in (("rule", "check"), ("config", "check")):
        assert byway(*words).code == 0


def test_a_list_that_was_hardly_read_is_told_wherever_it_is_checked(byway: Byway, files: Home, gfwlist: Path) -> None:
    files.config.with_name("rules.txt").write_text("LIST,gfw,DIRECT\n")
    for words in (("rule", "check"), ("config", "check"), ("rule", "list")):
        ran = byway(*words)
        assert ran.code == 0
        assert "1 line read, 9 lines skipped" in ran.err
        assert any("1 line read, 9 lines skipped" in notice for notice in byway(*words, "--json").json["notices"])
    (told,) = byway("rule", "check", "--json").json["lists"]
    assert told == {"name": "gfw", "file": str(gfwlist), "lines_read": 1, "lines_skipped": 9}


def test_C7_a_list_line_that_is_a_public_suffix_is_left_out(byway: Byway, files: Home, gfwlist: Path) -> None:
    gfwlist.write_text("a.example\ncom\n")
    files.config.with_name("rules.txt").write_text("LIST,gfw,RELAY\n")
    ran = byway("rule", "check")
    assert ran.code == 0
    assert f'{gfwlist}:2: "com" is a public suffix, and is left out; to list every site below it' in ran.err


@pytest.mark.uses("settings")
@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfe\x00a", b"caf\xe9.example\n"])
def test_a_list_that_is_no_text_is_an_error(byway: Byway, files: Home, gfwlist: Path, content: bytes) -> None:
    gfwlist.write_bytes(content)
    ran = byway("config", "check")
    assert (ran.code, str(gfwlist) in ran.err) == (7, True)


PAGES = """name,scope,other_names,location_found,pattern_type,pattern,confidence_no_fp,expected_countries,source,notes
made.up_1,isp,,body,contains,stop.example/law,5,KZ,made up,
made.up_2,vbw,,body,contains,Blocked URL,5,,made up,
made.up_3,fp,,body,contains,solve this to see,5,,made up,
made.up_4,isp,,body,regexp,(a|b)+c,5,,made up,
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    file = tmp_path / "fingerprints_http.csv"
    file.write_text(PAGES)
    return file


def test_block_pages_are_imported_and_counted(byway: Byway, files: Home, pages: Path) -> None:
    ran = byway("rule", "import", str(pages))
    kept = files.config.with_name("block_pages.csv")
    assert ran.code == 0
    assert kept.read_text() == PAGES
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "block pages: 1; exceptions: 1; rows skipped: 2 (too vague or not a block: 1; unusable: 1)" in ran.out
    assert f"{pages}:5: the regular expression" in ran.err
    told = byway("rule", "import", str(pages), "--json").json
    assert (told["taken"], told["vetoes"], told["vague"], len(told["refused"])) == (1, 1, 1, 1)


def test_they_are_kept_beside_a_configuration_that_is_not_there_yet(byway: Byway, home: Home, pages: Path) -> None:
    assert byway("rule", "import", str(pages)).code == 0
    assert home.config.with_name("block_pages.csv").exists()


def test_what_is_no_list_of_block_pages_leaves_the_one_before(byway: Byway, files: Home, pages: Path) -> None:
    byway("rule", "import", str(pages))
    for content in (PAGES.splitlines()[0] + "\n", ""):
        pages.write_text(content)
        assert byway("rule", "import", str(pages)).code == 7
    assert byway("rule", "import", str(pages.with_name("missing.csv"))).code == 7
    assert files.config.with_name("block_pages.csv").read_text() == PAGES


def test_rules_about_programs_and_networks_are_tested_from_the_files(byway: Byway, files: Home) -> None:
    with files.config.open("a") as config:
        config.write('[networks]\ncafe = "0123456789abcdef"\n')
    files.config.with_name("rules.txt").write_text("PROCESS-NAME,firefox,RELAY\nNETWORK,cafe,BLOCK\nMATCH,DIRECT\n")

    def action(*words: str) -> str:
        told = byway("rule", "test", "a.example", *words, "--json").json
        return str(told["plan"]["action"])

    assert [action(), action("--process", "Firefox"), action("--network", "CAFE")] == ["DIRECT", "RELAY", "BLOCK"]
    ran = byway("rule", "test", "a.example", "--network", "caffe")
    assert (ran.code, 'unknown network "caffe"; did you mean cafe?' in ran.err) == (2, True)
    assert ["trace", "rules.txt:1 PROCESS-NAME,firefox,RELAY decides for that program"] in byway(
        "rule", "test", "a.example"
    ).rows


def test_a_list_of_rules_says_that_the_edited_file_is_not_in_use(byway: Byway, running: Running) -> None:
    assert "is not" not in byway("rule", "list").err
    running.do(lambda: running.world.counters.update(config_problem='rules.txt:2: unknown rule type "DOMAN"'))
    ran = byway("rule", "list")
    told = 'These are the rules in use; the edited configuration is not: rules.txt:2: unknown rule type "DOMAN"'
    assert (ran.code, ran.err.splitlines()[0]) == (0, told)
