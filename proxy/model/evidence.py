"""The names of signals, and the measurements beside an attempt.

`docs/detection.md` has the table of signals, with the meaning, the usual false positive and the weight of each.
Evidence explains a verdict and is stored with its attempt as JSON: measurements from the kernel, the resolver, the page
and the certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypedDict, cast


class SignalId(StrEnum):
    """The kinds of observations for blocking. `[detect.weights]` has a key for each kind that a connection can show."""

    DNS_FAILED = "dns_failed"  # the name does not resolve here, and no encrypted resolver was compared
    DNS_BOGON = "dns_bogon"
    DNS_TWO_ANSWERS = "dns_two_answers"
    DNS_DENIED = "dns_denied"
    DNS_SILENT = "dns_silent"
    DNS_MISMATCH = "dns_mismatch"
    DNS_SAME_IP = "dns_same_ip"
    TCP_TIMEOUT = "tcp_timeout"
    TCP_REFUSED = "tcp_refused"
    TLS_RESET = "tls_reset"
    TLS_DROPPED = "tls_dropped"
    TLS_SILENT = "tls_silent"
    TLS_SILENT_BLIND = "tls_silent_blind"  # the same where a middlebox acknowledges everything
    TLS_EOF = "tls_eof"
    TLS_GARBAGE = "tls_garbage"
    TLS_ALERT = "tls_alert"
    TLS_BAD_CERT = "tls_bad_cert"
    HTTP_RESET = "http_reset"
    HTTP_DROPPED = "http_dropped"
    HTTP_SILENT = "http_silent"
    HTTP_EOF = "http_eof"
    HTTP_GARBAGE = "http_garbage"
    HTTP_REDIRECT = "http_redirect"
    HTTP_REDIRECTS = "http_redirects"  # of three unrelated domains to one host
    HTTP_DIFFERS = "http_differs"  # a page that has nothing in common with that of another route
    HTTP_SAME_PAGE = "http_same_page"  # such a page, which comes for unrelated sites as well
    HTTP_BLOCK_PAGE = "http_block_page"
    FROZEN = "frozen"
    THROTTLED = "throttled"
    EARLY_RESET = "early_reset"
    CUT_LATER = "cut_later"
    GAVE_UP = "gave_up"
    RETEST = "retest"  # direct failed again in a paired re-test; has the weight of the signal before it
    LIFT = "lift"  # two hosts of one domain fail in the same way; has the weight of both together

    # Only a measurement shows these, so they have no setting.
    KNOWN_ROOT = "known_root"
    SNI_SWAP = "sni_swap"


class PageDoubt(StrEnum):
    """Why a page that direct delivered over plain HTTP may not be the site's own."""

    SHARED = "shared"  # it comes for an unrelated site as well
    ADDRESS = "address"  # it comes from an address to which an unrelated site was led by a lie
    UNLIKE = "unlike"  # a measurement found that a relay shows another page


class Evidence(TypedDict, total=False):
    """The measurements beside an attempt or a step of a measurement: every key, its unit, and the package that writes
    it.

    Flags are 0 or 1. Read with `get`: evidence that another version of Byway stored may have other keys."""

    # The kernel, from the flight on (TCP_INFO).
    retransmits: int  # segments sent again                            net.race, net.tunnel, probe
    unacked: int  # segments on their way                              net.race, net.tunnel, net.dialers
    acknowledged: int  # flag: the whole flight was acknowledged       net.race, probe
    rtt_ms: float  # smoothed round trip, milliseconds                 net.race
    out_of_order: int  # segments received behind a lost one           net.race, probe
    middlebox: int  # flag: something on the path terminates TCP       net.race
    addresses: str  # tried in vain, separated by spaces               net.race, net.dialers

    # The flow after the first answer.
    bytes: int  # received in all                                      session, probe
    stalled_s: float  # seconds without a byte                         net.tunnel
    probes: int  # keepalive probes without an answer                  net.tunnel
    answered: int  # keepalive probes answered on this network         net.tunnel
    bytes_s: int  # bytes a second, of a throttled flow                net.tunnel
    others_bytes_s: int  # bytes a second, of the fastest other flow   net.tunnel
    times: int  # slow flows of this host within the hour              net.tunnel
    again: int  # flag: reset after as many bytes as the last time     net.tunnel
    cut_s: float  # seconds from the handshake to a cut, as last time  net.tunnel
    bytes_per_s: int  # bytes a second, of a measured answer           probe

    # Names.
    dns: SignalId  # the fault in the system resolver's answer         net.dns, app, probe
    dns_detail: str  # half a sentence with the addresses              app, probe
    forged: str  # the first address of a forged answer                net.dns
    code: str  # the resolver's reply code, or "silent"                net.dns
    doh: str  # "doh_down": no encrypted resolver answers              net.dns

    greeting: int  # flag: a relay's TCP opens, SOCKS dies on it       net.dialers

    # The ClientHello, the certificate and the answer.
    hellos: int  # that left at once, this one included                net.race
    ech: int  # flag: the hello is encrypted under another name        net.race
    recorded: int  # flag: the hello was recorded at a visit           probe
    verify_code: int  # OpenSSL's X509_V_ERR_…                         probe
    certificate: str  # `detect.tls_interception.CertificateKind`      probe
    known_root: str  # SHA-256 of a known interception root, hex       probe
    clock: int  # flag: the certificate is valid on another day        probe, net.dialers
    host: str  # of a control, another site that is asked direct       probe
    portal: str  # URL of the login page that came in place of it      probe
    clock_s: int  # seconds that this computer's clock is ahead        probe
    status: int  # HTTP status                                         app, probe
    alert: int  # flag: answered with a TLS alert, as all routes are  net.race
    elsewhere: str  # another registrable domain it redirects to       app, probe
    location: str  # the redirect's Location field                     probe
    title: str  # of the page                                          probe
    body: str  # digest of the page, without its host's name          probe
    page: str  # row of the list of block pages                        app
    doubt: PageDoubt  # why a page of direct may not be the site's      net.race

    # Around the attempt.
    opened_s: float  # seconds until the relay had opened the path     net.race
    held_s: float  # seconds before that, held back by Byway itself    net.race
    relay: str  # what stopped the relay (`detect.relay_faults`)       net.dialers, wire
    reused: int  # flag: on a connection that was open already         session
    addons: str  # the changes that addons made to the signals         session


def frozen_evidence(evidence: Evidence) -> Evidence:
    """Returns a read-only copy, for shared values and for addons."""
    return cast(Evidence, MappingProxyType(dict(evidence)))


NO_EVIDENCE: Evidence = frozen_evidence({})
"""Nothing was measured. The hot path compares with `is`, so there is one shared value."""

REUSED: Evidence = frozen_evidence({"reused": 1})
"""An open connection was used again, and nothing was measured. Shared and compared in the same way."""


def as_evidence(facts: Mapping[str, object]) -> Evidence:
    """Returns a copy of untyped values, from the store or from an addon's test, as evidence."""
    return cast(Evidence, dict(facts))
