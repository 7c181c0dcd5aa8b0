"""What is said when PySocks and our own dialer do not agree. The rest is told by test_relay, over real relays."""

from __future__ import annotations

from proxy.features.relays.offline_test import disagreement
from proxy.features.relays.pysocks_check import Opinion
from proxy.probe.relay_trial import Trial


def test_a_disagreement_is_a_sentence() -> None:
    worked = Trial("r", True, True, True, 0.1)
    failed = Trial("r", True, False, False, 0.1, "relay_garbage", "garbage")
    assert disagreement(worked, Opinion(asked=True, ok=True)) == ""
    assert disagreement(failed, Opinion(asked=True, error="x")) == ""
    assert disagreement(worked, Opinion(asked=False, error="x")) == ""
    assert "PySocks does not (x)" in disagreement(worked, Opinion(asked=True, error="x"))
    assert "please report" in disagreement(failed, Opinion(asked=True, ok=True))
