"""A private internet on one machine, without root: hosts in namespaces, and a provider between them that sees all
packets.

    async with Internet(tmp_path) as internet:
        relay = await internet.host("relay", resolver="198.18.0.53")
        program = await relay.start("microsocks", "-p", "1080", port=1080)
        internet.capture.begun_by("byway")

Each host has a network and a mount namespace with its own address, /etc/hosts and /etc/resolv.conf. One wire leads to
the provider, which forwards and captures every packet between hosts. Nothing leads outside. All namespaces belong to
one user namespace and end with the processes in them, which end when this process ends in any way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import programs
from tests.support.capture import Capture
from tests.support.waiting import until

PROVIDER = "198.18.0.1"
_NETWORK = "198.18"
_AGENT = Path(__file__).with_name("netns_agent.py")
_START_S = 15.0
_COMMAND_S = 30.0
_END_S = 5.0
_USER = 1000  # whom programs run as that will not run as root
_LISTENING = "0A"  # the state in /proc/net/tcp

NEEDS = ("ip", "unshare")
"""Programs for the `needs` marker, beside the marker `namespaces`."""


class Program:
    """A program that runs until it is stopped. `said` is the file with its output."""

    def __init__(self, command: Sequence[str], said: Path, *, descriptor: int | None = None) -> None:
        """Starts it, with one of our descriptors if it needs one."""
        self.said = said
        with said.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=() if descriptor is None else (descriptor,),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def report(self) -> str:
        return self.said.read_text(errors="replace")[-4000:]

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Sends a signal to its pid, and kills it if it does not end."""
        if not self.ended:
            self._process.send_signal(how)
            try:
                await until(lambda: self.ended, within_s=_END_S)
            except TimeoutError:
                self._process.kill()
                self._process.wait(_END_S)


class Host:
    """One host. Commands run as root of its namespace, which is an ordinary user outside."""

    def __init__(self, name: str, address: str, folder: Path, enter: Sequence[str]) -> None:
        """`enter` are the words before a command that run it in the host's namespaces."""
        self.name = name
        self.address = address
        self.folder = folder
        self._programs: list[Program] = []
        self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_START_S)
        with far:
            words = [*enter, sys.executable, "-I", "-S", str(_AGENT), str(far.fileno())]
            self._agent = Program(words, folder / "agent.txt", descriptor=far.fileno())
        if self._channel.recv(16) != b"here":
            raise OSError(f"no namespace for {name}: {self._agent.report()}")
        self.network = os.readlink(f"/proc/{self.pid}/ns/net")

    @property
    def pid(self) -> int:
        """The id of the process that keeps the host's namespaces."""
        return self._agent.pid

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that run it here. It is killed when we end."""
        return (
            *("nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", str(self.pid), "--"),
            *("setpriv", "--pdeathsig", "KILL", "--"),
        )

    async def run(self, *command: str, given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command and waits for its end. With `check`, raises OSError for any exit code but 0."""
        process = await asyncio.create_subprocess_exec(
            *self.prefix,
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(given.encode()), _COMMAND_S)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        done = subprocess.CompletedProcess(command, process.returncode or 0, out.decode(), err.decode())
        if check and done.returncode:
            raise OSError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}")
        return done

    async def start(self, *command: str, port: int, as_user: bool = False) -> Program:
        """Starts a server or a client, and returns once a program listens on the TCP port. It is stopped with the host.

        `as_user`: as user and group 1000 in a nested namespace, for programs that refuse to be root or would drop
        it."""
        within = ("unshare", "-U", f"--map-user={_USER}", f"--map-group={_USER}", "--") if as_user else ()
        program = Program([*self.prefix, *within, *command], self.folder / f"{Path(command[0]).name}-{port}.txt")
        self._programs.append(program)
        with contextlib.suppress(TimeoutError):
            await until(lambda: program.ended or self.listens(port), within_s=_START_S)
        if program.ended or not self.listens(port):
            raise OSError(f"{self.name}: {command[0]} does not listen on port {port}. It said:\n{program.report()}")
        return program

    def listens(self, port: int) -> bool:
        """Whether a program here listens on the TCP port. No packet is sent to find out."""
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                    _, local, _, state, *_ = line.split()
                    if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                        return True
        return False

    def make_socket(
        self, family: int, kind: int, *, protocol: int = 0, address: tuple[str, int] | None = None
    ) -> socket.socket:
        """Returns a socket on this host. The caller uses and closes it. Raises OSError."""
        self._channel.send(json.dumps([family, kind, protocol, address]).encode())
        answer, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 1)
        if not descriptors:
            raise OSError(f"{self.name}: {answer.decode()}")
        return socket.socket(fileno=descriptors[0])

    def create_server(
        self, address: tuple[str, int], *, family: int = socket.AF_INET, backlog: int = 64
    ) -> socket.socket:
        """As socket.create_server."""
        sock = self.make_socket(family, socket.SOCK_STREAM, address=address)
        sock.listen(backlog)
        return sock

    async def open_connection(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As asyncio.open_connection, to an IPv4 address."""
        sock = self.make_socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Stops all programs of the host, and releases the namespaces."""
        for program in reversed(self._programs):
            await program.stop()
        self._channel.close()
        await self._agent.stop()


@dataclass(frozen=True, slots=True)
class Left:
    """A process that should have ended."""

    pid: int
    command: str


class Internet:
    """The hosts, and the provider that connects them. No process remains at the end; one that had to be killed is an
    error."""

    def __init__(self, folder: Path, *, patience_s: float = _END_S) -> None:
        """`patience_s`: seconds that processes may take to end."""
        self._folder = folder
        self._patience_s = patience_s
        self._hosts: dict[str, Host] = {}
        self.provider: Host
        self.capture: Capture

    async def __aenter__(self) -> Internet:
        try:
            self.provider = self._add("provider", PROVIDER, ["unshare", "-Urnm", "--"])
            await self.provider.run("sh", "-c", f"{_NO_IPV6}; echo 1 > /proc/sys/net/ipv4/ip_forward")
            await self.provider.run(programs.require("ip"), "link", "set", "lo", "up")
            await self.give_address(PROVIDER)
            self.capture = Capture(
                self.provider.make_socket(socket.AF_PACKET, socket.SOCK_DGRAM, protocol=Capture.PROTOCOL)
            )
        except BaseException:
            await self._close_hosts()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.capture.close()
        await self._close_hosts()

    async def _close_hosts(self) -> None:
        networks = {host.network for host in self._hosts.values()}
        try:
            for host in reversed(self._hosts.values()):
                await host.close()
        finally:
            with contextlib.suppress(TimeoutError):  # what a server forked goes when its client has gone
                await until(lambda: not _left(networks), within_s=self._patience_s)
            left = _left(networks)
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            await until(lambda: not _left(networks), within_s=_END_S)
        assert not left, f"had to be killed: {left}"

    async def host(self, name: str, *, resolver: str, hosts: Mapping[str, str] | None = None) -> Host:
        """Adds a host that asks `resolver` for names that are not in its `hosts`. Raises OSError."""
        number = len(self._hosts)
        address, gateway = f"{_NETWORK}.{number}.2", f"{_NETWORK}.{number}.1"
        enter = ["nsenter", "--preserve-credentials", "-U", "-t", str(self.provider.pid), "--", "unshare", "-nm", "--"]
        host = self._add(name, address, enter)
        ip = programs.require("ip")
        await self.provider.run(
            ip, "-batch", "-",
            given=f"link add to{number} type veth peer name wire netns {host.pid}\n"
                  f"address add {gateway}/24 dev to{number}\nlink set to{number} up\n",
        )  # fmt: skip
        await host.run("sh", "-c", _NO_IPV6)
        await host.run(
            ip, "-batch", "-",
            given=f"link set lo up\naddress add {address}/24 dev wire\nlink set wire up\n"
                  f"route add default via {gateway}\n",
        )  # fmt: skip
        await self._furnish(host, resolver, hosts or {})
        return host

    async def give_address(self, address: str) -> None:
        """Adds an address to the provider, for a server on it."""
        await self.provider.run(programs.require("ip"), "address", "add", f"{address}/32", "dev", "lo")

    async def swallow(self, prefix: str) -> None:
        """Drops all packets to these addresses."""
        await self.provider.run(programs.require("ip"), "route", "add", "blackhole", prefix)

    def name(self, address: str) -> str:
        """Returns the name of the host with this address; without one, the address."""
        return next((host.name for host in self._hosts.values() if host.address == address), address)

    def _add(self, name: str, address: str, enter: Sequence[str]) -> Host:
        folder = self._folder / name
        folder.mkdir()
        host = self._hosts[name] = Host(name, address, folder, enter)
        return host

    async def _furnish(self, host: Host, resolver: str, hosts: Mapping[str, str]) -> None:
        """Gives the host its files in /etc, an empty /dev/shm, and an empty /run/nscd if a name cache may be there."""
        files = {
            "hosts": "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in hosts.items()),
            "resolv.conf": f"nameserver {resolver}\noptions timeout:2 attempts:2\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
            "passwd": f"root:x:0:0::/:/bin/sh\nuser:x:{_USER}:{_USER}::{host.folder}:/bin/sh\n",
            "group": f"root:x:0:\nuser:x:{_USER}:\n",
        }
        script = ["set -e"]
        for name, text in files.items():
            (host.folder / name).write_text(text)
            script.append(f'mount --bind "$1/{name}" "$(readlink -f /etc/{name})"')
        script += [f"if [ -d {folder} ]; then mount -t tmpfs none {folder}; fi" for folder in ("/dev/shm", "/run/nscd")]
        await host.run("sh", "-c", "\n".join(script), "sh", str(host.folder))


_NO_IPV6 = "for f in all default; do f=/proc/sys/net/ipv6/conf/$f/disable_ipv6; [ ! -e $f ] || echo 1 > $f; done"
"""Disables IPv6, so that an idle wire is quiet."""


def _left(networks: set[str]) -> list[Left]:
    """Returns the processes in these network namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look at
                if os.readlink(entry / "ns" / "net") in networks:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(Left(int(entry.name), command.strip() or (entry / "comm").read_text().strip()))
    return found
