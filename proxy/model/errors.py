"""The errors that Byway raises. Their class says where the fault is.

ConfigError: in the user's configuration. PeerError: on the other side of a connection. DialError: on the path that was
being opened. A plain BywayError is any other fault. Each message is one sentence that names the file, line or host, and
says what to do if there is something to do.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.model.connection import Stage, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence


def reason_of(error: OSError) -> str:
    """Returns the system's reason as the end of a sentence, "permission denied"; without an error code, the error's
    text."""
    return (error.strerror or str(error)).lower()


class BywayError(Exception):
    """An error with a message for the user."""


class ConfigError(BywayError):
    """Configuration, rules or lists that cannot be used. `problems` has one sentence for each fault; it begins with
    `file:line: ` if the place is known."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PeerError(BywayError):
    """The other side broke its protocol. `reply` is sent before the connection is closed; empty: there is no reply."""

    def __init__(self, message: str, *, reply: bytes = b"") -> None:
        self.reply = reply
        super().__init__(message)


class DialError(BywayError):
    """A path could not be opened. `stage` is how far it came, `symptom` what stopped it, `evidence` the
    measurements."""

    def __init__(
        self,
        message: str,
        *,
        stage: Stage,
        symptom: Symptom,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        self.stage = stage
        self.symptom = symptom
        self.evidence = evidence
        super().__init__(message)
