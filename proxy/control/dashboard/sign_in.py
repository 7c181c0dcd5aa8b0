"""Access to the dashboard: one-time codes, and the sessions that they begin.

`byway open` gets a code from the running Byway over the control socket, which only this user can use, and passes it to
a browser. The browser posts it, once, and gets a session: a secret path and a cookie.

Browsers send the cookies of 127.0.0.1 to all its ports. So the cookie's Path contains 128 random bits: a server of
another user, on another port, does not know them and never receives the cookie. The path alone gives no access. Such a
server can set cookies of the same name, which the browser sends as well: one valid cookie is enough.

Times are those of the event loop's clock, in seconds, so setting the wall clock has no effect.
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
"""The seconds for which a code is valid."""

IDLE_S = 12 * 3600.0
"""The seconds without a request after which a session ends."""

FRESH_S = 300.0
"""The seconds after a code was redeemed in which its session may let others in: a device or a program."""

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


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is signed in."""

    secret: str
    """The secret part of its path, 128 bits in hex."""
    cookie: str
    """The value of its cookie, 256 bits."""
    form_token: str
    """The token that every form of its pages posts, 128 bits in hex."""
    used_at: float
    """The time of its last request."""
    signed_in_at: float
    """The time at which its code was redeemed."""
    notice: str = ""
    """The result of the last form, in a sentence, for the next page."""
    override_change: OverrideChange | None = None
    """The last change of an override, for undo."""
    page_took_s: float = 0.0
    """The seconds that its slowest recent page took."""

    removed_relays: Removal | None = None
    """The last removal of relays, for undo."""
    streams: set[asyncio.Task[Any]] = field(default_factory=set)
    """The streamed answers that are being sent. They end with the session."""
    is_over: bool = False
    """Whether the session has ended: then a request in progress may not begin a streamed answer."""

    @property
    def path(self) -> str:
        return f"/s/{self.secret}/"

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


class SignIn:
    """The codes and sessions of one Byway. They are only in memory."""

    def __init__(self) -> None:
        self._codes: list[OneTimeCode] = []
        self._sessions: dict[str, Session] = {}  # by secret, the one used last at the end

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
        if redeemed is None:
            return None
        if redeemed.session is not None:
            self.sign_out(redeemed.session)
            return None
        redeemed.session = Session(secrets.token_hex(16), secrets.token_urlsafe(32), secrets.token_hex(16), now, now)
        self._sessions[redeemed.session.secret] = redeemed.session
        while len(self._sessions) > SESSIONS_MAX:
            self.sign_out(next(iter(self._sessions.values())))
        redeemed.used.set()
        return redeemed

    def session(self, secret: str, cookie: str, now: float) -> Session | None:
        """Returns the session with this path and this cookie; None when there is none, or it has ended."""
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
        """Ends a session and its streamed answers, which may name sites."""
        self._sessions.pop(session.secret, None)
        session.is_over = True
        for stream in tuple(session.streams):
            stream.cancel()

    def _valid(self, now: float) -> list[OneTimeCode]:
        return [code for code in self._codes if now < code.ends_at]
