"""Who may use the dashboard: one-time codes, and the sessions that they begin.

`byway open` asks the running Byway for a code over the control socket, which only this user reaches, and hands it to a
browser. The browser posts it, once, and gets a session: a secret path and a cookie.

Browsers send the cookies of 127.0.0.1 to every port of it. So the Path of the cookie holds 128 random bits: a server of
somebody else on another port does not know them, and never gets the cookie. The path alone opens nothing. Such a
server can set cookies of the same name, which the browser sends beside ours: one that fits is enough.

Times are those of the event loop's clock, in seconds: a wall clock that is set changes nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.config.edit import Removal
    from proxy.model import Override


CODE_S = 60.0
"""Seconds for which a code is valid."""

IDLE_S = 12 * 3600.0
"""Seconds without a request after which a session ends."""

SESSIONS_MAX = 16
"""Sessions at a time; one more ends the one that was used longest ago."""

_CODES_MAX = 16

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letters that are taken for digits, or for each other."""

_CODE_LENGTH = 16  # symbols, of 5 bits each

_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


@frozen_dataclass
class OverrideChange:
    """A change of the override of a host, from what was set before to what is set after; None: nothing. A form names it
    by its `id`: a tab that was opened before another change has a button of an older one."""

    host: str
    before: Override | None
    after: Override | None
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is signed in."""

    secret: str
    """Of its path, 128 bits in hex."""
    cookie: str
    """The value of its cookie, 256 bits."""
    form_token: str
    """That every form of its pages posts, 128 bits in hex."""
    used_at: float
    """When its last request came."""
    notice: str = ""
    """What the last form did, in a sentence, for the next page."""
    override_change: OverrideChange | None = None
    """The last one, to be undone."""
    page_took_s: float = 0.0
    """How long its slowest page of late took."""

    removed_relays: Removal | None = None
    """The relays that were removed last, to be restored."""
    streams: set[asyncio.Task[Any]] = field(default_factory=set)
    """Its answers that go on. They end with it."""
    is_over: bool = False
    """None of its requests that are still under way may begin such an answer."""

    @property
    def path(self) -> str:
        return f"/s/{self.secret}/"


@dataclass(eq=False, slots=True)
class OneTimeCode:
    """A code that begins one session."""

    text: str
    """As it is typed: four groups of four symbols."""
    page: str
    """The page to show first, as the part of its path behind that of the session."""
    ends_at: float
    """Until when it is valid."""
    used: asyncio.Event = field(default_factory=asyncio.Event)
    session: Session | None = None
    """What it began."""


class SignIn:
    """The codes and sessions of one Byway. Both end with it."""

    def __init__(self) -> None:
        self._codes: list[OneTimeCode] = []
        self._sessions: dict[str, Session] = {}  # by secret, the one used last at the end

    def new_code(self, page: str, now: float) -> OneTimeCode:
        """Returns a new code. Of too many the oldest is revoked."""
        symbols = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH))
        text = "-".join(symbols[start : start + 4] for start in range(0, _CODE_LENGTH, 4))
        code = OneTimeCode(text, page, now + CODE_S)
        self._codes = [*self._valid(now), code][-_CODES_MAX:]
        return code

    def redeem(self, text: str, now: float) -> OneTimeCode | None:
        """Returns the code with the session that it begins; None when it is wrong, or not valid any more.

        A code that comes a second time was seen by two: nobody knows which of them is the user. It ends the session
        that the first one began."""
        typed = text.upper().translate(_MISREAD).encode("utf-8", "surrogateescape")
        found = None
        for code in self._valid(now):  # all of them, so that the time taken does not tell
            if hmac.compare_digest(code.text.replace("-", "").encode(), typed):
                found = code
        if found is None:
            return None
        if found.session is not None:
            self.sign_out(found.session)
            return None
        found.session = Session(secrets.token_hex(16), secrets.token_urlsafe(32), secrets.token_hex(16), now)
        self._sessions[found.session.secret] = found.session
        while len(self._sessions) > SESSIONS_MAX:
            self.sign_out(next(iter(self._sessions.values())))
        found.used.set()
        return found

    def session(self, secret: str, cookie: str, now: float) -> Session | None:
        """Returns the session of a path and a cookie; None unless both are of the same one, and it has not ended."""
        session = self._sessions.get(secret)
        if session is None or not hmac.compare_digest(session.cookie.encode(), cookie.encode("utf-8", "replace")):
            return None
        if now - session.used_at > IDLE_S:
            self.sign_out(session)
            return None
        session.used_at = now
        self._sessions[secret] = self._sessions.pop(secret)
        return session

    def sign_out(self, session: Session) -> None:
        """Ends a session, and its answers that go on: a measurement names its site."""
        self._sessions.pop(session.secret, None)
        session.is_over = True
        for stream in tuple(session.streams):
            stream.cancel()

    def _valid(self, now: float) -> list[OneTimeCode]:
        return [code for code in self._codes if now < code.ends_at]
