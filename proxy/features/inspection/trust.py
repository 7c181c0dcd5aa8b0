"""The actions of `byway ca` on the authority and on the trust stores of this computer."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.config.files import shown
from proxy.config.paths import Paths, private_folder
from proxy.features.inspection.authority import (
    Authority,
    certificate_file,
    common_name,
    fingerprint,
    has_key,
    key_hash,
    open_authority,
    problem_with,
    read_certificate,
    replace_authority,
)
from proxy.features.inspection.nss_stores import NssStore, nss_stores
from proxy.features.inspection.system_stores import SYSTEMS, this_system
from proxy.features.inspection.trust_stores import TrustResult, TrustStore, trust, untrust
from proxy.model.document_version import VERSION
from proxy.model.errors import BywayError, reason_of
from proxy.terminal.exit_codes import Misused

ENDINGS = {".pem": Encoding.PEM, ".crt": Encoding.PEM, ".der": Encoding.DER, ".cer": Encoding.DER}

_ALIASES = {"ubuntu": "debian", "mint": "debian", "rhel": "fedora", "centos": "fedora"}


def stores_here() -> list[TrustStore]:
    """Returns this system's store, if its kind is known, and those of this user's browsers."""
    system = this_system()
    return [*([] if system is None else [SYSTEMS[system]]), *nss_stores(os.environ)]


def selected_stores(system: str | None) -> tuple[list[TrustStore], bool]:
    """Returns the stores of `--system`, or all of this computer; and whether they are this computer's. Raises Misused
    for an unknown system."""
    if system is None:
        return stores_here(), True
    name = _ALIASES.get(system.lower(), system.lower())
    if name not in SYSTEMS:
        raise Misused(f"unknown system {system}; known are {', '.join(SYSTEMS)}")
    return [SYSTEMS[name]], name == this_system()


def ca_document(paths: Paths) -> dict[str, Any]:
    """Returns the JSON of `byway ca show`: the CA and the trust stores. Creates nothing."""
    folder, now = paths.ca_dir, time.time()
    certificate = read_certificate(folder)
    return {
        "version": VERSION,
        "authority": None if certificate is None or not has_key(folder) else _document(certificate, folder),
        "problem": problem_with(folder, now=now) if has_key(folder) else "",
        "stores": [_store_document(store, certificate) for store in stores_here()],
    }


def open_or_create(paths: Paths) -> Authority:
    """Opens the CA, or creates one when there is none. Raises BywayError."""
    private_folder(paths.state_dir)
    return open_authority(paths.ca_dir, now=time.time())


def replace(paths: Paths) -> Authority:
    """Creates a new CA in place of the old one. Raises BywayError."""
    private_folder(paths.state_dir)
    return replace_authority(paths.ca_dir, now=time.time())


def untrust_everywhere(paths: Paths, *, everything: bool) -> list[TrustResult]:
    """Removes this CA from every store; with `everything`, each CA of Byway."""
    own = read_certificate(paths.ca_dir)
    results = []
    for store in stores_here():
        certificates = set() if own is None else {own}
        if everything:
            with contextlib.suppress(BywayError):  # its change reports that it cannot be read
                certificates |= {entry.certificate for entry in store.entries()}
        results.append(untrust(store, sorted(certificates, key=common_name)))
    return results


def write_certificate(file: Path, certificate: x509.Certificate) -> None:
    """Writes the certificate in the encoding of the file's ending, one of ENDINGS. Raises BywayError."""
    try:
        file.write_bytes(certificate.public_bytes(ENDINGS[file.suffix.lower()]))
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be written: {reason_of(error)}") from None


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
        stored, error = [entry.certificate for entry in store.entries()], ""
    except BywayError as fault:
        stored, error = [], str(fault)
    return {
        "store": store.title,
        "place": store.place,
        "trusted": None if error else certificate in stored,
        "others": sorted(common_name(it) for it in stored if it != certificate),
        "error": error,
    }


def trust_in_profile(paths: Paths, firefox: Path | None, *, ephemeral: bool) -> tuple[str, str]:
    """Makes a browser profile trust the CA. Returns the hash of the CA's key, for a Chromium's command line, and the
    reason for which inspected sites still show a warning; both may be empty. `firefox` is the profile of a Firefox;
    None: another browser. `ephemeral`: the running Byway stores no CA."""
    if ephemeral and not has_key(paths.ca_dir):
        return "", "this Byway stores no CA (--ephemeral)."
    certificate = open_or_create(paths).certificate
    if firefox is not None:
        result = trust(NssStore("Firefox", firefox), certificate, certificate_file(paths.ca_dir))
        if not result.trusted:
            return key_hash(certificate), result.error
    return key_hash(certificate), ""
