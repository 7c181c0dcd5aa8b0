"""Access to the dashboard: one-time codes, and the sessions that they begin.

`byway open` gets a code from the running Byway over the control socket, which only this user can use, and passes it to
a browser. The browser posts it, once, and gets a session: a secret path and a cookie.

Browsers send the cookies of 127.0.0.1 to all its ports. So the cookie's Path contains 128 random bits: a server of
another user, on another port, does not know them and never receives the cookie. The path alone gives no access. Such a
server can set cookies of the same name, which the browser sends as well: one valid cookie is enough.

Times are those of the event loop's clock, in seconds, so setting the wall clock has no effect. Sessions outlive a
restart of Byway: `kept_sessions` stores their hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.config.edit import Removal
    from proxy.model import Override


CODE_S = 60.0
"""The seconds for which a code is valid."""

IDLE_S = 12 * 3600.0
"""The seconds without a request after which a session ends."""

FRESH_S = 300.0
"""The seconds after a code was redeemed in which its session may let others in: a device or a program."""

SAVE_S = 600.0
"""The seconds after which a request is stored as the last use of its session. A restart may end it by that much too
early."""

SESSIONS_MAX = 16
"""The most sessions at a time; a further one ends the least recently used."""

_CODES_MAX = 16

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without letters that look like digits or like each other."""

_CODE_LENGTH = 16  # symbols, of 5 bits each

_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


@frozen_dataclass
class OverrideChange:
    """A change of the override of a host, from `before` to `after`; None: no override. A form refers to it by `id`,
    since a tab may have the button for an older change."""

    host: str
    before: Override | None
    after: Override | None
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@frozen_dataclass
class RulesChange:
    """An edit of rules.txt: the text before it, the version after it, and what it did in words."""

    before: str
    version: str
    words: str


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is signed in."""

    id: str
    """The hash of the secret part of its path and of its cookie. It gives no access, so it may be stored."""
    secret: str
    """The secret part of its path, 128 bits in hex; empty until the first request after a restart."""
    cookie: str
    """The value of its cookie, 256 bits; empty until the first request after a restart."""
    used_at: float
    """The time of its last request."""
    signed_in_at: float
    """The time at which its code was redeemed; -inf: before Byway started."""
    code: str = ""
    """The hash of its code, for as long as a second use of the code would end it."""
    code_ends_at: float = -math.inf
    """The time until which the code was valid."""
    notice: str = ""
    """The result of the last form, in a sentence, for the next page."""
    override_change: OverrideChange | None = None
    """The last change of an override, for undo."""
    page_took_s: float = 0.0
    """The seconds that its slowest recent page took."""

    removed_relays: Removal | None = None
    """The last removal of relays, for undo."""
    rules_change: RulesChange | None = None
    """The last edit of a rule, for undo."""
    streams: set[asyncio.Task[Any]] = field(default_factory=set)
    """The streamed answers that are being sent. They end with the session."""
    is_over: bool = False
    """Whether the session has ended: then a request in progress may not begin a streamed answer."""

    @property
    def path(self) -> str:
        return f"/s/{self.secret}/"

    @property
    def form_token(self) -> str:
        """The token that every form of its pages posts, 128 bits in hex. It follows from the cookie, so that the forms
        of an open tab are right after a restart, and nothing follows from it."""
        return hmac.new(self.cookie.encode(), b"form token", hashlib.sha256).hexdigest()[:32]

    def is_fresh(self, now: float) -> bool:
        """Whether its code was redeemed in the last FRESH_S seconds."""
        return now - self.signed_in_at < FRESH_S


@dataclass(eq=False, slots=True)
class OneTimeCode:
    """A code that begins one session."""

    text: str
    """The code as the user types it: four groups of four symbols."""
    page: str
    """The path of the first page, without that of the session."""
    ends_at: float
    """The time until which the code is valid."""
    used: asyncio.Event = field(default_factory=asyncio.Event)
    session: Session | None = None
    """The session that it has begun."""


class Keeper(Protocol):
    """Keeps sessions for the next run."""

    def load(self) -> Sequence[Session]:
        """Returns the sessions of the last run that have not ended, the one used last at the end."""

    def save(self, sessions: Sequence[Session]) -> None:
        """Starts to write the sessions."""

    async def written(self) -> None:
        """Waits until everything is written."""


class SignIn:
    """The codes and sessions of one Byway. Codes are only in memory."""

    def __init__(self, keeper: Keeper | None = None) -> None:
        """Without `keeper`, sessions are only in memory, too. Waits for the disk."""
        self._codes: list[OneTimeCode] = []
        self._keeper = keeper
        kept = () if keeper is None else keeper.load()
        self._sessions = {session.id: session for session in kept[-SESSIONS_MAX:]}  # the one used last at the end
        self._saved_at = -math.inf

    def new_code(self, page: str, now: float) -> OneTimeCode:
        """Returns a new code. Revokes the oldest of more than _CODES_MAX."""
        symbols = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
        text = "-".join(symbols[start : start + 4] for start in range(0, _CODE_LENGTH, 4))
        code = OneTimeCode(text, page, now + CODE_S)
        self._codes = [*self._valid(now), code][-_CODES_MAX:]
        return code

    def redeem(self, text: str, now: float) -> OneTimeCode | None:
        """Begins a session with a code. Returns the code; None when it is wrong or no longer valid.

        A code that is used twice is known to two clients, and either may be the attacker. So the second use ends the
        session that the first one has begun."""
        typed = text.upper().translate(_MISREAD).encode("utf-8", "surrogateescape")
        redeemed = None
        for code in self._valid(now):  # all codes, so that the time does not show which one matched
            if hmac.compare_digest(code.text.replace("-", "").encode(), typed):
                redeemed = code
        digest = _hash(typed)
        if redeemed is None:
            for session in [*self._sessions.values()]:  # of a code that the last run has given
                if now < session.code_ends_at and hmac.compare_digest(session.code, digest):
                    self.sign_out(session)
            return None
        if redeemed.session is not None:
            self.sign_out(redeemed.session)
            return None
        secret, cookie = secrets.token_hex(16), secrets.token_urlsafe(32)
        id_ = _id_of(secret, cookie)
        redeemed.session = Session(id_, secret, cookie, now, now, code=digest, code_ends_at=redeemed.ends_at)
        self._sessions[id_] = redeemed.session
        while len(self._sessions) > SESSIONS_MAX:
            self._end(next(iter(self._sessions.values())))
        self._save(now)
        redeemed.used.set()
        return redeemed

    def session(self, secret: str, cookie: str, now: float) -> Session | None:
        """Returns the session with this path and this cookie; None when there is none, or it has ended."""
        session = self._sessions.get(_id_of(secret, cookie))  # of a hash: the time shows nothing of what was right
        if session is None:
            return None
        if now - session.used_at > IDLE_S:
            self.sign_out(session)
            return None
        session.secret, session.cookie = secret, cookie
        session.used_at = now
        self._sessions[session.id] = self._sessions.pop(session.id)
        if now - self._saved_at > SAVE_S:
            self._save(now)
        return session

    def sign_out(self, session: Session) -> None:
        """Ends a session and its streamed answers, which may name sites. `written` waits until it is stored."""
        self._end(session)
        self._save(self._saved_at)

    def forget(self) -> None:
        """Ends all sessions."""
        for session in [*self._sessions.values()]:
            self._end(session)
        self._save(self._saved_at)

    async def written(self) -> None:
        """Waits until the sessions are stored as they are."""
        if self._keeper is not None:
            await self._keeper.written()

    async def close(self) -> None:
        """Stores the sessions for the next run."""
        self._save(self._saved_at)
        await self.written()

    def _end(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        session.is_over = True
        for stream in tuple(session.streams):
            stream.cancel()

    def _save(self, now: float) -> None:
        if self._keeper is not None:
            self._saved_at = now
            self._keeper.save([*self._sessions.values()])

    def _valid(self, now: float) -> list[OneTimeCode]:
        return [code for code in self._codes if now < code.ends_at]


def _id_of(secret: str, cookie: str) -> str:
    return _hash(f"{secret}/{cookie}".encode("utf-8", "replace"))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
