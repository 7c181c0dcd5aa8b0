"""From what the user wrote to what sessions use: files, relays, rules and the guard become one frozen Setup.

Everything that can be wrong is found here, at start and at each reload, and told together; nothing is half taken.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.files import read_text
from proxy.config.inspection import unavailable
from proxy.config.load import Loaded
from proxy.config.paths import Paths
from proxy.config.schema import RelayConfig, Settings
from proxy.detect import block_pages
from proxy.detect.answers import Classify, Seen, look
from proxy.detect.block_pages import BlockPages, parse_fingerprints
from proxy.detect.scopes import is_public_suffix
from proxy.errors import ConfigError
from proxy.model import UNKNOWN_NETWORK, Destination, DnsFinding, IPAddress, NetworkId, Override, Route, Symptom
from proxy.net.advice import Advice, Look, LookAt
from proxy.net.by_addon import AskAddon, no_addon
from proxy.net.dialer import Dialer
from proxy.net.dns_secure import SecureDns
from proxy.net.dns_system import SystemDns
from proxy.net.front import OWN_NAME, Credentials, Front
from proxy.net.poller import Poller
from proxy.net.registry import Registry, Relay
from proxy.net.resolver import Resolver, SecureNames
from proxy.net.stream import Stream
from proxy.net.tcp import GuardAddress, TcpDialer
from proxy.net.tls import context_trusting
from proxy.routing.guard import Guard
from proxy.routing.ladder import fits
from proxy.routing.lists.plain import parse_plain
from proxy.routing.match import DomainList
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rules import Rules, parse_rules
from proxy.services import Setup
from proxy.wire import dns_url, names
from proxy.wire.dns_url import SecureServer
from proxy.wire.flight import Verdict
from proxy.wire.relay_url import RelayUrl

RULES_LIMIT = 16 * 1024 * 1024
"""Bytes of rules.txt and of a list."""

_SHIPPED_PAGES = Path(block_pages.__file__).with_suffix(".csv")

_PASSWORD_TIMEOUT_S = 30.0
"""A keyring may have to ask its user."""


class SetupMaker:
    """Makes Setups for one process. Remembers what password commands said, so that a reload asks nobody again."""

    def __init__(
        self,
        poller: Poller,
        paths: Paths,
        network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK,
        *,
        suspect: Callable[[str], bool] = lambda _: False,
        tainted: Callable[[IPAddress], bool] = lambda _: False,
        troubled: Callable[[str, str], None] = lambda _address, _host: None,
        found: Callable[[str, DnsFinding], None] = lambda _host, _finding: None,
        is_portal: Callable[[], bool] = lambda: False,
        classify: Callable[[], Classify | None] = lambda: None,
        ask_addon: AskAddon = no_addon,
    ) -> None:
        """`network` tells the current one: what a resolver said on another is not used. `suspect` says which names may
        not be asked for in the clear; `found` hears of forged answers that came beside the one in use. `troubled` hears
        at which address a flight for which host was broken off, and `tainted` says whether one is to be left alone for
        that. `is_portal` says whether a login page is known to come in the place of every site. `classify` gives who
        knows pages better than fingerprints, if anybody does now; `ask_addon` opens paths of relays that addons are."""
        self._poller = poller
        self._paths = paths
        self._network = network
        self._suspect = suspect
        self._found = found
        self._tainted = tainted
        self._troubled = troubled
        self._is_portal = is_portal
        self._classify = classify
        self._ask_addon = ask_addon
        self._passwords: dict[str, str] = {}

    def make(self, loaded: Loaded, overrides: Mapping[str, Override], *, port: int) -> Setup:
        """Everything for `loaded`, with us listening on `port`. Raises ConfigError with all that is wrong."""
        settings, problems = loaded.settings, list[str]()
        with _gathered(problems):
            relays = self._relays(settings)
        with _gathered(problems):
            guard = _guard(loaded, port)
        with _gathered(problems):
            rules = read_rules(settings, self._paths)
            _check_inspection(rules)
        with _gathered(problems):
            servers = self._secure_servers(settings)
        with _gathered(problems):
            pages = read_block_pages(self._paths)
        if problems:
            raise ConfigError(problems)
        limits = settings.limits
        refusal_of_relays = _refusal_by(_guard_of_relays(port))
        by_address = TcpDialer(
            self._poller, Resolver(), refusal_of_relays, connect_timeout_s=settings.dns.secure_timeout_s
        )

        def through(relay: str) -> Dialer:
            return registry.dialer(Route((relay,)))

        ways: list[Dialer] = [by_address, *(_Later(through, relay.name) for relay in relays)]
        resolver = self._resolver(settings, guard, self._secure_dns(settings, servers, ways))
        refusal = _refusal_but_of_fakes(resolver, _refusal_by(guard))
        direct = TcpDialer(self._poller, resolver, refusal, connect_timeout_s=limits.connect_timeout_s)
        secure = TcpDialer(self._poller, SecureNames(resolver), refusal, connect_timeout_s=limits.connect_timeout_s)
        to_relays = TcpDialer(
            self._poller,
            self._bootstrap(settings, self._secure_dns(settings, servers, [by_address])),
            refusal_of_relays,
            connect_timeout_s=limits.handshake_timeout_s,
        )
        registry = Registry(
            relays,
            direct=direct,
            to_relays=to_relays,
            secure=secure if servers else None,
            tainted=lambda _, address: self._tainted(address),
            relay_usable=_relay_usable(settings, lambda: registry),
            ask_addon=self._ask_addon,
            handshake_timeout_s=limits.handshake_timeout_s,
            handshakes_max=settings.detect.relay_handshakes_max,
        )
        infos = [RelayInfo(name, registry.needs_address(name)) for name in registry.relay_names]
        return Setup(
            loaded=loaded,
            front=Front(limits, self._credentials(settings), _is_ours(settings, port)),
            guard=guard,
            router=Router(rules, overrides, infos, settings),
            registry=registry,
            resolver=resolver,
            advice=Advice(
                fits=fits,
                look_at=_reader_of(pages, self._classify),
                noticed=partial(_noticed_by, resolver),
                is_resolving=resolver.is_asking,
                trying=direct.trying,
                connecting_since=direct.connecting_since,
                is_portal=self._is_portal,
                troubled=self._troubled,
            ),
        )

    def _resolver(self, settings: Settings, guard: Guard, secure: SecureDns | None) -> Resolver:
        return Resolver(
            settings.dns.hosts,
            timeout_s=settings.limits.resolve_timeout_s,
            keep_s=settings.limits.resolve_keep_s,
            network=self._network,
            system=_system_dns(settings),
            secure=secure,
            mode=settings.dns.secure,
            local=settings.dns.local,
            is_bogon=guard.is_bogon,
            controls=_hosts_of(settings.auto.controls),
            suspect=self._suspect,
            found=self._found,
            finding_keep_s=settings.dns.finding_keep_s,
        )

    def _bootstrap(self, settings: Settings, secure: SecureDns | None) -> Resolver:
        """For relays' own names: [dns.hosts] serves direct only, a relay may be anywhere, and it is asked before any
        relay can carry the question."""
        return Resolver(
            timeout_s=settings.limits.resolve_timeout_s,
            keep_s=settings.limits.resolve_keep_s,
            network=self._network,
            system=_system_dns(settings),
            secure=secure,
            mode="always" if settings.dns.secure == "always" else "never",
            local=settings.dns.local,
        )

    def _secure_dns(
        self, settings: Settings, servers: Sequence[SecureServer], ways: Sequence[Dialer]
    ) -> SecureDns | None:
        if not servers:
            return None
        return SecureDns(
            servers,
            ways,
            timeout_s=settings.dns.secure_timeout_s,
            stagger_s=settings.dns.secure_stagger_s,
            down_s=settings.dns.secure_down_s,
            idle_s=settings.dns.secure_idle_s,
            network=self._network,
        )

    def _secure_servers(self, settings: Settings) -> list[SecureServer]:
        """None with "never". Raises ConfigError for a `?ca=` that cannot be used."""
        if settings.dns.secure == "never":
            return []
        servers, problems = [], list[str]()
        for server in map(dns_url.parse, settings.dns.servers):
            if server.ca:
                server = replace(server, ca=str(self._paths.config_dir / Path(server.ca).expanduser()))
                try:
                    context_trusting(server.ca)
                except ConfigError as error:
                    problems.append(f"[dns] servers: {error}")
            servers.append(server)
        if problems:
            raise ConfigError(problems)
        return servers

    def fingerprint(self, loaded: Loaded) -> tuple[object, ...]:
        """Changes when a file that `loaded`, its rules and the known block pages were read from is edited, replaced,
        made or removed."""
        lists = _list_files(loaded.settings, self._paths).values()
        files = [self._paths.config_file, self._paths.rules_file, self._paths.block_pages_file, *lists]
        return tuple(_mark(file) for file in files)

    def _relays(self, settings: Settings) -> list[Relay]:
        relays, problems = [], []
        for config in settings.relay:
            try:
                relays.append(self._relay(config))
            except ValueError as error:
                problems.append(f"[[relay]] {config.name}: {error}")
        if problems:
            raise ConfigError(problems)
        return relays

    def _relay(self, config: RelayConfig) -> Relay:
        relay = Relay.parse(
            config.name,
            config.url,
            password=self._password(config.password_cmd) if config.password_cmd else "",
            allow_plaintext_credentials=config.allow_plaintext_credentials,
        )
        return replace(relay, hops=tuple(self._beside_configuration(hop) for hop in relay.hops))

    def _beside_configuration(self, hop: str | RelayUrl) -> str | RelayUrl:
        """A relative `?ca=` is meant from the configuration's folder, wherever we were started."""
        if isinstance(hop, str) or not hop.ca:
            return hop
        return replace(hop, ca=str(self._paths.config_dir / Path(hop.ca).expanduser()))

    def _credentials(self, settings: Settings) -> Credentials | None:
        if not settings.listen.user:
            return None
        try:
            password = self._password(settings.listen.password_cmd)
        except ValueError as error:
            raise ConfigError(f"[listen] password_cmd: {error}") from None
        return Credentials(settings.listen.user, password)

    def _password(self, command: str) -> str:
        """The first line of what `command` prints. Raises ValueError, which tells neither what that was nor the
        command: many a one holds what it prints."""
        if command not in self._passwords:
            try:
                done = subprocess.run(
                    shlex.split(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    timeout=_PASSWORD_TIMEOUT_S,
                    check=True,
                )
                lines = done.stdout.decode().splitlines()
            except subprocess.CalledProcessError as error:
                raise ValueError(f"its password command failed with exit code {error.returncode}") from None
            except subprocess.TimeoutExpired:
                raise ValueError(f"its password command said nothing for {_PASSWORD_TIMEOUT_S:g} s") from None
            except OSError as error:
                raise ValueError(f"its password command cannot run: {(error.strerror or str(error)).lower()}") from None
            except ValueError:
                raise ValueError("its password command printed something that is not text") from None
            if not lines or not lines[0]:
                raise ValueError("its password command printed no password on its first line")
            self._passwords[command] = lines[0]
        return self._passwords[command]


@contextlib.contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Adds what is wrong to `problems`, so that the next part is looked at too."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def read_rules(settings: Settings, paths: Paths, *, file: Path | None = None) -> Rules:
    """The rules of rules.txt, which may be missing, or of `file`, with the lists that they name.

    Raises ConfigError with all problems."""
    lists = {
        name: parse_plain(read_text(listed, limit=RULES_LIMIT), source=str(listed))
        for name, listed in _list_files(settings, paths).items()
    }
    # A link to what is not there (a folder that is not mounted) is a fault: it must not look like no rules.
    if file is None and not os.path.lexists(paths.rules_file):
        return Rules(lists=lists)
    file = file or paths.rules_file
    relays = [relay.name for relay in settings.relay]
    return parse_rules(read_text(file, limit=RULES_LIMIT), source=file.name, lists=lists, relays=relays)


def _check_inspection(rules: Rules) -> None:
    """Raises ConfigError when something shall be inspected and cannot be here."""
    rule = next((rule for rule in rules.rules if rule.intercept), None)
    if rule is not None and (reason := unavailable()):
        raise ConfigError(f"{rule.source}:{rule.line}: {reason}")


def read_block_pages(paths: Paths) -> BlockPages:
    """The fingerprints that ship with us, and those that were imported. Raises ConfigError."""
    files = [_SHIPPED_PAGES]
    if os.path.lexists(paths.block_pages_file):
        files.append(paths.block_pages_file)
    return BlockPages(
        fingerprint
        for file in files
        for fingerprint in parse_fingerprints(read_text(file, limit=RULES_LIMIT), file.name).fingerprints
    )


def _relay_usable(settings: Settings, registry: Callable[[], Registry]) -> Callable[[Destination], bool]:
    """Whether some relay could serve a destination in place of a local means."""
    never = DomainList(frozenset(settings.auto.never_relay))

    def usable(destination: Destination) -> bool:
        if destination.host in never:
            return False
        carries = registry().carries
        return any(carries(Route((name,)), destination) for name in registry().relay_names)

    return usable


def _noticed_by(resolver: Resolver, host: str) -> Mapping[str, str | int | float]:
    finding = resolver.finding(host)
    return {} if finding is None else {"dns": finding.signal, "dns_detail": finding.detail}


def _reader_of(pages: BlockPages, classify: Callable[[], Classify | None]) -> LookAt:
    """What `detect` sees in an answer, in the words of a race."""

    def look_at(answer: bytes, host: str, ended: bool) -> Look:
        found = look(answer, host, ended=ended, pages=pages, classify=classify())
        match found.seen:
            case Seen.MORE:
                return Look(Verdict.MORE)
            case Seen.BLOCK_PAGE:
                return Look(Verdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": found.detail, "status": found.status})
            case Seen.ELSEWHERE:
                evidence: Mapping[str, str | int | float] = {"elsewhere": found.detail, "status": found.status}
                return Look(Verdict.GARBAGE, Symptom.ELSEWHERE, evidence, same_as=f"elsewhere {found.detail}")
        return Look(Verdict.VALID, evidence={"status": found.status})

    return look_at


def _list_files(settings: Settings, paths: Paths) -> dict[str, Path]:
    return {item.name: paths.config_dir / Path(item.source).expanduser() for item in settings.list}


def _is_ours(settings: Settings, port: int) -> Callable[[str], bool]:
    """Whether a Host header names this proxy itself."""
    listen = settings.listen.address
    names = {"127.0.0.1", "localhost", "[::1]", f"[{listen}]" if ":" in listen else listen}
    hosts = frozenset({OWN_NAME, *(f"{name}:{port}" for name in names)})
    return lambda host: host.lower() in hosts


def _guard(loaded: Loaded, port: int) -> Guard:
    settings = loaded.settings
    try:
        return Guard(
            settings.safety.allow,
            settings.dns.local,
            own_ports=(port,),
            own_names=_own_names(),
            own_addresses=_own_addresses(),
        )
    except ValueError as error:
        raise ConfigError(f"{loaded.place('safety', 'allow')}: {error}") from None


def _guard_of_relays(port: int) -> Guard:
    """A relay may be anywhere, but not we: what its name leads to is known only when it is dialed, and every request
    would come back to us as another."""
    return Guard(("0.0.0.0/0", "::/0"), own_ports=(port,), own_addresses=_own_addresses())


def _refusal_by(guard: Guard) -> GuardAddress:
    """The guard for what is dialed direct. A laptop has several addresses, and gets others as it travels: of a private
    one it is asked at that moment whether it is ours."""
    return lambda destination, address: guard.refuse_address(
        destination, address, is_own=not address.is_global and str(address) == _source_towards(str(address))
    )


def _refusal_but_of_fakes(resolver: Resolver, refusal: GuardAddress) -> GuardAddress:
    """Where another proxy on this computer answers names with fake addresses of its own, a name may lead there."""
    return lambda destination, address: (
        None if destination.address is None and resolver.is_fake(address) else refusal(destination, address)
    )


def _system_dns(settings: Settings) -> SystemDns | None:
    """Elsewhere than on Linux nobody but the system knows its name servers."""
    if sys.platform != "linux":
        return None
    return SystemDns(
        retry_s=settings.dns.retry_s, second_answer_s=settings.dns.second_answer_s, is_shared=is_public_suffix
    )


def _hosts_of(pages: Sequence[str]) -> tuple[str, ...]:
    return tuple(host for page in pages if (host := urlsplit(page).hostname))


class _Later:
    """A relay's dialer, looked up when it is used: relays need names, and names may need relays."""

    def __init__(self, dialer_of: Callable[[str], Dialer], relay: str) -> None:
        self._dialer_of = dialer_of
        self._relay = relay

    async def dial(self, destination: Destination) -> Stream:
        return await self._dialer_of(self._relay).dial(destination)

    def __repr__(self) -> str:
        return f"<relay {self._relay}>"


def _own_names() -> tuple[str, ...]:
    """What this computer is called, where that is a host name at all."""
    try:
        return (names.host(socket.gethostname()),)
    except ValueError:
        return ()


def _own_addresses() -> tuple[str, ...]:
    """The addresses that packets to elsewhere leave from: to addresses for documentation (RFC 5737, RFC 3849)."""
    return tuple(filter(None, map(_source_towards, ("192.0.2.1", "2001:db8::1"))))


def _source_towards(address: str) -> str:
    """The address that packets to `address` would leave from: that one, when it is ours. Nothing is sent: connecting a
    UDP socket only asks the routing table. Empty when there is no route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 9))
        return str(sock.getsockname()[0])
    return ""


def _mark(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; symbolic links are followed."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
