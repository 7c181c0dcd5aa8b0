"""The steps about the network and the relays, from the status of the running Byway and its `why` about control pages.
Nothing else is requested, and no site of the user."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.control.answers.problems import ProblemSubject
from proxy.detect.verdict.labels import network_in_words, wrong_clock
from proxy.model import NetworkState
from proxy.model.phrase import _
from proxy.terminal.findings import Finding, Step
from proxy.wire.relay_url import redact

Document = Mapping[str, Any]

_NO_LINK = _("This computer has no network connection.")
_TEST = "byway relay test"
_OTHER_RESOLVER = _("encrypted DNS fails here too: use another DNS server in the network settings, or a relay")


def of_relays(relays: Sequence[Document]) -> Iterator[Finding]:
    """Yields findings about `relays`, which have the form of `status`."""
    in_use = [relay for relay in relays if relay["enabled"]]
    if relays and not in_use:
        text = _("All relays are disabled: a site that local strategies cannot open stays blocked.")
        yield Finding(Step.NO_RELAY, text, f"byway relay enable {relays[0]['name']}")
    elif not in_use:
        text = _("No relay is configured: a site that local strategies cannot open stays blocked.")
        yield Finding(Step.NO_RELAY, text, "byway relay add URL")
    elif all(relay["fault"] is not None or relay["state"] == "failing" for relay in in_use):
        names = ", ".join(relay["name"] for relay in in_use[:3])
        fault = in_use[0]["fault"]
        reason = fault["text"] if fault is not None else in_use[0]["error"]
        text = _("All relays fail ({names}): {reason}.", names=names, reason=reason)
        yield Finding(Step.RELAYS_FAIL, text, fault["do"] if fault is not None else _TEST)


_STEPS: Mapping[str, Step] = {
    ProblemSubject.TRAFFIC: Step.TRAFFIC,
    ProblemSubject.RELAYS: Step.RELAYS_FAIL,
    ProblemSubject.CONFIGURATION: Step.CONFIGURATION,
    ProblemSubject.ADDONS: Step.ADDONS,
    ProblemSubject.NETWORK: Step.NETWORK,
    ProblemSubject.SITES: Step.SITES,
    ProblemSubject.LOG: Step.DISK_FULL,
    ProblemSubject.BYWAY: Step.BYWAY,
}
"""The step of each subject of a problem in `status`."""


def of_problems(problems: Sequence[Document], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yields the problems of `status` that `findings` do not cover: some of these are more precise."""
    steps = {each.step for each in findings}
    covered = {Step.TRAFFIC}
    covered |= {Step.NETWORK} if steps & _OF_NETWORK else set[Step]()
    covered |= {Step.SITES} if Step.NO_RELAY in steps else set()
    covered |= steps & {Step.RELAYS_FAIL, Step.DISK_FULL}
    for problem in problems:
        step = _STEPS[problem["subject"]]
        is_covered = step in covered or any(each.step is step and each.text in problem["text"] for each in findings)
        if not is_covered:
            yield Finding(step, problem["text"], problem["do"])


def of_notices(notices: Sequence[str], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yields the notices of `status` that are not among `findings`, such as one about an override without its relay."""
    texts = {redact(each.text) for each in findings}
    return (Finding(Step.NOTICE, notice, "") for notice in notices if notice not in texts)


_OF_NETWORK = frozenset({Step.LINK, Step.PORTAL, Step.CLOCK, Step.RESOLVER, Step.DOMESTIC_ONLY})


def of_traffic(traffic: Document | None) -> Iterator[Finding]:
    """`traffic` as `status` has it: visits of which none was delivered, by any route."""
    if traffic is not None:
        yield Finding(Step.TRAFFIC, traffic["text"], "byway log --outcome failed")


def of_network(
    state: str,
    why: Document | None,
    steps: Sequence[Document],
    *,
    has_link: bool,
    only_domestic: bool = False,
) -> Iterator[Finding]:
    """Yields findings about the network. `state` is its state in `status`; `why` is the answer about a control page,
    with its `steps`; None: there is none. `only_domestic`: of all control pages, only the domestic one works direct."""
    if not has_link:
        yield Finding(Step.LINK, _NO_LINK, _("connect to a network"))
        return
    verdict = why["verdict"] if why is not None else {"words": "", "cause": "", "seen": ""}
    # The clock comes first: with a wrong clock, certificates seem expired, as those of a portal may be.
    if verdict["cause"] == "clock" or any(step["evidence"].get("clock") for step in steps):
        ahead = next((step["evidence"]["clock_s"] for step in steps if "clock_s" in step["evidence"]), math.inf)
        yield Finding(Step.CLOCK, wrong_clock(ahead), _("set the clock"))
        return
    if verdict["words"] == "portal" or state == "portal":
        login = next((step["evidence"]["portal"] for step in steps if step["evidence"].get("portal")), "")
        problem = network_in_words(NetworkState.PORTAL, login)
        assert problem is not None, "a portal has words"
        yield Finding(Step.PORTAL, *problem)
        return
    direct = [step for step in steps if step["route"] == "direct" and step["part"] == "resolve"]
    if verdict["cause"] == "dns" or any(step["result"] == "failed" for step in direct):
        reason = next((step["text"] for step in direct if step["result"] == "failed" and step["text"]), "")
        text = (
            _("The DNS resolver of this network does not answer, or answers wrongly: {reason}.", reason=reason)
            if reason
            else _("The DNS resolver of this network does not answer, or answers wrongly.")
        )
        encrypted = [step["result"] for step in steps if step["part"] == "secure"]
        is_dead = "failed" in encrypted and "ok" not in encrypted
        yield Finding(Step.RESOLVER, text, _OTHER_RESOLVER if is_dead else "byway config set dns.secure always")
    elif verdict["words"] == "no network" or state == "offline":
        yield Finding(
            Step.LINK, _("The network is connected, but no site answers."), _("check your network connection")
        )
        return
    if state == NetworkState.NO_HTTPS and (problem := network_in_words(NetworkState.NO_HTTPS)) is not None:
        yield Finding(Step.DOMESTIC_ONLY, *problem)
    elif only_domestic or state in ("restricted", "shut"):
        text = _("Only domestic sites are reachable on this network.")
        yield Finding(Step.DOMESTIC_ONLY, text, _("use a relay; `byway relay test` shows which work"))
