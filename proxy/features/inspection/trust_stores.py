"""Adds Byway's CA to trust stores and removes it. The commands are values.

A TrustStore is the system's or a browser's. It lists Byway's CAs in it, and the commands that add or remove one.
Commands that need root are returned for the user to run, not run with sudo. Afterwards the store is read again: the
exit code of a command does not prove that it worked.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.features.inspection.authority import PREFIX, PURPOSE, common_name
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

_STEP_LIMIT_S = 120.0
"""Time limit for one command. It is long because macOS and Windows ask the user to confirm."""

_OUTPUT_LIMIT = 300

_PACKAGES = {"certutil": "; install libnss3-tools (Debian, Ubuntu) or nss-tools (Fedora)"}
"""The packages of programs that are often missing."""

_LOCKED = "SEC_ERROR_TOKEN_NOT_LOGGED_IN"
"""NSS's error for a store with a password; Firefox calls it the primary password."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


@frozen_dataclass
class TrustStep:
    """One command to run."""

    words: tuple[str, ...]
    as_root: bool = False
    for_windows: bool = False

    def __str__(self) -> str:
        """The command line as a user types it into a shell."""
        if self.for_windows:
            return subprocess.list2cmdline(self.words)
        return shlex.join(("sudo", *self.words) if self.as_root else self.words)


@frozen_dataclass
class TrustEntry:
    """A CA of Byway in a store. `name` is the store's name for it; empty when it is left only in a bundle that was
    generated from the store."""

    name: str
    certificate: x509.Certificate


class TrustStore(Protocol):
    """A trust store of the system or of a browser."""

    @property
    def title(self) -> str:
        """The name for people: `Debian's store`, `Firefox (default)`."""

    @property
    def place(self) -> str:
        """The folder or the name of the store, for people."""

    def entries(self) -> list[TrustEntry]:
        """Returns all CAs of Byway in the store. Raises BywayError when it cannot be read."""

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        """Returns the commands that add the certificate, which is also in `file` (PEM)."""

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        """Returns the commands that remove the certificate."""


@frozen_dataclass
class TrustResult:
    """The state of one store after the commands were run."""

    store: TrustStore
    trusted: bool | None
    """Whether one of the certificates is in the store now; None: the store cannot be read."""
    error: str = ""
    pending: tuple[TrustStep, ...] = ()
    """The commands that root must still run."""


def trust(store: TrustStore, certificate: x509.Certificate, file: Path) -> TrustResult:
    """Adds the certificate to a store, unless it is there.

    When a command fails, removes the certificate again: NSS adds it before it fails to trust it, and the next run would
    count it as trusted."""

    def steps() -> list[TrustStep]:
        trusted_now = any(entry.certificate == certificate for entry in store.entries())
        return [] if trusted_now else store.commands_to_trust(certificate, str(file))

    result = _run_steps(store, steps, [certificate], wanted=True)
    return replace(result, trusted=untrust(store, [certificate]).trusted) if result.error and result.trusted else result


def untrust(store: TrustStore, certificates: Sequence[x509.Certificate]) -> TrustResult:
    """Removes the certificates from a store."""

    def steps() -> list[TrustStep]:
        commands = [
            step
            for entry in store.entries()
            if entry.certificate in certificates
            for step in store.commands_to_untrust(entry)
        ]
        # Each once, at its last place: the command that regenerates bundles runs once, at the end.
        return list(reversed(dict.fromkeys(reversed(commands))))

    return _run_steps(store, steps, certificates, wanted=False)


def parse_byway_ca(der: bytes) -> x509.Certificate | None:
    """Returns the certificate if it is a CA of Byway, of this install or of another; otherwise None."""
    if PREFIX.encode() not in der:  # most are not, and foreign certificates may not even parse
        return None
    try:
        certificate = x509.load_der_x509_certificate(der)
        purposes = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except ValueError:
        return None
    named = common_name(certificate).startswith(PREFIX) and any(purpose.value == PURPOSE for purpose in purposes)
    return certificate if named else None


def find_byway_cas(pem: bytes) -> list[x509.Certificate]:
    """Returns the CAs of Byway in a PEM text."""
    certificates = []
    for block in _PEM.finditer(pem):
        try:
            certificate = parse_byway_ca(base64.b64decode(block.group(1)))
        except binascii.Error:
            continue
        if certificate is not None:
            certificates.append(certificate)
    return certificates


def short_id(certificate: x509.Certificate) -> str:
    """Returns the last word of the name, which distinguishes the CAs of one machine."""
    return common_name(certificate).rpartition(" ")[2]


def find_program(name: str) -> str | None:
    """Returns the path of a program, or None. Also searches /usr/sbin and /sbin, which a user's PATH may lack."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def run(step: TrustStep) -> bytes:
    """Runs one command and returns its stdout. Raises BywayError with its output when it fails."""
    program = find_program(step.words[0])
    if program is None:
        raise BywayError(f"{step.words[0]} is missing{_PACKAGES.get(step.words[0], '')}")
    try:
        done = subprocess.run(
            [program, *step.words[1:]],
            stdin=subprocess.DEVNULL,  # a prompt gets end of file
            capture_output=True,
            timeout=_STEP_LIMIT_S,
            start_new_session=True,  # no terminal: NSS would ask for its password there
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BywayError(f"{step.words[0]} could not be started: {error}") from None
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).decode(errors="replace").split())[-_OUTPUT_LIMIT:]
        if _LOCKED in output:
            raise BywayError("it is protected by a password: import the certificate in the browser's settings")
        raise BywayError(f"{step.words[0]} exited with code {done.returncode}: {output or 'no output'}")
    return done.stdout


def _run_steps(
    store: TrustStore, steps: Callable[[], list[TrustStep]], certificates: Iterable[x509.Certificate], *, wanted: bool
) -> TrustResult:
    """Runs the commands before the first one that needs root, then reads the store again."""
    error = ""
    pending: tuple[TrustStep, ...] = ()
    try:
        commands = steps()
        for number, step in enumerate(commands):
            if step.as_root and not is_root():
                pending = tuple(commands[number:])
                break
            run(step)
    except BywayError as fault:
        error = str(fault)
    try:
        trusted_now = {entry.certificate for entry in store.entries()}
    except BywayError as fault:
        return TrustResult(store, None, error or str(fault), pending)
    trusted = any(certificate in trusted_now for certificate in certificates)
    if trusted is not wanted and not error and not pending:
        error = "the commands succeeded, but it is " + ("not there" if wanted else "still there")
    return TrustResult(store, trusted, error, pending)
