"""The local certificate authority (CA), which signs the certificates that INSPECT rules show to browsers.

Anyone with its key can impersonate every site to a browser that trusts it. So each install has its own, created when it
is first needed. The key is in one file (mode 0600, in a folder of mode 0700) and is used only to sign: it is never
printed, exported or part of an error's text. A key that other users could read is not used. Beside it is a copy of the
certificate alone, for programs that need a file.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import os
import re
import secrets
import socket
import stat
from dataclasses import field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from proxy.config.files import read_bytes, shown
from proxy.config.paths import private_folder, write_private
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass

LIFETIME = datetime.timedelta(days=730)
"""Two years: limits the use of a stolen key. Afterwards users have to trust a new CA."""

SLACK = datetime.timedelta(days=1)
"""The validity begins this long ago: clocks of phones and virtual machines that trust the CA may be slow."""

PURPOSE = "Made on this computer by Byway to inspect HTTPS"
"""The subject's organization. It has at most 64 characters (RFC 5280, ub-organization-name)."""

PREFIX = "Byway on "
"""Prefix of the common name of every CA of Byway; trust stores are searched for it."""

_FILE = "authority.pem"
_CERTIFICATE_FILE = "byway-ca.crt"  # Debian and Windows require .crt
_SIZE_LIMIT = 64 * 1024
_HOST_LIMIT = 40  # so that the common name keeps to 64 characters


@frozen_dataclass
class Authority:
    """A certificate that signs others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def is_current_in(self, folder: Path) -> bool:
        """Whether the folder still has this CA, and its key is private: it may have been rotated or removed since.

        Costs a `stat` and a read of a small file. False when a file cannot be read."""
        try:
            _check_private(folder / _FILE)
        except BywayError:
            return False
        return read_certificate(folder) == self.certificate

    def is_valid_at(self, now: float) -> bool:
        """Whether it is valid at `now` (seconds since the epoch)."""
        return not _wrong_time(self.certificate, now)


def open_authority(folder: Path, *, now: float) -> Authority:
    """Returns the CA of a folder, which is created if there is none. Two processes at the same time get the same CA.

    `now` is in seconds since the epoch. Raises BywayError, with the remedy, when the CA cannot be used."""
    file = private_folder(folder) / _FILE
    if not os.path.lexists(file):
        _publish(file, _pem(make_authority(now=now)))
    authority = _load(file)
    _check_time(authority.certificate, now)
    _write_certificate(folder, authority.certificate)
    return authority


def make_authority(*, now: float, host: str | None = None) -> Authority:
    """Creates a CA in memory."""
    key = ec.generate_private_key(ec.SECP256R1())
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The id makes the subject unique: chains are built by subject, and NSS stores one entry for each.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"{PREFIX}{_host(host)}, {key_id.digest[:4].hex()}"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, PURPOSE),
        ]
    )
    begin = datetime.datetime.fromtimestamp(int(now), datetime.UTC) - SLACK
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def replace_authority(folder: Path, *, now: float) -> Authority:
    """Creates a CA in place of the present one, valid or not. Raises BywayError."""
    authority = make_authority(now=now)
    write_private(private_folder(folder) / _FILE, _pem(authority))
    _write_certificate(folder, authority.certificate)
    return authority


def remove_authority(folder: Path) -> None:
    """Deletes the key first, then the certificate and the folder. Raises BywayError when that fails."""
    try:
        for name in (_FILE, _CERTIFICATE_FILE):  # the key first: if this fails half-way, it is gone
            for path in (folder / name, *folder.glob(f".*{name}*")):  # and temporary files left by a crash
                path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
    except OSError as error:
        reason = reason_of(error)
        raise BywayError(f"{shown(Path(error.filename or folder))} cannot be deleted: {reason}") from None


def read_certificate(folder: Path) -> x509.Certificate | None:
    """Returns the certificate, even when the key may not be used; None: there is none, or it cannot be read."""
    for name in (_FILE, _CERTIFICATE_FILE):
        with contextlib.suppress(ConfigError, ValueError):
            return x509.load_pem_x509_certificate(read_bytes(folder / name, limit=_SIZE_LIMIT))
    return None


def has_key(folder: Path) -> bool:
    """Whether there is a key file, valid or not."""
    return os.path.lexists(folder / _FILE)


def certificate_file(folder: Path) -> Path:
    """Returns the file with the certificate alone, for programs that need a file."""
    return folder / _CERTIFICATE_FILE


def problem_with(folder: Path, *, now: float) -> str:
    """Returns the error of a CA that cannot be used; empty: it can. Creates nothing."""
    try:
        _check_time(_load(folder / _FILE).certificate, now)
    except BywayError as error:
        return str(error)
    return ""


def common_name(certificate: x509.Certificate) -> str:
    """Returns the common name, which trust stores show; empty: there is none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def key_hash(certificate: x509.Certificate) -> str:
    """Returns the SHA-256 of the public key (SPKI) in base64, as Chromium and key pins write it."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    """Returns the SHA-256 of the certificate as browsers show it: in upper case, with colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def key_usage(*allowed: str) -> x509.KeyUsage:
    """Returns the extension that allows a key these uses, by cryptography's names."""
    return x509.KeyUsage(**{name: name in allowed for name in _USAGES})


def _host(host: str | None) -> str:
    """Returns this computer's name, without unusual characters."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "", (socket.gethostname() if host is None else host)[:_HOST_LIMIT])
    return plain or "this computer"


def _pem(authority: Authority) -> bytes:
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + authority.certificate.public_bytes(Encoding.PEM)


def _publish(file: Path, content: bytes) -> None:
    """Creates a file atomically, unless another process has created it. Raises BywayError."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    write_private(temporary, content)
    try:
        os.link(temporary, file)  # unlike a rename, it fails when the file is there
    except FileExistsError:
        pass
    except OSError as error:
        reason = reason_of(error)
        raise BywayError(
            f"{shown(file)} cannot be created: {reason}; choose another state folder with --state"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_certificate(folder: Path, certificate: x509.Certificate) -> None:
    """Writes the certificate file, if it is missing or of another CA."""
    path, content = folder / _CERTIFICATE_FILE, certificate.public_bytes(Encoding.PEM)
    with contextlib.suppress(ConfigError):
        if read_bytes(path, limit=_SIZE_LIMIT) == content:
            return
    write_private(path, content)


def _check_private(file: Path) -> None:
    """Raises BywayError when other users own or can read the key file."""
    try:
        status = file.stat()
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be read: {reason_of(error)}") from None
    if os.name == "posix" and status.st_uid != os.getuid():
        raise BywayError(f"{shown(file)} belongs to another user; {_RENEW}")
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise BywayError(f"{shown(file)} was readable by other users, so its key is not used; {_RENEW}")


def _load(file: Path) -> Authority:
    """Reads and checks the CA. Raises BywayError without the parser's text, which might contain parts of the key."""
    _check_private(file)
    try:
        data = read_bytes(file, limit=_SIZE_LIMIT)
    except ConfigError as error:
        raise BywayError(str(error)) from None
    try:
        key, certificate = load_pem_private_key(data, None), x509.load_pem_x509_certificate(data)
        certificate.verify_directly_issued_by(certificate)
        of_one_kind = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        whole = of_one_kind and constraints.ca and _public(key.public_key()) == _public(certificate.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.ExtensionNotFound):
        whole = False
    if not whole:
        raise BywayError(f"{shown(file)} is damaged or was not created by Byway; {_RENEW}")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(certificate, key)


_RENEW = "create a new CA with `byway ca rotate`, then run `byway ca trust`"


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _check_time(certificate: x509.Certificate, now: float) -> None:
    """Raises BywayError when the certificate is not valid at `now`."""
    if wrong := _wrong_time(certificate, now):
        raise BywayError(wrong)


def _wrong_time(certificate: x509.Certificate, now: float) -> str:
    """Returns the error and the remedy of a certificate that is not valid at `now`; "" when it is valid. The clock may
    be wrong, too."""
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if today < begin:
        return (
            f"the local CA is valid from {begin:%Y-%m-%d}, but the clock says {today:%Y-%m-%d}; "
            f"set the clock, or, if it is right, {_RENEW}"
        )
    if today >= end:
        return (
            f"the local CA expired on {end:%Y-%m-%d}, and the clock says {today:%Y-%m-%d}; "
            f"if the clock is right, {_RENEW}"
        )
    return ""
