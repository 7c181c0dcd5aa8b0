"""The profile of a ready browser: everything but the local network goes through Byway, and nothing around it.

QUIC, the browser's own encrypted DNS and WebRTC beside the proxy are off, in the profile or by command-line options,
whichever the browser obeys (tests run a Chromium and a Firefox). Nothing outside of the profile changes. A browser
whose Byway has ended opens no site.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.config.paths import Paths, private_folder, snap_name, write_private
from proxy.features.desktop.browsers import Browser, BrowserKind, Packaging
from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.home_network import CHROMIUM_BYPASS, FIREFOX_BYPASS

_SETTINGS_MAX = 64 * 1024 * 1024

_WEBRTC = "disable_non_proxied_udp"

# Chromium has no working option for encrypted DNS, and ignores some older ones for WebRTC. It obeys its settings files,
# in which the user's other settings are kept.
_LOCAL_STATE: Mapping[str, Any] = {"dns_over_https": {"mode": "off"}}
_PREFERENCES: Mapping[str, Any] = {
    "webrtc": {"ip_handling_policy": _WEBRTC, "multiple_routes_enabled": False, "nonproxied_udp_enabled": False},
    "browser": {"has_seen_welcome_page": True},
}
_CHROMIUM_OPTIONS = (
    "--disable-quic",
    f"--webrtc-ip-handling-policy={_WEBRTC}",
    f"--force-webrtc-ip-handling-policy={_WEBRTC}",  # its name in older versions
    "--no-first-run",
    "--no-default-browser-check",
    # The browser's own requests would be the first that a censor sees, and the first rows of the log.
    "--disable-background-networking",
    "--disable-component-update",
    # Chromium still requests updates of components once, and the signed-in Google accounts three times. It refuses to
    # connect to this port. Pages of Google sign in as before; only the browser itself does not.
    "--component-updater=url-source=http://127.0.0.1:9/",
    "--gaia-url=http://127.0.0.1:9/",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
    "--disable-features=OptimizationHints,MediaRouter,InterestFeedContentSuggestions,NetworkTimeServiceQuerying",
)

_FIREFOX: Mapping[str, bool | int | str] = {
    "network.proxy.type": 1,
    "network.proxy.share_proxy_settings": True,
    "network.proxy.no_proxies_on": FIREFOX_BYPASS,
    "network.proxy.failover_direct": False,  # otherwise its own requests bypass a proxy that does not answer …
    "network.proxy.allow_bypass": False,  # … or that answers with an error
    "network.trr.mode": 5,
    "network.http.http3.enable": False,
    "network.dns.disablePrefetch": True,
    "network.dns.disablePrefetchFromHTTPS": True,
    "network.dns.upgrade_with_https_rr": False,  # asks for HTTPS records of a site's name
    "network.dns.use_https_rr_as_altsvc": False,
    "network.dns.native_https_query": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,  # looks up its own name
    "media.peerconnection.ice.proxy_only": True,
    "media.peerconnection.ice.default_address_only": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.aboutwelcome.enabled": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "termsofuse.bypassNotification": True,
    "browser.newtabpage.activity-stream.feeds.topsites": False,
    "browser.newtabpage.activity-stream.showSponsored": False,
    "browser.newtabpage.activity-stream.showSponsoredTopSites": False,
    "browser.newtabpage.activity-stream.feeds.section.topstories": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.search.update": False,
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.autoUpdateDefault": False,
    "toolkit.telemetry.enabled": False,
}


@frozen_dataclass
class Launch:
    """A browser ready to be started."""

    browser: Browser
    folder: Path
    command: tuple[str, ...]

    def __str__(self) -> str:
        """The command line for a shell."""
        return subprocess.list2cmdline(self.command) if os.name == "nt" else shlex.join(self.command)


def profile_folder(browser: Browser, state_dir: Path, home: Path) -> Path:
    """Returns the folder of the profile of `browser` for one state folder. A snap reads no hidden folder of the user,
    so its profile is in the snap's own folder."""
    if browser.packaging is Packaging.SNAP:
        return home / "snap" / browser.package / "common" / "byway" / snap_name(state_dir)
    return state_dir / "browser" / browser.kind


def open_profiles(state_dir: Path, home: Path) -> Iterator[Path]:
    """Yields the profiles for this state folder that a running browser uses."""
    in_snaps = (home / "snap").glob(f"*/common/byway/{snap_name(state_dir)}")
    for folder in (*(state_dir / "browser").glob("*"), *in_snaps):
        # Chromium's lock is a link to HOST-PID, Firefox's a link to ADDRESS:+PID; both stay after a crash.
        for lock in (folder / "SingletonLock", folder / "lock"):
            try:
                pid = int(re.split(r"[-+]", os.readlink(lock))[-1])
                os.kill(pid, 0)
            except (OSError, ValueError):  # no lock, or no process of this user with that pid
                continue
            yield folder


def make_profile(browser: Browser, folder: Path, proxy: Destination) -> None:
    """Creates the profile with mode 0700, or configures an existing one. Raises BywayError."""
    private_folder(folder)
    if browser.kind is BrowserKind.FIREFOX:
        write_private(folder / "user.js", firefox_settings(proxy))
        return
    private_folder(folder / "Default")
    _set(folder / "Local State", _LOCAL_STATE)
    _set(folder / "Default" / "Preferences", _PREFERENCES)


def launch(
    browser: Browser, folder: Path, proxy: Destination, url: str, *, spki: str = "", options: Sequence[str] = ()
) -> Launch:
    """Returns the command that starts a browser with this profile. `spki` is the hash of the key of Byway's CA, which a
    Chromium then trusts; `options` are the user's own options for the browser."""
    words = [browser.program]
    if browser.packaging is Packaging.FLATPAK:
        words += ["run", f"--filesystem={folder}", browser.package]
    if browser.kind is BrowserKind.FIREFOX:
        words += ["--profile", str(folder), *options, url]
        return Launch(browser, folder, tuple(words))
    words += [f"--user-data-dir={folder}", f"--proxy-server=http://{proxy}"]
    words += [f"--proxy-bypass-list={CHROMIUM_BYPASS}", *_CHROMIUM_OPTIONS]
    if spki:  # for this CA alone; it works only together with --user-data-dir
        words.append(f"--ignore-certificate-errors-spki-list={spki}")
    return Launch(browser, folder, (*words, *options, url))


def firefox_settings(proxy: Destination) -> str:
    """Returns the text of user.js, which Firefox reads at each start."""
    settings = dict(_FIREFOX)
    for protocol in ("http", "ssl"):
        settings |= {f"network.proxy.{protocol}": proxy.host, f"network.proxy.{protocol}_port": proxy.port}
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in settings.items())
    return "// Written by Byway at each start of this browser.\n" + "".join(lines)


def _set(file: Path, settings: Mapping[str, Any]) -> None:
    """Sets keys in a settings file of Chromium, and keeps the others. Replaces an unreadable file, as Chromium
    does."""
    current: Any = {}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if file.stat().st_size <= _SETTINGS_MAX:
            current = json.loads(file.read_bytes())
    merged = _merged(current, settings)
    if merged != current:
        write_private(file, json.dumps(merged))


def _merged(current: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in settings.items():
        merged[key] = _merged(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


def hints(paths: Paths) -> Iterator[str]:
    """Yields a sentence for each profile that `forget` cannot delete, since a browser is open with it."""
    for folder in open_profiles(paths.state_dir, Path(os.path.expanduser("~"))):
        yield f"A browser is open with the profile {folder}. Close it, then run this again."
