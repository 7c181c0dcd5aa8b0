"""Every setting: its name, default, unit and meaning, one line each.

A model here says what shape a value has and which single values can never work; what only makes sense beside another
setting is the business of `checks`. Unknown keys are errors and nothing is converted silently (`port = "80"` is a
mistake, not a port), because a setting that is not what its writer thought costs somebody their safety. Key names
carry their unit: `_s` is seconds. Nothing here reads a file.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from proxy.config.words import quoted
from proxy.wire import names


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(names.host(text)))
    except ValueError:
        hint = '; write "127.0.0.1" for this computer alone' if text.lower() == "localhost" else ""
        raise ValueError(f"{quoted(text)} is not an IP address{hint}") from None


def _suffix(text: str) -> str:
    """A name with all below it, or an address. The star and dot that other tools ask for are taken off."""
    return names.host(text.removeprefix("*").removeprefix("."))


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a command: {str(error).lower()}") from None
    if text and not words:
        raise ValueError("is not a command: it is blank")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} holds a control character")
    return text


def _page(text: str) -> str:
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not the address of a page, such as https://example.com/")
    return text


Seconds = Annotated[float, Field(gt=0, le=315_360_000, allow_inf_nan=False)]  # at most ten years
Number = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Divisor = Annotated[float, Field(ge=1, le=1000)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Steps = Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=20)]
Extra = Annotated[int, Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=0, le=65535)]
Address = Annotated[str, AfterValidator(_address)]
Host = Annotated[str, AfterValidator(names.host)]
Suffix = Annotated[str, AfterValidator(_suffix)]
Command = Annotated[str, AfterValidator(_command)]
Text = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Page = Annotated[str, AfterValidator(_page)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
RelayName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Listen(_Section):
    """Where clients reach us."""

    address: Address = Field(default="127.0.0.1", description="listening address; all but loopback needs a user")
    port: Port = Field(default=8119, description="port for HTTP, SOCKS4 and SOCKS5 alike; 0: any free one")
    user: Text = Field(
        default="", description="ask clients for this user: 407 Basic, SOCKS5 user/password; empty: ask nobody"
    )
    password_cmd: Command = Field(default="", description="command whose first line of output is that user's password")


class Auto(_Section):
    """How AUTO looks for a way around."""

    ladder: tuple[Literal["doh", "tlsrec", "split", "tlsrec|split", "disorder", "hostcase"], ...] = Field(
        default=("doh", "tlsrec", "split", "hostcase"), description="local means to try before a relay, in this order"
    )
    controls: tuple[Page, ...] = Field(
        default=("https://example.com/", "https://www.wikipedia.org/", "https://egov.kz/"),
        description="pages that show whether the uplink is well: two foreign, one domestic",
    )
    never_relay: tuple[Suffix, ...] = Field(
        default=(), description="hosts, with all below them, that AUTO must not rescue"
    )
    retest: bool = Field(default=True, description="test by itself whether a block has ended")


class Dns(_Section):
    """How names become addresses."""

    secure: Literal["on-suspicion", "always", "never"] = Field(
        default="on-suspicion", description="when to ask over DoH or DoT"
    )
    servers: tuple[Url, ...] = Field(
        default=("https://1.1.1.1/dns-query", "tls://9.9.9.9"),
        description="secure servers, by address; ?sni= and ?ca= as relays",
    )
    local: tuple[Suffix, ...] = Field(
        default=("lan", "home.arpa"), description="suffixes whose names may mean private addresses"
    )
    hosts: dict[Host, Address] = Field(default={}, description="names with a fixed address; on direct routes only")
    retry_s: Seconds = Field(default=0.5, description="the system's next name server is asked as well after this")
    second_answer_s: Seconds = Field(default=0.5, description="how long a second, different answer is listened for")
    finding_keep_s: Seconds = Field(default=3_600, description="a name found lied about is asked securely so long")
    secure_timeout_s: Seconds = Field(default=5, description="a secure server's connection, and each of its answers")
    secure_stagger_s: Seconds = Field(default=1, description="the next secure server is asked as well after this")
    secure_down_s: Seconds = Field(default=60, description="how long a secure server that failed is asked last")
    secure_idle_s: Seconds = Field(default=30, description="how long an unused connection to one is kept")


class Safety(_Section):
    """Exceptions from the address guard."""

    allow: tuple[Text, ...] = Field(
        default=(), description="host, address or prefix, with `:port` or `:*`, let past the guard"
    )


class Log(_Section):
    """What is written down."""

    hosts: Literal["decisions", "all", "off"] = Field(default="decisions", description="which hosts are logged by name")
    keep_days: Days = Field(default=14, description="days that rows are kept")
    never: tuple[Text, ...] = Field(
        default=(), description="patterns (`*.gov.kz`) of hosts that are never logged nor re-tested"
    )


class RelayConfig(_Section):
    """One relay of the user's. Listed first means preferred."""

    name: RelayName = Field(description="what rules and the log call it")
    url: Url = Field(description="socks5h|socks4a|http|https://[user:password@]host:port, or a chain `a>b`", repr=False)
    password_cmd: Command = Field(default="", description="command whose first line of output is the relay's password")
    allow_plaintext_credentials: bool = Field(
        default=False, description="send credentials without TLS to a host that is not loopback"
    )
    enabled: bool = Field(default=True, description="whether the relay, and chains that name it, are used")


class ListConfig(_Section):
    """One imported list. LIST rules say what becomes of its names. Without one they count as likely blocked: they are
    asked of secure resolvers alone, and the first signs against them weigh more. They still go direct first."""

    name: RelayName = Field(description="what LIST rules call it")
    source: Url = Field(description="file, relative to the configuration's folder")
    format: str = Field(default="auto", description="format of the file; for now all are read as plain domains")
    allow_empty: bool = Field(
        default=False, description="allow RELAY and BLOCK rules on it even if it is empty or most of it is skipped"
    )


class AddonConfig(BaseModel):
    """One addon's own table: `enabled` is ours, the rest is the addon's."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    enabled: bool | None = Field(default=None, description="unset: on for a file of the user's, off for a shipped one")


class Inspect(_Section):
    """What is looked into when a rule says INSPECT."""

    stream_above_bytes: Count = Field(
        default=3_000_000, description="longer bodies flow through as they come, and addons cannot change them"
    )
    log_requests: bool = Field(default=False, description="write down what is asked inside inspected connections")
    vouched_s: Seconds = Field(default=300, description="how long a good certificate of a site is not asked for again")
    vouch_timeout_s: Seconds = Field(default=5, description="how long a site may take to show its certificate")
    pass_s: Seconds = Field(
        default=21_600, description="a site whose client refuses our certificate passes uninspected so long"
    )


class Weights(_Section):
    """What one signal adds to a scope's score (detection.md, section 5)."""

    dns_failed: Weight = Field(default=1.0, description="the name resolves nowhere but at the relay")
    dns_bogon: Weight = Field(default=3.0, description="an address that no public name has")
    dns_two_answers: Weight = Field(default=5.0, description="two different answers to one query")
    dns_denied: Weight = Field(default=3.0, description="only the system's resolver denies the name")
    dns_silent: Weight = Field(default=1.2, description="only the system's resolver is silent on the name")
    dns_mismatch: Weight = Field(default=4.0, description="the system's resolver and a secure one disagree")
    dns_same_ip: Weight = Field(default=4.0, description="the same for three unrelated domains, with one address")
    tcp_timeout: Weight = Field(default=1.5, description="SYN unanswered")
    tcp_refused: Weight = Field(default=0.5, description="refused, unreachable, reset on SYN")
    tls_reset: Weight = Field(default=2.0, description="reset after the ClientHello")
    tls_dropped: Weight = Field(default=2.0, description="ClientHello never acknowledged")
    tls_silent: Weight = Field(default=0.7, description="ClientHello acknowledged, no answer")
    tls_eof: Weight = Field(default=1.5, description="closed after the ClientHello")
    tls_garbage: Weight = Field(default=3.0, description="an answer to a ClientHello that is not TLS")
    tls_alert: Weight = Field(default=0.7, description="an alert in answer to the ClientHello")
    tls_bad_cert: Weight = Field(default=6.0, description="a certificate that is not the site's")
    tls_silent_blind: Weight = Field(default=1.5, description="tls_silent where a middlebox acknowledges everything")
    http_reset: Weight = Field(default=2.0, description="reset after the request head")
    http_dropped: Weight = Field(default=2.0, description="request head never acknowledged")
    http_silent: Weight = Field(default=0.7, description="request head acknowledged, no answer")
    http_eof: Weight = Field(default=1.5, description="closed after the request head")
    http_garbage: Weight = Field(default=3.0, description="an answer to a request that is not HTTP")
    http_redirect: Weight = Field(default=1.0, description="a redirect to another registrable domain")
    http_redirects: Weight = Field(default=5.0, description="the same for three unrelated domains, to one host")
    http_block_page: Weight = Field(default=5.0, description="a known block page")
    frozen: Weight = Field(default=2.0, description="the flow stopped for good; a relay's did not")
    throttled: Weight = Field(default=1.5, description="far slower than a relay and everything else")
    early_reset: Weight = Field(default=1.0, description="reset within the first few KiB of the answer")
    gave_up: Weight = Field(default=0.5, description="the client left with nothing received")
    listed: Weight = Field(default=2.0, description="an imported list names the host; with the first sign against it")


class Detect(_Section):
    """Numbers of detection.md. Shortened by tests; otherwise leave them alone."""

    # How long the user waits before the next route is started as well (section 1).
    known_s: Seconds = Field(default=86_400, description="a direct success this young makes a host known")
    hedge_syn_s: Seconds = Field(default=1.5, description="resolver or SYN unanswered; one lost SYN must not hedge")
    hedge_relay_s: Seconds = Field(default=3, description="a relay's handshakes unanswered")
    hedge_silent_s: Seconds = Field(default=3, description="flight acknowledged, then silence; at least this")
    hedge_silent_rtts: Number = Field(default=4, description="the same in round trips; the longer counts")
    hedge_blind_s: Seconds = Field(default=1.2, description="silence where TCP_INFO is missing")
    hedge_blind_rtts: Number = Field(default=2, description="round trips added to it")
    hedge_retransmits: Count = Field(default=2, description="retransmissions of the flight that hedge")
    oracle_first_s: Seconds = Field(
        default=0.2, description="TCP_INFO is first looked at so long after the flight: the kernel's least RTO"
    )
    oracle_poll_s: Seconds = Field(
        default=0.05, description="how often TCP_INFO is looked at while a flight is unanswered"
    )
    middlebox_ratio: Number = Field(
        default=5, description="first bytes so many times later than SYN-ACKs: somebody on the way ends TCP"
    )
    middlebox_least_s: Seconds = Field(default=0.03, description="first bytes that come sooner never say so")
    middlebox_hosts: Count = Field(default=8, description="by so many hosts that worked last, or half as many at first")

    give_up_s: Seconds = Field(
        default=30, description="how long a client waits at most while no route has even received its request"
    )

    page_hold_s: Seconds = Field(
        default=0.5, description="how long the beginning of an HTTP page is kept back to see whose it is"
    )
    elsewhere_hold_s: Seconds = Field(
        default=2, description="a redirect to another domain is kept back so long to see whether a relay gets it too"
    )

    hedge_unacked_s: Seconds = Field(
        default=3,
        description="flight unacknowledged so long hedges, whatever the retransmissions: their timeout may be long",
    )
    hedge_reserve_s: Seconds = Field(
        default=1, description="how long an open path in reserve waits once direct failed or looks dropped"
    )

    # When a failing direct attempt is judged (sections 1 and 2).
    syn_s: Seconds = Field(default=5, description="SYN unanswered so long is tcp_timeout")
    silent_s: Seconds = Field(
        default=7, description="no answer so long is *_silent; also how long an overtaken attempt is kept"
    )
    dropped_s: Seconds = Field(default=3, description="flight unacknowledged so long is *_dropped; at least this")
    dropped_rtos: Number = Field(default=4, description="the same in retransmission timeouts; the longer counts")

    # What is believed (sections 3 and 4).
    weights: Weights = Field(default=Weights(), description="weight of each signal")
    rescue_window_s: Seconds = Field(
        default=30, description="another route must deliver so soon for anything to be learned"
    )
    rescue_suspect_s: Seconds = Field(default=120, description="how long any rescue makes a host suspect")
    down_s: Seconds = Field(default=60, description="how long a host that no route reaches is called down")
    signal_interval_s: Seconds = Field(
        default=60, description="one signal of a scope counts in this time, the heaviest"
    )
    half_life_s: Seconds = Field(default=21_600, description="the score halves in this time")
    score_cap: Number = Field(default=8, description="highest score")
    suspect_score: Number = Field(default=1, description="score from which a host is suspect")
    blocked_score: Number = Field(default=3, description="score from which a host is blocked")
    blocked_episodes: Count = Field(default=2, description="separate episodes needed for it")
    blocked_alone: Count = Field(
        default=4, description="episodes with no success between that block whatever the score"
    )
    episode_gap_s: Seconds = Field(default=60, description="time between two episodes")
    unvisited_s: Seconds = Field(default=864_000, description="a belief not visited so long lapses")
    last_good_s: Seconds = Field(default=86_400, description="how long the route that worked is remembered")
    whole_page_divisor: Divisor = Field(default=4, description="a page whole over direct divides the score")

    # The way back (section 4).
    retest_suspect_s: Seconds = Field(default=120, description="re-test of a suspect host")
    retest_blocked_s: Steps = Field(
        default=(900, 3_600, 14_400, 57_600, 100_800), description="re-tests of a blocked host; the last repeats"
    )
    retest_jitter: Share = Field(default=0.3, description="each is late by up to this share")
    retest_pair_s: Seconds = Field(default=10, description="direct and the other route are tried within this time")
    retest_divisor: Divisor = Field(
        default=2, description="a suspect that a re-test clears keeps this part of its score"
    )
    retest_success_s: Seconds = Field(default=900, description="the next re-test after a success")
    retest_successes: Count = Field(default=2, description="consecutive successes that end a block")
    retest_apart_s: Seconds = Field(default=600, description="time between two successes that count")
    retest_exits_window_s: Seconds = Field(
        default=86_400, description="each end of a block in this time asks one success more"
    )
    retest_exits_max: Extra = Field(default=3, description="at most so many more")
    retest_per_hour: Count = Field(default=6, description="re-tests in an hour and network")

    # Gates, scopes and networks (sections 3 and 4).
    uplink_window_s: Seconds = Field(
        default=10, description="how long a signal waits for proof that the uplink is well"
    )
    control_after_s: Seconds = Field(default=1, description="a signal waits so long before a control page is asked")
    control_interval_s: Seconds = Field(default=60, description="time between two control pages")
    control_timeout_s: Seconds = Field(default=10, description="how long one may take")
    probe_interval_s: Seconds = Field(default=60, description="time between two looks at certificates of working hosts")
    probe_again_s: Seconds = Field(
        default=60, description="a certificate that a client hung up on is looked at again after this"
    )
    wake_s: Seconds = Field(default=10, description="after waking or a clock jump nothing is learned so long")
    residual_s: Seconds = Field(
        default=180, description="failures at an address where a name was broken off say nothing"
    )
    lift_apart_s: Seconds = Field(default=10, description="two hosts of a domain, visited so far apart, speak for all")
    prefix_hosts: Count = Field(default=3, description="hosts of a /24 or /48 that make it unreachable")
    prefix_s: Seconds = Field(default=3_600, description="so long; and nothing in it may have worked for the same time")
    shared_domains: Count = Field(default=3, description="unrelated domains that lead to one place: it is no accident")
    shared_window_s: Seconds = Field(default=3_600, description="within this time")
    refused_s: Seconds = Field(default=7_200, description="a route that the site does not refuse is preferred so long")
    gave_up_s: Seconds = Field(default=3, description="a client that leaves after so long gave up")
    early_reset_bytes: Count = Field(default=4_096, description="a reset within so many bytes is early")
    proof_bytes: Count = Field(default=32_768, description="a relay that carries so much proves a flow frozen")
    whole_bytes: Count = Field(default=65_536, description="direct that carries so much is frozen or throttled no more")
    restricted_domains: Count = Field(default=5, description="unrelated domains that fail on an allow-list network")
    restricted_controls: Count = Field(default=2, description="foreign controls that fail there")
    restricted_window_s: Seconds = Field(default=600, description="all within this time")
    restricted_known_s: Seconds = Field(default=3_600, description="what worked so lately goes direct first there")
    restricted_passes: Count = Field(default=2, description="foreign controls in a row that end it")
    restricted_in_vain: Count = Field(
        default=5, description="connections in a row that no relay brings: direct goes first"
    )
    inspected_domains: Count = Field(default=3, description="unrelated domains re-signed, a control among them")

    # Bounds.
    hosts_max: Count = Field(default=20_000, description="hosts remembered, least recently used first out")
    hosts_per_domain_max: Count = Field(default=256, description="of one registrable domain")

    # Relays.
    relay_failures: Count = Field(default=3, description="failures in a row that open a relay's breaker")
    relay_backoff_s: Seconds = Field(
        default=5, description="how long it is then ordered last; doubles with each failure"
    )
    relay_backoff_max_s: Seconds = Field(default=300, description="at most")
    relay_backoff_jitter: Share = Field(default=0.3, description="longer by up to this share")
    relay_retry_s: Steps = Field(
        default=(1, 1.2, 1.5, 1.9, 2.1, 6),
        description="waits before each further try of a failed relay in one visit; the first holds for all visits",
    )
    relay_silent_s: Seconds = Field(
        default=10, description="a relay that does not answer for so long is tried again beside that"
    )
    relay_handshakes_max: Count = Field(default=8, description="handshakes in progress with one remote relay")
    relay_paths_max: Count = Field(default=128, description="connections that one remote relay is opening at a time")

    # Measuring a site on purpose (`byway why`, `byway test`).
    measure_bytes: Count = Field(default=65_536, description="bytes of a page read at most on each route")
    measure_answer_s: Seconds = Field(default=15, description="how long a page may take to come")
    measure_stall_s: Seconds = Field(default=5, description="a page that stops so long, with more due, is frozen")
    measure_slow_bytes: Count = Field(default=20_000, description="bytes a second under which a page may be throttled")
    measure_slow_ratio: Divisor = Field(default=5, description="another route must be so many times faster for it")
    measure_keep_s: Seconds = Field(default=300, description="how long a measurement answers `byway why` again")
    measure_routes: Count = Field(default=4, description="routes of one site measured at once")
    measure_site_s: Seconds = Field(default=90, description="how long one site is measured at most")
    measure_control_s: Seconds = Field(default=30, description="how long one answer of a control stands for others")

    # Flows that stop, crawl or break after they delivered (section 2).
    stalled_s: Seconds = Field(default=2, description="a flow without a byte so long is asked for a sign of life")
    stalled_again_s: Seconds = Field(default=10, description="a flow that gave one is not asked again for so long")
    frozen_probes: Count = Field(default=3, description="signs of life not given, while others receive, that freeze")
    frozen_retransmits: Count = Field(default=2, description="the same in segments sent again")
    frozen_give_up_s: Seconds = Field(
        default=20, description="how long a stalled flow is asked, when no other receives"
    )
    throttled_bytes_s: Number = Field(default=20_000, description="bytes a second under which a flow crawls")
    throttled_s: Seconds = Field(default=10, description="so long without a pause")
    throttled_faster: Number = Field(default=5, description="while another host's flow is so many times faster")
    throttled_times: Count = Field(default=3, description="so many times within an hour")

    # Time that passed without us.
    asleep_s: Seconds = Field(default=5, description="so long without a tick of our own is a sleep")
    wake_stale_s: Seconds = Field(default=60, description="after so long a sleep tunnels must give a sign of life")
    clock_jump_s: Seconds = Field(default=10, description="a clock set by so much has jumped")


class Limits(_Section):
    """Deadlines and sizes."""

    head_timeout_s: Seconds = Field(default=10, description="a client's request head or SOCKS greeting")
    late_flight_s: Seconds = Field(
        default=5, description="how long a tunnel whose path ended before the first byte waits for one"
    )
    linger_s: Seconds = Field(
        default=2, description="how long a refused client's bytes are still read, so that it sees the answer"
    )
    handshake_timeout_s: Seconds = Field(default=10, description="one relay's whole handshake")
    connect_timeout_s: Seconds = Field(default=10, description="connecting to one destination over all its addresses")
    resolve_timeout_s: Seconds = Field(default=5, description="one name")
    resolve_keep_s: Seconds = Field(default=30, description="how long an answer is kept")
    idle_timeout_s: Seconds = Field(
        default=7_440, description="a tunnel without a byte; RFC 5382 asks NATs for 2 h 4 min"
    )
    half_open_timeout_s: Seconds = Field(
        default=300, description="a tunnel with one side closed and no byte on the other"
    )
    exchange_timeout_s: Seconds = Field(default=300, description="a plain HTTP exchange without progress")
    keep_alive_s: Seconds = Field(
        default=60, description="a client or origin connection between two plain HTTP requests"
    )
    drain_s: Seconds = Field(default=5, description="how long open tunnels may finish at the end")
    clients_max: Count = Field(default=20_000, description="client connections at once")
    descriptors_reserve: Count = Field(default=64, description="descriptors kept for relays and the log")


RelayConfigs = Annotated[tuple[RelayConfig, ...], Field(max_length=256)]
ListConfigs = Annotated[tuple[ListConfig, ...], Field(max_length=256)]
AddonConfigs = Annotated[dict[str, AddonConfig], Field(max_length=256)]


class Settings(BaseModel):
    """The whole configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    config_version: Literal[1] = Field(default=1, description="version of this file's layout")
    listen: Listen = Field(default=Listen(), description="where clients reach us")
    auto: Auto = Field(default=Auto(), description="how AUTO looks for a way around")
    dns: Dns = Field(default=Dns(), description="how names become addresses")
    safety: Safety = Field(default=Safety(), description="exceptions from the address guard")
    log: Log = Field(default=Log(), description="what is written down")
    relay: RelayConfigs = Field(default=(), description="relays, the preferred first")
    list: ListConfigs = Field(default=(), description="imported lists")
    addons: AddonConfigs = Field(default={}, description="addons by name")
    inspect: Inspect = Field(default=Inspect(), description="what rules INSPECT")
    detect: Detect = Field(default=Detect(), description="numbers of detection")
    limits: Limits = Field(default=Limits(), description="deadlines and sizes")
