"""Signals and settings name the same things, and shared evidence cannot be changed."""

from __future__ import annotations

import json

import pytest

from proxy.config.detect_tuning import Weights
from proxy.config.setting_types import keys_of
from proxy.model import NO_EVIDENCE, Cause, Evidence, SignalId, as_evidence, frozen_evidence

UNWEIGHED = {SignalId.RETEST, SignalId.LIFT, SignalId.KNOWN_ROOT, SignalId.SNI_SWAP}


def test_each_signal_of_a_connection_has_a_weight_in_the_settings() -> None:
    assert {*SignalId} - UNWEIGHED == {*keys_of(Weights)} - {"listed"}


def test_ids_and_causes_are_written_as_their_text() -> None:
    assert (
        json.dumps({"id": SignalId.TLS_RESET, "cause": Cause.SNI_RESET}) == '{"id": "tls_reset", "cause": "sni_reset"}'
    )
    assert f"{SignalId.TLS_RESET} {Cause.NONE}" == "tls_reset "
    assert not Cause.NONE


def test_shared_evidence_cannot_be_written_to() -> None:
    own: Evidence = {"status": 200}
    shared = frozen_evidence(own)
    own["status"] = 302
    assert shared == {"status": 200}
    for evidence in (shared, NO_EVIDENCE):
        with pytest.raises(TypeError):
            evidence["status"] = 500


def test_evidence_from_outside_is_a_copy() -> None:
    stored = {"status": 200, "of a later Byway": "x"}
    assert as_evidence(stored) == stored
    assert as_evidence(stored) is not stored
