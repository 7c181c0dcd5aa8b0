from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.peers import PEERS, Kind, Peer, Place, byway_with, chain, configured, mihomo, sing_box

_PORT, _ORIGIN = 9000, 8000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, _PORT, _PORT + 1, _ORIGIN)


def test_names_differ_and_every_peer_can_be_asked() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.speaks for peer in PEERS)


def test_socks_has_a_port_of_its_own_where_a_peer_cannot_tell_it_apart(place: Place) -> None:
    both = (Kind.HTTP, Kind.SOCKS5)
    assert Peer("a", sing_box(), both).ports(place) == {_PORT}
    assert Peer("a", sing_box(), both, splits=True).ports(place) == {_PORT, _PORT + 1}


def test_a_peer_without_its_program_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_VENV", str(tmp_path))
    assert Peer("a", sing_box(), (Kind.HTTP,), needs=("sing-box",)).why_not() == "sing-box is not installed here"
    assert not Peer("a", byway_with(), (Kind.HTTP,)).why_not()


def test_byway_has_so_many_rules_and_relays(place: Place) -> None:
    byway_with(rules=3, listed=2, last="MATCH,RELAY", relays=configured(2))(place)
    rules = (place.folder / "config" / "rules.txt").read_text().splitlines()
    assert [rule.split(",")[0] for rule in rules] == [*["DOMAIN-SUFFIX"] * 3, "LIST", "MATCH"]
    assert len((place.folder / "config" / "many.txt").read_text().split()) == 2
    assert (place.folder / "config" / "config.toml").read_text().count("[[relay]]") == 2
    assert chain(3)(place).count(">") == 2


def test_sing_box_goes_by_the_last_hop_through_those_before(place: Place) -> None:
    sing_box(rules=2, hops=2)(place)
    settings = json.loads((place.folder / "sing-box.json").read_text())
    _, first, last = settings["outbounds"]
    assert settings["route"]["final"] == last["tag"]
    assert last["detour"] == first["tag"]
    assert "detour" not in first
    assert len(settings["route"]["rules"][0]["domain_suffix"]) == 2


def test_mihomo_has_its_rules_as_a_set(place: Place) -> None:
    mihomo(rules=2, hops=1)(place)
    text = (place.folder / "mihomo.yaml").read_text()
    assert "- RULE-SET,many,DIRECT\n- MATCH,hop\n" in text
    assert all(line.startswith("+.") for line in (place.folder / "many.txt").read_text().splitlines())
