"""What can go wrong, said four ways.

The code that raises knows whose fault it was: the user's configuration, the peer that speaks to us, or the path that
was being opened. Everything else that Byway raises on purpose is a plain BywayError. Each message is one sentence
that names the file, line or host, and says what to do where something can be done.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.model.connection import Stage, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence


def reason_of(error: OSError) -> str:
    """Why the system refused, as the end of a sentence: "permission denied". Without a code, the error's text."""
    return (error.strerror or str(error)).lower()


class BywayError(Exception):
    """Something Byway itself says went wrong; the message is meant for the user."""


class ConfigError(BywayError):
    """Configuration, rules or lists that cannot be used.

    `problems` holds one sentence for each fault found, each beginning with `file:line: ` where the place is known.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PeerError(BywayError):
    """The other side broke its protocol. `reply` is what it shall be told before we close; empty: close in silence."""

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
