"""How often rules decided."""

from __future__ import annotations

from proxy.session import rule_hits
from proxy.session.rule_hits import Hits, RuleHits


def test_hits_are_counted_by_text() -> None:
    hits = RuleHits()
    assert hits.of("MATCH,AUTO") == Hits(0, 0.0)
    for at in (1.0, 2.0):
        hits.count("MATCH,AUTO", at)
    hits.count("DOMAIN,a.example,BLOCK", 3.0)
    assert hits.of("MATCH,AUTO") == Hits(2, 2.0)
    assert hits.of("DOMAIN,a.example,BLOCK") == Hits(1, 3.0)
    hits.take_back("MATCH,AUTO")
    hits.take_back("never counted")
    assert hits.of("MATCH,AUTO") == Hits(1, 2.0)


def test_rules_that_edits_bring_up_do_not_fill_memory() -> None:
    hits = RuleHits()
    for number in range(rule_hits._COUNTED + 10):
        hits.count(f"DOMAIN,h{number}.example,BLOCK", 1.0)
    assert len(hits._hits) == rule_hits._COUNTED
