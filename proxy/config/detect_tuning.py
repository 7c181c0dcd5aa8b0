"""The constants of detection: weights, times, counts. Named, with unit and meaning, one line each."""

from proxy.config.setting_types import Count, Divisor, Extra, Number, Seconds, Section, Share, Steps, Weight, setting
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Weights(Section):
    """The weight by which one signal raises a scope's score (docs/detection.md, "Signals")."""

    dns_failed: Weight = setting(1.0, "the name resolves only at a relay")
    dns_bogon: Weight = setting(3.0, "an address that is not public")
    dns_two_answers: Weight = setting(5.0, "two different answers to one query")
    dns_denied: Weight = setting(3.0, "only the system's resolver says that the name does not exist")
    dns_silent: Weight = setting(1.2, "only the system's resolver does not answer")
    dns_mismatch: Weight = setting(4.0, "the system's resolver and encrypted DNS disagree")
    dns_same_ip: Weight = setting(4.0, "the same address for three unrelated domains")
    tcp_timeout: Weight = setting(1.5, "SYN unanswered")
    tcp_refused: Weight = setting(0.5, "refused, unreachable, reset on SYN")
    tls_reset: Weight = setting(2.0, "reset after the ClientHello")
    tls_dropped: Weight = setting(2.0, "ClientHello never acknowledged")
    tls_silent: Weight = setting(0.7, "ClientHello acknowledged, no answer")
    tls_eof: Weight = setting(1.5, "closed after the ClientHello")
    tls_garbage: Weight = setting(3.0, "the answer to the ClientHello is not TLS")
    tls_alert: Weight = setting(0.7, "TLS alert in answer to the ClientHello")
    tls_bad_cert: Weight = setting(6.0, "the certificate is not the site's")
    tls_silent_blind: Weight = setting(1.5, "tls_silent where a middlebox acknowledges everything")
    http_reset: Weight = setting(2.0, "reset after the HTTP request")
    http_dropped: Weight = setting(2.0, "HTTP request never acknowledged")
    http_silent: Weight = setting(0.7, "HTTP request acknowledged, no answer")
    http_eof: Weight = setting(1.5, "closed after the HTTP request")
    http_garbage: Weight = setting(3.0, "the answer to the request is not HTTP")
    http_redirect: Weight = setting(1.0, "redirect to another registrable domain")
    http_redirects: Weight = setting(5.0, "redirects of three unrelated domains to the same host")
    http_differs: Weight = setting(1.5, "a page that has nothing in common with that of another route")
    http_same_page: Weight = setting(5.0, "such a page, which unrelated domains show as well")
    http_block_page: Weight = setting(5.0, "a known block page")
    frozen: Weight = setting(2.0, "transfer stalls for good, and not through a relay")
    throttled: Weight = setting(1.5, "much slower than a relay and than other sites")
    early_reset: Weight = setting(1.0, "reset within the first few KiB of the answer")
    cut_later: Weight = setting(2.0, "connections in use are cut after the same time, and not through a relay")
    gave_up: Weight = setting(0.5, "the client left before it received anything")
    listed: Weight = setting(2.0, "an imported list contains the host; counts with the first other signal")


@frozen_dataclass
class DetectTuning(Section):
    """The constants of detection. Their reasons are in docs/detection.md, "What blocked means" and the sections after
    it.

    They are private, except those that CHANGELOG.md names: a later version may rename or remove them. The table
    `[detect]` sets each; tests that start Byway shorten times by it."""

    # The wait before the next route is started as well (docs/detection.md, "Two clocks").
    known_s: Seconds = setting(86_400, "a host is known while its last direct success is younger than this")
    hedge_syn_s: Seconds = setting(
        1.5, "DNS or SYN unanswered for this time starts the next route; one lost SYN must not"
    )
    hedge_ask_s: Seconds = setting(
        0.7, "SYN or request unanswered for this time has encrypted DNS asked about a host that is not known to work"
    )
    hedge_ask_rtts: Number = setting(2, "for a request the same in round trips; the longer of both counts")
    hedge_relay_s: Seconds = setting(3, "a relay's handshake unanswered for this time starts the next route")
    hedge_silent_s: Seconds = setting(
        3, "request acknowledged but unanswered for at least this time starts the next route"
    )
    hedge_silent_rtts: Number = setting(4, "the same in round trips; the longer of both counts")
    hedge_silent_known_s: Seconds = setting(
        1, "in its place for a ClientHello to an address that has answered another name, where a relay may be next"
    )
    hedge_known_s: Seconds = setting(3_600, "how long an answer to another name shows that an address answers")
    hedge_blind_s: Seconds = setting(
        1.2, "request unanswered for this time starts the next route, where TCP_INFO is missing"
    )
    hedge_blind_rtts: Number = setting(2, "round trips added to it")
    hedge_retransmits: Count = setting(2, "retransmissions of the request that start the next route")
    oracle_first_s: Seconds = setting(0.2, "first TCP_INFO poll after the request: the kernel's minimum RTO")
    oracle_poll_s: Seconds = setting(0.05, "interval of TCP_INFO polls while a request is unanswered")
    middlebox_ratio: Number = setting(
        5, "first bytes this many times later than the SYN-ACK: a middlebox terminates TCP"
    )
    middlebox_least_s: Seconds = setting(0.03, "earlier first bytes never count as a sign of a middlebox")
    middlebox_hosts: Count = setting(8, "number of recent working hosts that must show it; half as many at first")

    give_up_s: Seconds = setting(30, "how long a client waits at most while no route has received its request")

    page_hold_s: Seconds = setting(0.5, "how long the start of an HTTP page is held back to recognise a block page")
    elsewhere_hold_s: Seconds = setting(
        2, "how long a redirect to another domain is held back until a relay confirms it"
    )

    hedge_unacked_s: Seconds = setting(
        3,
        "request unacknowledged for this time starts the next route, whatever the retransmissions",
    )
    hedge_reserve_s: Seconds = setting(1, "how long an open reserve path waits once direct failed or looks dropped")

    # The number of ClientHellos that Byway sends beside those of clients (docs/detection.md, "Own ClientHellos").
    hello_apart_s: Seconds = setting(1, "minimum time between two ClientHellos of Byway's own with one name")
    hello_near_s: Seconds = setting(0.45, "ClientHellos with one name less than this time apart are a burst")
    hello_burst: Count = setting(3, "ClientHellos in a burst after which Byway adds none")

    # The times at which a failing direct attempt is judged (docs/detection.md, "What the kernel knows").
    syn_s: Seconds = setting(5, "SYN unanswered for this time is tcp_timeout")
    silent_s: Seconds = setting(7, "no answer for this time is *_silent; also how long a slower attempt is kept")
    dropped_s: Seconds = setting(3, "request unacknowledged for at least this time is *_dropped")
    dropped_rtos: Number = setting(4, "the same in retransmission timeouts; the longer of both counts")

    # Beliefs (docs/detection.md, "Two gates", "Score and states").
    weights: Weights = setting(Weights(), "weight of each signal")
    rescue_window_s: Seconds = setting(30, "another route must deliver within this time for anything to be learned")
    rescue_suspect_s: Seconds = setting(120, "how long a host that another route delivered stays suspect")
    down_s: Seconds = setting(60, "how long a host that no route reaches is called down")
    signal_interval_s: Seconds = setting(60, "one signal per scope counts in this time, the heaviest")
    half_life_s: Seconds = setting(21_600, "time in which the score halves")
    score_cap: Number = setting(8, "maximum score")
    suspect_score: Number = setting(1, "score from which a host is suspect")
    blocked_score: Number = setting(3, "score from which a host is blocked")
    blocked_episodes: Count = setting(2, "separate episodes needed for it")
    blocked_alone: Count = setting(4, "episodes without a success between them that mean blocked at any score")
    episode_gap_s: Seconds = setting(60, "minimum time between two episodes")
    unvisited_s: Seconds = setting(864_000, "stored status expires when the site was not visited for this time")
    last_good_s: Seconds = setting(86_400, "how long the route that last worked is remembered")
    whole_page_divisor: Divisor = setting(4, "a complete page over direct divides the score by this")

    # Re-tests (docs/detection.md, "Re-tests").
    retest_suspect_s: Seconds = setting(120, "time until a suspect host is re-tested")
    retest_blocked_s: Steps = setting(
        (900, 3_600, 14_400, 57_600, 100_800),
        "times until a blocked host is re-tested; the last one repeats",
    )
    retest_jitter: Share = setting(0.3, "random delay of each re-test, as a share of the time")
    retest_pair_s: Seconds = setting(10, "direct and the other route are tried within this time")
    retest_divisor: Divisor = setting(2, "divides the score of a suspect that passes a re-test")
    retest_success_s: Seconds = setting(900, "time until the next re-test after a success")
    retest_successes: Count = setting(2, "consecutive successes that end a block")
    retest_apart_s: Seconds = setting(600, "minimum time between two successes that count")
    retest_exits_window_s: Seconds = setting(86_400, "each ended block in this time requires one more success")
    retest_exits_max: Extra = setting(3, "maximum number of additional successes")
    retest_per_hour: Count = setting(6, "maximum re-tests per hour and network")

    # The search for a local strategy (docs/detection.md, "Local strategies").
    search_per_hour_host: Count = setting(2, "maximum searches for a local strategy per hour and host")
    search_per_hour: Count = setting(6, "maximum searches for a local strategy per hour and network")

    # Experiments about silence (docs/detection.md, "Re-tests").
    proof_share: Share = setting(
        0.5, "share of the time for which direct was silent in which a relay and another name must be answered"
    )
    proof_apart_s: Seconds = setting(86_400, "minimum time between two experiments about one host")

    # Comparisons of pages over plain HTTP (docs/detection.md, "Signals").
    page_apart_s: Seconds = setting(86_400, "minimum time between two comparisons of the page of one host")
    page_per_hour: Count = setting(6, "maximum comparisons of pages per hour and network")

    # Gates, scopes and networks (docs/detection.md, "Two gates", "Scopes", "States of a network").
    uplink_window_s: Seconds = setting(10, "how long a signal waits for proof that Internet access works")
    control_after_s: Seconds = setting(1, "how long a signal waits before a control page is requested")
    control_interval_s: Seconds = setting(60, "minimum time between two control pages")
    control_again_s: Seconds = setting(
        5, "time until foreign control pages that failed are requested again, once a site opens"
    )
    control_timeout_s: Seconds = setting(10, "timeout of a control page")
    probe_interval_s: Seconds = setting(60, "time between two certificate checks of working hosts")
    probe_again_s: Seconds = setting(60, "time until a certificate that a client rejected is checked again")
    wake_s: Seconds = setting(10, "nothing is learned for this time after waking or a clock jump")
    residual_s: Seconds = setting(
        180, "how long failures at an address are ignored after a reset there (residual blocking)"
    )
    lift_apart_s: Seconds = setting(
        10, "two hosts of a domain, visited at least this far apart, stand for the whole domain"
    )
    prefix_hosts: Count = setting(3, "unreachable hosts in a /24 or /48 that mean the prefix is unreachable")
    wide_prefix_hosts: Count = setting(
        4, "unreachable hosts, in as many /24 or /48 of one /16 or /32, that mean all of it is unreachable"
    )
    wide_prefix_domains: Count = setting(3, "unrelated domains that these must belong to")
    prefix_s: Seconds = setting(3_600, "duration; needs the same time without any success in the prefix")
    shared_domains: Count = setting(3, "unrelated domains that lead to the same place before it counts")
    shared_window_s: Seconds = setting(3_600, "time window for it")
    refused_s: Seconds = setting(7_200, "how long a route that the site does not reject is preferred")
    gave_up_s: Seconds = setting(3, "a client that leaves after at least this time gave up")
    early_reset_bytes: Count = setting(4_096, "a reset within this many bytes is early")
    proof_bytes: Count = setting(
        65_536, "bytes through a relay that prove the direct transfer frozen; half of them if that is a whole answer"
    )
    whole_bytes: Count = setting(65_536, "bytes over direct that end frozen or throttled")
    restricted_domains: Count = setting(
        5, "unrelated domains that must fail for the network to be restricted; one less while two others open"
    )
    restricted_controls: Count = setting(2, "foreign control pages that must fail for it")
    restricted_window_s: Seconds = setting(600, "time window for it")
    restricted_known_s: Seconds = setting(3_600, "hosts that worked within this time still go direct first there")
    restricted_passes: Count = setting(2, "consecutive foreign control pages that end it")
    restricted_in_vain: Count = setting(
        5, "consecutive connections that no relay delivers before direct is tried first again"
    )
    inspected_domains: Count = setting(3, "unrelated domains with re-signed certificates, one of them a control page")

    # Bounds.
    hosts_max: Count = setting(20_000, "maximum number of hosts remembered; the least recently used is dropped")
    hosts_per_domain_max: Count = setting(256, "the same per registrable domain")

    # Relays.
    relay_failures: Count = setting(3, "consecutive failures after which a relay is deprioritised")
    relay_backoff_s: Seconds = setting(5, "for how long at first; doubles with each failure")
    relay_backoff_max_s: Seconds = setting(300, "maximum of that time")
    relay_backoff_jitter: Share = setting(0.3, "random extension, as a share of that time")
    relay_retry_s: Steps = setting(
        (1, 1.2, 1.5, 1.9, 2.1, 6),
        "delays before a failed relay is tried again in one visit; the first is shared by all visits",
    )
    relay_silent_s: Seconds = setting(10, "a relay that does not answer for this time is tried again in parallel")
    relay_openings_max: Count = setting(4, "relays that one visit opens at once; for another, the oldest is given up")
    relay_search_s: Seconds = setting(60, "how long a visit tries further relays while none opens")
    relay_search_max: Count = setting(256, "relays that one visit tries; the next visit goes on with others")
    relay_handshakes_max: Count = setting(8, "concurrent handshakes with one relay on another computer")
    relay_paths_max: Count = setting(128, "connections being opened at once through one relay on another computer")

    # Measurements that the user asks for (`byway why`, `byway test`).
    measure_bytes: Count = setting(65_536, "maximum bytes of a page read on each route")
    measure_answer_s: Seconds = setting(15, "timeout for the answer of a page")
    measure_stall_s: Seconds = setting(5, "a page that stops for this time before its end is frozen")
    measure_lasts_s: Seconds = setting(32, "how long a connection is used to see whether it is cut")
    measure_slow_bytes: Count = setting(20_000, "bytes per second below which a page may be throttled")
    measure_slow_ratio: Divisor = setting(5, "another route must be this many times faster for it")
    measure_keep_s: Seconds = setting(300, "how long a result answers `byway why` again")
    measure_routes: Count = setting(4, "routes of one site tested at once")
    measure_site_s: Seconds = setting(90, "maximum time for one site")
    measure_control_s: Seconds = setting(30, "how long the result of a control page is reused")

    # Flows that stall, slow down or break after the first byte (docs/detection.md, "What the kernel knows").
    stalled_s: Seconds = setting(2, "a transfer without a byte for this time is probed with TCP keep-alive")
    stalled_again_s: Seconds = setting(10, "time until a transfer that answered is probed again")
    frozen_probes: Count = setting(3, "unanswered probes, while other transfers receive, that mean frozen")
    frozen_retransmits: Count = setting(2, "the same in seconds with retransmissions")
    frozen_give_up_s: Seconds = setting(
        80, "how long a stalled transfer is probed while no other receives; a control page may take 60 s to be due"
    )
    throttled_bytes_s: Number = setting(20_000, "bytes per second below which a transfer may be throttled")
    throttled_s: Seconds = setting(10, "for this time without a pause")
    throttled_faster: Number = setting(5, "while another host's transfer is this many times faster")
    throttled_times: Count = setting(3, "this many times within an hour")
    compared_bytes_s: Number = setting(
        300_000, "bytes per second below which a transfer is compared with another route"
    )
    compared_faster: Number = setting(
        3, "if another host's transfer is this many times faster, for the same time; so must the route be"
    )
    compared_apart_s: Seconds = setting(60, "twice, with at least this time between the two comparisons")
    compared_per_hour: Count = setting(1, "comparisons of speed per hour and network, besides second ones of a host")
    compared_per_day: Count = setting(2, "comparisons of one domain in a day, of at most 120 KiB each")
    cut_least_s: Seconds = setting(1, "a transfer cut at least this long after its handshake may be cut by time")
    cut_most_s: Seconds = setting(60, "the same, at most")
    cut_alike: Share = setting(0.25, "two cuts by time differ by at most this share")
    cut_outlived: Divisor = setting(2, "a connection that lasts this many times as long was not cut by time")
    cut_known_s: Seconds = setting(86_400, "for how long no re-test of such a host is made, since none lasts as long")

    # Sleep, and jumps of the clock.
    asleep_s: Seconds = setting(5, "the computer slept if the timer did not run for this time")
    wake_stale_s: Seconds = setting(60, "open connections are probed after a sleep of at least this time")
    clock_jump_s: Seconds = setting(10, "a clock change of at least this much is a jump")
