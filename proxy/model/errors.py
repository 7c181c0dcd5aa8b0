"""The errors that Byway raises, by whose fault it is.

ConfigError is the user's configuration, PeerError the other side of a connection, DialError the path that was being
opened; everything else is a plain BywayError. Each message is one sentence that names the file, line or host, and says
what to do where something can be done.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.model.connection import Stage, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence


def reason_of(error: OSError) -> str:
    """Why the system refused, as the end of a sentence: "permission denied". Without a code, the error's text."""
    return (error.strerror or str(error)).lower()


class BywayError(Exception):
    """An error with a message for the user."""


class ConfigError(BywayError):
    """Configuration, rules or lists that cannot be used.

    `problems` holds one sentence for each fault found, each beginning with `file:line: ` where the place is known.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PeerError(BywayError):
    """The other side broke its protocol. `reply` is to be sent before the connection is closed; empty: nothing is."""

    def __init__(self, message: str, *, reply: bytes = b"") -> None:
        self.reply = reply
        super().__init__(message)


class DialError(BywayError):
    """A path could not be opened: how far it came (`stage`), what stopped it (`symptom`), what was measured."""

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
