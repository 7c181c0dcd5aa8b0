"""Makes Byway the system proxy, and gives back what was there before.

What was there is on the disk before anything is written, so it can be restored after a crash or a power cut, too. It is
restored only where the setting is still Byway's: a newer value of somebody else's stays.

Lenient is the URL of a PAC file: while Byway does not run, programs connect direct. Strict is the address of the proxy:
then they do not connect at all. A strict PAC file would not do, because programs that cannot load theirs connect direct
(seen with Chromium).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from proxy.config.files import read_own_file
from proxy.config.paths import write_private
from proxy.model import bracketed
from proxy.model.errors import reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.desktop.programs import DesktopError
from proxy.setup.desktop.proxy_settings import MODE, DesktopName, ProxySettings, Values, settings_of

LENIENT_PAC = "/proxy.pac"

_FILE_LIMIT = 256 * 1024


class Restored(StrEnum):
    """What became of the setting."""

    NOTHING = "nothing"
    """Byway was not the system proxy."""
    RESTORED = "restored"
    KEPT_NEWER = "kept_newer"
    """Somebody else has changed it since; that value stays."""


@frozen_dataclass
class Saved:
    """What the system proxy was, and the values that are Byway's."""

    desktop: DesktopName
    before: Mapping[str, Values]
    """The values of each place."""
    ours: tuple[Values, ...]
    """Values that Byway may have written: lenient and strict ones, and those for an earlier port. The first value of
    each tells whose a place is."""

    def to_json(self) -> str:
        return json.dumps({"desktop": self.desktop, "before": self.before, "ours": self.ours})

    @classmethod
    def parse(cls, text: str) -> Saved:
        """Raises ValueError, KeyError, TypeError and AttributeError for a damaged file."""
        document = json.loads(text)
        before = {str(place): _parse_values(values) for place, values in document["before"].items()}
        return cls(DesktopName(document["desktop"]), before, tuple(map(_parse_values, document["ours"])))


def _parse_values(document: Mapping[str, object]) -> Values:
    if not document:
        raise ValueError("no values")
    return {str(key): str(value) for key, value in document.items()}


def given_back(now: Values, before: Values, ours: Sequence[Values]) -> Values:
    """Returns what a place should hold without Byway: what was there before, where the value is still Byway's, else
    what is there now. A place whose first value is nobody's of `ours` is somebody else's."""
    active = [own for own in ours if _is_named(now, own)]
    return {
        key: before.get(key, "") if any(own.get(key) == value for own in active) else value
        for key, value in now.items()
    }


def _is_named(now: Values, own: Values) -> bool:
    key = next(iter(own))
    return now.get(key) == own[key]


def is_in_use(now: Values, own: Values) -> bool:
    """Whether a place holds exactly these values of Byway's."""
    return all(now.get(key) == value for key, value in own.items())


class SystemProxy:
    """The system proxy setting of this user, as Byway uses it. Methods run programs of the desktop (some 0.1 s), and
    two must not run at a time."""

    def __init__(self, file: Path, settings: Callable[[DesktopName], ProxySettings] = settings_of) -> None:
        """`file` holds what was there before, while Byway is the system proxy."""
        self._file = file
        self._settings = settings

    @property
    def has_saved(self) -> bool:
        """Whether there is something to restore. Runs no program."""
        return os.path.exists(self._file)

    def load(self) -> Saved | None:
        """Returns what was there before; None when Byway is not the system proxy. Raises DesktopError when the file
        cannot be read."""
        try:
            return Saved.parse(read_own_file(self._file, limit=_FILE_LIMIT).decode())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DesktopError(f"{self._file} cannot be read: {reason_of(error)}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DesktopError(
                f"{self._file} is damaged, so the earlier system proxy is unknown. Set the system proxy by hand, "
                "then delete this file"
            ) from None

    def is_in_use(self) -> bool:
        """Whether Byway is the system proxy in a place of this desktop. Raises DesktopError."""
        saved = self.load()
        return saved is not None and bool(self._places_in_use(saved))

    def _places_in_use(self, saved: Saved) -> Mapping[str, Values]:
        places = self._settings(saved.desktop).read().items()
        return {place: values for place, values in places if any(is_in_use(values, own) for own in saved.ours)}

    def turn_on(self, name: DesktopName, listen: str, port: int, *, strict: bool) -> str:
        """Makes the Byway that listens there the system proxy, or changes it between lenient and strict. `listen` is an
        IP address. Returns the URL of the PAC file, or, if strict, of the proxy. Raises BywayError; the setting may
        then be changed in part, and `restore` restores that too."""
        saved = self.load()
        if saved is not None and saved.desktop is not name:
            self.restore()
            saved = None
        desktop = self._settings(name)
        now = desktop.read()
        if not now:
            raise DesktopError(f"{name.label} has no network service whose proxy could be set")
        return self._turn_on(desktop, now, saved, listen, port, strict=strict)

    def change(self, listen: str, port: int, *, strict: bool) -> bool:
        """Makes it strict or lenient, in the places where Byway is still the system proxy. Returns whether there are
        any. Raises BywayError."""
        saved = self.load()
        if saved is None:
            return False
        now = self._places_in_use(saved)
        if now:
            self._turn_on(self._settings(saved.desktop), now, saved, listen, port, strict=strict)
        return bool(now)

    def _turn_on(
        self,
        desktop: ProxySettings,
        now: Mapping[str, Values],
        saved: Saved | None,
        listen: str,
        port: int,
        *,
        strict: bool,
    ) -> str:
        """Makes Byway the system proxy in the places of `now`."""
        host, url = _address(listen, port)
        by_pac, by_address = desktop.by_pac(url + LENIENT_PAC), desktop.by_address(host, port)
        older = () if saved is None else (own for own in saved.ours if any(_is_named(it, own) for it in now.values()))
        ours = tuple({str(own): own for own in (by_pac, by_address, *older)}.values())
        before = {} if saved is None else dict(saved.before)
        for place, values in now.items():
            lost = {**values, **desktop.off}  # what was there, if it is not known
            before[place] = given_back(values, before.get(place, lost), ours)
        write_private(self._file, Saved(desktop.name, before, ours).to_json(), durable=True)
        target = by_address if strict else by_pac
        self._write(desktop, now, dict.fromkeys(now, target), order=[*target])
        after = desktop.read()
        if not all(is_in_use(values, target) for place, values in after.items() if place in now):
            if saved is None and after == now:  # gsettings claims success where no session bus answers
                self._delete()
                raise DesktopError(
                    f"The setting of {desktop.name.label} cannot be changed from here, so the system proxy was not "
                    "set. Run this in a terminal of your desktop session, or use `byway browser`, which needs none"
                )
            raise DesktopError(f"{desktop.name.label} did not store the system proxy. Is this a desktop session?")
        return url if strict else url + LENIENT_PAC

    def restore(self) -> Restored:
        """Gives back what was there before, where the setting is still Byway's. Raises DesktopError; a later call then
        tries again."""
        saved = self.load()
        if saved is None:
            return Restored.NOTHING
        desktop = self._settings(saved.desktop)
        now = {place: values for place, values in desktop.read().items() if place in saved.before}
        target = {place: given_back(values, saved.before[place], saved.ours) for place, values in now.items()}
        # The mode first, and last the value that tells that the place is Byway's: who is killed goes on later.
        telling = {next(iter(own)) for own in saved.ours}
        keys = dict.fromkeys(key for values in now.values() for key in values)
        order = sorted(keys, key=lambda key: (key != MODE, key in telling))
        self._write(desktop, now, target, order=order)
        after = desktop.read()
        if any(is_in_use(after.get(place, {}), own) for place in now for own in saved.ours):
            raise DesktopError(f"{saved.desktop.label} did not store the system proxy. Is this a desktop session?")
        self._delete()
        is_as_before = all(values == saved.before[place] for place, values in target.items())
        return Restored.RESTORED if is_as_before else Restored.KEPT_NEWER

    def _delete(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            raise DesktopError(f"{self._file} cannot be deleted: {reason_of(error)}") from None

    def _write(
        self, desktop: ProxySettings, now: Mapping[str, Values], target: Mapping[str, Values], *, order: Sequence[str]
    ) -> None:
        for place, values in target.items():
            for key in order:
                if key in values and values[key] != now[place].get(key, ""):
                    desktop.write(place, key, values[key])


def _address(listen: str, port: int) -> tuple[str, str]:
    """Returns the host and the URL by which programs of this computer reach the Byway that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)  # noqa: S104  # all addresses: loopback is one
    return host, f"http://{bracketed(host)}:{port}"
