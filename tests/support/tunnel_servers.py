"""Servers of WireGuard (sing-box, without a network device) and of SSH (OpenSSH's sshd), on loopback; sshd elsewhere
too.

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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support import programs
from tests.support.key_server import LOOPBACK, Place, x25519
from tests.support.programs_running import ServerProgram, free_port

BEHIND = "203.0.113.7"
"""Leads to 127.0.0.1 behind the server of WireGuard."""

USER_ID = 1000
MAPPED = ("unshare", "-U", f"--map-user={USER_ID}", f"--map-group={USER_ID}", "--")
"""The words before a command that run it as an ordinary user in a nested namespace, for programs that refuse to be root
or would drop it."""


def wireguard_keys() -> tuple[str, str]:
    """Returns a new private key and its public key, in base64."""
    private, public = x25519()
    return base64.b64encode(private).decode(), base64.b64encode(public).decode()


def hexadecimal(key: str) -> str:
    """Returns a key in hexadecimal digits, as the interface of wireguard-go takes it."""
    return base64.b64decode(key).hex()


class WireGuardServer(ServerProgram):
    """Its peer may have 10.9.0.2 and fd00:9::2 in the tunnel. What it gets for BEHIND it dials on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._private, self.public = wireguard_keys()
        self.private_of_peer, self._public_of_peer = wireguard_keys()
        self._preshared = base64.b64encode(os.urandom(32)).decode()
        self.port = free_port(socket.SOCK_DGRAM)

    @property
    def secrets(self) -> dict[str, str]:
        """What must be shown nowhere, by what it is."""
        keys = {
            "private key of WireGuard": self.private_of_peer,
            "preshared key": self._preshared,
            "public key of its server": self.public,
        }
        return {**keys, **{f"{what} in hexadecimal": hexadecimal(key) for what, key in keys.items()}}

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
        await self._until(self._listens)

    async def _listens(self) -> bool:
        """Whether a UDP socket of this computer has its port."""
        wanted = f":{self.port:04X}"
        tables = [path for path in (Path("/proc/net/udp"), Path("/proc/net/udp6")) if path.exists()]
        return any(line.split()[1].endswith(wanted) for path in tables for line in path.read_text().splitlines()[1:])


class SshServer(ServerProgram):
    """As an ordinary user: `nobody`, where this process is root."""

    def __init__(
        self, place: Place = LOOPBACK, *, forwards: bool = True, passphrase: str = "", mapped: str = ""
    ) -> None:
        """`passphrase` is that of the private keys. `mapped` is a user of that place, as whom it runs in a nested user
        namespace: see MAPPED."""
        self._place = place
        self._forwards = forwards
        self._passphrase = passphrase
        self._folder = Path(tempfile.mkdtemp(prefix="byway-sshd-"))  # pytest's own are for root alone
        self._mapped = mapped
        self._user = mapped or ("nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)
        self.port = free_port()
        for name in ("host", "user", "other"):
            of_user = "" if name == "host" else passphrase
            self._keygen("-q", "-t", "ed25519", "-N", of_user, "-C", "", "-f", str(self._folder / name))

    def _keygen(self, *words: str) -> None:
        subprocess.run([programs.require("ssh-keygen"), *words], check=True, stdout=subprocess.DEVNULL)

    def _public(self, name: str) -> str:
        return (self._folder / f"{name}.pub").read_text().strip()

    def private(self, name: str) -> str:
        """Returns the private key of "user", whom the server knows, or of "other"."""
        return (self._folder / name).read_text()

    @property
    def secrets(self) -> dict[str, str]:
        """What must be shown nowhere, by what it is: of the private key a line in its middle."""
        return {
            "private key of SSH": self.private("user").splitlines()[2],
            "another one": self.private("other").splitlines()[2],
            "host key": self._public("host").split()[1],
            **({"passphrase": self._passphrase} if self._passphrase else {}),
        }

    def link(self, *, host: str = "host", user: str = "user", password: str = "") -> str:
        """Returns the link of a key. `host` is the name of the host key in it, `user` that of the private key; with a
        `password` it has none, and the server takes none."""
        query = f"host-key={quote(self._public(host), safe='')}"
        if password:
            return f"ssh://{self._user}:{password}@{self._place.address}:{self.port}?{query}"
        query += f"&pk={quote(self.private(user), safe='')}"
        query += f"&passphrase={quote(self._passphrase, safe='')}" if self._passphrase else ""
        return f"ssh://{self._user}@{self._place.address}:{self.port}?{query}"

    async def start(self) -> None:
        file = self._folder / "sshd_config"
        file.write_text(
            f"ListenAddress {self._place.address}:{self.port}\nHostKey {self._folder}/host\n"
            f"AuthorizedKeysFile {self._folder}/user.pub\nAllowTcpForwarding {'yes' if self._forwards else 'no'}\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        within: Sequence[str] = ()
        account: dict[str, Any] = {}
        if self._mapped:
            within = MAPPED
        elif os.getuid() == 0:
            user = pwd.getpwnam(self._user)
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
            account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.process = self._place.popen(
            [*within, programs.require("sshd"), "-D", "-e", "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account,
        )
        await self._until(partial(self._place.listens, self.port))

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)
