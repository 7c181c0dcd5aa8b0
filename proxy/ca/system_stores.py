"""The systems' own stores of trust, one class for each way in.

Linux distributions take a file into a folder of anchors and make everything else from it with a program; macOS has a
keychain, Windows a registry. On the last two ours goes into the user's own store, which needs no root; on Linux there
is only one for all.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from proxy.ca.authority import PREFIX
from proxy.ca.trust_stores import TrustEntry, TrustStep, TrustStore, find_program, ours, ours_in, run, short_id
from proxy.config.files import read_bytes
from proxy.model.errors import BywayError, ConfigError

_FILE_LIMIT = 16 * 1024 * 1024  # a bundle of all anchors has 250 KB


@dataclass(frozen=True, slots=True)
class AnchorFolder:
    """A folder of anchors, and the program that makes bundles of it."""

    title: str
    folder: Path
    ending: str
    bundle: Path
    """What is made of it, and read by most programs."""
    add: tuple[str, ...]
    """Brings what is made up to date after one has come."""
    take: tuple[str, ...]
    """And after one has gone."""

    @property
    def place(self) -> str:
        return str(self.folder)

    def entries(self) -> list[TrustEntry]:
        found = [
            TrustEntry(path.name, certificate)
            for path in sorted(self.folder.glob(f"*{self.ending}"))
            for certificate in ours_in(_content(path))
        ]
        held = {entry.certificate for entry in found}
        return found + [TrustEntry("", it) for it in dict.fromkeys(ours_in(_content(self.bundle))) if it not in held]

    def trusting(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        path = str(self.folder / f"byway-{short_id(certificate)}{self.ending}")
        return [TrustStep(("install", "-D", "-m", "0644", file, path), as_root=True), TrustStep(self.add, as_root=True)]

    def untrusting(self, entry: TrustEntry) -> list[TrustStep]:
        gone = [TrustStep(("rm", "-f", str(self.folder / entry.name)), as_root=True)] if entry.name else []
        return [*gone, TrustStep(self.take, as_root=True)]


@dataclass(frozen=True, slots=True)
class Keychain:
    """macOS. Trust is for TLS alone."""

    title: str = "macOS login keychain"
    place: str = "login.keychain-db"

    def entries(self) -> list[TrustEntry]:
        look = TrustStep(("security", "find-certificate", "-a", "-p", "-c", PREFIX.strip(), self.place))
        try:
            return [TrustEntry(_sha1(it), it) for it in ours_in(run(look))]
        except BywayError as error:
            if "could not be found in the keychain" in str(error):  # how it says: none
                return []
            raise

    def trusting(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        return [TrustStep(("security", "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", self.place, file))]

    def untrusting(self, entry: TrustEntry) -> list[TrustStep]:
        return [TrustStep(("security", "delete-certificate", "-t", "-Z", entry.name, self.place))]


@dataclass(frozen=True, slots=True)
class WindowsRoots:
    """Windows. It asks the user to confirm."""

    title: str = "Windows' roots of this user"
    place: str = "CurrentUser\\Root"

    def entries(self) -> list[TrustEntry]:
        if sys.platform == "win32":
            import ssl

            found = (ours(der) for der, encoding, _ in ssl.enum_certificates("ROOT") if encoding == "x509_asn")
            return [TrustEntry(_sha1(it), it) for it in dict.fromkeys(found) if it is not None]
        raise BywayError("this trust store can only be read on Windows")

    def trusting(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        return [TrustStep(("certutil", "-user", "-addstore", "Root", file), for_windows=True)]

    def untrusting(self, entry: TrustEntry) -> list[TrustStep]:
        return [TrustStep(("certutil", "-user", "-delstore", "Root", entry.name), for_windows=True)]


SYSTEMS: dict[str, TrustStore] = {
    "debian": AnchorFolder(
        "Debian's store",
        Path("/usr/local/share/ca-certificates"),
        ".crt",
        Path("/etc/ssl/certs/ca-certificates.crt"),
        ("update-ca-certificates",),
        ("update-ca-certificates", "--fresh"),  # without it a link to what is gone stays
    ),
    "fedora": AnchorFolder(
        "Fedora's store",
        Path("/etc/pki/ca-trust/source/anchors"),
        ".crt",
        Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
        ("update-ca-trust", "extract"),
        ("update-ca-trust", "extract"),
    ),
    "arch": AnchorFolder(
        "Arch's store",
        Path("/etc/ca-certificates/trust-source/anchors"),
        ".crt",
        Path("/etc/ca-certificates/extracted/tls-ca-bundle.pem"),
        ("update-ca-trust", "extract"),
        ("update-ca-trust", "extract"),
    ),
    "macos": Keychain(),
    "windows": WindowsRoots(),
}
"""By the name that `--system` takes. What derives from Debian (Ubuntu, Mint) or Fedora (RHEL) does as they do."""


def this_system() -> str | None:
    """Which of them this computer is; None: none that is known."""
    if sys.platform in ("darwin", "win32"):
        return "macos" if sys.platform == "darwin" else "windows"
    for name, store in SYSTEMS.items():
        if isinstance(store, AnchorFolder) and store.folder.is_dir() and find_program(store.add[0]) is not None:
            return name
    return None


def _content(path: Path) -> bytes:
    """Of a file that may not be there. Raises BywayError when it is and cannot be read."""
    if not path.is_file():
        return b""
    try:
        return read_bytes(path, limit=_FILE_LIMIT)
    except ConfigError as error:
        raise BywayError(str(error)) from None


def _sha1(certificate: x509.Certificate) -> str:
    """How macOS and Windows name a certificate."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  # a name, no proof
