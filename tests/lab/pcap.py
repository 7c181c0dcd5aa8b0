"""Writes packets in a format that Wireshark reads: classic pcap with bare IP packets (LINKTYPE_RAW, tcpdump.org)."""

from __future__ import annotations

import struct
from pathlib import Path

_MAGIC_MICROSECONDS, _LINKTYPE_RAW, _LONGEST = 0xA1B2C3D4, 101, 1 << 16
_FILE = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")


class Pcap:
    """One file, which the caller closes. A killed process leaves whole records and perhaps a torn last one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(_FILE.pack(_MAGIC_MICROSECONDS, 2, 4, 0, 0, _LONGEST, _LINKTYPE_RAW))

    def write(self, at: float, packet: bytes) -> None:
        """`at`: seconds since 1970."""
        seconds, fraction = divmod(at, 1)
        self._file.write(_RECORD.pack(int(seconds), int(fraction * 1e6), len(packet), len(packet)) + packet)

    def close(self) -> None:
        self._file.close()
