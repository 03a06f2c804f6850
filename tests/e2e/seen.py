"""What a process holds, as the kernel sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Seen:
    """A process at one moment: resident memory in bytes, open files, and how many of them are sockets."""

    rss: int
    files: int
    sockets: int


def look(pid: int) -> Seen:
    """Look at a process.

    Raises:
        FileNotFoundError: it is gone.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = _open_files(pid)
    return Seen(pages * _PAGE_BYTES, len(files), sum(name.startswith("socket:") for name in files))


def _open_files(pid: int) -> list[str]:
    names: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(str(link.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return names
