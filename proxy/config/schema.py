"""Every setting: its name, default, unit and meaning, one line each.

A type defines the form of a value and refuses values that can never work; `checks` has the rules for combinations of
settings. Unknown keys are errors, and no type is converted (`port = "80"` is an error), because a setting without its
expected effect puts the user at risk. A key ends with its unit: `_s` is seconds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from proxy.config.detect_tuning import DetectTuning
from proxy.config.setting_types import (
    Address,
    Command,
    Count,
    Days,
    HeaderText,
    Host,
    NetworkIdText,
    Page,
    Pin,
    PlainPage,
    Port,
    Program,
    Refresh,
    RelayName,
    RelayUrlText,
    Rung,
    Seconds,
    Section,
    Size,
    Suffix,
    Text,
    Url,
    other_keys,
    required,
    seconds_of,
    setting,
)
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed


@frozen_dataclass
class Listen(Section):
    """The address where clients connect, and their user and password."""

    address: Address = setting("127.0.0.1", "listening address; any but loopback needs listen.user")
    port: Port = setting(8119, "port for HTTP, SOCKS4 and SOCKS5; 0: any free port")
    user: Text = setting("", "user name that clients must give (HTTP 407 Basic, SOCKS5); empty: no authentication")
    password_cmd: Command = setting(
        "", "command that prints this user's password on its first line; run at start, and again on SIGHUP"
    )
    programs: Annotated[tuple[Program, ...], Size(at_most=64)] = setting(
        (), "the only programs that ever get a relay, by path or name; Linux only; empty: all programs"
    )


DEFAULT_LADDER = ("doh", "tlsrec", "tlsrec|split", "split", "hostcase")


@frozen_dataclass
class Auto(Section):
    """How AUTO bypasses a block."""

    ladder: tuple[Rung, ...] = setting(
        DEFAULT_LADDER, "local strategies to try before a relay, in this order; unless set, others are searched for too"
    )
    controls: tuple[Page, ...] = setting(
        ("https://example.com/", "https://www.wikipedia.org/", "https://egov.kz/"),
        "control pages that show whether Internet access works: two foreign, one domestic",
    )
    portal_page: PlainPage = setting(
        "",
        "plain http page that shows a captive portal once a control page failed; empty: the first one over http",
    )
    never_relay: tuple[Suffix, ...] = setting((), "hosts, with their subdomains, for which AUTO never uses a relay")
    retest: bool = setting(True, "re-test blocked sites automatically")


RESERVE_DNS_SERVERS = ("https://185.222.222.222/dns-query", "tls://8.8.8.8")
"""Encrypted DNS servers that are queried while all of the default `[dns] servers` fail; never beside servers that the
user has set. They belong to other owners, DNS.SB (xTom) and Google. Their certificates name these addresses, so the
ClientHello has no SNI: censors block `dns.google` by SNI while the address itself answers (net4people/bbs#81)."""


@frozen_dataclass
class Dns(Section):
    """How names are resolved."""

    secure: Literal["on-suspicion", "always", "never"] = setting(
        "on-suspicion", "when to use encrypted DNS (DoH or DoT)"
    )
    servers: tuple[Url, ...] = setting(
        ("https://1.1.1.1/dns-query", "tls://9.9.9.9"),
        "encrypted DNS servers, by address: DoH (HTTP/2 or HTTP/1.1) or DoT; ?sni= and ?ca= as for relays",
    )
    local: tuple[Suffix, ...] = setting(("lan", "home.arpa"), "suffixes whose names may resolve to private addresses")
    hosts: dict[Host, Address] = setting({}, "names with a fixed address; direct routes only")
    retry_s: Seconds = setting(0.5, "query the system's next DNS server too after this time")
    second_answer_s: Seconds = setting(0.5, "how long to wait for a second, different answer")
    finding_keep_s: Seconds = setting(3_600, "how long a name with a forged answer is resolved by encrypted DNS only")
    secure_timeout_s: Seconds = setting(5, "timeout for connecting to an encrypted DNS server, and for each answer")
    secure_stagger_s: Seconds = setting(1, "query the next encrypted DNS server too after this time")
    secure_down_s: Seconds = setting(60, "how long to deprioritise a failed DoH/DoT server")
    secure_idle_s: Seconds = setting(30, "how long to keep an unused connection to an encrypted DNS server")


@frozen_dataclass
class Safety(Section):
    """Exceptions from the protection of private addresses."""

    allow: tuple[Text, ...] = setting(
        (), "host, address or CIDR, with `:port` or `:*`, that is allowed although it is private"
    )


@frozen_dataclass
class Log(Section):
    """The log: its content, and how long it is kept."""

    hosts: Literal["decisions", "all", "off"] = setting("decisions", "which hosts are logged by name")
    keep_days: Days = setting(14, "how many days log entries are kept")
    never: tuple[Text, ...] = setting((), "patterns (`*.gov.kz`) of hosts that are never logged and never re-tested")


@frozen_dataclass
class RelayConfig(Section):
    """One relay. The first one listed is preferred."""

    name: RelayName = required("name of the relay in rules and in the log")
    url: RelayUrlText = required(
        "socks5h|socks4a|http|https://[user:password@]host:port, the link of a key, or a chain `a>b`", shown=False
    )
    password_cmd: Command = setting(
        "", "command that prints the relay's password on its first line; run at start, and again on SIGHUP"
    )
    allow_plaintext_credentials: bool = setting(
        False, "allow sending the password without TLS to a relay on another computer"
    )
    enabled: bool = setting(True, "whether the relay, and chains that name it, are used")
    public_only: bool = setting(
        False, "never connect where the relay's name leads into the local network; set for relays added by a page"
    )
    ignore_fields: Annotated[tuple[Text, ...], Size(at_most=32)] = setting(
        (), "fields of its key that are ignored, although the connection may be weaker without them"
    )
    pin: Pin = setting("", "SHA-256 of the only certificate that the server of its key may show, in hexadecimal digits")
    local: bool = setting(False, "whether the server of its key may be in the local network, or on this computer")

    @property
    def allowed(self) -> "Allowed | None":
        """What the user says to its key; None: nothing."""
        if not (self.ignore_fields or self.pin):
            return None
        from proxy.wire.keys.fields import Allowed  # few relays are such keys

        pin = bytes.fromhex(self.pin) if self.pin else None
        return Allowed(frozenset(map(str.lower, self.ignore_fields)), pin)


ListFormatName = Literal[
    "auto", "autoproxy", "adblock", "v2fly", "sing-box", "switchyomega", "pac", "clash", "hosts", "dnsmasq", "plain",
]  # fmt: skip
"""Formats of lists: one name for each row of `routing.lists.formats.FORMATS`."""


@frozen_dataclass
class GroupConfig(Section):
    """A group of relays. Rules, overrides, chains and addons may use its name like that of a relay."""

    name: RelayName = required("name of the group; no relay may have it too")
    relays: Annotated[tuple[RelayName, ...], Size(at_most=256)] = required("names of its relays")
    policy: Literal["fallback", "fastest", "sticky", "select"] = setting(
        "fallback",
        "which member goes first: as written, the fastest, one for each site, or the one of `byway relay use`",
    )


@frozen_dataclass
class SubscriptionConfig(Section):
    """One subscription: a group whose relays follow a fetched file. Their names are `NAME/label`."""

    name: RelayName = required("name of the group; no relay and no other group may have it too")
    source: Url = required("https:// URL of the file, fetched by `byway relay refresh`; it is a secret", shown=False)
    policy: Literal["fallback", "fastest", "sticky", "select"] = setting(
        "fallback", "which relay goes first, as for a [[group]]"
    )
    disabled: Annotated[tuple[Text, ...], Size(at_most=256)] = setting(
        (), "its relays that are not used, set by `byway relay disable`"
    )
    order: Annotated[tuple[Text, ...], Size(at_most=256)] = setting(
        (), "its relays that go first, set by `byway relay order`; empty: as in the file"
    )
    refresh: Refresh = setting(
        "", "fetch it again beside a visit after this time, 15m to 30d; empty: only when you ask"
    )
    via: Literal["relay", "direct"] = setting("relay", "how to fetch it: through relays only, or direct")
    user_agent: HeaderText = setting(
        "v2rayN/7.12", "User-Agent of the request, by which servers choose the notation of the file"
    )

    @property
    def url(self) -> str:
        """The URL from which the file is fetched."""
        return self.source

    @property
    def refresh_s(self) -> int:
        """Seconds between two fetches; 0: it is fetched only on request."""
        return seconds_of(self.refresh) if self.refresh else 0


@frozen_dataclass
class ListConfig(Section):
    """One imported list. LIST rules decide how its domains are routed. Without such a rule its domains are likely
    blocked: they still go direct first, but are resolved by encrypted DNS only, and the first signal weighs more."""

    name: RelayName = required("name of the list in LIST rules")
    source: Url = required(
        "file of the list, relative to the configuration folder; or an https:// URL, fetched by `byway list refresh`"
    )
    format: ListFormatName = setting("auto", "format of the file; auto recognises it by its text")
    allow_empty: bool = setting(
        False, "allow RELAY and BLOCK rules with this list even if it is empty or mostly skipped"
    )
    allow_suffixes: bool = setting(
        False, "allow lines such as com, which list every site below a public suffix, and nearly all addresses"
    )
    refresh: Refresh = setting(
        "", "fetch an https:// source again beside a visit after this time, 15m to 30d; empty: only when you ask"
    )
    via: Literal["relay", "direct"] = setting(
        "relay", "how to fetch an https:// source: through relays only, or direct"
    )

    @property
    def url(self) -> str:
        """The URL from which the list is fetched; empty when the source is a file."""
        return self.source if "://" in self.source else ""

    @property
    def refresh_s(self) -> int:
        """Seconds between two fetches; 0: it is fetched only on request."""
        return seconds_of(self.refresh) if self.refresh else 0


@frozen_dataclass
class AddonConfig(Section):
    """The table of one addon. Byway reads `enabled`; all other keys are the addon's options."""

    enabled: bool | None = setting(None, "default: true for your own addons, false for those that ship with Byway")
    options: Mapping[str, Any] = other_keys("what the addon's own settings are set to")


@frozen_dataclass
class Desktop(Section):
    """Notifications on the desktop."""

    notify: bool = setting(True, "notify of the first blocked site on a network, and when all relays fail")


@frozen_dataclass
class Lan(Section):
    """Other devices of the network, such as phones, that may use Byway for a while."""

    only_on: Annotated[tuple[RelayName, ...], Size(at_most=256)] = setting(
        (), "names of [networks] on which `byway lan on` may serve other devices; empty: on none"
    )


@frozen_dataclass
class Ui(Section):
    """The language of pages and commands."""

    language: Literal["", "en", "ru", "fa", "en-XA"] = setting(
        "", "language of pages, and of why, status, doctor and report; empty: that of the browser, or of the terminal"
    )


@frozen_dataclass
class Inspect(Section):
    """Inspection of connections by INSPECT rules."""

    stream_above_bytes: Count = setting(3_000_000, "longer bodies are streamed, and addons cannot change them")
    log_requests: bool = setting(False, "log the requests inside inspected connections")
    vouched_s: Seconds = setting(300, "how long a site's verified certificate is not checked again")
    vouch_timeout_s: Seconds = setting(5, "timeout for fetching a site's certificate")
    pass_s: Seconds = setting(21_600, "how long a site is left uninspected after a client rejected our certificate")


EventLoop = Literal["auto", "asyncio"]
"""The event loops of `net.loop.choice`."""


@frozen_dataclass
class Limits(Section):
    """Timeouts and sizes, and the event loop."""

    head_timeout_s: Seconds = setting(10, "timeout for a client's request head or SOCKS greeting")
    late_flight_s: Seconds = setting(
        5,
        "how long a tunnel whose route ended before the first byte waits for the client's request",
    )
    linger_s: Seconds = setting(2, "how long a refused client's bytes are still read, so that it receives the answer")
    handshake_timeout_s: Seconds = setting(
        15, "timeout for the whole handshake with one relay; longer than [detect] relay_silent_s"
    )
    connect_timeout_s: Seconds = setting(10, "timeout for connecting to a destination, over all its addresses")
    resolve_timeout_s: Seconds = setting(5, "timeout for resolving one name")
    resolve_keep_s: Seconds = setting(30, "how long a DNS answer is cached")
    idle_timeout_s: Seconds = setting(7_440, "idle timeout of a tunnel; RFC 5382 asks NATs for 2 h 4 min")
    half_open_timeout_s: Seconds = setting(300, "idle timeout of a tunnel that one side has closed")
    exchange_timeout_s: Seconds = setting(300, "timeout for a plain HTTP exchange without progress")
    keep_alive_s: Seconds = setting(
        60, "how long a client or origin connection is kept between two plain HTTP requests"
    )
    drain_s: Seconds = setting(5, "how long open tunnels may finish at shutdown")
    clients_max: Count = setting(20_000, "maximum concurrent client connections")
    descriptors_reserve: Count = setting(64, "file descriptors reserved for relays and the log")
    event_loop: EventLoop = setting(
        "auto", "event loop: auto is Byway's own where it can run, which takes less CPU time; asyncio is Python's"
    )


RelayConfigs = Annotated[tuple[RelayConfig, ...], Size(at_most=256)]
GroupConfigs = Annotated[tuple[GroupConfig, ...], Size(at_most=256)]
SubscriptionConfigs = Annotated[tuple[SubscriptionConfig, ...], Size(at_most=32)]
ListConfigs = Annotated[tuple[ListConfig, ...], Size(at_most=256)]
NetworkNames = Annotated[dict[RelayName, NetworkIdText], Size(at_most=256)]
AddonConfigs = Annotated[dict[str, AddonConfig], Size(at_most=256)]


@frozen_dataclass
class Settings(Section):
    """The whole configuration."""

    config_version: Literal[1] = setting(1, "version of this file's layout")
    listen: Listen = setting(Listen(), "where clients connect")
    auto: Auto = setting(Auto(), "how AUTO gets around a block")
    dns: Dns = setting(Dns(), "how names are resolved")
    safety: Safety = setting(Safety(), "exceptions from the protection of private addresses")
    log: Log = setting(Log(), "what is logged")
    relay: RelayConfigs = setting((), "relays, the preferred first")
    group: GroupConfigs = setting((), "groups of relays")
    subscription: SubscriptionConfigs = setting((), "subscriptions: groups of relays that follow a fetched file")
    list: ListConfigs = setting((), "imported lists")
    networks: NetworkNames = setting({}, "names for NETWORK rules, each with the id that `byway status -v` shows")
    addons: AddonConfigs = setting({}, "addons by name")
    desktop: Desktop = setting(Desktop(), "what is shown on the desktop")
    lan: Lan = setting(Lan(), "other devices of the network")
    ui: Ui = setting(Ui(), "how Byway speaks to people")
    inspect: Inspect = setting(Inspect(), "inspection of connections by INSPECT rules")
    detect: DetectTuning = setting(DetectTuning(), "tuning of detection")
    limits: Limits = setting(Limits(), "timeouts and sizes, and the event loop")


SECTIONS_OF: Mapping[str, str] = {"desktop": "desktop", "inspect": "inspection", "lan": "lan"}
"""The sections that only one feature reads, each with the feature's name. Without the feature they are valid, and have
no effect."""
