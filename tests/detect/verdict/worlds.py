"""Made censors and servers, as functions from a connection to its end: what `byway why` has to tell apart.

They know nothing of the models of `detect.verdict.hypotheses`. A probe is a connection, or more than one; what a censor
does may depend on the connections before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from proxy.detect.verdict.hypotheses import Hypothesis, Probe, Result
from proxy.model import Cause, Symptom

SMALL, PAGE, LARGE = 2_000, 30_000, 65_536
"""Bytes of a head, of most pages, and of a transfer that shows a freeze."""

PASS = Result.DELIVERED

CAUSES: Mapping[Hypothesis, frozenset[Cause]] = {
    Hypothesis.NOTHING: frozenset({Cause.NONE}),
    Hypothesis.NAME: frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH, Cause.HTTP_HOST}),
    Hypothesis.PAIR: frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.ECH, Cause.HTTP_HOST}),
    Hypothesis.ADDRESS: frozenset({Cause.IP}),
    Hypothesis.BOTH: frozenset({Cause.IP}),
    Hypothesis.SHAPE: frozenset({Cause.CLIENT_HELLO}),
    Hypothesis.SIZE: frozenset({Cause.FROZEN}),
    Hypothesis.TIME: frozenset({Cause.FROZEN}),
    Hypothesis.SPEED: frozenset({Cause.THROTTLED}),
    Hypothesis.REFUSAL: frozenset({Cause.REFUSED}),
    Hypothesis.DOWN: frozenset({Cause.DOWN}),
    Hypothesis.NETWORK: frozenset({Cause.OFFLINE, Cause.PORTAL, Cause.RESTRICTED}),
}
"""The causes of a verdict that mean the same as a hypothesis."""


class Place(Enum):
    SITE = auto()  # the address of the site that is asked first
    SECOND = auto()  # another one of it, in another prefix
    FOREIGN = auto()  # that of a control site


class Program(Enum):
    BYWAY = auto()
    BROWSER = auto()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of a probe."""

    is_named: bool = True  # with the name of the site
    place: Place = Place.SITE
    program: Program = Program.BYWAY
    is_cut: bool = False  # its hello
    size: int = 0  # bytes that are requested; 0: only a hello is sent
    lasts_s: float = 0.1  # from the handshake to the last byte
    by_relay: bool = False


def connection(probe: Probe, page: int) -> Connection:
    """The connection of a probe at a site whose page has so many bytes."""
    visit = Connection(size=page, lasts_s=0.5)
    transfer, pause = replace(visit, size=LARGE, lasts_s=3.0), replace(visit, size=2 * SMALL, lasts_s=35.0)
    return {
        Probe.NEUTRAL: Connection(is_named=False),
        Probe.VISIT: visit,
        Probe.ELSEWHERE: Connection(place=Place.SECOND),
        Probe.OTHER_HELLO: Connection(program=Program.BROWSER),
        Probe.CUT: Connection(is_cut=True),
        Probe.TRANSFER: transfer,
        Probe.PAUSE: pause,
        Probe.RELAY: replace(visit, by_relay=True),
        Probe.RELAY_TRANSFER: replace(transfer, by_relay=True),
        Probe.RELAY_PAUSE: replace(pause, by_relay=True),
        Probe.RELAY_OTHER_HELLO: Connection(program=Program.BROWSER, by_relay=True),
        Probe.CONTROL: replace(visit, is_named=False, place=Place.FOREIGN),
    }[probe]


History = Sequence[Connection]
Deed = Callable[[Connection, History], Result]
"""What a censor or a server does to a connection after others; PASS: nothing."""


@dataclass(frozen=True, slots=True)
class World:
    name: str
    truth: Hypothesis
    censor: Deed
    server: Deed
    page: int = PAGE
    silence: Symptom = Symptom.RESET
    """How it looks if there is no answer."""

    def result(self, probe: Probe, before: Sequence[Probe]) -> Result:
        """The result of a probe after those."""
        made, history = connection(probe, self.page), [connection(each, self.page) for each in before]
        if not made.by_relay and (stopped := self.censor(made, history)) is not PASS:
            return stopped
        return PASS if made.place is Place.FOREIGN else self.server(made, history)


def well(_: Connection, __: History) -> Result:
    return PASS


# -- censors -----------------------------------------------------------------------------------------------------------


def _by_name(*, cut_passes: bool) -> Deed:
    def deed(made: Connection, _: History) -> Result:
        return Result.UNANSWERED if made.is_named and not (made.is_cut and cut_passes) else PASS

    return deed


def _then_punishes(deed: Deed) -> Deed:
    """After a strike all hellos to that address are stopped for minutes."""

    def punishes(made: Connection, before: History) -> Result:
        struck = any(
            earlier.place is made.place and deed(earlier, ()) is not PASS for earlier in before if not earlier.by_relay
        )
        return Result.UNANSWERED if struck else deed(made, ())

    return punishes


def _by_address(result: Result, *places: Place) -> Deed:
    return lambda made, _: result if made.place in places else PASS


def _name_and_address(made: Connection, _: History) -> Result:
    if made.place is Place.SITE:
        return Result.UNCONNECTED
    return Result.UNANSWERED if made.is_named else PASS


def _pair(*, cut_passes: bool) -> Deed:
    name = _by_name(cut_passes=cut_passes)
    return lambda made, before: name(made, before) if made.place is Place.SITE else PASS


def _by_fingerprint(program: Program, *places: Place, name_only: bool = False) -> Deed:
    """A hello in pieces has no fingerprint, if the censor looks for a name in it; else the first piece has one."""

    def deed(made: Connection, _: History) -> Result:
        is_seen = made.is_named and not made.is_cut if name_only else True
        return Result.UNANSWERED if made.program is program and made.place in places and is_seen else PASS

    return deed


def _freezes(after: int, *, name_only: bool) -> Deed:
    def deed(made: Connection, _: History) -> Result:
        is_meant = made.is_named if name_only else made.place is not Place.FOREIGN
        return Result.STOPPED if is_meant and made.size > after else PASS

    return deed


def _cuts_later(after_s: float) -> Deed:
    def deed(made: Connection, _: History) -> Result:
        return Result.STOPPED if made.place is not Place.FOREIGN and made.lasts_s >= after_s else PASS

    return deed


def _throttles(from_bytes: int) -> Deed:
    """Slow shows only in so many bytes."""
    return lambda made, _: Result.SLOW if made.is_named and made.size >= from_bytes else PASS


def _list_of_addresses(made: Connection, _: History) -> Result:
    return Result.UNCONNECTED


def _list_of_names(made: Connection, _: History) -> Result:
    return Result.UNANSWERED


_HERE = (Place.SITE,)
_OF_SITE = (Place.SITE, Place.SECOND)

CENSORS = (
    World("name, reset", Hypothesis.NAME, _by_name(cut_passes=True), well),
    World("name, reassembled", Hypothesis.NAME, _by_name(cut_passes=False), well, silence=Symptom.DROPPED),
    World("name, answer dropped", Hypothesis.NAME, _by_name(cut_passes=False), well, silence=Symptom.SILENT),
    World("name, punished", Hypothesis.NAME, _then_punishes(_by_name(cut_passes=True)), well),
    World("name, reassembled, punished", Hypothesis.NAME, _then_punishes(_by_name(cut_passes=False)), well),
    World("address, no SYN-ACK", Hypothesis.ADDRESS, _by_address(Result.UNCONNECTED, *_HERE), well),
    World("all addresses, no SYN-ACK", Hypothesis.ADDRESS, _by_address(Result.UNCONNECTED, *_OF_SITE), well),
    World("address, any hello", Hypothesis.ADDRESS, _by_address(Result.UNANSWERED, *_HERE), well,
          silence=Symptom.DROPPED),
    World("all addresses, any hello", Hypothesis.ADDRESS, _by_address(Result.UNANSWERED, *_OF_SITE), well),
    World("name and address", Hypothesis.BOTH, _name_and_address, well),
    World("prefix unless listed", Hypothesis.PAIR, _pair(cut_passes=True), well, silence=Symptom.DROPPED),
    World("prefix unless listed, reassembled", Hypothesis.PAIR, _pair(cut_passes=False), well),
    World("fingerprint of the browser", Hypothesis.SHAPE, _by_fingerprint(Program.BROWSER, *_OF_SITE), well),
    World("fingerprint of Byway", Hypothesis.SHAPE, _by_fingerprint(Program.BYWAY, *Place), well),
    World("fingerprint of Byway, here", Hypothesis.SHAPE, _by_fingerprint(Program.BYWAY, *_HERE), well),
    World("fingerprint of Byway, with the name", Hypothesis.SHAPE,
          _by_fingerprint(Program.BYWAY, *Place, name_only=True), well),
    World("freeze by name", Hypothesis.SIZE, _freezes(16_384, name_only=True), well),
    World("freeze by address, small page", Hypothesis.SIZE, _freezes(25_000, name_only=False), well, page=8_000),
    World("cut 30 s later", Hypothesis.TIME, _cuts_later(30.0), well),
    World("cut 2 s later", Hypothesis.TIME, _cuts_later(2.0), well),
    World("throttled", Hypothesis.SPEED, _throttles(8_192), well),
    World("throttled, small page", Hypothesis.SPEED, _throttles(8_192), well, page=4_000),
)  # fmt: skip


# -- no censors --------------------------------------------------------------------------------------------------------


def _refuses(*, here_only: bool, by_alert: bool) -> Deed:
    """By a TLS alert, or by an HTTP status, which only a page shows."""

    def deed(made: Connection, _: History) -> Result:
        is_refused = made.is_named and not (here_only and made.by_relay) and (by_alert or made.size > 0)
        return Result.REFUSED if is_refused else PASS

    return deed


def _fails(result: Result, *, name_only: bool = False, from_bytes: int = 0, from_s: float = 0.0) -> Deed:
    def deed(made: Connection, _: History) -> Result:
        is_meant = made.is_named or not name_only
        return result if is_meant and made.size >= from_bytes and made.lasts_s >= from_s else PASS

    return deed


def _rejects(program: Program, result: Result) -> Deed:
    """As a server that wants a newer TLS does: by an alert, or it hangs up."""
    return lambda made, _: result if made.program is program else PASS


INNOCENT = (
    World("open", Hypothesis.NOTHING, well, well),
    World("slow server", Hypothesis.NOTHING, well, _fails(Result.SLOW, from_bytes=8_192)),
    World("slow server, small page", Hypothesis.NOTHING, well, _fails(Result.SLOW, from_bytes=8_192), page=4_000),
    World("short keep-alive", Hypothesis.NOTHING, well, _fails(Result.STOPPED, from_s=5.0)),
    World("a status for this country", Hypothesis.REFUSAL, well, _refuses(here_only=True, by_alert=False)),
    World("a status for all", Hypothesis.REFUSAL, well, _refuses(here_only=False, by_alert=False)),
    World("an alert for this country", Hypothesis.REFUSAL, well, _refuses(here_only=True, by_alert=True)),
    World("an alert for all", Hypothesis.REFUSAL, well, _refuses(here_only=False, by_alert=True)),
    World("TLS of the browser is too old", Hypothesis.REFUSAL, well, _rejects(Program.BROWSER, Result.REFUSED)),
    World("TLS of the browser is hung up on", Hypothesis.REFUSAL, well,
          _rejects(Program.BROWSER, Result.UNANSWERED), silence=Symptom.EOF),
    World("machine off", Hypothesis.DOWN, well, _fails(Result.UNCONNECTED)),
    World("server hangs", Hypothesis.DOWN, well, _fails(Result.UNANSWERED), silence=Symptom.SILENT),
    World("no backend for the name", Hypothesis.DOWN, well, _fails(Result.UNANSWERED, name_only=True)),
    World("stalls for all", Hypothesis.DOWN, well, _fails(Result.STOPPED, from_bytes=16_384)),
    World("stalls for all, small page", Hypothesis.DOWN, well, _fails(Result.STOPPED, from_bytes=16_384), page=4_000),
    World("only listed addresses", Hypothesis.NETWORK, _list_of_addresses, well),
    World("only listed names", Hypothesis.NETWORK, _list_of_names, well, silence=Symptom.DROPPED),
)  # fmt: skip

WORLDS: Mapping[str, World] = {world.name: world for world in (*CENSORS, *INNOCENT)}
