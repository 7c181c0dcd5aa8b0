"""PAC files, read as data. The samples have the forms of those that people publish; none is ever run here."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.pac import recognizes
from tests.routing.lists.pac_scripts import (
    BOTH,
    DATA,
    HOST,
    PROXY,
    SITE,
    SITES,
    SUBDOMAINS,
    excepted,
    listed,
    read,
    read_body,
    read_condition,
)
from tests.routing.lists.reading import shown
from tests.support.calls import counting
from tests.support.rows import each_row


@each_row(
    ("body", "expected"),
    [
        (
            "for (var i = 0; i < sites.length; i++) if (dnsDomainIs(host, sites[i])) return p;",
            dict.fromkeys(BOTH, SITE),
        ),
        (
            "for (i in sites) { if (host == sites[i] || host.endsWith('.' + sites[i])) return p; }",
            dict.fromkeys(BOTH, SITE),
        ),
        ("for (var i = 0; i < 2; i++) { var d = sites[i]; if (host == d) { return p } }", BOTH),
        (
            "for (var i in globs) { if (shExpMatch(host, globs[i])) { return p; } }",
            {"a.example": SUBDOMAINS, "b*.example": HOST},
        ),
        ("for (const i of [0]) if (dnsDomainIs(host, dotted[i])) return p;", {"a.example": SUBDOMAINS}),
        ("while (true) { if (hosts.hasOwnProperty(host)) return p; host = host.slice(1); }", {**SITES, "c": SITE}),
        ("var s = host; do { if (hosts[s]) { return p; } s = s.substr(1); } while (s)", {**SITES, "c": SITE}),
    ],
)
def test_arrays_and_dictionaries_that_a_loop_walks_through(body: str, expected: dict[str, Covers]) -> None:
    assert listed(read_body(f"{body} return 'DIRECT';", DATA + f"var p = {PROXY};")) == expected


GFWLIST2PAC = """var proxy = 'SOCKS5 127.0.0.1:1080; DIRECT;';
var rules = [
    [["user.fine.example"], ["user.example", "www.later.example"]],
    [["fine.example", "later.example"], ["example", "a.test"]]
];
var lastRule = '';
function FindProxyForURL(url, host) {
    for (var i = 0; i < rules.length; i++) {
        ret = testHost(host, i);
        if (ret != undefined)
            return ret;
    }
    return 'DIRECT';
}
function testHost(host, index) {
    for (var i = 0; i < rules[index].length; i++) {
        for (var j = 0; j < rules[index][i].length; j++) {
            lastRule = rules[index][i][j];
            if (host == lastRule || host.endsWith('.' + lastRule))
                return i % 2 == 0 ? 'DIRECT' : proxy;
        }
    }
    lastRule = '';
}
// REF: https://developer.mozilla.org
if (!String.prototype.endsWith) {
    String.prototype.endsWith = function(searchString, position) {
        var subjectString = this.toString();
        if (typeof position !== 'number' || !isFinite(position)) { position = subjectString.length; }
        return subjectString.indexOf(searchString, position) !== -1;
    };
}
"""


def test_gfwlist2pac_with_pairs_of_arrays() -> None:
    found = read(GFWLIST2PAC)
    assert listed(found) == {"user.example": SITE, "www.later.example": SITE, "example": SITE, "a.test": SITE}
    assert excepted(found) == {"user.fine.example": SITE, "fine.example": SITE}
    assert found.skips == {Skip.ORDER: 1}
    assert found.missing == ""
    with pytest.raises(ConfigError, match="nothing is understood"):
        read(GFWLIST2PAC.replace("i % 2 == 0", "i % 2 == 1"))


def test_gfwlist2pac_with_a_dictionary_and_the_alike() -> None:
    found = read(
        'var domains = {\n "google.example": 1,\n "b.example": 1\n};\nvar proxy = "SOCKS5 127.0.0.1:1";\n'
        "var direct = 'DIRECT;';\nvar hasOwnProperty = Object.hasOwnProperty;\n"
        "function FindProxyForURL(url, host) {\n var suffix; var pos = host.lastIndexOf('.');\n"
        " pos = host.lastIndexOf('.', pos - 1);\n while (1) {\n  if (pos <= 0) {\n"
        "   if (hasOwnProperty.call(domains, host)) { return proxy; } else { return direct; }\n  }\n"
        "  suffix = host.substring(pos + 1);\n  if (hasOwnProperty.call(domains, suffix)) { return proxy; }\n"
        "  pos = host.lastIndexOf('.', pos - 1);\n }\n}\n"
    )
    assert listed(found) == {"google.example": SITE, "b.example": SITE}
    assert found.missing == ""


def test_a_script_that_keeps_adblock_filters() -> None:
    found = read(
        'var proxy = "SOCKS5 127.0.0.1:1";\nvar rules = [\n  "||a.example",\n  "@@||fine.a.example",\n'
        '  "|http:\\/\\/b.example\\/x",\n'
        '  "/^https?:\\\\/\\\\/c/", "! note"\n];\n/* engine */ '
        "function createDict() { var r = {}; r.__proto__ = null; return r; }\nclass X extends Y { }\n"
        "function FindProxyForURL(url, host) { return m.matchesAny(url, host) ? proxy : 'DIRECT'; }"
    )
    assert listed(found) == {"a.example": SITE, "b.example": HOST}
    assert excepted(found) == {"fine.a.example": SITE}
    assert found.skips == {Skip.REGULAR_EXPRESSION: 1}
    assert found.lines_widened == 1


def test_a_handwritten_script() -> None:
    found = read(
        '\nvar direct = "DIRECT";\n\nvar proxy = "PROXY 192.0.2.1:8080"\n\n\nfunction FindProxyForURL(url, h)\n{\n\n'
        '// Blocked\nif (dnsDomainIs(h, "fine.vk.example")) return direct;\n'
        'if (dnsDomainIs(h, "vk.example")\n  || dnsDomainIs(h, ".ok.example") || host == "x.example")\n'
        "  { return proxy; }\n"
        ' else if (h == "y.example") { alert(h); return "HTTPS a:1; " + proxy; }\n else\n  { return direct; }\n\n}'
    )
    assert listed(found) == {"vk.example": SITE, "ok.example": SUBDOMAINS, "y.example": HOST}
    assert excepted(found) == {"fine.vk.example": SITE}
    assert found.skips == {Skip.SCRIPT: 1}
    assert found.skipped == (f'proxy.pac:13: "host == "x.example"" {Skip.SCRIPT.sentence}',)


def test_what_is_reached_only_under_a_condition_that_is_not_understood_is_skipped() -> None:
    found = read_body(
        "if (url.substring(0, 5) == 'http:') { if (host == 'a.example') return p; }\n"
        "if (host == 'b.example') { count(host); if (night()) return p; }\n"
        "if (host == 'c.example') return who();\nif (host == 'd.example') return p;\nreturn 'DIRECT';\n"
        "if (host == 'never.example') return p;",
        f"var p = {PROXY};",
    )
    assert listed(found) == {"d.example": HOST}
    assert found.skips == {Skip.SCRIPT: 3}


def test_an_array_that_nothing_understood_uses_and_a_statement_that_is_not_known_are_reported() -> None:
    found = read_condition("decide(sites)", 'var sites = ["a.example", "b.example"];')
    assert found.skips == {Skip.SCRIPT: 2}
    found = read_body(
        f"switch (host) {{ case 'a': return 1; }}\nif (host == 'b.example') return {PROXY}; return 'DIRECT';"
    )
    assert listed(found) == {"b.example": HOST}
    assert found.skips == {Skip.SCRIPT: 1}


@each_row(
    "set_before",
    [
        "var r = 'PROXY x:1'; if (weekday()) { r = 'DIRECT'; }",
        "var r = 'PROXY x:1'; if (weekday()) r = 'DIRECT'; if (night()) r = 'PROXY y:1';",
        "var r; if (weekday()) { r = 'DIRECT'; } else { r = 'PROXY x:1'; }",
        "var r; if (weekday()) r = 'DIRECT';",
    ],
)
def test_what_a_variable_holds_after_a_condition_is_not_known(set_before: str) -> None:
    found = read_body(
        f"{set_before}\nif (host == 'a.example') return r;\n"
        "if (host == 'b.example') return 'PROXY x:1'; return 'DIRECT';"
    )
    assert (shown(found.listed), shown(found.exceptions)) == (["=b.example"], [])
    assert Skip.SCRIPT in found.skips


@each_row(
    ("body", "is_default"),
    [
        ("if (host == 'a.example') return 'DIRECT'; return 'PROXY x:1';", True),
        ("return host == 'a.example' ? 'DIRECT' : 'PROXY x:1';", True),
        ("if (host == 'a.example') return 'SOCKS x:1'; else return 'PROXY x:1';", True),
        ("return 'DIRECT';", False),
        ("return decide(url, host);", False),
        ("var r = 'DIRECT'; if (host == 'a.example') r = 'PROXY x:1'; return r;", False),
        ("if (host == 'a.example') return 'DIRECT'; return 'DIRECT';", False),
        ("", False),
    ],
)
def test_a_script_that_is_no_list_is_refused(body: str, is_default: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        read_body(body)
    assert str(caught.value) == (
        "proxy.pac: sends every site to a proxy but those that it names, which no list can say; write rules instead"
        if is_default
        else "proxy.pac: is a script of which nothing is understood; Byway reads domains in it and never runs it"
    )


@each_row(
    ("text", "sentence"),
    [
        ("var a = 1;", "proxy.pac: has no function FindProxyForURL, so it is no PAC file, or is cut short"),
        (
            """var FindProxyForURL = function(init, profiles) { return function(url, host) { return init; }; }("+a", {
                "+a": function(url, host, scheme) {
                    if (/(?:^|\\.)a\\.example$/.test(host)) return "+proxy"; return "DIRECT"; },
                "+proxy": function(url, host, scheme) { return "PROXY 127.0.0.1:8119"; } });""",
            "proxy.pac: its FindProxyForURL is made by another function, which Byway does not run; it is probably what "
            "SwitchyOmega or ZeroOmega exported as PAC: export the rule list there, or a backup, and import that",
        ),
        ("function FindProxyForURL(url, host) { if (host ==", "proxy.pac: the script ends within a statement"),
        (
            "function FindProxyForURL(url, host) { a();",
            "proxy.pac: the script ends within a block that begins in line 1",
        ),
        ("function FindProxyForURL(url, host) { a('", "proxy.pac:1: cannot be read at "),
        ("function FindProxyForURL(url, host) {" + "(" * 200, "nested statements"),
        ("function FindProxyForURL(url, host) {" + "{" * 200, "nested statements"),
        ("<!DOCTYPE html>\n<html><body>Not found</body></html>", "proxy.pac: "),
    ],
)
def test_what_is_no_script_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert sentence in str(caught.value)


def test_chains_are_long_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = " ||\n".join(f"dnsDomainIs(host, 'site{n}.example')" for n in range(3000))
    assert len(listed(read_condition(chain))) == 3000
    branches = " else ".join(f"if (host == 'site{n}.example') return {PROXY};" for n in range(3000))
    assert len(listed(read_body(f"{branches} return 'DIRECT';"))) == 3000
    monkeypatch.setattr("proxy.routing.lists.script_parser.NODES_LIMIT", 10_000)
    with pytest.raises(ConfigError, match="the script is too long; write the domains as an array, or one a line"):
        read_condition(chain)


def test_functions_that_call_each_other_end() -> None:
    text = "function a(host) { return b(host); } function b(host) { return a(host); }"
    found = read_body(f"if (host == 'a.example') return {PROXY}; return a(host);", text)
    assert listed(found) == {"a.example": HOST}


def test_many_names_are_read_by_few_calls() -> None:
    names = {f"site{n}.example": 1 for n in range(10_000)}
    body = f"do {{ if (d.hasOwnProperty(host)) return {PROXY}; host = host.slice(1); }} while (host); return 'DIRECT';"
    text = f"var d = {json.dumps(names)};\nfunction FindProxyForURL(url, host) {{ {body} }}"
    read(text)  # public suffixes are read once
    with counting() as calls:
        assert len(read(text).listed) == 10_000
    assert calls.total() < 2500, calls


TOKENS = [
    "if",
    "else",
    "return",
    "for",
    "while",
    "do",
    "function",
    "var",
    "new",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "&&",
    "!",
    "==",
    "=",
    "+",
    ",",
    ";",
    ".",
    ":",
    "?",
    "host",
    "url",
    "'a.example'",
    "1",
    "in",
    "case",
    "dnsDomainIs",
    "shExpMatch",
    "sites",
    "FindProxyForURL",
    "/x/",
    "'DIRECT'",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_any_script_is_read_or_refused(words: list[str]) -> None:
    for text in (" ".join(words), GFWLIST2PAC + " ".join(words)):
        with suppress(ConfigError):
            read(text)
    with suppress(ConfigError):
        read_body(" ".join(words), DATA)


def test_a_script_with_a_piece_lost_is_read_or_refused() -> None:
    chance = random.Random(3)
    for _ in range(300):
        start = chance.randrange(len(GFWLIST2PAC))
        with suppress(ConfigError):
            read(GFWLIST2PAC[:start] + GFWLIST2PAC[start + chance.randrange(60) :])


@each_row(
    ("text", "is_one"),
    [
        ("function FindProxyForURL(url, host) {", True),
        ("/* x\n */ // y\nvar proxy = 'SOCKS5 a:1';\n", True),
        ("var rules = [\n", True),
        ("const domains = {", True),
        ("var.example\n", False),
        ("function.example\n", False),
        ("// comment\nexample.com\n", False),
        ("", False),
    ],
)
def test_its_text_is_recognised(text: str, is_one: bool) -> None:
    assert recognizes(text) is is_one


@pytest.mark.parametrize(
    "declared", ["var FindProxyForURL = function (u, h)", "const FindProxyForURL=function find(u,h)"]
)
def test_the_function_may_be_a_value(declared: str) -> None:
    found = parse_list(
        iter([declared + ' { if (dnsDomainIs(h, "a.example")) return "PROXY p:1"; return "DIRECT"; };']),
        size=100,
        source="l",
    )
    assert (found.format, shown(found.listed)) == ("pac", ["+a.example"])


def test_a_condition_of_which_a_part_was_skipped_is_noted() -> None:
    part = read_condition("weekday(host)")
    assert part.missing == ('proxy.pac:3: "weekday(host)" was skipped, so sites are missing')
    assert read_condition("dnsDomainIs(host, 'a.example')").missing == ""
    direct = read_body(
        f"if (f(host) || g(host)) return 'DIRECT'; if (host == 'a.test') return {PROXY}; return 'DIRECT';"
    )
    assert direct.missing == "", "nothing that is listed"


@each_row(
    ("condition", "is_missing"),
    [
        ("shExpMatch(host, 'a*')", True),  # matches too many for a list
        ("shExpMatch(url, 'https://a.*')", True),
        ("shExpMatch(host, 'a?.example')", True),
        ("shExpMatch(url, '*/ads/*')", True),
        ("host == '.a.example'", False),  # no host is so
        ("shExpMatch(host, 'a.example/*')", False),
        ("dnsDomainIs(host, 'com')", False),  # refused, and told as a suffix
        ("shExpMatch(host, '*.a.example')", False),
    ],
)
def test_what_is_skipped_after_a_condition_was_understood_is_missing_too(condition: str, is_missing: bool) -> None:
    """A rule with RELAY or BLOCK refuses a list with something missing."""
    found = read_condition(condition)
    assert bool(found.missing) is is_missing
    alone = read_body(f"if ({condition}) return {PROXY}; if (host == 'b.example') return {PROXY}; return 'DIRECT';")
    assert alone.missing == "", "a condition of its own is skipped like a line"
    direct = read_body(f"if ({condition} || f(host)) return 'DIRECT'; if (host == 'b.example') return {PROXY};")
    assert direct.missing == ""


def test_what_a_branch_does_before_it_returns_a_proxy_is_skipped_and_the_branch_is_not() -> None:
    found = read_body(
        "if (dnsDomainIs(host, 'a.example')) { if (host == 'fine.a.example') return 'DIRECT'; return p; }\n"
        "if (host == 'b.example') { if (night()) { return 'DIRECT'; } else { return p; } }\n"
        "if (host == 'c.example') { if (night()) return p; return 'DIRECT'; }\nreturn 'DIRECT';",
        f"var p = {PROXY};",
    )
    assert listed(found) == {"a.example": SITE}
    assert excepted(found) == {}
    assert found.skips == {Skip.SCRIPT: 3}


def test_a_chain_of_choices() -> None:
    found = read_body(
        f"return host == 'a.example' ? {PROXY} : host == 'b.example' ? 'DIRECT' : dnsDomainIs(host, 'c.example') "
        f"? {PROXY} : host == 'd.example' ? who() : 'DIRECT';"
    )
    assert listed(found) == {"a.example": HOST, "c.example": SITE}
    assert excepted(found) == {"b.example": HOST}
    assert found.skips == {Skip.SCRIPT: 1}
    with pytest.raises(ConfigError, match="sends every site to a proxy"):
        read_body(f"return host == 'a.example' ? 'DIRECT' : host == 'b.example' ? 'DIRECT' : {PROXY};")


@each_row(
    ("body", "is_missing"),
    [
        (f"if (is_blocked(host)) return {PROXY};", True),
        ("switch (host) { case 'b.example': return p; }", True),
        ("if (url.substring(0, 5) == 'http:') { if (host == 'b.example') return p; }", True),
        ("if (host == 'b.example') { r = p; }", True),
        ("if (more.some(function (d) { return d == host; })) return p;", True),
        ("return host == 'b.example' ? who() : 'DIRECT';", True),
        ("return (host == 'b.example' && p) || 'DIRECT';", True),
        ("return who(host);", True),
        ("return by_host[host];", True),
        ("if (who(host) == 1) return by_host[host];", True),
        ("var more = ['b.example']; more.push('c.example'); if (more.indexOf(host) >= 0) return p;", True),
        ("var r = host == 'b.example' ? p : 'DIRECT'; return r;", False),
        ("var more = ['b.example']; if (more.indexOf(host) >= 0) return p;", False),
        ("if (is_fine(host)) return 'DIRECT';", False),
        ("if (night()) { if (host == 'b.example') return 'DIRECT'; }", False),
        ("if (host == 'b.example') { if (host == 'a.b.example') return 'DIRECT'; return p; }", False),
        ("if (host == 'b.example') { if (host == 'a.b.example') return p; return p; }", False),
        ("if (isPlainHostName(host)) return p;", False),
        ("if (/ads/.test(host)) return p;", False),  # as such a line of other lists
        ("alert(host);", False),
    ],
)
def test_a_list_lacks_sites_when_what_may_lead_to_the_proxy_is_not_understood(body: str, is_missing: bool) -> None:
    found = read_body(f"if (host == 'a.example') return p;\n{body}\nreturn 'DIRECT';", f"var p = {PROXY};")
    assert found.covering("a.example") == "a.example"
    assert bool(found.missing) is is_missing, found.missing


def test_an_array_that_no_condition_uses_is_missing() -> None:
    found = read_body(
        f"if (host == 'a.example') return {PROXY}; return 'DIRECT';", "var more = ['b.example', 'c.example'];"
    )
    assert found.missing == 'proxy.pac:1: "more" was skipped, so sites are missing'


def test_what_is_skipped_and_stands_elsewhere_in_the_list_is_not_missing() -> None:
    """As gfwlist2pac asks its dictionary once more for the whole host."""
    data = "var o = {'a.example': 1}; var none = []; var p = 'PROXY x:1';"
    skipped = "if (pos <= 0) { if (o.hasOwnProperty(host)) return p; }\n"
    walk = "do { if (o.hasOwnProperty(host)) return p; host = host.slice(1); } while (host); return 'DIRECT';"
    assert read_body(f"{skipped}if (none.indexOf(host) >= 0) return p; {walk}", data).missing == ""
    alone = read_body(f"{skipped}if (none.indexOf(host) >= 0 || host == 'b.example') return p; return 'DIRECT';", data)
    assert alone.missing != ""
