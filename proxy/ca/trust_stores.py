"""Where certificates are trusted, and how ours gets in and out again: the steps as values, and running them.

A Store is one such place: the system's, or a browser's own. It says which authorities of Byway's it holds, and which
commands add or take one. What needs root is never run by anybody else: it is handed back, for the user to read and run.
Whether a step did what it was for is looked up afterwards, not believed.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.ca.authority import PREFIX, PURPOSE, common_name
from proxy.model.errors import BywayError

_STEP_LIMIT_S = 120.0
"""For one command; macOS and Windows ask the user to confirm."""

_SAID_LIMIT = 300

_LOCKED = "SEC_ERROR_TOKEN_NOT_LOGGED_IN"
"""NSS's word for a store with a password, which Firefox calls the primary one."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class TrustStep:
    """One command."""

    words: tuple[str, ...]
    as_root: bool = False
    for_windows: bool = False

    def __str__(self) -> str:
        """As it is typed into a shell."""
        if self.for_windows:
            return subprocess.list2cmdline(self.words)
        return shlex.join(("sudo", *self.words) if self.as_root else self.words)


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """An authority of Byway's in a store, and what it is called there; empty where it only lingers in what was made
    from the store."""

    name: str
    certificate: x509.Certificate


class TrustStore(Protocol):
    """One place of trust."""

    @property
    def title(self) -> str:
        """For people: `Debian's store`, `Firefox (default)`."""

    @property
    def place(self) -> str:
        """Where it lies."""

    def entries(self) -> list[TrustEntry]:
        """All of Byway's that it holds. Raises BywayError when it cannot be looked at."""

    def trusting(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        """What adds the certificate, which lies in `file`, too."""

    def untrusting(self, entry: TrustEntry) -> list[TrustStep]:
        """What takes it out."""


@dataclass(frozen=True, slots=True)
class TrustResult:
    """How it went with one store."""

    store: TrustStore
    holds: bool | None
    """Whether the store holds one of the certificates in question now; None: it cannot be looked at."""
    error: str = ""
    pending: tuple[TrustStep, ...] = ()
    """What is left for root to do."""


def trust(store: TrustStore, certificate: x509.Certificate, file: Path) -> TrustResult:
    """Adds the certificate to a store, unless it is there. What a command that failed has left is taken out again:
    NSS's adds a certificate before it finds that it may not trust it, and the next time that looks like trust."""

    def steps() -> list[TrustStep]:
        held = any(entry.certificate == certificate for entry in store.entries())
        return [] if held else store.trusting(certificate, str(file))

    result = _carry_out(store, steps, [certificate], wanted=True)
    return replace(result, holds=untrust(store, [certificate]).holds) if result.error and result.holds else result


def untrust(store: TrustStore, certificates: Sequence[x509.Certificate]) -> TrustResult:
    """Takes the certificates out of a store."""

    def steps() -> list[TrustStep]:
        found = [
            step for entry in store.entries() if entry.certificate in certificates for step in store.untrusting(entry)
        ]
        return list(reversed(dict.fromkeys(reversed(found))))  # what brings all up to date once, at the end

    return _carry_out(store, steps, certificates, wanted=False)


def ours(der: bytes) -> x509.Certificate | None:
    """The certificate, if it is an authority of Byway's, of this install or another."""
    if PREFIX.encode() not in der:  # most are not, and strangers' are not always fit to be read
        return None
    try:
        certificate = x509.load_der_x509_certificate(der)
        purposes = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except ValueError:
        return None
    named = common_name(certificate).startswith(PREFIX) and any(purpose.value == PURPOSE for purpose in purposes)
    return certificate if named else None


def ours_in(pem: bytes) -> list[x509.Certificate]:
    """Those of Byway's among the certificates of a text."""
    found = []
    for block in _PEM.finditer(pem):
        try:
            certificate = ours(base64.b64decode(block.group(1)))
        except binascii.Error:
            continue
        if certificate is not None:
            found.append(certificate)
    return found


def short_id(certificate: x509.Certificate) -> str:
    """What tells the authorities of one machine apart: the last word of their name."""
    return common_name(certificate).rpartition(" ")[2]


def find_program(name: str) -> str | None:
    """Its path. Looks where systems keep the administrator's too: a user's PATH may leave that out."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def run(step: TrustStep) -> bytes:
    """Runs one command and returns what it printed. Raises BywayError with what it said when it fails."""
    program = find_program(step.words[0])
    if program is None:
        raise BywayError(f"{step.words[0]} is missing{_brought_by(step.words[0])}")
    try:
        done = subprocess.run(
            [program, *step.words[1:]],
            stdin=subprocess.DEVNULL,  # nobody is there to answer
            capture_output=True,
            timeout=_STEP_LIMIT_S,
            start_new_session=True,  # and not at the terminal either, where NSS asks for its password
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BywayError(f"{step.words[0]} could not be started: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).decode(errors="replace").split())[-_SAID_LIMIT:]
        if _LOCKED in said:
            raise BywayError("it is protected by a password: import the certificate in the browser's settings")
        raise BywayError(f"{step.words[0]} exited with code {done.returncode}: {said or 'no output'}")
    return done.stdout


def _carry_out(
    store: TrustStore, steps: Callable[[], list[TrustStep]], certificates: Iterable[x509.Certificate], *, wanted: bool
) -> TrustResult:
    """Runs the steps up to the first that is root's, and looks at what has become of the store."""
    error = ""
    pending: tuple[TrustStep, ...] = ()
    try:
        todo = steps()
        for number, step in enumerate(todo):
            if step.as_root and not is_root():
                pending = tuple(todo[number:])
                break
            run(step)
    except BywayError as fault:
        error = str(fault)
    try:
        held = {entry.certificate for entry in store.entries()}
    except BywayError as fault:
        return TrustResult(store, None, error or str(fault), pending)
    holds = any(certificate in held for certificate in certificates)
    if holds is not wanted and not error and not pending:
        error = "the commands succeeded, but it is " + ("not there" if wanted else "still there")
    return TrustResult(store, holds, error, pending)


def _brought_by(program: str) -> str:
    """Where it comes from, for those that are often missing."""
    if program == "certutil":
        return "; install libnss3-tools (Debian, Ubuntu) or nss-tools (Fedora)"
    return ""
