"""Every setting: its name, default, unit and meaning, one line each.

A model defines the shape of a value and refuses single values that can never work; combinations of settings are checked
in `checks`. Unknown keys are errors and nothing is converted silently (`port = "80"` is a mistake, not a port), because
a setting that does not do what its writer expects puts the user at risk. Key names carry their unit: `_s` is seconds.
Nothing here reads a file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from proxy.config.detect_tuning import DetectTuning
from proxy.config.setting_types import (
    Address,
    Command,
    Count,
    Days,
    Host,
    Page,
    Port,
    RelayName,
    Seconds,
    Section,
    Suffix,
    Text,
    Url,
)


class Listen(Section):
    """Where clients connect."""

    address: Address = Field(default="127.0.0.1", description="listening address; any but loopback needs listen.user")
    port: Port = Field(default=8119, description="port for HTTP, SOCKS4 and SOCKS5; 0: any free port")
    user: Text = Field(
        default="", description="user name that clients must give (HTTP 407 Basic, SOCKS5); empty: no authentication"
    )
    password_cmd: Command = Field(default="", description="command that prints this user's password on its first line")


class Auto(Section):
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


class Dns(Section):
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


class Safety(Section):
    """Exceptions from the protection of private addresses."""

    allow: tuple[Text, ...] = Field(
        default=(), description="host, address or CIDR, with `:port` or `:*`, that is allowed although it is private"
    )


class Log(Section):
    """What is logged."""

    hosts: Literal["decisions", "all", "off"] = Field(default="decisions", description="which hosts are logged by name")
    keep_days: Days = Field(default=14, description="how many days log entries are kept")
    never: tuple[Text, ...] = Field(
        default=(), description="patterns (`*.gov.kz`) of hosts that are never logged and never re-tested"
    )


class RelayConfig(Section):
    """One relay. The first one listed is preferred."""

    name: RelayName = Field(description="name of the relay in rules and in the log")
    url: Url = Field(description="socks5h|socks4a|http|https://[user:password@]host:port, or a chain `a>b`", repr=False)
    password_cmd: Command = Field(default="", description="command that prints the relay's password on its first line")
    allow_plaintext_credentials: bool = Field(
        default=False, description="allow sending the password without TLS to a relay on another computer"
    )
    enabled: bool = Field(default=True, description="whether the relay, and chains that name it, are used")


class ListConfig(Section):
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


class Inspect(Section):
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


class Limits(Section):
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
    detect: DetectTuning = Field(default=DetectTuning(), description="tuning of detection")
    limits: Limits = Field(default=Limits(), description="timeouts and sizes")
