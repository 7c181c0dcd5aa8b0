"""The trust stores of operating systems, one class for each kind.

Linux distributions have a folder of anchors, from which a program generates the bundles; macOS has a keychain, Windows
a registry. On macOS and Windows our CA goes into the user's own store, which needs no root; Linux has one store for all
users.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from proxy.config.files import read_bytes
from proxy.features.inspection.authority import PREFIX
from proxy.features.inspection.trust_stores import (
    TrustEntry,
    TrustStep,
    TrustStore,
    find_byway_cas,
    find_program,
    parse_byway_ca,
    run,
    short_id,
)
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass

_FILE_LIMIT = 16 * 1024 * 1024  # a bundle of all anchors is about 250 KB


@frozen_dataclass
class AnchorFolder:
    """A folder of anchors, and the program that generates bundles from it."""

    title: str
    folder: Path
    ending: str
    bundle: Path
    """The generated bundle, which most programs read."""
    add: tuple[str, ...]
    """The command that regenerates the bundles after an anchor was added."""
    take: tuple[str, ...]
    """The command that regenerates the bundles after an anchor was removed."""

    @property
    def place(self) -> str:
        return str(self.folder)

    def entries(self) -> list[TrustEntry]:
        anchors = [
            TrustEntry(path.name, certificate)
            for path in sorted(self.folder.glob(f"*{self.ending}"))
            for certificate in find_byway_cas(_content(path))
        ]
        listed = {entry.certificate for entry in anchors}
        return anchors + [
            TrustEntry("", it) for it in dict.fromkeys(find_byway_cas(_content(self.bundle))) if it not in listed
        ]

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        path = str(self.folder / f"byway-{short_id(certificate)}{self.ending}")
        return [TrustStep(("install", "-D", "-m", "0644", file, path), as_root=True), TrustStep(self.add, as_root=True)]

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        delete = [TrustStep(("rm", "-f", str(self.folder / entry.name)), as_root=True)] if entry.name else []
        return [*delete, TrustStep(self.take, as_root=True)]


@frozen_dataclass
class Keychain:
    """The macOS login keychain. The CA is trusted for TLS only."""

    title: str = "macOS login keychain"
    place: str = "login.keychain-db"

    def entries(self) -> list[TrustEntry]:
        find_certificates = TrustStep(("security", "find-certificate", "-a", "-p", "-c", PREFIX.strip(), self.place))
        try:
            return [TrustEntry(_sha1(it), it) for it in find_byway_cas(run(find_certificates))]
        except BywayError as error:
            if "could not be found in the keychain" in str(error):  # its message for an empty result
                return []
            raise

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        return [TrustStep(("security", "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", "-k", self.place, file))]

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        return [TrustStep(("security", "delete-certificate", "-t", "-Z", entry.name, self.place))]


@frozen_dataclass
class WindowsRoots:
    """The user's root certificates on Windows, which asks the user to confirm each change."""

    title: str = "Windows' roots of this user"
    place: str = "CurrentUser\\Root"

    def entries(self) -> list[TrustEntry]:
        if sys.platform == "win32":
            import ssl

            roots = (
                parse_byway_ca(der) for der, encoding, _ in ssl.enum_certificates("ROOT") if encoding == "x509_asn"
            )
            return [TrustEntry(_sha1(it), it) for it in dict.fromkeys(roots) if it is not None]
        raise BywayError("this trust store can only be read on Windows")

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        return [TrustStep(("certutil", "-user", "-addstore", "Root", file), for_windows=True)]

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        return [TrustStep(("certutil", "-user", "-delstore", "Root", entry.name), for_windows=True)]


SYSTEMS: dict[str, TrustStore] = {
    "debian": AnchorFolder(
        "Debian's store",
        Path("/usr/local/share/ca-certificates"),
        ".crt",
        Path("/etc/ssl/certs/ca-certificates.crt"),
        ("update-ca-certificates",),
        ("update-ca-certificates", "--fresh"),  # otherwise the link to the removed anchor stays
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
"""The stores by their names for `--system`. Derivatives of Debian (Ubuntu, Mint) and Fedora (RHEL) work the same
way."""


def this_system() -> str | None:
    """Returns the key in SYSTEMS for this computer; None: its system is unknown."""
    if sys.platform in ("darwin", "win32"):
        return "macos" if sys.platform == "darwin" else "windows"
    for name, store in SYSTEMS.items():
        if isinstance(store, AnchorFolder) and store.folder.is_dir() and find_program(store.add[0]) is not None:
            return name
    return None


def _content(path: Path) -> bytes:
    """Returns the bytes of a file; empty when it is missing. Raises BywayError when it cannot be read."""
    if not path.is_file():
        return b""
    try:
        return read_bytes(path, limit=_FILE_LIMIT)
    except ConfigError as error:
        raise BywayError(str(error)) from None


def _sha1(certificate: x509.Certificate) -> str:
    """Returns the SHA-1 fingerprint, with which macOS and Windows name a certificate."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  # a name, no proof
