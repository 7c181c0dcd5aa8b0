"""mihomo as the server of keys: one process with a listener for each protocol, and the links for them.

    async with KeyServer(tmp_path) as server:
        link = server.links["trojan"]

It is on loopback, where names below `.test` lead to 127.0.0.1 behind it; a `Place` puts it elsewhere. Its certificate
is its own, so the links have its pin.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support import programs
from tests.support.authority import Authority
from tests.support.programs_running import ServerProgram, free_port

COVER = "cover.test"
"""The name that REALITY borrows, and that of all certificates."""

UUID = "b831b0c4-1111-4222-8333-0123456789ab"
OTHER_UUID = "c931b0c4-1111-4222-8333-0123456789ab"
PASSWORD = "hunter2hunter2"
WRONG_PASSWORD = "letmein-letmein"
PSK = base64.b64encode(bytes(range(16))).decode()
SHORT_ID = "0123456789abcdef"

TCP = ("ss", "trojan", "vless", "vless-ws", "vless-xhttp", "vmess", "anytls")
UDP = ("hysteria2", "tuic")


@dataclass(frozen=True)
class Place:
    """Where the server runs: on which address, how a program is started there and a port there connected to, and the
    options that tell mihomo where names lead."""

    address: str = "127.0.0.1"
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    connect: Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = (
        asyncio.open_connection
    )
    options: Mapping[str, Any] = field(default_factory=lambda: {"hosts": {"+.test": "127.0.0.1"}})

    async def listens(self, port: int) -> bool:
        """Whether a program listens on the TCP port there."""
        with contextlib.suppress(OSError):
            _, writer = await self.connect(self.address, port)
            writer.close()
            return True
        return False


LOOPBACK = Place()


def path_with_engine(folder: Path) -> dict[str, str]:
    """Returns an environment in which mihomo is on PATH."""
    programs_folder = folder / "programs"
    programs_folder.mkdir()
    (programs_folder / "mihomo").symlink_to(programs.require("mihomo"))
    return {"PATH": f"{programs_folder}{os.pathsep}{os.environ['PATH']}"}


def x25519() -> tuple[bytes, bytes]:
    """Returns a new private key and its public key."""
    key = X25519PrivateKey.generate()
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class KeyServer(ServerProgram):
    """`links` are those of good keys, `wrong` those with another password or user, by protocol."""

    def __init__(self, folder: Path, place: Place = LOOPBACK) -> None:
        self._folder = folder
        self._place = place
        self.ports = {name: free_port() for name in (*TCP, "cover", "http", "api")}
        self.ports |= {name: free_port(socket.SOCK_DGRAM) for name in UDP}
        chain, key = Authority().write_server(folder, COVER)
        self._pem = {"certificate": chain.read_text(), "private-key": key.read_text()}
        der = ssl.PEM_cert_to_DER_cert(self._pem["certificate"].partition("-----END CERTIFICATE-----")[0] + _END)
        self.pin = hashlib.sha256(der).hexdigest()
        self._private, self.public = map(_url64, x25519())
        self.links = {name: self.link(name) for name in (*TCP, *UDP)}
        self.wrong = {name: self.link(name, wrong=True) for name in (*TCP, *UDP)}

    def link(self, name: str, *, wrong: bool = False, host: str = "") -> str:
        """Returns the link of a key; `wrong`: for a user that the server does not know. `host` is a name of its
        address."""
        at, pin = f"{host or self._place.address}:{self.ports[name]}", f"sni={COVER}&pcs={self.pin}"
        password, user = (WRONG_PASSWORD if wrong else PASSWORD), (OTHER_UUID if wrong else UUID)
        match name:
            case "ss":
                key = base64.b64encode(bytes(16)).decode() if wrong else PSK
                return f"ss://2022-blake3-aes-128-gcm:{quote(key, safe='')}@{at}"
            case "trojan":
                return f"trojan://{password}@{at}?{pin}"
            case "vless":
                reality = f"security=reality&pbk={self.public}&sid={SHORT_ID}&sni={COVER}"
                return f"vless://{user}@{at}?{reality}&flow=xtls-rprx-vision"
            case "vless-ws":
                return f"vless://{user}@{at}?security=tls&{pin}&type=ws&path=%2Fws&host={COVER}"
            case "vless-xhttp":
                return f"vless://{user}@{at}?security=tls&{pin}&alpn=h2&type=xhttp&path=%2Fx&mode=auto&host={COVER}"
            case "vmess":
                return f"vmess://{user}@{at}?encryption=auto"
            case "anytls":
                return f"anytls://{password}@{at}?{pin}"
            case "hysteria2":
                return f"hysteria2://{password}@{at}?sni={COVER}&pinSHA256={self.pin}"
            case "tuic":
                return f"tuic://{UUID}:{password}@{at}?{pin}&congestion_control=bbr"
        raise ValueError(name)

    @property
    def secrets(self) -> dict[str, str]:
        """What must be shown nowhere, by what it is: parts of good and wrong keys."""
        return {
            "psk": PSK,
            "psk in base64": base64.b64encode(PSK.encode()).decode(),
            "password": PASSWORD,
            "wrong password": WRONG_PASSWORD,
            "user": UUID,
            "wrong user": OTHER_UUID,
            "pin": self.pin,
            "public key of REALITY": self.public,
            "short id": SHORT_ID,
        }

    def _configuration(self) -> dict[str, Any]:
        def listener(name: str, kind: str, **options: Any) -> dict[str, Any]:
            return {"name": name, "type": kind, "listen": self._place.address, "port": self.ports[name], **options}

        users = [{"username": "a", "uuid": UUID}]
        reality = {
            "dest": f"{self._place.address}:{self.ports['cover']}",
            "private-key": self._private,
            "short-id": [SHORT_ID],
            "server-names": [COVER],
        }
        trojan = [{"username": "a", "password": PASSWORD}]
        return {
            "listeners": [
                listener("ss", "shadowsocks", cipher="2022-blake3-aes-128-gcm", password=PSK),
                listener("trojan", "trojan", users=trojan, **self._pem),
                listener("cover", "trojan", users=[{"username": "b", "password": "no"}], **self._pem),
                listener(
                    "vless", "vless", users=[{**users[0], "flow": "xtls-rprx-vision"}], **{"reality-config": reality}
                ),
                listener("vless-ws", "vless", users=users, **{"ws-path": "/ws"}, **self._pem),
                listener("vless-xhttp", "vless", users=users, **{"xhttp-config": {"path": "/x"}}, **self._pem),
                listener("vmess", "vmess", users=[{**users[0], "alterId": 0}]),
                listener("anytls", "anytls", users={"a": PASSWORD}, **self._pem),
                listener("hysteria2", "hysteria2", users={"a": PASSWORD}, **self._pem),
                listener("tuic", "tuic", users={UUID: PASSWORD}, **{"congestion-controller": "bbr"}, **self._pem),
                listener("http", "http"),
            ],
            "external-controller": self._api,
            **self._place.options,
            "rules": ["MATCH,DIRECT"],
            "log-level": "error",
            "ipv6": True,
            "find-process-mode": "off",
            "geo-auto-update": False,
            "profile": {"store-selected": False},
        }

    async def start(self) -> None:
        self.process = self._place.popen(
            [programs.require("mihomo"), "-d", str(self._folder), "-f", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self._configuration()).encode())
        self.process.stdin.close()
        for name in (*TCP, "cover"):
            await self._until(partial(self._place.listens, self.ports[name]))
        await self._until(self._carries)

    async def _carries(self) -> bool:
        """Whether what comes in goes out: for some milliseconds after it listens, it closes each connection."""
        with contextlib.suppress(OSError):
            reader, writer = await self._place.connect(self._place.address, self.ports["http"])
            writer.write(f"GET http://{self._api}/version HTTP/1.1\r\nHost: {self._api}\r\n\r\n".encode())
            try:
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
        return False

    @property
    def _api(self) -> str:
        return f"{self._place.address}:{self.ports['api']}"


_END = "-----END CERTIFICATE-----\n"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
