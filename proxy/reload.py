"""The Setup in use, and how an edit takes its place: whole, or not at all.

Files that were edited are read again and made into a new Setup, which the next request finds; what runs keeps its own.
When anything is wrong with an edit, that is told and all stays as it was. Where we listen, and what is believed, go by
the configuration of the start.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.config.load import Loaded, load
from proxy.config.paths import Paths
from proxy.errors import ConfigError
from proxy.model import Override
from proxy.services import Setup
from proxy.setup import SetupMaker
from proxy.user_files import fingerprint

log = logging.getLogger(__name__)


class InUse:
    """`setup` is the one in use. Raises ConfigError when there is none to begin with."""

    def __init__(
        self,
        maker: SetupMaker,
        paths: Paths,
        loaded: Loaded,
        overrides: Mapping[str, Override],
        *,
        flags: Mapping[str, object],
        taken: Callable[[Setup], None],
    ) -> None:
        """`loaded` is the configuration of the start, `flags` what the command line set above it; `overrides` is what
        `byway site set` has said. `taken` hears of each Setup that took the place of another."""
        self._maker = maker
        self._paths = paths
        self._at_start = loaded
        self._flags = flags
        self._overrides = dict(overrides)
        self._taken = taken
        self._port = loaded.settings.listen.port
        self._read = self._before = fingerprint(loaded.settings, paths)
        self.setup = maker.make(loaded, self._overrides, port=self._port)
        self.problem = ""
        """Why an edited configuration is not in use; empty when it is."""

    def listens_on(self, port: int) -> None:
        """Any free port was asked for, and this is the one."""
        if port != self._port:
            self._port = port
            self.setup = self._maker.make(self._at_start, self._overrides, port=port)

    def override(self, host: str, override: Override | None) -> None:
        """Takes what `byway site set` says, from the next request on."""
        if override is None:
            self._overrides.pop(host, None)
        else:
            self._overrides[host] = override
        self.setup = replace(self.setup, router=self.setup.router.with_overrides(self._overrides))

    def look(self) -> None:
        """Reads again what has been edited, once two looks in a row find the same: an editor empties a file, or takes
        it away, before it writes the new one, and half of the rules must not act."""
        found = fingerprint(self.setup.settings, self._paths)
        if found == self._before != self._read:
            self.reload()
        self._before = found

    def reload(self) -> list[str]:
        """Reads everything again. Returns the problems: with any, all stays as it was."""
        self._read = fingerprint(self.setup.settings, self._paths)
        try:
            loaded = load(self._paths.config_to_read, env=os.environ, flags=self._flags)
            self._check_stays_closed(loaded)
            self.setup = self._maker.make(loaded, self._overrides, port=self._port)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("the configuration stays as it was until this is mended")
            self.problem = "; ".join(error.problems)
            return list(error.problems)
        self.problem = ""
        self._read = fingerprint(loaded.settings, self._paths)
        self.tell_notices()
        self._taken(self.setup)
        log.info("the configuration has been read again")
        return []

    def tell_notices(self) -> None:
        """What is not wrong with the configuration but should be known."""
        settings, at_start = self.setup.settings, self._at_start.settings
        if (settings.listen.address, settings.listen.port) != (at_start.listen.address, at_start.listen.port):
            log.warning("[listen] address and port: the edit takes effect at the next start")
        if settings.detect != at_start.detect:
            log.warning("[detect]: what is believed goes by the edit from the next start on")
        for notice in (*self.setup.loaded.notices, *self.setup.router.rules.notices):
            log.warning("%s", notice)

    def _check_stays_closed(self, loaded: Loaded) -> None:
        """We go on listening where we did at the start. Raises ConfigError when that would now be without a password,
        beyond this computer."""
        address = self._at_start.settings.listen.address
        if not ipaddress.ip_address(address).is_loopback and not loaded.settings.listen.user:
            raise ConfigError(
                f"{loaded.place('listen', 'user')}: without listen.user, {address} would serve everybody who can reach "
                "this computer; to listen elsewhere, stop Byway and start it again"
            )
