"""The constants of detection: weights, times, counts. Named, with unit and meaning, one line each."""

from __future__ import annotations

from pydantic import Field

from proxy.config.setting_types import Count, Divisor, Extra, Number, Seconds, Section, Share, Steps, Weight


class Weights(Section):
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


class DetectTuning(Section):
    """The constants of detection; docs/detection.md, "What blocked means" and the sections after it, says why.

    They are private, but for those that CHANGELOG.md names: a later version may rename or drop them. The
    table `[detect]` sets each of them, which is how tests that start Byway shorten the times."""

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
