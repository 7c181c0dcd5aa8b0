"""Which hosts are let pass, after what their clients did."""

from __future__ import annotations

from proxy.features.inspection.passthrough import HANG_UPS, HOSTS_MAX, Passthrough


def test_one_alert_is_enough_and_it_holds_for_a_time() -> None:
    passing = Passthrough()
    assert not passing.applies("a.test", 0)
    assert passing.client_rejected("a.test", 0, by_alert=True, keep_s=10)
    assert not passing.client_rejected("a.test", 1, by_alert=True, keep_s=10), "told once"
    assert passing.applies("a.test", 10.9)
    assert passing.hosts(10.9) == ["a.test"]
    assert not passing.applies("a.test", 11)
    assert not passing.applies("b.test", 1)
    assert passing.client_rejected("a.test", 12, by_alert=True, keep_s=10), "and again when it had lapsed"


def test_hanging_up_counts_only_several_times_in_a_row() -> None:
    passing = Passthrough()
    for _ in range(HANG_UPS - 1):
        assert not passing.client_rejected("a.test", 0, by_alert=False, keep_s=10)
    passing.client_accepted("a.test")
    for _ in range(HANG_UPS - 1):
        assert not passing.client_rejected("a.test", 0, by_alert=False, keep_s=10)
    assert not passing.applies("a.test", 0)
    assert passing.client_rejected("a.test", 0, by_alert=False, keep_s=10)


def test_its_memory_is_bounded() -> None:
    passing = Passthrough()
    for number in range(HOSTS_MAX + 10):
        passing.client_rejected(f"{number}.test", 0, by_alert=True, keep_s=10)
        passing.client_rejected(f"x{number}.test", 0, by_alert=False, keep_s=10)
    assert len(passing.hosts(0)) == HOSTS_MAX
    assert not passing.applies("0.test", 0), "the oldest is forgotten"
    assert len(passing._hang_ups) <= HOSTS_MAX


def test_a_host_is_forgotten() -> None:
    passing = Passthrough()
    for host in ("a.test", "b.test"):
        passing.client_rejected(host, 0, by_alert=True, keep_s=10)
        for _ in range(HANG_UPS - 1):
            passing.client_rejected(host, 0, by_alert=False, keep_s=10)
    passing.forget(lambda host: host == "a.test")
    assert (passing.hosts(1), list(passing._hang_ups)) == (["b.test"], ["b.test"])
