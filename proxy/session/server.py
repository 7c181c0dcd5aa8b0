"""Accepts clients and gives each a session.

The poller reports new clients, as it reports bytes on other sockets. A shortage of descriptors pauses accepting, and is
logged at most once a second. Some descriptors stay reserved for relays and the log: a client that waits in the backlog
is better off than one whose tunnel cannot be opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable

from proxy.config.schema import Limits
from proxy.net.loop.accepting import Accept, accept_of
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.session.services import Services
from proxy.session.session import Session

log = logging.getLogger(__name__)

_BACKLOG = 4096
_ACCEPTS_A_TURN = 16
"""Clients accepted in one pass of the loop. Each is served up to its first wait, so a burst of clients holds up all
other events for a few milliseconds."""

_PAUSE_S = 0.1
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """A listening socket and the sessions of its clients."""

    def __init__(
        self, poller: Poller, services: Services, *, clients_max: int, adopted: Callable[[], int] = lambda: 0
    ) -> None:
        """`adopted` returns the number of clients that the control server has taken over; they count as well."""
        self.poller = poller
        self._services = services
        self._clients_max = clients_max
        self._adopted = adopted
        self._room = 0
        """Clients that may be accepted before the next count."""
        self._sock: socket.socket | None = None
        self._accept_client: Accept
        self._family = 0
        self._loop = asyncio.get_running_loop()
        self._paused: asyncio.TimerHandle | None = None
        self._next_turn: asyncio.Handle | None = None
        self._logged_at = float("-inf")
        self.sessions = 0
        """Running sessions. A session ends when the pump or the control server takes over its client."""
        self.accepted = 0

    def listen(self, address: str, port: int) -> int:
        """Starts to listen, and returns the port. Clients wait in the backlog until `serve` is called. Raises OSError
        when the address cannot be used."""
        self._family = int(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux: accepted with its first bytes, or after a second without
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each client's socket has it from here
            if ipaddress.ip_address(address).is_loopback:
                _leave_unpaced(sock)
            sock.bind((address, port))
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self._sock = sock
        self._accept_client = accept_of(sock)
        bound: int = sock.getsockname()[1]
        return bound

    def serve(self) -> None:
        """Accepts the waiting clients, and all later ones."""
        self.poller.register(self)
        self.poller.want_read(self)

    def fileno(self) -> int:
        return self._sock.fileno() if self._sock is not None else -1

    def ready(self, mask: int) -> None:
        """Accepts waiting clients at the end of this pass of the loop. By then more of them wait, and a batch costs
        less for each client (5 % by SOCKS5, measured). The poller reports waiting clients once, so turns follow each
        other until none waits or accepting pauses. A report between two turns starts no additional turn, so that
        accepted clients get their turns too."""
        if self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._accept)

    def _accept(self) -> None:
        """Accepts up to _ACCEPTS_A_TURN clients."""
        self._next_turn = None
        if self._sock is None or self._paused is not None:
            return
        for _ in range(_ACCEPTS_A_TURN):
            if not self._room and not self._find_room():
                self._pause("the limit is reached (`[limits] clients_max`, or the system's limit on open files)")
                return
            try:
                descriptor, address = self._accept_client()
            except BlockingIOError:
                if not self.poller.edge_triggered:
                    self.poller.want_read(self)
                return
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._pause(error.strerror or str(error))
                    return
                continue  # the client left while it waited
            sock = socket.SocketType(self._family, socket.SOCK_STREAM, 0, descriptor)
            sock.setblocking(False)
            host, port = address[:2]
            peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            client = SocketStream(sock, self.poller, peer, connected=True)
            self._room -= 1
            self.accepted += 1
            self.sessions += 1
            spawn(Session(client, self._services).run(), name=f"client {peer}", on_end=self._served, eager=True)
        self._next_turn = self._loop.call_soon(self._accept)

    def stop_listening(self) -> None:
        """Accepts no more clients; running sessions continue."""
        if self._sock is not None:
            self.poller.unregister(self)
            self._sock.close()
            self._sock = None
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None

    def _find_room(self) -> bool:
        """Counts the clients, and returns whether there is room for more. A client that leaves only makes more room, so
        up to _ACCEPTS_A_TURN clients are accepted before the next count."""
        clients = self.sessions + self._services.pump.active + self._adopted()
        self._room = max(0, min(self._clients_max - clients, _ACCEPTS_A_TURN))
        return self._room > 0

    def _served(self) -> None:
        self.sessions -= 1

    def _pause(self, why: str) -> None:
        if self._loop.time() >= self._logged_at + 1.0:
            self._logged_at = self._loop.time()
            log.warning("not accepting clients: %s", why)
        self._paused = self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = None
        self._accept()

    def __repr__(self) -> str:
        return f"<Server fd {self.fileno()} {self.sessions} sessions>"


def _leave_unpaced(sock: socket.SocketType) -> None:
    """Sets Reno as congestion control for the clients of a listening socket; every user may choose it. BBR, the default
    of some systems, sends a few packets at a time, paced by kernel timers. To a program on this computer, that cost
    more than a third of the throughput of bulk transfers, and as much CPU time (measured)."""
    if hasattr(socket, "TCP_CONGESTION"):
        with contextlib.suppress(OSError):  # a kernel without a choice
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def clients_max(limits: Limits) -> int:
    """Returns the number of clients that the limit on open files allows, at two descriptors a tunnel. Raises that limit
    as far as this process may."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return limits.clients_max
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(limits.clients_max, (soft - limits.descriptors_reserve) // 2))
