"""From the steps of a measurement to a verdict that can be explained: pure, and the same for why, test and report.

The word is one of those for a site; beside it stand the cause, what speaks for it and with which weight, how sure that
is and why, the explanation that competes and why it was not believed, and what to do. "Not tested" is an answer of its
own. What cannot be told apart (the network, or the site's own geo-fence) is said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from proxy.config.schema import Detect
from proxy.detect import words
from proxy.detect.evidence import DOH, Routes, Weighed, weigh
from proxy.detect.words import Word
from proxy.model import DIRECT, Belief, Found, NetworkState, Route, State, Step, Symptom

REFUSALS = (403, 429, 451)
"""Statuses with which a site sends visitors away."""


class Confidence(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"  # nothing was concluded


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a measurement comes to."""

    word: Word
    state: State
    cause: str = ""
    seen: str = ""
    """One sentence: what was seen."""
    confidence: Confidence = Confidence.NONE
    reasons: tuple[str, ...] = ()
    """Why so sure, and why not surer."""
    instead: str = ""
    """The competing explanation, and why it was not believed."""
    do: str = ""
    anomaly: bool = False
    """Direct shows what another route does not (OONI's word)."""
    confirmed: bool = False
    """A fingerprint, a known root, or two answers to one query: nothing else is proof."""
    signals: tuple[Weighed, ...] = ()
    control: Found = Found.NOT_TESTED
    """Gate G1: another site was reached direct."""
    through: tuple[Route, ...] = ()
    """Gate G2: the routes that delivered."""


def judge(
    steps: Sequence[Step],
    belief: Belief,
    *,
    detect: Detect,
    relays: Sequence[str] = (),
    network_state: NetworkState = NetworkState.OK,
) -> Verdict:
    """The verdict over one measurement. `relays` are those that are configured."""
    return _Judge(Routes.of(steps), belief, detect, tuple(relays), network_state).verdict()


class _Judge:
    """One case."""

    def __init__(
        self, routes: Routes, belief: Belief, detect: Detect, relays: tuple[str, ...], network_state: NetworkState
    ) -> None:
        self._routes = routes
        self._belief = belief
        self._detect = detect
        self._relays = relays
        self._network_state = network_state
        self._signals = weigh(routes, detect)
        self._control = routes.control
        self._others = tuple(route for route in routes.delivered if route != DIRECT)

    def verdict(self) -> Verdict:
        direct = self._routes.found(DIRECT)
        if self._network_state in _OF_THE_NETWORK and direct is not Found.OK:
            return self._of_the_network(self._network_state)
        if direct is Found.OK:
            return self._delivered()
        if direct is Found.NOT_TESTED:
            offline = self._routes.is_offline and not self._others
            return self._of_the_network(NetworkState.OFFLINE) if offline else self._direct_not_tested()
        if self._others:
            down = self._routes.is_resolver_down and self._cause() == "dns" and not self._confirmed
            return self._resolver_is_down() if down else self._blocked()
        return self._nothing_delivered()

    # -- what it comes to ------------------------------------------------------------------------------------------

    def _delivered(self) -> Verdict:
        if not self._routes.is_secure(DIRECT) and self._routes.control_symptom in _IN_ITS_PLACE:
            return self._of_the_network(NetworkState.PORTAL)  # anybody may answer a plain request
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        if any(signal.id in _DELIVERED_WRONG for signal in self._signals):
            return self._blocked()
        reasons = ["direct brought the page"]
        if self._network_state is NetworkState.INSPECTED:
            reasons.append("but somebody on this network opens and re-signs what is sent, and this system trusts them")
        if (place := self._routes.elsewhere(DIRECT)) and not any(route.relays for route in self._others):
            reasons.append(f"but it leads elsewhere ({place}): a move, or a block page, and no relay brought another")
        if trouble := self._routes.trouble(DIRECT):
            reasons.append(f"not everything went well: {trouble.text}")
        if self._belief.state in (State.SUSPECT, State.BLOCKED):
            reasons.append("it was held to be blocked; direct comes back by itself once re-tests agree")
        return Verdict(
            words.WORKS,
            State.WORKS,
            seen="it opens direct",
            confidence=Confidence.HIGH,
            reasons=tuple(reasons),
            do="Nothing: it opens.",
            control=Found.OK,
            through=self._routes.delivered,
        )

    def _refusal(self) -> Verdict | None:
        """The site itself sends visitors away: all of them, or those that come this way."""
        status = self._routes.status(DIRECT)
        if status not in REFUSALS:
            return None
        let_in = [route for route in self._others if (self._routes.status(route) or 0) not in REFUSALS]
        asked = [route for route in self._others if route.relays]
        if let_in:
            seen = f"direct is answered with {status}, and {let_in[0]} is let in"
            instead = "a block page without a known pattern looks the same; the site's own geo-fence is likelier"
            do = f"Nothing: {let_in[0]} is preferred while this lasts."
        else:
            seen = f"it answers with {status}" + (" on every route" if asked else "")
            instead = "a block page would not come through a relay too" if asked else "no other route was tried"
            do = "The site itself refuses: a relay in another country may be let in."
        return Verdict(
            words.REFUSED_BY_SITE,
            State.REFUSED,
            "refused",
            seen,
            Confidence.MEDIUM if asked else Confidence.LOW,
            (f"the answer is the site's own HTTP, over {'TLS' if self._routes.is_secure(DIRECT) else 'plain HTTP'}",),
            instead,
            do,
            anomaly=bool(let_in),
            control=Found.OK,
            through=self._routes.delivered,
        )

    def _direct_not_tested(self) -> Verdict:
        reason = self._routes.why_not_tested(DIRECT)
        held = self._belief.state
        if self._others:
            through = ", ".join(map(str, self._others))
            seen, do = f"it opens through {through}; direct was not tested: {reason}", "Nothing: it opens."
        elif (trouble := self._routes.first_trouble()) is not None:
            seen = f"{trouble.route} failed: {trouble.text}; direct was not tested: {reason}"
            do = "Try another relay; `byway relay test` tells which of them work."
        else:
            seen, do = f"not tested: {reason}", "Change the rule or the setting that forbids it, to have it tested."
        known = held in (State.SUSPECT, State.BLOCKED)
        return Verdict(
            words.word(held, self._belief.cause) if known else words.NOT_TESTED,
            held if known else State.UNKNOWN,
            self._belief.cause if known else "",
            seen,
            reasons=(self._belief.why,) if known and self._belief.why else (),
            do=do,
            through=self._routes.delivered,
        )

    def _blocked(self) -> Verdict:
        """Direct does not do what another route does (gate G2)."""
        cause = self._cause()
        total = sum(signal.weight for signal in self._signals)
        points, reasons = self._points(total)
        confidence = Confidence.HIGH if points >= 3 else Confidence.MEDIUM if points == 2 else Confidence.LOW
        enough = bool(self._others) and total >= self._detect.blocked_score
        sure = (
            not self._network_state.is_restricted
            and self._control is not Found.FAILED
            and (enough or self._belief.state is State.BLOCKED)
        )
        state = State.BLOCKED if sure or self._confirmed else State.SUSPECT
        return Verdict(
            words.word(state, cause),
            state,
            cause,
            self._story(cause),
            confidence,
            reasons,
            self._instead(cause),
            self._what_to_do(cause),
            anomaly=True,
            confirmed=self._confirmed,
            signals=self._signals,
            control=self._control,
            through=self._routes.delivered,
        )

    def _resolver_is_down(self) -> Verdict:
        """Nobody's name resolves: that is no block of this site."""
        through = self._others[0]
        return Verdict(
            words.WORKS,
            State.WORKS,
            seen=f"{through} opens it; the system's resolver answers nothing, for other sites either",
            confidence=Confidence.MEDIUM,
            reasons=(f"another site's name does not resolve either: {self._routes.control_text}",),
            instead="the provider may deny all names: secure name servers answer",
            do="Nothing here; the network's resolver is down, or another one can be set in the system.",
            control=self._control,
            through=self._routes.delivered,
        )

    def _nothing_delivered(self) -> Verdict:
        if self._confirmed:
            return self._blocked()
        if self._control is Found.FAILED and not self._routes.answered_by_relay:
            strange = self._routes.control_symptom in _IN_ITS_PLACE
            return self._of_the_network(NetworkState.PORTAL if strange else NetworkState.OFFLINE)
        compared = [route for route in self._routes.tested if route.relays and not self._routes.is_relays_fault(route)]
        telling = any(self._is_telling(signal) for signal in self._signals)
        if telling and not compared and self._control is not Found.FAILED:
            return self._blocked()
        trouble = self._routes.trouble(DIRECT)
        seen = trouble.text if trouble is not None else "no route delivered"
        if compared:
            names = ", ".join(map(str, compared))
            reasons = [f"{names} did not reach it either"]
            instead = "a block that no relay of yours gets around looks the same"
        else:
            reasons = ["there was no other route to compare with"]
            instead = "it may as well be blocked: only a relay that reaches it would tell"
        if self._control is Found.OK:
            reasons.append(f"the network is well: {self._routes.control_text}")
        return Verdict(
            words.SITE_DOWN,
            State.DOWN,
            "down",
            f"direct: {seen}",
            Confidence.MEDIUM if compared and self._control is Found.OK else Confidence.LOW,
            tuple(reasons),
            instead,
            "Wait, and ask again." if compared or self._relays else _ADD_A_RELAY,
            signals=self._signals,
            control=self._control,
        )

    def _is_telling(self, signal: Weighed) -> bool:
        """It says something even when no other route delivered, though it is no proof. An address that no public name
        has may be an ad-blocking resolver's word for a name that is nowhere: only another resolver's answer tells."""
        return signal.id == "sni_swap" or (signal.id == "dns_bogon" and self._routes.has_secure_answer)

    def _of_the_network(self, state: NetworkState) -> Verdict:
        portal = state is NetworkState.PORTAL
        told = (
            self._routes.control_text
        )  # a reason, since `seen` goes into reports: which controls there are is private
        return Verdict(
            words.PORTAL if portal else words.NO_NETWORK,
            State.UNKNOWN,
            str(state),
            "a login page of the network comes in the place of every site" if portal else self._no_network(),
            Confidence.MEDIUM,
            (*((told,) if told else ()), "this says nothing about the site"),
            "",
            "Open any page in a browser and log in to the network." if portal else "See to the network first.",
            control=self._control,
        )

    def _no_network(self) -> str:
        if self._routes.is_offline:
            return f"this machine has no network: {self._routes.why_not_tested(DIRECT)}"
        return "another site is not reached direct either"

    # -- how sure --------------------------------------------------------------------------------------------------

    @property
    def _confirmed(self) -> bool:
        return any(signal.confirms for signal in self._signals)

    def _points(self, total: float) -> tuple[int, tuple[str, ...]]:
        """How many independent things speak for it, and all of them in words."""
        points, reasons = 0, []
        if self._others:
            points += 1
            reasons.append(f"{', '.join(map(str, self._others))} brought the page meanwhile")
        else:
            reasons.append("no other route delivered, so it is not known to be there at all")
        if self._control is Found.OK:
            points += 1
            reasons.append(f"the network is well: {self._routes.control_text}")
        elif self._control is Found.FAILED:
            reasons.append(f"another site is not reached direct either: {self._routes.control_text}")
        if self._confirmed:
            points += 2
            reasons.append("a fingerprint, a known root or two answers to one query: nothing else looks like that")
        elif total >= self._detect.blocked_score:
            points += 1
            reasons.append(f"the signals weigh {total:g}, and {self._detect.blocked_score:g} are asked for")
        else:
            reasons.append(f"the signals weigh {total:g}, less than the {self._detect.blocked_score:g} asked for")
        if self._belief.state is State.BLOCKED:
            points += 1
            reasons.append(f"it was seen before, in {self._belief.episodes} episodes")
        return points, tuple(reasons)

    # -- why -------------------------------------------------------------------------------------------------------

    def _cause(self) -> str:
        """The first in the order of how much else it explains: at a forged address all the rest may be strange."""
        if self._network_state.is_restricted:
            return "restricted"
        found = {signal.cause for signal in self._signals}
        return next((cause for cause in _ORDER if cause in found), next(iter(sorted(found)), ""))

    def _story(self, cause: str) -> str:
        heaviest = max(self._signals, key=lambda signal: signal.weight, default=None)
        said = _STORIES.get(cause) or words.cause_in_words(cause)
        told = [said] if said else []
        first = next((signal for signal in self._signals if signal.cause == cause), heaviest)
        if first is not None:
            told.append(first.text)
        return "; ".join(told)

    def _instead(self, cause: str) -> str:
        ids = {signal.id for signal in self._signals}
        if cause == "ip" or (ids & {"tls_eof", "tls_alert"} and "sni_swap" not in ids):
            return "by the network or by the site's own geo-fence; not separable here"
        if cause in ("sni_reset", "sni_drop", "ech"):
            if "sni_swap" in ids:
                return "the site may be down or strict: not so, for its address answered a harmless name"
            if self._routes.is_punished(DIRECT):
                return (
                    "the address itself may be filtered, for a harmless name was not answered there either; or it is "
                    "still closed to us, for some minutes, after the last visit"
                )
            if self._others:
                return f"the site may be down: not so, for {self._others[0]} reached it"
        if cause == "dns":
            if self._routes.found(DOH) is Found.OK:
                return "a content network may have other addresses here: not so, direct works at the secure address"
            return "the system's resolver may be broken: other names resolve" if self._control is Found.OK else (
                "the system's resolver may be broken"
            )  # fmt: skip
        if cause == "interception":
            return "the site's own certificate may be bad: not so, a relay was shown a good one" if self._others else (
                "the site's own certificate may be bad, or an antivirus re-signs everything"
            )  # fmt: skip
        if {"http_differs"} == ids:
            return "the site may show visitors from elsewhere another page: `byway why` knows no block page like this"
        if cause in ("frozen", "throttled"):
            return "the line may be bad: not so, another route was fast at the same time"
        return _COMPETING.get(cause, "")

    def _what_to_do(self, cause: str) -> str:
        if cause == "interception":
            tail = "it is opened through relays alone" if self._relays else _ADD_A_RELAY
            return f"Accept no certificate for it: somebody reads along. {tail[0].upper()}{tail[1:].rstrip('.')}."
        local = [route for route in self._others if not route.relays]
        if local:
            return f"Nothing: {local[0]} opens it without a relay."
        if self._others:
            return f"Nothing: {self._others[0]} opens it."
        cut = [route for route in self._routes.tested if route.wrap and route != DOH and not route.relays]
        if cut and cause in ("sni_reset", "sni_drop"):
            return f"Cutting the hello does not help here: whoever filters puts it together again. {_ADD_A_RELAY}"
        return "Try another relay." if self._relays else _ADD_A_RELAY


_ADD_A_RELAY = "Add a relay with `byway relay add URL`."

_OF_THE_NETWORK = (NetworkState.OFFLINE, NetworkState.PORTAL)

_DELIVERED_WRONG = frozenset({"throttled", "http_redirect", "http_differs"})
"""Direct brought something, but not what another route brings, or far slower."""

_IN_ITS_PLACE = frozenset({Symptom.CERTIFICATE, Symptom.ELSEWHERE, Symptom.BLOCK_PAGE})
"""A control that ends so was answered by somebody else: a network's login page, most likely."""

_ORDER = (
    "dns", "interception", "block_page", "ip", "ech", "sni_reset", "sni_drop", "http_host", "frozen", "throttled",
)  # fmt: skip

_STORIES: Mapping[str, str] = MappingProxyType(
    {
        "dns": "its name leads nowhere, or to a wrong place, when it is asked for here",
        "restricted": "this network lets only some sites through: that says nothing of this one",
    }
)

_COMPETING: Mapping[str, str] = MappingProxyType(
    {
        "block_page": "the site may have moved: not so, the page is one that is known to be put in the place of others",
        "http_host": "the site may be down: not so, another route reached it",
    }
)
