"""What is freed is gone from the process, in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from proxy.setup.freed_memory import return_freed_pages, return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "returned":
    return_large_blocks()
largest = bytearray(b"x") * (24 << 20)
del largest
block = bytearray(b"x") * (16 << 20)
before = resident()
del block
print((before - resident()) >> 20)
"""


FREED = """
blocks = [bytearray(b"x") * (64 << 10) for _ in range(512)]
last = bytearray(b"x") * (64 << 10)  # what lies behind the others keeps their pages
del blocks
before = resident()
if sys.argv[1] == "returned":
    return_freed_pages()
print((before - resident()) >> 20)
"""

of_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="of glibc on Linux"
)


@of_glibc
@pytest.mark.parametrize("how", ["returned", "kept"])
def test_a_large_block_goes_back_to_the_system(how: str) -> None:
    """The control is the same without the setting."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=60)
    mebibytes = int(done.stdout)
    assert mebibytes > 12 if how == "returned" else mebibytes < 4


@of_glibc
@pytest.mark.parametrize("how", ["returned", "kept"])
def test_the_pages_of_small_blocks_go_back_to_the_system(how: str) -> None:
    """The control is the same without the call."""
    script = SCRIPT.partition("if sys.argv")[0] + FREED
    done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True, timeout=60)
    mebibytes = int(done.stdout)
    assert mebibytes > 24 if how == "returned" else mebibytes < 4
