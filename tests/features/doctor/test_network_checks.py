"""What the ladder makes of the knowledge of a running Byway."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.control.answers.problems import ProblemSubject
from proxy.features.doctor.network_checks import of_network, of_notices, of_problems, of_relays
from proxy.terminal.findings import Finding, Step


def why(words: str, cause: str = "") -> dict[str, Any]:
    return {"verdict": {"words": words, "cause": cause, "seen": ""}}


def step(part: str = "resolve", result: str = "ok", **evidence: Any) -> dict[str, Any]:
    return {"route": "direct", "part": part, "result": result, "text": "timeout", "evidence": evidence}


@pytest.mark.parametrize(
    ("state", "answer", "steps", "has_link", "found"),
    [
        ("ok", why("works"), [step()], True, []),
        ("ok", None, [], True, []),
        ("ok", None, [], False, [Step.LINK]),
        ("offline", why("no network"), [step()], True, [Step.LINK]),
        ("ok", why("portal"), [step()], True, [Step.PORTAL]),
        ("portal", None, [], True, [Step.PORTAL]),
        ("ok", why("bad certificate", "clock"), [step()], True, [Step.CLOCK]),
        ("ok", why("no network"), [step(), step("certificate", "failed", clock=1)], True, [Step.CLOCK]),
        ("ok", why("likely blocked", "dns"), [step()], True, [Step.RESOLVER]),
        ("ok", why("no network"), [step(result="failed")], True, [Step.RESOLVER]),
        ("restricted", why("works"), [step()], True, [Step.DOMESTIC_ONLY]),
        ("no_https", why("works"), [step()], True, [Step.DOMESTIC_ONLY]),
        ("shut", why("works"), [step()], True, [Step.DOMESTIC_ONLY]),
    ],
)
def test_the_network(state: str, answer: Any, steps: list[Any], has_link: bool, found: list[Step]) -> None:
    assert [it.step for it in of_network(state, answer, steps, has_link=has_link)] == found


@pytest.mark.parametrize(
    ("encrypted", "do"),
    [
        ([], "byway config set dns.secure always"),
        (["ok"], "byway config set dns.secure always"),
        (["failed", "ok"], "byway config set dns.secure always"),
        (["not_tested"], "byway config set dns.secure always"),
        (["failed"], "encrypted DNS fails here too: use another DNS server in the network settings, or a relay"),
    ],
)
def test_encrypted_dns_is_advised_where_it_may_help(encrypted: list[str], do: str) -> None:
    steps = [step(result="failed"), *(step("secure", result) for result in encrypted)]
    (found,) = of_network("ok", why("no network"), steps, has_link=True)
    assert (found.step, found.do) == (Step.RESOLVER, do)


def test_only_domestic_sites() -> None:
    found = of_network("ok", why("likely blocked"), [step()], has_link=True, only_domestic=True)
    assert [it.step for it in found] == [Step.DOMESTIC_ONLY]


def relay(*, enabled: bool = True, fault: Any = None, state: str = "unknown") -> dict[str, Any]:
    return {"name": "tor", "enabled": enabled, "fault": fault, "state": state, "error": "it is silent"}


def test_the_relays() -> None:
    fault = {"text": "refuses the connection", "do": "start it"}
    assert [it.step for it in of_relays([])] == [Step.NO_RELAY]
    (found,) = of_relays([relay(enabled=False)])
    assert (found.step, found.text.split(":")[0], found.do) == (
        Step.NO_RELAY, "All relays are disabled", "byway relay enable tor"
    )  # fmt: skip
    assert list(of_relays([relay(fault=fault), relay()])) == []
    (found,) = of_relays([relay(fault=fault), relay(state="failing")])
    assert (found.step, found.do) == (Step.RELAYS_FAIL, "start it")
    assert found.text == "All relays fail (tor, tor): refuses the connection."
    (found,) = of_relays([relay(state="failing")])
    assert (found.text, found.do) == ("All relays fail (tor): it is silent.", "byway relay test")


@pytest.mark.parametrize("subject", [it for it in ProblemSubject if it is not ProblemSubject.TRAFFIC])
def test_a_problem_of_every_subject_is_found(subject: ProblemSubject) -> None:
    """Of traffic there is a finding of its own."""
    (found,) = of_problems([{"subject": str(subject), "text": "it fails", "do": "mend it"}], [])
    assert (found.text, found.do) == ("it fails", "mend it")


def test_a_notice_is_found_once() -> None:
    """`config check` says some of them as well."""
    found = [Finding(Step.CONFIGURATION, "rules.txt:1: is never used", "byway config check")]
    notices = ["rules.txt:1: is never used", "the override of one.test names relay tor"]
    assert [(it.step, it.text) for it in of_notices(notices, found)] == [(Step.NOTICE, notices[1])]
