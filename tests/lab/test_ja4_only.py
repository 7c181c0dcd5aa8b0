"""A censor that drops the ClientHello of one program, by its JA4 fingerprint, and a server that rejects one.

`why` sends its own hello and that of the visit. The visitor is another program than Byway here: its TLS offers other
cipher suites, and ALPN. The fingerprints are computed by the lab's own reader (`messages`), not by Byway's.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.model import State
from tests.lab.country import RELAY, Country, Running
from tests.lab.messages import whole_hello
from tests.lab.origins import Conduct
from tests.lab.rules_2025 import Ja4AnswerDrop, Ja4Drop
from tests.lab.scenarios import FINE, TROUBLED
from tests.lab.stories import reloaded
from tests.lab.visitor import Visit
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

SITE = "site.test"
DETECT = "dropped_s = 1.0\nsilent_s = 3.0\n"
HURRIED = DETECT + (
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\ncontrol_interval_s = 1.0\nretest_per_hour = 1000\n"
    "retest_suspect_s = 1.0\nretest_blocked_s = [1.0]\nretest_success_s = 1.0\nretest_apart_s = 1.0\n"
    "retest_jitter = 0.0\n"
)


def browser(country: Country, highest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
    """Another program: what it offers differs from what Python's default context does."""
    context = ssl.create_default_context(cadata=country.public.pem)
    context.set_ciphers("ECDHE+AESGCM")
    context.set_alpn_protocols(["http/1.1"])
    context.maximum_version = highest
    return context


def fingerprint(context: ssl.SSLContext) -> str:
    """Returns the JA4 of a program."""
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=SITE)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    found = whole_hello(out.read())
    assert found is not None
    return found.ja4


@contextlib.asynccontextmanager
async def living(folder: Path, *, detect: str = DETECT, **site: Any) -> AsyncIterator[tuple[Country, Running]]:
    async with Country(folder) as country:
        conduct = Conduct()
        if "lowest" in site:
            certificate = country.public.server(SITE, itself=True)
            certificate.minimum_version = site["lowest"]
            conduct = Conduct(certificate=certificate)
        country.add_site(SITE, conduct=conduct)
        async with country.byway(folder / "byway", config=country.config(detect=detect)) as byway:
            yield country, byway


async def visit(country: Country, byway: Running, program: ssl.SSLContext) -> Visit:
    return await replace(country.visitor(byway), trust=program).visit(f"https://{SITE}/")


async def why(byway: Running) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = await byway.read("why", f"https://{SITE}/", "--fresh")
    return answer


def recorded(answer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns route, result and symptom of the hellos of a visit."""
    steps = [step for step in answer["steps"] if step["part"] == "shape"]
    assert all(step["evidence"].get("recorded") for step in steps if step["result"] != "not_tested")
    return [(step["route"], step["result"], step["symptom"]) for step in steps]


def text(answer: Mapping[str, Any]) -> str:
    verdict = answer["verdict"]
    return " ".join((verdict["because"], verdict["seen"], *verdict["reasons"], verdict["instead"], verdict["do"]))


async def test_the_hello_of_the_visits_program_is_filtered(folder: Path) -> None:
    async with living(folder) as (country, byway):
        program = browser(country)
        country.rules.set([Ja4Drop(fingerprint(program))])
        assert (await reloaded(country, lambda: visit(country, byway, program))).genuine, "by a relay"
        await byway.until_counted(SITE)
        before = await byway.belief(SITE)
        answer = await why(byway)
        after = await byway.belief(SITE)
    assert (answer["verdict"]["words"], answer["verdict"]["cause"]) == ("likely blocked", "client_hello"), text(answer)
    assert "depends on the program's ClientHello" in text(answer)
    hellos = recorded(answer)
    assert ("direct", "failed", "dropped") in hellos
    assert [route for route, result, _ in hellos if result == "ok"] == ["abroad"]
    assert before["state"] == after["state"] != State.BLOCKED, "it says nothing about the host"
    assert (before["score"], before["stored_cause"]) == (after["score"], after["stored_cause"])


@pytest.mark.slow
async def test_the_hello_of_byway_is_filtered(folder: Path) -> None:
    async with living(folder) as (country, byway):
        program, own = browser(country), ssl.create_default_context()
        country.rules.set([Ja4Drop(fingerprint(program))])
        await visit(country, byway, program)
        country.rules.set([Ja4Drop(fingerprint(own))])
        answer = await why(byway)
        state = (await byway.belief(SITE))["state"]
    assert (answer["verdict"]["words"], answer["verdict"]["cause"]) == ("likely blocked", "client_hello"), text(answer)
    assert ("direct", "ok", "") in recorded(answer)
    assert state != State.BLOCKED


@pytest.mark.slow
async def test_without_a_kept_hello_it_says_so(folder: Path) -> None:
    async with living(folder) as (country, byway):
        country.rules.set([Ja4Drop(fingerprint(ssl.create_default_context()))])
        answer = await why(byway)
        forgotten = await _after_forgetting(country, byway)
    assert "no ClientHello of a visit is kept" in text(answer)
    assert "no ClientHello of a visit is kept" in text(forgotten)


async def _after_forgetting(country: Country, byway: Running) -> Mapping[str, Any]:
    """Returns the answer after a visit whose hello was kept, and then forgotten."""
    program = browser(country)
    country.rules.set([Ja4Drop(fingerprint(program), fingerprint(ssl.create_default_context()))])
    await visit(country, byway, program)
    assert ("direct", "failed", "dropped") in recorded(await why(byway)), "the control: it was kept"
    await byway.command("site", "forget", SITE)
    return await why(byway)


@pytest.mark.slow
async def test_answers_to_the_hello_of_the_visits_program_are_dropped(folder: Path) -> None:
    """Beside the visit Byway's own hello follows, and is answered: nothing is believed of the site."""
    async with living(folder) as (country, byway):
        program = browser(country)
        censor = Ja4AnswerDrop(fingerprint(program))
        country.rules.set([censor])
        assert (await visit(country, byway, program)).genuine, "by a relay"

        async def is_explained() -> bool:
            return "another program's ClientHello" in (await byway.belief(SITE))["stored_evidence"]

        await until_read(is_explained, within_s=30.0)
        belief, named = await byway.belief(SITE), Counter(country.origins.server_names)
        struck = len(censor.acts)
    assert (belief["state"], belief["stored_cause"], belief["score"]) == (State.SUSPECT, "", 0)
    assert named[SITE] == 4, "of the visit, of the relay, and two of the experiment"
    assert struck == 3, "of the visit, and of both names in its shape"


@pytest.mark.slow
async def test_what_one_program_cannot_open_is_blocked_until_another_one_has_opened_it(folder: Path) -> None:
    """Its hello gets no answer, and no acknowledgement either, so no other one follows at once."""
    async with living(folder, detect=HURRIED) as (country, byway):
        program, other = browser(country), country.visitor(byway).trust
        country.rules.set([Ja4Drop(fingerprint(program))])

        async def leads_to(wanted: State, visitor: ssl.SSLContext) -> bool:
            assert (await reloaded(country, lambda: visit(country, byway, visitor))).genuine
            return State((await byway.belief(SITE))["state"]) is wanted

        await until_read(lambda: leads_to(State.BLOCKED, program), within_s=60.0)
        assert (await byway.belief(SITE))["cause"] == "sni_drop"
        visits = len(await byway.rows(SITE))
        await until_read(lambda: leads_to(State.WORKS, other), within_s=60.0)
        assert (await byway.rows(SITE))[visits]["winner"] == RELAY, "of the other program's first visit"


@pytest.mark.slow
async def test_a_hello_in_pieces_passes_no_such_censor(folder: Path) -> None:
    """No strategy is credited, since none passes."""
    async with living(folder) as (country, byway):
        country.rules.set([Ja4Drop(fingerprint(ssl.create_default_context()))])
        answer = await why(byway)
    cut = [route for route in answer["routes"] if "tlsrec" in route["route"] or "split" in route["route"]]
    assert cut
    assert all(route["result"] != "ok" for route in cut)


async def test_a_server_that_rejects_old_tls_is_no_censor(folder: Path) -> None:
    async with living(folder, lowest=ssl.TLSVersion.TLSv1_3) as (country, byway):
        assert not (await visit(country, byway, browser(country, ssl.TLSVersion.TLSv1_2))).genuine
        answer = await why(byway)
        state = State((await byway.belief(SITE))["state"])
    assert (answer["verdict"]["words"], answer["verdict"]["cause"]) == ("works", ""), text(answer)
    assert "the TLS of that program may be too old" in text(answer)
    assert ("direct", "ok", "alert") in recorded(answer)
    assert state in FINE
    assert state not in TROUBLED
