"""Makes Byway the system proxy, and restores the earlier setting.

The earlier setting is saved on the disk before anything is written, so it can be restored after a crash or a power cut.
It is restored only in places that still have Byway's values: a newer value by another program stays.

Lenient is the URL of a PAC file: while Byway does not run, programs connect direct. Strict is the address of the proxy:
then they cannot connect. A PAC file cannot be strict, because programs that cannot load it connect direct (seen with
Chromium).
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
    """The result of restoring the setting."""

    NOTHING = "nothing"
    """Byway was not the system proxy."""
    RESTORED = "restored"
    KEPT_NEWER = "kept_newer"
    """Another program has changed it since, and that value stays."""


@frozen_dataclass
class Saved:
    """The earlier system proxy, and Byway's own values."""

    desktop: DesktopName
    before: Mapping[str, Values]
    """The values of each place."""
    ours: tuple[Values, ...]
    """Values that Byway may have written: lenient, strict, and those for an earlier port. A place is Byway's when it
    has the first value of one of them."""

    def to_json(self) -> str:
        return json.dumps({"desktop": self.desktop, "before": self.before, "ours": self.ours})

    @classmethod
    def parse(cls, text: str) -> Saved:
        """Parses the file. Raises ValueError, KeyError, TypeError and AttributeError when it is damaged."""
        document = json.loads(text)
        before = {str(place): _parse_values(values) for place, values in document["before"].items()}
        return cls(DesktopName(document["desktop"]), before, tuple(map(_parse_values, document["ours"])))


def _parse_values(document: Mapping[str, object]) -> Values:
    if not document:
        raise ValueError("no values")
    return {str(key): str(value) for key, value in document.items()}


def given_back(now: Values, before: Values, ours: Sequence[Values]) -> Values:
    """Returns the values that a place should have without Byway: the earlier one for each value that is Byway's, the
    present one for the others. In a place that has no first value of `ours`, no value is Byway's."""
    active = [own for own in ours if _is_named(now, own)]
    return {
        key: before.get(key, "") if any(own.get(key) == value for own in active) else value
        for key, value in now.items()
    }


def _is_named(now: Values, own: Values) -> bool:
    key = next(iter(own))
    return now.get(key) == own[key]


def is_in_use(now: Values, own: Values) -> bool:
    """Whether a place has all these values of Byway."""
    return all(now.get(key) == value for key, value in own.items())


class SystemProxy:
    """The system proxy setting of this user. Methods run the desktop's programs (0.1 s), and must not run
    concurrently."""

    def __init__(self, file: Path, settings: Callable[[DesktopName], ProxySettings] = settings_of) -> None:
        """`file` has the earlier setting while Byway is the system proxy."""
        self._file = file
        self._settings = settings

    @property
    def has_saved(self) -> bool:
        """Whether there is something to restore. Runs no program."""
        return os.path.exists(self._file)

    def load(self) -> Saved | None:
        """Returns the earlier setting; None when Byway is not the system proxy. Raises DesktopError when the file
        cannot be read or is damaged."""
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
        """Makes Byway the system proxy, or changes it between lenient and strict. `listen` and `port` are the IP
        address and port of Byway. Returns the URL of the PAC file; when strict, of the proxy. Raises BywayError; then
        part of the setting may be changed, which `restore` restores."""
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
        """Makes the setting strict or lenient in the places where Byway is still the system proxy. Returns whether
        there are any. Raises BywayError."""
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
            lost = {**values, **desktop.off}  # the earlier values, if they are unknown
            before[place] = given_back(values, before.get(place, lost), ours)
        write_private(self._file, Saved(desktop.name, before, ours).to_json(), durable=True)
        target = by_address if strict else by_pac
        self._write(desktop, now, dict.fromkeys(now, target), order=[*target])
        after = desktop.read()
        if not all(is_in_use(values, target) for place, values in after.items() if place in now):
            if saved is None and after == now:  # gsettings reports success without a session bus
                self._delete()
                raise DesktopError(
                    f"The setting of {desktop.name.label} cannot be changed from here, so the system proxy was not "
                    "set. Run this in a terminal of your desktop session, or use `byway browser`, which needs none"
                )
            raise DesktopError(f"{desktop.name.label} did not store the system proxy. Is this a desktop session?")
        return url if strict else url + LENIENT_PAC

    def restore(self) -> Restored:
        """Restores the earlier values in places that are still Byway's. Raises DesktopError; a later call tries
        again."""
        saved = self.load()
        if saved is None:
            return Restored.NOTHING
        desktop = self._settings(saved.desktop)
        now = {place: values for place, values in desktop.read().items() if place in saved.before}
        target = {place: given_back(values, saved.before[place], saved.ours) for place, values in now.items()}
        # The mode first. The value by which a place is Byway's goes last, so that a restore that was killed can resume.
        marks = {next(iter(own)) for own in saved.ours}
        keys = dict.fromkeys(key for values in now.values() for key in values)
        order = sorted(keys, key=lambda key: (key != MODE, key in marks))
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
    """Returns the host and the URL by which programs of this computer reach Byway at a listening address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)  # noqa: S104  # all addresses: loopback is one
    return host, f"http://{bracketed(host)}:{port}"
