"""Servers of WireGuard (sing-box, without a network device) and of SSH (OpenSSH's sshd), on loopback.

async with WireGuardServer(tmp_path) as server:
    link = server.link()
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support import programs
from tests.support.waiting import until

BEHIND = "203.0.113.7"
"""Leads to 127.0.0.1 behind the server of WireGuard."""

_START_S = 20.0


class _Program:
    """A server program. `stop` ends it."""

    process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        raise NotImplementedError

    async def _until(self, listens: Callable[[], bool]) -> None:
        await until(
            lambda: listens() or (self.process is not None and self.process.poll() is not None), within_s=_START_S
        )
        assert listens(), "the server has ended"

    def stop(self) -> None:
        """Ends it, as a server that is down."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def wireguard_keys() -> tuple[str, str]:
    """Returns a new private key and its public key, in base64."""
    key = X25519PrivateKey.generate()
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(private).decode(), base64.b64encode(public).decode()


def hexadecimal(key: str) -> str:
    """Returns a key in hexadecimal digits, as the interface of wireguard-go takes it."""
    return base64.b64decode(key).hex()


class WireGuardServer(_Program):
    """Its peer may have 10.9.0.2 and fd00:9::2 in the tunnel. What it gets for BEHIND it dials on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._private, self.public = wireguard_keys()
        self.private_of_peer, self._public_of_peer = wireguard_keys()
        self._preshared = base64.b64encode(os.urandom(32)).decode()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]

    def link(self, *, wrong: bool = False, more: str = "") -> str:
        """Returns the link of a key; `wrong`: of one that the server does not know."""
        private = wireguard_keys()[0] if wrong else self.private_of_peer
        fields = {"publickey": self.public, "presharedkey": self._preshared, "address": "10.9.0.2/32"}
        query = "&".join(f"{field}={quote(value, safe='')}" for field, value in fields.items())
        return f"wireguard://{quote(private, safe='')}@127.0.0.1:{self.port}?{query}{more}"

    async def start(self) -> None:
        peer = {
            "public_key": self._public_of_peer,
            "pre_shared_key": self._preshared,
            "allowed_ips": ["10.9.0.2/32", "fd00:9::2/128"],
        }
        endpoint = {
            "type": "wireguard",
            "tag": "wg",
            "system": False,
            "address": ["10.9.0.1/24"],
            "private_key": self._private,
            "listen_port": self.port,
            "peers": [peer],
        }
        rule = {"ip_cidr": [f"{BEHIND}/32"], "action": "route", "outbound": "out", "override_address": "127.0.0.1"}
        configuration = {
            "log": {"level": "error"},
            "endpoints": [endpoint],
            "outbounds": [{"type": "direct", "tag": "out"}],
            "route": {"rules": [rule, {"action": "reject"}], "final": "out"},
        }
        file = self._folder / "sing-box.json"
        file.write_text(json.dumps(configuration))
        self.process = subprocess.Popen(  # noqa: ASYNC220
            [programs.require("sing-box"), "run", "-c", str(file), "-D", str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await self._until(lambda: _has_udp(self.port))


class SshServer(_Program):
    """As an ordinary user: `nobody`, where this process is root."""

    def __init__(self, *, forwards: bool = True) -> None:
        self._forwards = forwards
        self._folder = Path(tempfile.mkdtemp(prefix="byway-sshd-"))  # pytest's own are for root alone
        self._user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        for name in ("host", "user", "other"):
            self._keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self._folder / name))

    def _keygen(self, *words: str) -> None:
        subprocess.run([programs.require("ssh-keygen"), *words], check=True, stdout=subprocess.DEVNULL)

    def _public(self, name: str) -> str:
        return (self._folder / f"{name}.pub").read_text().strip()

    def private(self, name: str) -> str:
        """Returns the private key of "user", whom the server knows, or of "other"."""
        return (self._folder / name).read_text()

    def link(self, *, host: str = "host", user: str = "user") -> str:
        """Returns the link of a key. `host` is the name of the host key in it, `user` that of the private key."""
        query = f"host-key={quote(self._public(host), safe='')}&pk={quote(self.private(user), safe='')}"
        return f"ssh://{self._user}@127.0.0.1:{self.port}?{query}"

    async def start(self) -> None:
        file = self._folder / "sshd_config"
        file.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self._folder}/host\n"
            f"AuthorizedKeysFile {self._folder}/user.pub\nAllowTcpForwarding {'yes' if self._forwards else 'no'}\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        is_root = os.getuid() == 0
        account = pwd.getpwnam(self._user)
        if is_root:
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        self.process = subprocess.Popen(  # noqa: ASYNC220
            [programs.require("sshd"), "-D", "-e", "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.pw_uid if is_root else None,
            group=account.pw_gid if is_root else None,
            extra_groups=[] if is_root else None,
        )
        await self._until(self._listens)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _has_udp(port: int) -> bool:
    """Whether a UDP socket of this computer has a port."""
    wanted = f":{port:04X}"
    tables = (Path(f"/proc/net/{table}").read_text("ascii") for table in ("udp", "udp6") if _is_there(table))
    return any(line.split()[1].endswith(wanted) for text in tables for line in text.splitlines()[1:])


def _is_there(table: str) -> bool:
    return Path(f"/proc/net/{table}").exists()
