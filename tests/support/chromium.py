"""A Chromium without a window that opens one page, with a home of its own and nothing to say to anybody else."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from tests.support import programs

LIMIT_S = 120


async def browse(url: str, home: Path, *flags: str, profile: str = "profile") -> subprocess.CompletedProcess[bytes]:
    """The page as it stands in the end, on stdout, and on stderr what Chromium says of it. Who it trusts is in the
    store below `home`."""
    process = await asyncio.create_subprocess_exec(
        *(programs.require("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={home / profile}", *flags, "--dump-dom", url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)},
    )
    try:
        shown, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return subprocess.CompletedProcess(url, process.returncode or 0, shown, said)
