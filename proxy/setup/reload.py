"""Keeps the Setup in use, and replaces it after an edit of the configuration: completely or not at all.

Edited files are read again and become a new Setup for the next request; open connections keep theirs. When an edit has
a problem, the problem is reported and the previous Setup stays. A change of the listening address, the event loop or
`[detect]` takes full effect after a restart.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from proxy.config.file_watch import FileWatch
from proxy.config.files import shown
from proxy.config.load import Loaded, load
from proxy.config.schema import ListConfig, RelayConfig, Settings
from proxy.model import AutoMode, Override
from proxy.model.errors import ConfigError
from proxy.net.dialers.registry import Registry
from proxy.net.faults import place_of
from proxy.net.tasks import report_fault
from proxy.session.setup import Setup
from proxy.setup.checked import Checked, Parts, check
from proxy.setup.knowledge import SetupInUse
from proxy.setup.rule_files import Fingerprint, fingerprint, fingerprint_of_included, read_list_text
from proxy.setup.steps import build, registry_with
from proxy.store.list_copies import ListCopies
from proxy.store.subscriptions import with_subscriptions
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)

READING_LIMIT_S = 120.0
"""Seconds for reading all files. The largest lists take seconds of CPU, and a minute on a busy computer. A disk or a
password command that hangs takes longer."""

PAUSE_S = 0.001
"""Seconds of sleep between two pieces of a list; parsing a piece takes as long. Beside a thread that computes without a
pause, the loop makes an eighth of its usual system calls; with the pauses, a third to a half (measured)."""

JUMP_S = 30.0
"""A change of the clock by more seconds is a jump; less is a correction."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""A clock that runs during sleep: on Linux CLOCK_BOOTTIME, on macOS CLOCK_MONOTONIC, on Windows `time.monotonic`."""


def steady_clock() -> float:
    """Returns seconds since a fixed moment. Setting the computer's clock does not change it."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class OverrideEnds:
    """The ends of the overrides of one Byway, by the steady clock.

    An override with an end may protect the user until then. A network that forges NTP can set this computer's clock,
    and must not end it. So the time runs by the steady clock, from when the override was set or Byway was started. The
    stored end is a time of day, since the steady clock starts anew with each boot; when the clock jumps, the stored end
    is moved by as much."""

    def __init__(
        self,
        overrides: Mapping[str, Override],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_clock,
    ) -> None:
        self._now = now
        self._steady = steady
        self._ends_at: dict[str, float] = {}  # by the steady clock
        for host, override in overrides.items():
            self.set(host, override)

    def set(self, host: str, override: Override | None) -> None:
        """Notes that the override of a host was set, or removed (None)."""
        if override is None or not override.until:
            self._ends_at.pop(host, None)
        else:
            self._ends_at[host] = self._steady() + override.until - self._now()

    def __bool__(self) -> bool:
        return bool(self._ends_at)

    def has_ended(self, host: str) -> bool:
        """Whether the override of a host has ended."""
        ends_at = self._ends_at.get(host)
        return ends_at is not None and ends_at <= self._steady()

    def ended(self) -> list[str]:
        """Returns the hosts whose override has ended."""
        if not self._ends_at:
            return []
        steady = self._steady()
        return [host for host, ends_at in self._ends_at.items() if ends_at <= steady]

    def moved(self, overrides: Mapping[str, Override]) -> dict[str, Override]:
        """Returns the overrides whose end is now another time of day because the clock has jumped, with that end."""
        if not self._ends_at:
            return {}
        offset = self._now() - self._steady()
        return {
            host: replace(overrides[host], until=ends_at + offset)
            for host, ends_at in self._ends_at.items()
            if abs(ends_at + offset - overrides[host].until) > JUMP_S
        }


class ActiveSetup:
    """Makes the Setup in use, and replaces it. Belongs to one loop."""

    def __init__(
        self,
        in_use: SetupInUse,
        parts: Parts,
        loaded: Loaded,
        overrides: Mapping[str, Override],
        *,
        flags: Mapping[str, object],
        on_replaced: Callable[[Setup], None],
    ) -> None:
        """Makes the first Setup. Raises ConfigError when it cannot be made.

        `in_use` gets each Setup. `loaded` is the configuration of the start, `flags` are the settings of the command
        line, `overrides` those of `byway site set`. `on_replaced` is called with each Setup of a reload."""
        self._in_use = in_use
        self._parts = parts
        self._paths = parts.paths
        self._at_start = loaded
        self._flags = flags
        self._overrides = dict(overrides)
        self._override_ends = OverrideEnds(overrides)
        self._on_replaced = on_replaced
        self._mode = AutoMode.AUTO
        self.port = parts.port
        state = fingerprint(loaded.settings, self._paths)
        self._checked = check(parts, loaded)
        self._watch = FileWatch((*state, *self._included(self._checked)))
        self._in_use.setup = self._build(self._checked)
        self._reloading = asyncio.Lock()
        self.problem = ""
        """The reason why an edited configuration is not in use; empty when it is."""

    @property
    def setup(self) -> Setup:
        return self._in_use.setup

    def registry_with(self, added: Sequence[RelayConfig]) -> Registry:
        """As `steps.registry_with`, with the configuration in use."""
        return registry_with(self._parts, self._checked, added)

    def forget_caches(self) -> None:
        """Replaces the Setup by one with empty caches of names and plans."""
        self._replace(self._build(self._checked))

    def set_mode(self, mode: AutoMode) -> None:
        """Replaces AUTO by a mode from the next request on."""
        self._mode = mode
        self._in_use.setup = replace(self.setup, router=self.setup.router.with_mode(mode))

    def _replace(self, setup: Setup) -> None:
        before, self._in_use.setup = self._in_use.setup, setup
        before.registry.retire_keys()

    def _build(self, checked: Checked) -> Setup:
        setup = build(self._parts, checked, self._overrides)
        setup = replace(setup, router=setup.router.with_ends(self._override_ends.has_ended))
        if self._mode is AutoMode.AUTO:
            return setup
        return replace(setup, router=setup.router.with_mode(self._mode))

    def override(self, host: str, override: Override | None) -> None:
        """Applies an override of `byway site set` from the next request on; None removes it."""
        if override is None:
            self._overrides.pop(host, None)
        else:
            self._overrides[host] = override
        self._override_ends.set(host, override)
        self._in_use.setup = replace(self.setup, router=self.setup.router.with_overrides(self._overrides))

    def ended_overrides(self) -> list[str]:
        """Returns the hosts whose override has ended. Called a few times a second."""
        return self._override_ends.ended()

    @property
    def has_override_ends(self) -> bool:
        """Whether an override has an end."""
        return bool(self._override_ends)

    def moved_overrides(self) -> Mapping[str, Override]:
        """As `OverrideEnds.moved`."""
        return self._override_ends.moved(self._overrides)

    async def configured(self) -> Settings:
        """Returns the settings of the configuration file as it is now, or those in use when it is faulty. A valid file
        may not be in use, because a rule needs a list that has not been fetched."""
        try:
            loaded = await asyncio.to_thread(self._load)
        except ConfigError:
            loaded = self.setup.loaded
        return loaded.settings

    def _load(self) -> Loaded:
        loaded = load(self._paths.config_to_read, env=os.environ, flags=self._flags)
        return with_subscriptions(loaded, self._parts.copies or ListCopies(self._paths.lists_dir, ephemeral=True))

    async def list_text(self, item: ListConfig, copies: ListCopies) -> str:
        """As `read_list_text`, in a thread. Raises ConfigError."""
        return await asyncio.to_thread(read_list_text, item, self._paths, copies)

    async def poll(self) -> None:
        """Reloads after an edit of a file. Called a few times a second."""
        if self._watch.changed(self._state()):
            await self.reload()

    async def reload(self, *, ask_passwords: bool = False) -> list[str]:
        """Reads all files again, in a thread: a large list takes seconds, and connections must not wait. Returns the
        problems; if there are any, the previous Setup stays. `ask_passwords`: runs the password commands again."""
        async with self._reloading:
            if ask_passwords:
                self._parts.passwords.forget()
            self._watch.use(self._state())
            try:
                checked, state = await asyncio.wait_for(asyncio.to_thread(self._read_files), READING_LIMIT_S)
                self._watch.use(state)
                self._replace(self._build(checked))
                self._checked = checked
            except TimeoutError:
                return self._refuse([f"reading the configuration took longer than {READING_LIMIT_S:g} s"])
            except ConfigError as error:
                return self._refuse(error.problems)
            except Exception as error:  # a fault of ours, which may not occur after the next edit
                report_fault("reading the configuration", error)
                return self._refuse([f"a fault of Byway stopped the reading ({place_of(error)}): please report it"])
            self.problem = ""
            self.log_notices()
            self._on_replaced(self.setup)
            log.info("Configuration reloaded")
            return []

    def _read_files(self) -> tuple[Checked, Fingerprint]:
        """Returns the content of the files, and their fingerprint from before they were read, so that the next poll
        detects an edit during the reading. The fingerprint of included files is from afterwards, since only then are
        they known. Raises ConfigError."""
        self._check_folder_stays()
        config, *_ = fingerprint(self.setup.settings, self._paths)
        loaded = self._load()
        _, *others = fingerprint(loaded.settings, self._paths)
        self._check_stays_closed(loaded)
        checked = check(self._parts, loaded, pause_s=PAUSE_S)
        self._check_lists_stay(checked)
        return checked, (config, *others, *self._included(checked))

    def _check_folder_stays(self) -> None:
        """Raises ConfigError when rules are in use and their folder is missing: it was moved, or its disk was
        unmounted. Without this check BLOCK and RELAY rules would end although the user removed none."""
        folder = self._paths.rules_file.parent
        if len(self.setup.router.rules) and not folder.is_dir():
            raise ConfigError(f"{shown(folder)}: the configuration's folder is gone; put it back, or restart Byway")

    def _check_lists_stay(self, checked: Checked) -> None:
        """Raises ConfigError when a list in use now has a problem, whatever rules use it: a middlebox may have sent a
        page in its place, or a download was incomplete. The earlier content is better than none."""
        before = self._checked.rules.lists
        broken = [
            f"{listed.problem}. To use it as it is, set allow_empty = true in its [[list]]"
            for name, listed in checked.rules.lists.items()
            if listed.problem and not (listed.absent or listed.allow_empty)
            if name in before and not before[name].problem
        ]
        if broken:
            raise ConfigError(broken)

    def _state(self) -> Fingerprint:
        return (*fingerprint(self.setup.settings, self._paths), *self._included(self._checked))

    def _included(self, checked: Checked) -> Fingerprint:
        return fingerprint_of_included(checked.loaded.settings, self._paths, checked.rules.lists)

    def _refuse(self, problems: Sequence[str]) -> list[str]:
        told = [redact(problem) for problem in problems]  # a value that is wrong may hold a password
        for problem in told:
            log.error("%s", problem)
        log.error("Keeping the previous configuration until this is fixed")
        self.problem = "; ".join(told)
        return told

    def log_notices(self) -> None:
        """Logs the notices of the configuration, and the changes that need a restart."""
        settings, at_start = self.setup.settings, self._at_start.settings
        if (settings.listen.address, settings.listen.port) != (at_start.listen.address, at_start.listen.port):
            log.warning("[listen] address and port: the change takes effect after a restart")
        if settings.limits.event_loop != at_start.limits.event_loop:
            log.warning("[limits] event_loop: the change takes effect after a restart")
        if settings.detect != at_start.detect:
            log.warning("[detect]: the change takes full effect after a restart")
        for notice in (*self.setup.loaded.notices, *self.setup.router.rules.notices):
            log.warning("%s", redact(notice))

    def _check_stays_closed(self, loaded: Loaded) -> None:
        """Raises ConfigError when Byway would serve other computers without a password: it keeps the listening address
        of the start, and the new configuration has no user."""
        address = self._at_start.settings.listen.address
        if not ipaddress.ip_address(address).is_loopback and not loaded.settings.listen.user:
            raise ConfigError(
                f"{loaded.place('listen', 'user')}: without listen.user, {address} lets everyone who can reach "
                "this computer use the proxy; to change the address, restart Byway"
            )
