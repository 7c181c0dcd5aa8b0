"""OONI's data format, as far as a measurement of a website has it (github.com/ooni/spec: data-formats/df-000-base,
df-001-httpt, df-002-dnst, df-005-tcpconnect, df-006-tlshandshake, df-007-errors; nettests/ts-017-web-connectivity).

`problems` returns the violations of these specifications. As there, unknown keys are allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Check = Callable[[Any], bool]

FAILURES = frozenset(
    {"android_dns_cache_no_data", "connection_aborted", "connection_already_closed", "connection_refused",
     "connection_reset", "dns_bogon_error", "dns_no_answer", "dns_non_recoverable_failure", "dns_nxdomain_error",
     "dns_reply_with_wrong_query_id", "dns_refused_error", "dns_server_misbehaving", "dns_servfail_error",
     "dns_temporary_failure", "eof_error", "http_invalid_redirect_location_host", "http_request_failed",
     "host_unreachable", "generic_timeout_error", "http_unexpected_redirect_url", "http_unexpected_status_code",
     "interrupted", "json_parse_error", "network_down", "network_reset", "network_unreachable",
     "quic_incompatible_version", "ssl_failed_handshake", "ssl_invalid_hostname", "ssl_unknown_authority",
     "ssl_invalid_certificate"}
)  # fmt: skip
"""The errors of OONI's probe. Any other error begins with `unknown_failure`."""

ENGINES = frozenset({"unknown", "system", "getaddrinfo", "golang_net_resolver", "go", "udp", "tcp", "dot", "doh"})


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def is_failure(value: Any) -> bool:
    return value is None or (is_text(value) and (value in FAILURES or value.startswith("unknown_failure")))


def is_address(value: Any) -> bool:
    try:
        return is_text(value) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def matches(pattern: str) -> Check:
    return lambda value: is_text(value) and re.fullmatch(pattern, value) is not None


def one_of(*allowed: Any) -> Check:
    return lambda value: any(value is each or (is_text(value) and value == each) for each in allowed)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def headers(value: Any) -> bool:
    return isinstance(value, dict)


MOMENT = matches(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
ASN = matches(r"AS\d+")
TIMED = {"t0": is_time, "t": is_time, "tags?": texts, "transaction_id?": is_whole}

BASE: Mapping[str, Check] = {
    "annotations?": lambda value: isinstance(value, dict) and all(map(is_text, value.values())),
    "data_format_version": one_of("0.2.0"),
    "extensions?": lambda value: isinstance(value, dict) and all(map(is_whole, value.values())),
    "id?": is_text,
    "input": is_text,
    "measurement_start_time": MOMENT,
    "probe_asn": ASN,
    "probe_cc": matches(r"[A-Z]{2}"),
    "probe_ip": is_address,
    "probe_network_name?": is_text,
    "report_id": is_text,
    "resolver_asn?": ASN,
    "resolver_ip?": is_address,
    "resolver_network_name?": is_text,
    "software_name": is_text,
    "software_version": is_text,
    "test_helpers": headers,
    "test_name": matches(r"[a-z_]+"),
    "test_runtime": is_time,
    "test_start_time": MOMENT,
    "test_version": matches(r"\d+\.\d+\.\d+"),
}
KEYS: Mapping[str, Check] = {
    "agent": one_of("agent", "redirect"),
    "client_resolver?": is_address,
    "socksproxy?": one_of(None),
    "dns_consistency": one_of("consistent", "reverse_match", "inconsistent", None),
    "body_length_match": one_of(True, False, None),
    "headers_match": one_of(True, False, None),
    "status_code_match": one_of(True, False, None),
    "title_match": one_of(True, False, None),
    "accessible": one_of(True, False, None),
    "blocking": one_of("tcp_ip", "dns", "http-diff", "http-failure", False, None),
    "dns_experiment_failure": is_failure,
    "http_experiment_failure": is_failure,
    "control_failure": is_failure,
}
QUERY: Mapping[str, Check] = {
    "engine?": one_of(*ENGINES), "failure": is_failure, "hostname": is_text, "query_type": matches("[A-Z]+"),
    "resolver_address": is_text, **TIMED,
}  # fmt: skip
ANSWER: Mapping[str, Check] = {"answer_type": matches("[A-Z]+"), "ipv4?": is_address, "ipv6?": is_address}
CONNECT: Mapping[str, Check] = {"ip": is_address, "port": is_whole, **TIMED}
STATUS: Mapping[str, Check] = {"blocked?": one_of(None, True, False), "failure": is_failure, "success": is_truth}
HANDSHAKE: Mapping[str, Check] = {
    "network?": one_of("tcp", "udp"), "address": matches(r".+:\d+"), "cipher_suite": is_text, "failure": is_failure,
    "negotiated_protocol": is_text, "no_tls_verify": is_truth, "peer_certificates": lambda v: isinstance(v, list),
    "server_name?": is_text, "tls_version": is_text, **TIMED,
}  # fmt: skip
TRANSACTION: Mapping[str, Check] = {
    "network?": one_of("tcp", "udp"), "address?": is_text, "alpn?": is_text, "failure": is_failure, **TIMED,
}  # fmt: skip
MESSAGE: Mapping[str, Check] = {
    "body": is_text, "body_is_truncated?": is_truth, "headers": headers, "headers_list": lambda v: isinstance(v, list),
}  # fmt: skip
REQUEST: Mapping[str, Check] = {**MESSAGE, "url": matches("https?://.+"), "method": is_text, "x_transport?": is_text}
RESPONSE: Mapping[str, Check] = {**MESSAGE, "code": is_whole}
TOR: Mapping[str, Check] = {
    "exit_ip": one_of(None), "exit_name": one_of(None), "is_tor": is_truth,
}  # fmt: skip
CONTROL: Mapping[str, Check] = {"tcp_connect": headers, "tls_handshake": headers}
CONTROL_REQUEST: Mapping[str, Check] = {
    "body_length": is_whole, "failure": is_failure, "title": is_text, "headers": headers, "status_code": is_whole,
}  # fmt: skip
CONTROL_DNS: Mapping[str, Check] = {"failure": is_failure, "addrs": texts}


def problems(measurement: Mapping[str, Any]) -> list[str]:
    """Returns the faults of a measurement, a sentence each; empty: it is valid."""
    return list(_problems(measurement))


def _problems(measurement: Mapping[str, Any]) -> Iterator[str]:
    yield from _checked("", measurement, BASE)
    keys = measurement.get("test_keys")
    if not isinstance(keys, dict):
        yield "test_keys: is no object"
        return
    yield from _checked("test_keys", keys, KEYS)
    for name, entry in _each("queries", keys):
        yield from _checked(name, entry, QUERY)
        for place, answer in _each("answers", entry):
            yield from _checked(f"{name}.{place}", answer, ANSWER)
    for name, entry in _each("tcp_connect", keys):
        yield from _checked(name, entry, CONNECT)
        yield from _checked(f"{name}.status", entry.get("status"), STATUS)
    for name, entry in _each("tls_handshakes", keys):
        yield from _checked(name, entry, HANDSHAKE)
    for name, entry in _each("requests", keys):
        yield from _checked(name, entry, TRANSACTION)
        yield from _checked(f"{name}.request", entry.get("request"), REQUEST)
        yield from _checked(f"{name}.request.tor", (entry.get("request") or {}).get("tor"), TOR)
        yield from _checked(f"{name}.response", entry.get("response"), RESPONSE)
    control = keys.get("control")
    if control is not None:
        yield from _checked("control", control, CONTROL)
        yield from _checked("control.http_request", control.get("http_request"), CONTROL_REQUEST)
        yield from _checked("control.dns", control.get("dns"), CONTROL_DNS)


def _each(name: str, holder: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the place and the value of each entry of a list."""
    entries = holder.get(name)
    if not isinstance(entries, list):
        yield f"{name} (no list)", None
        return
    yield from ((f"{name}[{place}]", entry) for place, entry in enumerate(entries))


def _checked(place: str, value: Any, known: Mapping[str, Check]) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: is no object"
        return
    for marked, check in known.items():
        name = marked.removesuffix("?")
        if name not in value:
            if name == marked:
                yield f"{place}.{name}: is missing"
        elif not check(value[name]):
            yield f"{place}.{name}: {value[name]!r}"
    if {"t0", "t"} <= value.keys() and is_time(value["t0"]) and is_time(value["t"]) and value["t"] < value["t0"]:
        yield f"{place}: ends before it begins"
