"""`byway report`: five shapes of the same, and what must not be in them."""

from __future__ import annotations

import csv
import io
import json
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy import __version__
from proxy.config.schema import AddonConfig, GroupConfig, ListConfig, RelayConfig, Settings
from proxy.features.sites.report_formats import FORMATS, to_csv, to_har, to_markdown, to_ooni
from proxy.features.sites.report_redact import Redact, private_values, redacted
from proxy.features.sites.report_rounding import DAY_S
from proxy.features.sites.report_sites import Examination, Site, site_of
from proxy.features.sites.report_vantage import Vantage
from proxy.model import Symptom
from tests.support import ooni
from tests.support.command_line import Byway, Home, Running
from tests.support.control_world import SECRET
from tests.support.outcomes import rescued
from tests.support.rows import each_row

BLOG = "blog.example.net"
RELAYS = [
    {"name": "tor", "url": "socks5h://127.0.0.1:9050"},
    {"name": "my-vps", "url": "https://user@vps.example.org:443"},
]
AT = "203.0.113.5:443"


def step(part: str, route: str = "direct", symptom: str = "", text: str = "", **more: Any) -> dict[str, Any]:
    result = "failed" if symptom else "ok"
    made = {"route": route, "part": part, "result": result, "symptom": symptom, "text": text, "address": AT,
            "elapsed_s": 0.25, "evidence": {}}  # fmt: skip
    return {**made, **more}


def route(name: str, result: str, stage: str, symptom: str = "", text: str = "", status: int | None = None) -> Any:
    return {"route": name, "result": result, "stage": stage, "symptom": symptom, "text": text, "status": status,
            "elapsed_s": 0.5}  # fmt: skip


EXAMINED = Examination(
    url=f"https://{BLOG}/page?token=abc",
    at=1_700_000_000.0,
    took_s=2.5,
    source="measurement",
    words="blocked",
    cause="sni_reset",
    seen="reset after the ClientHello; my-vps brought the page; the resolver at 198.51.100.53 said 203.0.113.5",
    anomaly=True,
    confirmed=False,
    network="f00dfeed",
    steps=(
        step("resolve", text="203.0.113.5, 2001:db8::5", address=""),
        step("connect"),
        step("neutral"),
        step(
            "hello",
            symptom="reset",
            text="connection reset after the ClientHello, seen from 192.168.1.7",
            evidence={"addons": "my-rule: tls_reset weighs 0 in place of 2"},
        ),
        step("relay", "my-vps", address="198.51.100.9:443", text="vps.example.org said hello"),
        step("hello", "my-vps", address="198.51.100.9:443"),
        step("answer", "my-vps", address="198.51.100.9:443", evidence={"status": 200, "via": "198.51.100.9"}),
        step("control", text="example.com answered", address="198.51.100.80:443"),
    ),
    routes=(
        route("direct", "failed", "hello", "reset", "connection reset after the ClientHello, seen from 192.168.1.7"),
        route("direct|tlsrec", "not_tested", "connect", "skipped", "not asked"),
        route("my-vps", "ok", "answer", text="200 with my-vps", status=200),
    ),
)
SITE = Site(
    BLOG,
    {"state": "blocked", "words": "blocked", "cause": "sni_reset", "since": 1_699_990_000.0, "network": "f00dfeed",
     "evidence": "direct failed; my-vps delivered", "last_good": "my-vps", "glyph": "✗", "found_at": 1_699_990_000.0,
     "because": "connection reset after the TLS ClientHello (SNI filtering)",
     "last_result": {"text": "direct failed; my-vps delivered"}},
    ({"state": "blocked", "scope": BLOG, "network": "f00dfeed", "cause": "sni_reset", "since": 1_699_990_000.0,
      "words": "blocked", "blocked_since": 1_699_990_100.0, "until": None,
      "began": "direct failed; my-vps delivered", "ended": ""},),
    (EXAMINED,),
)  # fmt: skip


# -- what is hidden ----------------------------------------------------------------------------------------------------

SECRETS = ("my-vps", "vps.example.org", "198.51.100.9", "198.51.100.53", "192.168.1.7", "198.51.100.80", "f00dfeed",
           "token=abc", "my-rule")  # fmt: skip


@each_row("form", FORMATS)
def test_by_default_nothing_that_may_harm_is_told(form: str) -> None:
    text = FORMATS[form](redacted([SITE], RELAYS, Redact.FULL))
    assert [secret for secret in SECRETS if secret in text] == []
    assert BLOG in text.replace("\\", "")
    whole = FORMATS[form](redacted([SITE], RELAYS, Redact.NONE))
    assert "vps" in whole.replace("\\", "")  # the control: it was there


RULE = "rules.txt:1 DOMAIN-SUFFIX,other.example,RELAY:eu-office-zoya"
REASONS = (RULE, "rules.txt:7 LIST,sitesOfZoya,RELAY", "rules.txt:9 NETWORK,zoyas-home,RELAY:eu-office-zoya",
           "rules.txt:2 process-name,zoya's app,relay", "site set other.example RELAY:eu-office-zoya",
           "mode relay, so relays only")  # fmt: skip
CONFIGURED = Settings(
    relay=(RelayConfig(name="my-vps", url="https://zoya77@vps.example.org:443"),),
    group=(GroupConfig(name="eu-office-zoya", relays=("my-vps",)),),
    list=(ListConfig(name="sitesOfZoya", source="https://lists.example/zoya-list-token"),),
    networks={"zoyas-home": "0123456789abcdef"},
    addons={"zoyas_addon": AddonConfig()},
)
WRITTEN = ("eu-office-zoya", "sitesOfZoya", "zoyas-home", "zoya's app", "other.example", "zoyas_addon", "zoya77",
           "zoya-list-token", "my-vps", "old-vps", "customer=5551234")  # fmt: skip


@each_row("form", FORMATS)
@each_row("reason", REASONS)
def test_what_the_user_wrote_is_told_nowhere(form: str, reason: str) -> None:
    why = f"relays only: {reason}"
    skipped = {**step("connect", text=why), "result": "not_tested", "symptom": "skipped"}
    told = (
        f"direct was not tested: {why}; zoyas_addon says zoya77 on zoyas-home, sitesOfZoya from "
        "https://lists.example/zoya-list-token; my-vps and old-vps delivered"
    )
    answered = step("answer", evidence={"location": "http://block.example/?customer=5551234", "addons": "zoyas_addon"})
    one = replace(
        EXAMINED,
        seen=told,
        steps=(skipped, answered, step("answer", "old-vps")),
        routes=(route("direct", "not_tested", "", "skipped", why), route("old-vps", "ok", "answer")),
    )
    belief = {**SITE.belief, "evidence": told, "stored_evidence": told, "last_result": {"text": told}}
    spell = {**SITE.timeline[0], "began": told, "ended": told}
    site = replace(SITE, belief=belief, timeline=(spell,), examinations=(one,))
    hidden = private_values(CONFIGURED)
    text = FORMATS[form](redacted([site], RELAYS, Redact.FULL, hidden)).replace("\\", "")
    assert [each for each in WRITTEN if each in text] == []
    assert [
        each for each in ("my-vps", "old-vps") if each in FORMATS[form](redacted([site], RELAYS, Redact.RELAY))
    ] == []
    assert "old-vps" in FORMATS[form]([site]).replace("\\", ""), "the control"


def test_what_is_not_private_stays() -> None:
    told = FORMATS["json"](redacted([SITE], RELAYS, Redact.FULL, private_values(CONFIGURED)))
    assert "reset after the ClientHello; relay-2 brought the page" in told


def test_the_sites_own_addresses_stay() -> None:
    text = FORMATS["json"](redacted([SITE], RELAYS, Redact.FULL))
    assert "203.0.113.5" in text
    assert "2001:db8::5" in text
    assert "the resolver at [address] said 203.0.113.5" in text


def test_relays_alone_can_be_hidden() -> None:
    text = FORMATS["json"](redacted([SITE], RELAYS, Redact.RELAY))
    assert [secret for secret in SECRETS[:3] if secret in text] == []
    assert "f00dfeed" in text
    assert "192.168.1.7" in text
    assert "relay-2 brought the page" in text


def test_chains_are_named_by_their_parts() -> None:
    chained = replace(EXAMINED, steps=(), routes=(route("tor>my-vps|split", "ok", "answer"),))
    (site,) = redacted([replace(SITE, examinations=(chained,))], RELAYS, Redact.FULL)
    assert site.examinations[0].routes[0]["route"] == "relay-1>relay-2|split"


def test_what_is_known_on_another_network_is_not_in_it() -> None:
    """It would seem to disprove what this network does."""
    row = {"host": BLOG, "port": 443, "protocol": "tls", "at": 1_700_000_500.0, "winner": "direct"}
    attempt = {"route": "direct", "stage": "done", "symptom": "", "error": "", "address": AT, "started_s": 0.0,
               "elapsed_s": 0.2, "evidence": {}}  # fmt: skip
    rows = [{**row, "network": network, "attempts": [attempt]} for network in ("f00dfeed", "cafecafe", "f00dfeed")]
    spells = [{**SITE.timeline[0], "network": network} for network in ("cafecafe", "f00dfeed")]
    site = site_of({"host": BLOG, "belief": SITE.belief, "timeline": spells}, (), rows)
    assert [one.network for one in site.examinations] == ["f00dfeed"] * 2
    assert [spell["network"] for spell in site.timeline] == ["f00dfeed"]
    assert "cafecafe" not in FORMATS["json"]([site])


VANTAGE = Vantage.parse("AS12345 Example | Telecom", "kz")


def test_provider_and_country_are_in_every_format() -> None:
    told = json.loads(to_ooni([SITE], VANTAGE))
    assert (told["probe_asn"], told["probe_network_name"], told["probe_cc"]) == ("AS12345", "Example | Telecom", "KZ")
    assert ooni.problems(told) == []
    text = to_markdown([SITE], VANTAGE)
    assert "* Provider: AS12345 Example \\| Telecom\n* Country: KZ\n" in text
    assert json.loads(to_har([SITE], VANTAGE))["log"]["comment"] == "AS12345 Example | Telecom, KZ"
    row = next(csv.DictReader(io.StringIO(to_csv([SITE], VANTAGE))))
    assert (row["asn"], row["provider"], row["country"]) == ("AS12345", "Example | Telecom", "KZ")
    document = json.loads(FORMATS["json"]([SITE], VANTAGE))
    assert (document["asn"], document["provider"], document["country"]) == ("AS12345", "Example | Telecom", "KZ")
    assert "Provider" not in to_markdown([SITE])


def test_a_stored_block_that_a_measurement_contradicts_is_named() -> None:
    """The history says that it goes on, and the status that the site works."""
    now_works = replace(SITE, belief={**SITE.belief, "state": "blocked", "stored_words": "blocked", "words": "works"})
    assert "\nStored status: blocked; it changes once re-tests agree\n" in to_markdown([now_works])
    for told in ({"words": "likely blocked"}, {"state": "works"}):
        assert "Stored status" not in to_markdown([replace(now_works, belief={**now_works.belief, **told})])


# -- the shapes --------------------------------------------------------------------------------------------------------


def test_ooni() -> None:
    (line,) = to_ooni([SITE]).splitlines()
    told = json.loads(line)
    assert (told["test_name"], told["software_name"], told["data_format_version"]) == ("byway", "byway", "0.2.0")
    assert (told["probe_ip"], told["probe_cc"], told["resolver_ip"]) == ("127.0.0.1", "ZZ", "127.0.0.2")
    assert told["measurement_start_time"] == "2023-11-14 22:13:20"
    keys = told["test_keys"]
    assert (keys["anomaly"], keys["confirmed"], keys["accessible"]) == (True, False, False)
    assert keys["blocking"] == "http-failure"
    assert keys["queries"][0]["answers"] == [
        {"answer_type": "A", "ipv4": "203.0.113.5", "ttl": None},
        {"answer_type": "AAAA", "ipv6": "2001:db8::5", "ttl": None},
    ]
    (connect,) = keys["tcp_connect"]
    assert (connect["ip"], connect["port"]) == ("203.0.113.5", 443)
    assert connect["status"] == {"blocked": None, "failure": None, "success": True}
    assert (connect["t0"], connect["t"]) == (0.25, 0.5), "after the name was resolved"
    assert [(shake["failure"], shake["server_name"]) for shake in keys["tls_handshakes"]] == [
        (None, ""), ("connection_reset", BLOG),
    ]  # fmt: skip
    assert keys["control"]["http_request"]["status_code"] == 200
    assert keys["byway_relays"]["requests"][0]["response"]["code"] == 200
    assert keys["control_failure"] is None


SYMPTOMS = [str(symptom) for symptom in Symptom if symptom]


@each_row("symptom", SYMPTOMS)
@each_row("part", ["resolve", "secure", "connect", "hello", "certificate", "answer"])
def test_every_measurement_is_valid_in_the_format_of_ooni(symptom: str, part: str) -> None:
    steps = (*EXAMINED.steps[:1], step("connect"), step("hello", address=""), step(part, symptom=symptom))
    relayed = step("answer", "my-vps", symptom=symptom, address="")
    for one in (
        replace(EXAMINED, steps=(*steps, relayed), cause=""),
        replace(EXAMINED, steps=steps, anomaly=False),
        replace(EXAMINED, steps=(step("resolve", text="", symptom=symptom, address=""),), routes=()),
        replace(EXAMINED, url=f"http://{BLOG}:8080/"),
    ):
        for how in Redact:
            (line,) = to_ooni(redacted([replace(SITE, examinations=(one,))], RELAYS, how)).splitlines()
            assert ooni.problems(json.loads(line)) == []


def test_the_check_of_the_format_finds_what_is_wrong() -> None:
    told = json.loads(to_ooni([SITE]))
    keys = told["test_keys"]
    del told["probe_cc"]
    keys["blocking"] = "unknown"
    keys["queries"][0]["failure"] = "dns_server_failure"
    keys["tls_handshakes"][0]["t0"] = 99
    keys["requests"] = [{"failure": None}]
    found = " ".join(ooni.problems(told))
    for place in (".probe_cc: is missing", "blocking: 'unknown'", "dns_server_failure", "ends before it begins", "tor"):
        assert place in found


@pytest.mark.parametrize(("part", "blocking"), [("resolve", "dns"), ("connect", "tcp_ip"), ("hello", "http-failure")])
def test_without_a_cause_the_step_that_failed_says_what_is_blocked(part: str, blocking: str) -> None:
    one = replace(EXAMINED, cause="", steps=(step(part, symptom="timeout"),))
    assert json.loads(to_ooni([replace(SITE, examinations=(one,))]))["test_keys"]["blocking"] == blocking


@pytest.mark.parametrize(
    ("words", "result", "accessible", "blocking"),
    [("works", "ok", True, False), ("not tested", "not_tested", None, None), ("site down", "failed", False, False)],
)
def test_what_is_not_an_anomaly(words: str, result: str, accessible: bool | None, blocking: bool | None) -> None:
    one = replace(EXAMINED, words=words, cause="", anomaly=False, routes=(route("direct", result, "answer"),))
    keys = json.loads(to_ooni([replace(SITE, examinations=(one,))]))["test_keys"]
    assert (keys["accessible"], keys["blocking"]) == (accessible, blocking)


def test_a_bad_certificate_is_the_handshakes_failure() -> None:
    one = replace(EXAMINED, steps=(step("hello"), step("certificate", symptom="certificate")))
    keys = json.loads(to_ooni([replace(SITE, examinations=(one,))]))["test_keys"]
    assert keys["tls_handshakes"][0]["failure"] == "ssl_invalid_certificate"


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([SITE]))))
    assert [(row["route"], row["result"], row["status"]) for row in rows] == [
        ("direct", "failed", ""), ("direct|tlsrec", "not_tested", ""), ("my-vps", "ok", "200"),
    ]  # fmt: skip
    assert {row["anomaly"] for row in rows} == {"true"}


def test_har() -> None:
    log = json.loads(to_har([SITE]))["log"]
    assert log["version"] == "1.2"
    direct, relayed = log["entries"]  # what was not tested has no entry
    assert direct["response"] == {**direct["response"], "status": 0}
    assert direct["response"]["_error"].startswith("connection reset")
    assert direct["timings"] == {"blocked": -1, "dns": 250, "connect": 500, "ssl": 250,
                                 "send": 0, "wait": 0, "receive": 0}  # fmt: skip
    assert direct["time"] == 750  # connect holds ssl
    assert direct["serverIPAddress"] == "203.0.113.5"
    assert relayed["response"]["status"] == 200
    assert relayed["timings"]["dns"] == -1
    assert "serverIPAddress" not in relayed  # it would be the relay's


def test_har_of_a_connection_that_failed_early() -> None:
    """HAR 1.2 knows -1 of some phases only."""
    one = replace(EXAMINED, steps=(step("resolve", symptom="no_name", address=""), step("control", text="well")))
    (entry, _) = json.loads(to_har([replace(SITE, examinations=(one,))]))["log"]["entries"]
    assert [entry["timings"][name] for name in ("connect", "ssl", "send", "wait", "receive")] == [-1, -1, 0, 0, 0]
    assert "serverIPAddress" not in entry  # that of the control is none of this site's


def test_markdown_is_inert() -> None:
    one = replace(EXAMINED, seen="<script> [x](y) | *\x1b[31m")
    text = to_markdown([replace(SITE, examinations=(one,))])
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\x1b" not in text
    assert "(anomaly)" in text


def test_markdown_has_a_title_a_date_the_version_and_the_network() -> None:
    lines = to_markdown(redacted([SITE], RELAYS, Redact.FULL), at=1_700_000_000).splitlines()
    assert lines[:6] == [
        "# Byway report", "", "* Date: 2023-11-14T22:13:20+00:00", f"* Version: Byway {__version__}",
        "* Network: network-1", "* Sites: 1",
    ]  # fmt: skip
    assert f"## {BLOG}" in lines
    since = "2023-11-14T19:26:40+00:00"
    assert f", since {since}, last confirmed {since}" in lines[lines.index(f"## {BLOG}") + 2]
    assert any(line.startswith(f"* blocked from {since} until now") for line in lines)


def test_each_connection_is_one_line() -> None:
    connection = replace(EXAMINED, source="connection", steps=(), routes=(
        route("direct", "failed", "first_byte", "reset"), route("tor", "ok", "done")
    ))  # fmt: skip
    text = to_markdown([replace(SITE, examinations=(EXAMINED, connection, replace(connection, at=1_700_000_009.0)))])
    (*_, first, second) = text.splitlines()
    assert first == ("| 2023-11-14T22:13:20+00:00 | ✓ | tor | direct: connection reset after the TLS ClientHello |")
    assert second.startswith("| 2023-11-14T22:13:29+00:00 | ✓ | tor | direct: ")
    assert text.count("22:13:29") == 1
    assert text.count("### Measurement of ") == 1


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.uses("traffic")
def test_what_was_measured_and_seen_is_reported(byway: Byway, running: Running, home: Home, tmp_path: Path) -> None:
    byway("why", f"https://{BLOG}/")
    running.see(rescued(host=BLOG, at=time.time()))
    out = tmp_path / "report.jsonl"
    ran = byway("report", BLOG, "--format", "ooni", "-o", str(out))
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["annotations"]["source"] for line in lines] == ["measurement", "connection"]
    assert [ooni.problems(line) for line in lines] == [[], []]
    measured, seen = (line["test_keys"] for line in lines)
    assert seen["anomaly"]
    assert not seen["confirmed"]
    assert measured["tcp_connect"][0]["status"]["failure"] == "connection_refused"
    text = out.read_text()
    assert SECRET not in text
    assert '"tor"' not in text
    assert "relay-1" in text


@pytest.mark.uses("traffic")
def test_a_report_has_no_visit_to_the_second_and_no_place_unless_asked(byway: Byway, running: Running) -> None:
    noon = time.time() // DAY_S * DAY_S - DAY_S / 2  # yesterday
    running.see(*(rescued(host=BLOG, at=noon + later) for later in (0, 1, 2)))
    running.world.store.flush()
    told = byway("report", BLOG)
    assert told.out.count("| ✓ |") == 1
    assert "Provider" not in told.out
    exact = byway("report", BLOG, "--exact-times", "--provider", "AS12345", "--country", "kz")
    assert exact.out.count("| ✓ |") == 3
    assert "* Provider: AS12345\n* Country: KZ\n" in exact.out
    assert "Warning: your provider can find you in its log by the exact times" in exact.err
    assert "Warning" not in told.err
    refused = byway("report", BLOG, "--country", "Kazakhstan")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "byway: A country is two letters of ISO 3166, such as KZ.\n"


@pytest.mark.uses("traffic")
def test_all_that_is_held(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    told = byway("report", "--json").json
    assert [site["host"] for site in told["sites"]] == [BLOG]
    assert "\n## blog.example.net\n" in byway("report").out


@pytest.mark.uses("traffic")
def test_a_site_of_which_nothing_is_known_is_an_error(byway: Byway, running: Running) -> None:
    ran = byway("report", "never.example", "--redact", "none")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "byway: nothing is known about never.example; `byway why never.example` tests it\n"


def test_nothing_to_report(byway: Byway, running: Running) -> None:
    ran = byway("report", "--redact", "none")
    assert ran.code == 0
    assert "No problem sites." in ran.err
    assert "Warning: this report is not redacted." in ran.err


@pytest.mark.uses("traffic")
def test_a_site_that_is_named_twice_is_reported_once(byway: Byway, running: Running) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    running.world.store.flush()
    sites = byway("report", BLOG, f"https://{BLOG}/", BLOG, "--json").json["sites"]
    assert [(site["host"], len(site["examinations"])) for site in sites] == [(BLOG, 1)]


def test_where_it_cannot_be_written(byway: Byway, running: Running) -> None:
    ran = byway("report", "-o", "/nowhere/at/all")
    assert ran.code == 1
    assert "cannot be written" in ran.err
