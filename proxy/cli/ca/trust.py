"""What `byway ca` does with the authority and with the stores of this computer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.ca.authority import (
    Authority,
    certificate_file,
    common_name,
    fingerprint,
    has_key,
    open_authority,
    problem_with,
    read_certificate,
    remove_authority,
    replace_authority,
)
from proxy.ca.nss_stores import nss_stores
from proxy.ca.system_stores import SYSTEMS, this_system
from proxy.ca.trust_stores import TrustResult, TrustStore, trust, untrust
from proxy.cli.exit_codes import Misused
from proxy.config.files import shown
from proxy.config.paths import Paths, private_folder
from proxy.control.version import VERSION
from proxy.model.errors import BywayError

ENDINGS = {".pem": Encoding.PEM, ".crt": Encoding.PEM, ".der": Encoding.DER, ".cer": Encoding.DER}

_ALIASES = {"ubuntu": "debian", "mint": "debian", "rhel": "fedora", "centos": "fedora"}


def stores_here() -> list[TrustStore]:
    """This system's store, where it is a known one, and those of this user's browsers."""
    system = this_system()
    return [*([] if system is None else [SYSTEMS[system]]), *nss_stores(os.environ)]


def chosen(system: str | None) -> tuple[list[TrustStore], bool]:
    """The stores that are meant, and whether they are this computer's. Raises Misused for an unknown system."""
    if system is None:
        return stores_here(), True
    name = _ALIASES.get(system.lower(), system.lower())
    if name not in SYSTEMS:
        raise Misused(f"unknown system {system}; known are {', '.join(SYSTEMS)}")
    return [SYSTEMS[name]], name == this_system()


def look(paths: Paths) -> dict[str, Any]:
    """The authority and the stores, as the JSON of `byway ca show`. Nothing is made."""
    folder, now = paths.ca_dir, time.time()
    certificate = read_certificate(folder)
    return {
        "version": VERSION,
        "authority": None if certificate is None or not has_key(folder) else _document(certificate, folder),
        "problem": problem_with(folder, now=now) if has_key(folder) else "",
        "stores": [_store_document(store, certificate) for store in stores_here()],
    }


def opened(paths: Paths) -> Authority:
    """The authority, made when there is none. Raises BywayError."""
    private_folder(paths.state_dir)
    return open_authority(paths.ca_dir, now=time.time())


def replaced(paths: Paths) -> Authority:
    private_folder(paths.state_dir)
    return replace_authority(paths.ca_dir, now=time.time())


def delete(paths: Paths) -> None:
    remove_authority(paths.ca_dir)


def trust_in(stores: Sequence[TrustStore], authority: Authority, paths: Paths) -> list[TrustResult]:
    return [trust(store, authority.certificate, file_of(paths)) for store in stores]


def untrust_everywhere(paths: Paths, *, everything: bool) -> list[TrustResult]:
    """Takes this authority out of every store; with `everything` each one of Byway's."""
    own = read_certificate(paths.ca_dir)
    results = []
    for store in stores_here():
        certificates = set() if own is None else {own}
        if everything:
            certificates |= set(_held(store))
        results.append(untrust(store, sorted(certificates, key=common_name)))
    return results


def file_of(paths: Paths) -> Path:
    """Where the certificate lies alone."""
    return certificate_file(paths.ca_dir)


def name_of(certificate: x509.Certificate) -> str:
    return common_name(certificate)


def encoded(certificate: x509.Certificate, ending: str) -> bytes:
    return certificate.public_bytes(ENDINGS[ending])


def write(file: Path, content: bytes) -> None:
    """Raises BywayError."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _document(certificate: x509.Certificate, folder: Path) -> dict[str, Any]:
    return {
        "name": common_name(certificate),
        "sha256": fingerprint(certificate),
        "sha1": certificate.fingerprint(hashes.SHA1()).hex(":").upper(),  # noqa: S303  # shown beside, as browsers do
        "valid_from": certificate.not_valid_before_utc.timestamp(),
        "valid_until": certificate.not_valid_after_utc.timestamp(),
        "file": str(certificate_file(folder)),
    }


def _store_document(store: TrustStore, certificate: x509.Certificate | None) -> dict[str, Any]:
    try:
        held, error = [entry.certificate for entry in store.entries()], ""
    except BywayError as fault:
        held, error = [], str(fault)
    return {
        "store": store.title,
        "place": store.place,
        "trusted": None if error else certificate in held,
        "others": sorted(common_name(it) for it in held if it != certificate),
        "error": error,
    }


def _held(store: TrustStore) -> list[x509.Certificate]:
    """What of ours a store holds; what cannot be looked at is reported when it is to be changed."""
    try:
        return [entry.certificate for entry in store.entries()]
    except BywayError:
        return []
