"""A Byway with data for every command: connections, sites in trouble, relays that work and fail, overrides.

Everything happened a fixed time ago, so that the output of commands is the same each second.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from proxy.config.schema import Auto, ListConfig, Log, SubscriptionConfig
from proxy.config.subscriptions import with_members
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_faults import RelayFault
from proxy.model import Action, Belief, Change, NetworkId, Override, Route, Stage, State, Symptom
from proxy.routing.lists.formats import parse_list
from proxy.store.list_copies import CopyInfo
from proxy.store.store import Store
from proxy.store.subscriptions import copy_of
from tests.support.control_world import World
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome, rescued, works

BLOCKED = "user.livejournal.com"
LIKELY = "pics.livejournal.com"
LONG = "a-rather-long-name.of-many-labels.livejournal.com"
DOWN = "nothing.example.net"

LIST = "https://lists.example/gfwlist.txt"
OWN = "news.example.org\n192.0.2.0/24\n?? ?\ncom\n"
GFWLIST = "[AutoProxy 0.2.9]\n||livejournal.com\n||a.example\n|https://b.example/page\n@@||ok.a.example\n/^x/\n"

SHOP = "https://shop.example/sub/hunter2?token=hunter2"
"""The address of the subscription of `subscribe`."""
_SHOP_FILE = "socks5h://me:hunter2@de.example:1080#DE\nsocks5h://nl.example:1080#NL\nhello\n"

_HOUR = 3600
_SINCE = {BLOCKED: 50 * _HOUR, LIKELY: 5 * _HOUR, LONG: 3 * _HOUR}


class SeededWorld(World):
    """The scripted Byway of the snapshots."""

    def __post_init__(self) -> None:
        own, fetched = ListConfig(name="own", source="own.txt"), ListConfig(name="gfwlist", source=LIST, refresh="1d")
        self.settings = replace(self.settings, auto=Auto(controls=("https://example.com/",)), list=(own, fetched))
        self.lists = {
            "own": parse_list(iter([OWN]), size=len(OWN), source="own.txt"),
            "gfwlist": parse_list(iter([GFWLIST]), size=len(GFWLIST), source="list gfwlist"),
        }
        self.list_texts = {"own": OWN, "gfwlist": GFWLIST}
        super().__post_init__()
        now = time.time()
        self.counters |= {"started_at": now - 30 * _HOUR}
        self.beliefs = Beliefs(self.settings.detect, [_belief(host, now) for host in _SINCE])
        self.health.worked("tor", now - 5 * 60, elapsed_s=0.5)
        refused = "relay vps: user or password refused by relay.example:443"
        self.health.failed("vps", now - 10 * 60, error=refused, fault=RelayFault.CREDENTIALS_REFUSED)
        fill(self.store, now)
        self.copies.replace(
            CopyInfo(LIST, fetched_at=now - 3 * _HOUR, changed_at=now - 50 * _HOUR, entries=3), GFWLIST.encode()
        )
        self.overrides |= {"example.org": Override(Action.RELAY, "tor"), "bank.example": Override(Action.DIRECT)}
        self.overrides_changed()

    def close(self) -> None:
        self.store.close()


def subscribe(world: World) -> None:
    """Adds a subscription with all that can be said of one: its last fetch failed, and its account is over."""
    now = time.time()
    said = f"upload=1000; download=2000; total=3000; expire={now - 50 * _HOUR:.0f}"
    info = CopyInfo(SHOP, fetched_at=now - 26 * _HOUR, changed_at=now - 50 * _HOUR, entries=2, failed_at=now - _HOUR,
                    failures=1, error="through tor: answered 403", said=said)  # fmt: skip
    world.copies.replace(info, _SHOP_FILE.encode())
    configured = replace(world.settings, subscription=(SubscriptionConfig("shop", SHOP, refresh="1d"),))
    world.settings = with_members(configured, lambda item: copy_of(item, world.copies))
    world.health.worked("shop/DE", now - 5 * 60, elapsed_s=0.5)
    world.overrides_changed()


def leave(file: Path, network: NetworkId) -> None:
    """Writes the same data to a log file, on `network`."""
    store, now = Store(file, Log(hosts="all")), time.time()
    store.start()
    fill(store, now, network)
    for host in _SINCE:
        held = _belief(host, now, network)
        store.believe([Change(held.since, host, network, State.UNKNOWN, held.state, held.cause, held.why, held)])
    store.set_override("example.org", Override(Action.RELAY, "tor"))
    assert store.flush()
    store.close()


def fill(store: Store, now: float, network: NetworkId = HOME) -> None:
    """Stores connections of two days."""
    doh, records = Route.parse("direct|doh"), Route.parse("direct|tlsrec")
    refused = failed(
        Symptom.RELAY_AUTH, Stage.RELAY, VPS, error="relay vps: user or password refused by relay.example:443"
    )
    yesterday = now - 26 * _HOUR
    for seen in (
        replace(works("news.example.org", at=yesterday), bytes_up=900, bytes_down=120_000, duration=3.2),
        replace(rescued(host=BLOCKED, at=yesterday + 9), bytes_up=2_100, bytes_down=85_000, duration=12.4),
        replace(rescued(Symptom.DROPPED, host=LIKELY, at=yesterday + 19), bytes_down=8_500_000, duration=62.4),
        replace(
            outcome(
                failed(Symptom.DROPPED), failed(Symptom.DROPPED, route=doh), failed(Symptom.RESET, route=records),
                delivered(TOR), host=LONG, at=now - 3 * _HOUR,
            ),
            bytes_up=2_100, bytes_down=500, duration=2.4,
        ),
        outcome(
            failed(Symptom.DROPPED), refused, host=DOWN, at=now - 2 * _HOUR,
            error=f"no route to {DOWN}: direct: no answer; vps: user or password refused",
        ),
        outcome(
            host="ads.example", at=now - 2 * _HOUR + 1, action=Action.BLOCK, error="blocked by rules.txt:1",
            why="rules.txt:1 DOMAIN-SUFFIX,ads.example,BLOCK",
        ),
        replace(outcome(delivered(TOR), host="2001:db8::7", port=8443, at=now - 2 * _HOUR + 2), duration=3_000),
    ):  # fmt: skip
        store.record(seen, network=network)
    assert store.flush()


def _belief(host: str, now: float, network: NetworkId = HOME) -> Belief:
    state = State.BLOCKED if host == BLOCKED else State.SUSPECT
    return Belief(
        host, network, state, "sni_reset" if host == BLOCKED else "sni_drop", score=4.0, since=now - _SINCE[host],
        until=now + 9e5, last_good="tor", last_good_at=now - 600, scored_at=now, signal_at=now - _SINCE[host],
        retest_at=now + 5.4 * _HOUR, why="direct: connection reset after the TLS ClientHello; tor delivered",
    )  # fmt: skip
