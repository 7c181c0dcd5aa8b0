"""Every setting: its name, default, unit and meaning, one line each.

A model defines the shape of a value and refuses single values that can never work; combinations of settings are checked
in `checks`. Unknown keys are errors and nothing is converted silently (`port = "80"` is a mistake, not a port), because
a setting that does not do what its writer expects puts the user at risk. Key names carry their unit: `_s` is seconds.
Nothing here reads a file.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from proxy.config.suggestions import quoted
from proxy.wire import hostnames


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(hostnames.host(text)))
    except ValueError:
        hint = '; write "127.0.0.1" for this computer only' if text.lower() == "localhost" else ""
        raise ValueError(f"{quoted(text)} is not an IP address{hint}") from None


def _suffix(text: str) -> str:
    """A name with its subdomains, or an address. A leading star and dot, as other tools write them, are removed."""
    return hostnames.host(text.removeprefix("*").removeprefix("."))


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a command: {str(error).lower()}") from None
    if text and not words:
        raise ValueError("is not a command: it is empty")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} contains a control character")
    return text


def _page(text: str) -> str:
    if not text.startswith(("https://", "http://")) or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not a page URL such as https://example.com/")
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
Host = Annotated[str, AfterValidator(hostnames.host)]
Suffix = Annotated[str, AfterValidator(_suffix)]
Command = Annotated[str, AfterValidator(_command)]
Text = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Page = Annotated[str, AfterValidator(_page)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
RelayName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Listen(_Section):
    """Where clients connect."""

    address: Address = Field(default="127.0.0.1", description="listening address; any but loopback needs listen.user")
    port: Port = Field(default=8119, description="port for HTTP, SOCKS4 and SOCKS5; 0: any free port")
    user: Text = Field(
        default="", description="user name that clients must give (HTTP 407 Basic, SOCKS5); empty: no authentication"
    )
    password_cmd: Command = Field(default="", description="command that prints this user's password on its first line")


class Auto(_Section):
    """How AUTO gets around a block."""

    ladder: tuple[Literal["doh", "tlsrec", "split", "tlsrec|split", "disorder", "hostcase"], ...] = Field(
        default=("doh", "tlsrec", "split", "hostcase"),
        description="local strategies to try before a relay, in this order",
    )
    controls: tuple[Page, ...] = Field(
        default=("https://example.com/", "https://www.wikipedia.org/", "https://egov.kz/"),
        description="control pages that show whether Internet access works: two foreign, one domestic",
    )
    never_relay: tuple[Suffix, ...] = Field(
        default=(), description="hosts, with their subdomains, for which AUTO never uses a relay"
    )
    retest: bool = Field(default=True, description="re-test blocked sites automatically")


class Dns(_Section):
    """How names are resolved."""

    secure: Literal["on-suspicion", "always", "never"] = Field(
        default="on-suspicion", description="when to use encrypted DNS (DoH or DoT)"
    )
    servers: tuple[Url, ...] = Field(
        default=("https://1.1.1.1/dns-query", "tls://9.9.9.9"),
        description="encrypted DNS servers, by address; ?sni= and ?ca= as for relays",
    )
    local: tuple[Suffix, ...] = Field(
        default=("lan", "home.arpa"), description="suffixes whose names may resolve to private addresses"
    )
    hosts: dict[Host, Address] = Field(default={}, description="names with a fixed address; direct routes only")
    retry_s: Seconds = Field(default=0.5, description="query the system's next DNS server too after this time")
    second_answer_s: Seconds = Field(default=0.5, description="how long to wait for a second, different answer")
    finding_keep_s: Seconds = Field(
        default=3_600, description="how long a name with a forged answer is resolved by encrypted DNS only"
    )
    secure_timeout_s: Seconds = Field(
        default=5, description="timeout for connecting to an encrypted DNS server, and for each answer"
    )
    secure_stagger_s: Seconds = Field(default=1, description="query the next encrypted DNS server too after this time")
    secure_down_s: Seconds = Field(default=60, description="how long to deprioritise a failed DoH/DoT server")
    secure_idle_s: Seconds = Field(
        default=30, description="how long to keep an unused connection to an encrypted DNS server"
    )


class Safety(_Section):
    """Exceptions from the protection of private addresses."""

    allow: tuple[Text, ...] = Field(
        default=(), description="host, address or CIDR, with `:port` or `:*`, that is allowed although it is private"
    )


class Log(_Section):
    """What is logged."""

    hosts: Literal["decisions", "all", "off"] = Field(default="decisions", description="which hosts are logged by name")
    keep_days: Days = Field(default=14, description="how many days log entries are kept")
    never: tuple[Text, ...] = Field(
        default=(), description="patterns (`*.gov.kz`) of hosts that are never logged and never re-tested"
    )


class RelayConfig(_Section):
    """One relay. The first one listed is preferred."""

    name: RelayName = Field(description="name of the relay in rules and in the log")
    url: Url = Field(description="socks5h|socks4a|http|https://[user:password@]host:port, or a chain `a>b`", repr=False)
    password_cmd: Command = Field(default="", description="command that prints the relay's password on its first line")
    allow_plaintext_credentials: bool = Field(
        default=False, description="allow sending the password without TLS to a relay on another computer"
    )
    enabled: bool = Field(default=True, description="whether the relay, and chains that name it, are used")


class ListConfig(_Section):
    """One imported list. LIST rules decide what happens to its domains. Without such a rule they count as likely
    blocked: they are resolved by encrypted DNS only, and the first signal against one weighs more. They still go direct
    first."""

    name: RelayName = Field(description="name of the list in LIST rules")
    source: Url = Field(description="file of the list; a relative path starts at the configuration folder")
    format: str = Field(default="auto", description="format of the file; for now every list is read as plain domains")
    allow_empty: bool = Field(
        default=False, description="allow RELAY and BLOCK rules with this list even if it is empty or mostly skipped"
    )


class AddonConfig(BaseModel):
    """The table of one addon: `enabled` belongs to Byway, all other keys to the addon."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    enabled: bool | None = Field(
        default=None, description="default: true for your own addons, false for those that ship with Byway"
    )


class Inspect(_Section):
    """Inspection of connections by INSPECT rules."""

    stream_above_bytes: Count = Field(
        default=3_000_000, description="longer bodies are streamed, and addons cannot change them"
    )
    log_requests: bool = Field(default=False, description="log the requests inside inspected connections")
    vouched_s: Seconds = Field(default=300, description="how long a site's verified certificate is not checked again")
    vouch_timeout_s: Seconds = Field(default=5, description="timeout for fetching a site's certificate")
    pass_s: Seconds = Field(
        default=21_600, description="how long a site is left uninspected after a client rejected our certificate"
    )


class Weights(_Section):
    """What one signal adds to a scope's score (docs/detection.md, "Signals")."""

    dns_failed: Weight = Field(default=1.0, description="the name resolves only at a relay")
    dns_bogon: Weight = Field(default=3.0, description="an address that is not public")
    dns_two_answers: Weight = Field(default=5.0, description="two different answers to one query")
    dns_denied: Weight = Field(default=3.0, description="only the system's resolver says that the name does not exist")
    dns_silent: Weight = Field(default=1.2, description="only the system's resolver does not answer")
    dns_mismatch: Weight = Field(default=4.0, description="the system's resolver and encrypted DNS disagree")
    dns_same_ip: Weight = Field(default=4.0, description="the same address for three unrelated domains")
    tcp_timeout: Weight = Field(default=1.5, description="SYN unanswered")
    tcp_refused: Weight = Field(default=0.5, description="refused, unreachable, reset on SYN")
    tls_reset: Weight = Field(default=2.0, description="reset after the ClientHello")
    tls_dropped: Weight = Field(default=2.0, description="ClientHello never acknowledged")
    tls_silent: Weight = Field(default=0.7, description="ClientHello acknowledged, no answer")
    tls_eof: Weight = Field(default=1.5, description="closed after the ClientHello")
    tls_garbage: Weight = Field(default=3.0, description="the answer to the ClientHello is not TLS")
    tls_alert: Weight = Field(default=0.7, description="TLS alert in answer to the ClientHello")
    tls_bad_cert: Weight = Field(default=6.0, description="the certificate is not the site's")
    tls_silent_blind: Weight = Field(default=1.5, description="tls_silent where a middlebox acknowledges everything")
    http_reset: Weight = Field(default=2.0, description="reset after the HTTP request")
    http_dropped: Weight = Field(default=2.0, description="HTTP request never acknowledged")
    http_silent: Weight = Field(default=0.7, description="HTTP request acknowledged, no answer")
    http_eof: Weight = Field(default=1.5, description="closed after the HTTP request")
    http_garbage: Weight = Field(default=3.0, description="the answer to the request is not HTTP")
    http_redirect: Weight = Field(default=1.0, description="redirect to another registrable domain")
    http_redirects: Weight = Field(default=5.0, description="redirects of three unrelated domains to the same host")
    http_block_page: Weight = Field(default=5.0, description="a known block page")
    frozen: Weight = Field(default=2.0, description="transfer stalls for good, and not through a relay")
    throttled: Weight = Field(default=1.5, description="much slower than a relay and than other sites")
    early_reset: Weight = Field(default=1.0, description="reset within the first few KiB of the answer")
    gave_up: Weight = Field(default=0.5, description="the client left before it received anything")
    listed: Weight = Field(
        default=2.0, description="an imported list contains the host; counts with the first other signal"
    )


class Detect(_Section):
    """Tuning of detection, with the defaults of docs/detection.md, "What blocked means" and the sections after it.
    Tests shorten the times; there is no need to change them otherwise."""

    # How long the user waits before the next route is started as well (docs/detection.md, "Two clocks").
    known_s: Seconds = Field(
        default=86_400, description="a host is known while its last direct success is younger than this"
    )
    hedge_syn_s: Seconds = Field(
        default=1.5, description="DNS or SYN unanswered for this time starts the next route; one lost SYN must not"
    )
    hedge_relay_s: Seconds = Field(
        default=3, description="a relay's handshake unanswered for this time starts the next route"
    )
    hedge_silent_s: Seconds = Field(
        default=3, description="request acknowledged but unanswered for at least this time starts the next route"
    )
    hedge_silent_rtts: Number = Field(default=4, description="the same in round trips; the longer of both counts")
    hedge_blind_s: Seconds = Field(
        default=1.2, description="request unanswered for this time starts the next route, where TCP_INFO is missing"
    )
    hedge_blind_rtts: Number = Field(default=2, description="round trips added to it")
    hedge_retransmits: Count = Field(default=2, description="retransmissions of the request that start the next route")
    oracle_first_s: Seconds = Field(
        default=0.2, description="first TCP_INFO poll after the request: the kernel's minimum RTO"
    )
    oracle_poll_s: Seconds = Field(default=0.05, description="interval of TCP_INFO polls while a request is unanswered")
    middlebox_ratio: Number = Field(
        default=5, description="first bytes this many times later than the SYN-ACK: a middlebox terminates TCP"
    )
    middlebox_least_s: Seconds = Field(
        default=0.03, description="earlier first bytes never count as a sign of a middlebox"
    )
    middlebox_hosts: Count = Field(
        default=8, description="number of recent working hosts that must show it; half as many at first"
    )

    give_up_s: Seconds = Field(
        default=30, description="how long a client waits at most while no route has received its request"
    )

    page_hold_s: Seconds = Field(
        default=0.5, description="how long the start of an HTTP page is held back to recognise a block page"
    )
    elsewhere_hold_s: Seconds = Field(
        default=2, description="how long a redirect to another domain is held back until a relay confirms it"
    )

    hedge_unacked_s: Seconds = Field(
        default=3,
        description="request unacknowledged for this time starts the next route, whatever the retransmissions",
    )
    hedge_reserve_s: Seconds = Field(
        default=1, description="how long an open reserve path waits once direct failed or looks dropped"
    )

    # When a failing direct attempt is judged (docs/detection.md, "What the kernel knows").
    syn_s: Seconds = Field(default=5, description="SYN unanswered for this time is tcp_timeout")
    silent_s: Seconds = Field(
        default=7, description="no answer for this time is *_silent; also how long a slower attempt is kept"
    )
    dropped_s: Seconds = Field(default=3, description="request unacknowledged for at least this time is *_dropped")
    dropped_rtos: Number = Field(
        default=4, description="the same in retransmission timeouts; the longer of both counts"
    )

    # What is believed (docs/detection.md, "Two gates", "Score and states").
    weights: Weights = Field(default=Weights(), description="weight of each signal")
    rescue_window_s: Seconds = Field(
        default=30, description="another route must deliver within this time for anything to be learned"
    )
    rescue_suspect_s: Seconds = Field(
        default=120, description="how long a host that another route delivered stays suspect"
    )
    down_s: Seconds = Field(default=60, description="how long a host that no route reaches is called down")
    signal_interval_s: Seconds = Field(default=60, description="one signal per scope counts in this time, the heaviest")
    half_life_s: Seconds = Field(default=21_600, description="time in which the score halves")
    score_cap: Number = Field(default=8, description="maximum score")
    suspect_score: Number = Field(default=1, description="score from which a host is suspect")
    blocked_score: Number = Field(default=3, description="score from which a host is blocked")
    blocked_episodes: Count = Field(default=2, description="separate episodes needed for it")
    blocked_alone: Count = Field(
        default=4, description="episodes without a success between them that mean blocked at any score"
    )
    episode_gap_s: Seconds = Field(default=60, description="minimum time between two episodes")
    unvisited_s: Seconds = Field(
        default=864_000, description="stored status expires when the site was not visited for this time"
    )
    last_good_s: Seconds = Field(default=86_400, description="how long the route that last worked is remembered")
    whole_page_divisor: Divisor = Field(default=4, description="a complete page over direct divides the score by this")

    # The way back (docs/detection.md, "Re-tests").
    retest_suspect_s: Seconds = Field(default=120, description="time until a suspect host is re-tested")
    retest_blocked_s: Steps = Field(
        default=(900, 3_600, 14_400, 57_600, 100_800),
        description="times until a blocked host is re-tested; the last one repeats",
    )
    retest_jitter: Share = Field(default=0.3, description="random delay of each re-test, as a share of the time")
    retest_pair_s: Seconds = Field(default=10, description="direct and the other route are tried within this time")
    retest_divisor: Divisor = Field(default=2, description="divides the score of a suspect that passes a re-test")
    retest_success_s: Seconds = Field(default=900, description="time until the next re-test after a success")
    retest_successes: Count = Field(default=2, description="consecutive successes that end a block")
    retest_apart_s: Seconds = Field(default=600, description="minimum time between two successes that count")
    retest_exits_window_s: Seconds = Field(
        default=86_400, description="each ended block in this time requires one more success"
    )
    retest_exits_max: Extra = Field(default=3, description="maximum number of additional successes")
    retest_per_hour: Count = Field(default=6, description="maximum re-tests per hour and network")

    # Gates, scopes and networks (docs/detection.md, "Two gates", "Scopes", "States of a network").
    uplink_window_s: Seconds = Field(
        default=10, description="how long a signal waits for proof that Internet access works"
    )
    control_after_s: Seconds = Field(
        default=1, description="how long a signal waits before a control page is requested"
    )
    control_interval_s: Seconds = Field(default=60, description="minimum time between two control pages")
    control_timeout_s: Seconds = Field(default=10, description="timeout of a control page")
    probe_interval_s: Seconds = Field(default=60, description="time between two certificate checks of working hosts")
    probe_again_s: Seconds = Field(
        default=60, description="time until a certificate that a client rejected is checked again"
    )
    wake_s: Seconds = Field(default=10, description="nothing is learned for this time after waking or a clock jump")
    residual_s: Seconds = Field(
        default=180, description="how long failures at an address are ignored after a reset there (residual blocking)"
    )
    lift_apart_s: Seconds = Field(
        default=10, description="two hosts of a domain, visited at least this far apart, stand for the whole domain"
    )
    prefix_hosts: Count = Field(
        default=3, description="unreachable hosts in a /24 or /48 that mean the prefix is unreachable"
    )
    prefix_s: Seconds = Field(
        default=3_600, description="duration; needs the same time without any success in the prefix"
    )
    shared_domains: Count = Field(
        default=3, description="unrelated domains that lead to the same place before it counts"
    )
    shared_window_s: Seconds = Field(default=3_600, description="time window for it")
    refused_s: Seconds = Field(default=7_200, description="how long a route that the site does not reject is preferred")
    gave_up_s: Seconds = Field(default=3, description="a client that leaves after at least this time gave up")
    early_reset_bytes: Count = Field(default=4_096, description="a reset within this many bytes is early")
    proof_bytes: Count = Field(
        default=32_768, description="bytes through a relay that prove the direct transfer frozen"
    )
    whole_bytes: Count = Field(default=65_536, description="bytes over direct that end frozen or throttled")
    restricted_domains: Count = Field(
        default=5, description="unrelated domains that must fail for the network to be restricted"
    )
    restricted_controls: Count = Field(default=2, description="foreign control pages that must fail for it")
    restricted_window_s: Seconds = Field(default=600, description="time window for it")
    restricted_known_s: Seconds = Field(
        default=3_600, description="hosts that worked within this time still go direct first there"
    )
    restricted_passes: Count = Field(default=2, description="consecutive foreign control pages that end it")
    restricted_in_vain: Count = Field(
        default=5, description="consecutive connections that no relay delivers before direct is tried first again"
    )
    inspected_domains: Count = Field(
        default=3, description="unrelated domains with re-signed certificates, one of them a control page"
    )

    # Bounds.
    hosts_max: Count = Field(
        default=20_000, description="maximum number of hosts remembered; the least recently used is dropped"
    )
    hosts_per_domain_max: Count = Field(default=256, description="the same per registrable domain")

    # Relays.
    relay_failures: Count = Field(default=3, description="consecutive failures after which a relay is deprioritised")
    relay_backoff_s: Seconds = Field(default=5, description="for how long at first; doubles with each failure")
    relay_backoff_max_s: Seconds = Field(default=300, description="maximum of that time")
    relay_backoff_jitter: Share = Field(default=0.3, description="random extension, as a share of that time")
    relay_retry_s: Steps = Field(
        default=(1, 1.2, 1.5, 1.9, 2.1, 6),
        description="delays before a failed relay is tried again in one visit; the first is shared by all visits",
    )
    relay_silent_s: Seconds = Field(
        default=10, description="a relay that does not answer for this time is tried again in parallel"
    )
    relay_handshakes_max: Count = Field(
        default=8, description="concurrent handshakes with one relay on another computer"
    )
    relay_paths_max: Count = Field(
        default=128, description="connections being opened at once through one relay on another computer"
    )

    # Measuring a site on purpose (`byway why`, `byway test`).
    measure_bytes: Count = Field(default=65_536, description="maximum bytes of a page read on each route")
    measure_answer_s: Seconds = Field(default=15, description="timeout for the answer of a page")
    measure_stall_s: Seconds = Field(default=5, description="a page that stops for this time before its end is frozen")
    measure_slow_bytes: Count = Field(
        default=20_000, description="bytes per second below which a page may be throttled"
    )
    measure_slow_ratio: Divisor = Field(default=5, description="another route must be this many times faster for it")
    measure_keep_s: Seconds = Field(default=300, description="how long a result answers `byway why` again")
    measure_routes: Count = Field(default=4, description="routes of one site tested at once")
    measure_site_s: Seconds = Field(default=90, description="maximum time for one site")
    measure_control_s: Seconds = Field(default=30, description="how long the result of a control page is reused")

    # Flows that stop, crawl or break after they delivered (docs/detection.md, "What the kernel knows").
    stalled_s: Seconds = Field(
        default=2, description="a transfer without a byte for this time is probed with TCP keep-alive"
    )
    stalled_again_s: Seconds = Field(default=10, description="time until a transfer that answered is probed again")
    frozen_probes: Count = Field(
        default=3, description="unanswered probes, while other transfers receive, that mean frozen"
    )
    frozen_retransmits: Count = Field(default=2, description="the same in retransmitted segments")
    frozen_give_up_s: Seconds = Field(
        default=20, description="how long a stalled transfer is probed while no other receives"
    )
    throttled_bytes_s: Number = Field(
        default=20_000, description="bytes per second below which a transfer may be throttled"
    )
    throttled_s: Seconds = Field(default=10, description="for this time without a pause")
    throttled_faster: Number = Field(default=5, description="while another host's transfer is this many times faster")
    throttled_times: Count = Field(default=3, description="this many times within an hour")

    # Time that passed without us.
    asleep_s: Seconds = Field(default=5, description="the computer slept if the timer did not run for this time")
    wake_stale_s: Seconds = Field(
        default=60, description="open connections are probed after a sleep of at least this time"
    )
    clock_jump_s: Seconds = Field(default=10, description="a clock change of at least this much is a jump")


class Limits(_Section):
    """Timeouts and sizes."""

    head_timeout_s: Seconds = Field(default=10, description="timeout for a client's request head or SOCKS greeting")
    late_flight_s: Seconds = Field(
        default=5,
        description="how long a tunnel whose route ended before the first byte waits for the client's request",
    )
    linger_s: Seconds = Field(
        default=2, description="how long a refused client's bytes are still read, so that it receives the answer"
    )
    handshake_timeout_s: Seconds = Field(default=10, description="timeout for the whole handshake with one relay")
    connect_timeout_s: Seconds = Field(
        default=10, description="timeout for connecting to a destination, over all its addresses"
    )
    resolve_timeout_s: Seconds = Field(default=5, description="timeout for resolving one name")
    resolve_keep_s: Seconds = Field(default=30, description="how long a DNS answer is cached")
    idle_timeout_s: Seconds = Field(
        default=7_440, description="idle timeout of a tunnel; RFC 5382 asks NATs for 2 h 4 min"
    )
    half_open_timeout_s: Seconds = Field(default=300, description="idle timeout of a tunnel that one side has closed")
    exchange_timeout_s: Seconds = Field(default=300, description="timeout for a plain HTTP exchange without progress")
    keep_alive_s: Seconds = Field(
        default=60, description="how long a client or origin connection is kept between two plain HTTP requests"
    )
    drain_s: Seconds = Field(default=5, description="how long open tunnels may finish at shutdown")
    clients_max: Count = Field(default=20_000, description="maximum concurrent client connections")
    descriptors_reserve: Count = Field(default=64, description="file descriptors reserved for relays and the log")


RelayConfigs = Annotated[tuple[RelayConfig, ...], Field(max_length=256)]
ListConfigs = Annotated[tuple[ListConfig, ...], Field(max_length=256)]
AddonConfigs = Annotated[dict[str, AddonConfig], Field(max_length=256)]


class Settings(BaseModel):
    """The whole configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    config_version: Literal[1] = Field(default=1, description="version of this file's layout")
    listen: Listen = Field(default=Listen(), description="where clients connect")
    auto: Auto = Field(default=Auto(), description="how AUTO gets around a block")
    dns: Dns = Field(default=Dns(), description="how names are resolved")
    safety: Safety = Field(default=Safety(), description="exceptions from the protection of private addresses")
    log: Log = Field(default=Log(), description="what is logged")
    relay: RelayConfigs = Field(default=(), description="relays, the preferred first")
    list: ListConfigs = Field(default=(), description="imported lists")
    addons: AddonConfigs = Field(default={}, description="addons by name")
    inspect: Inspect = Field(default=Inspect(), description="inspection of connections by INSPECT rules")
    detect: Detect = Field(default=Detect(), description="tuning of detection")
    limits: Limits = Field(default=Limits(), description="timeouts and sizes")
