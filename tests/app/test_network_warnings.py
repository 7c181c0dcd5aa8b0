"""What the log says at once, of real beliefs."""

from __future__ import annotations

import logging

import pytest

from proxy.app.wiring import AGAIN_S, NetworkWarnings
from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import CertificateAccepted, ControlAnswered, DirectDelivered, Intercepted
from proxy.model import ConnectivityResult, NetworkId
from tests.support.outcomes import AWAY, HOME, HOST


class Scene:
    def __init__(self, *, names: bool = False) -> None:
        self.beliefs = Beliefs(DetectTuning())
        self.network: NetworkId = HOME
        self.now = 1_700_000_000.0
        self.news = NetworkWarnings(self.beliefs, lambda: self.network, lambda: self.now, names=names)

    def resigned(self, *hosts: str) -> None:
        for number, host in enumerate(hosts):
            if number:
                self.news.report(
                    self.beliefs.learn(
                        Intercepted(host, known=False, fingerprint="issuer", trusted=True),
                        network=self.network,
                        now=self.now,
                    )
                )
            else:
                self.on_control_answer(ConnectivityResult.RESIGNED, host, issuer="issuer")

    def on_control_answer(self, what: ConnectivityResult, host: str = "control.example", *, issuer: str = "") -> None:
        self.news.report(
            self.beliefs.learn(
                ControlAnswered(host, what, started=self.now, issuer=issuer), network=self.network, now=self.now
            )
        )

    def intercepted(self, *, known: bool) -> None:
        self.beliefs.learn(DirectDelivered("other.example"), network=self.network, now=self.now)
        self.news.report(
            self.beliefs.learn(
                Intercepted(HOST, known=known, fingerprint="ab" * 32), network=self.network, now=self.now
            )
        )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_an_inspected_network_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.resigned("control.example", "one.example", "two.example", "three.example", "four.example")
    for _ in range(5):
        scene.news.check_network()
    (said,) = warnings(caplog)
    assert "TLS is intercepted here" in said
    assert "byway site set" in said


def test_each_network_and_state_is_told_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    for minute in range(int(AGAIN_S // 60) + 1):
        scene.now = 1_700_000_000.0 + 60 * minute
        scene.on_control_answer(ConnectivityResult.PORTAL)
        scene.beliefs.note(CertificateAccepted(), network=HOME, now=scene.now - 600)
        scene.news.check_network()
    assert len(warnings(caplog)) == 2
    scene.network = AWAY
    scene.on_control_answer(ConnectivityResult.PORTAL)
    assert len(warnings(caplog)) == 3


@pytest.mark.parametrize("names", [False, True])
def test_somebody_who_reads_along_is_told_with_a_name_for_those_who_want_it(
    caplog: pytest.LogCaptureFixture, names: bool
) -> None:
    scene = Scene(names=names)
    scene.intercepted(known=True)
    scene.intercepted(known=True)
    (said,) = warnings(caplog)
    assert "TLS interception detected" in said
    assert (HOST in said) == names


def test_an_unknown_reader_is_told_of_when_seen_twice(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.intercepted(known=False)
    assert warnings(caplog) == []
    scene.now += 61
    scene.intercepted(known=False)
    assert len(warnings(caplog)) == 1


def test_who_wants_to_know_more_reads_the_words_for_a_site(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(names=True)
    with caplog.at_level(logging.INFO, logger="proxy"):
        scene.intercepted(known=True)
    assert f"{HOST}: not tested → intercepted (interception)" in caplog.messages
