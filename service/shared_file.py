"""Files that processes share in memory."""

from __future__ import annotations

import os


def lengthen(file: int, size: int) -> None:
    """Make an open file so many bytes long, with zeros.

    Written, not only made longer: a full file system says so here, and does not kill the process later, when it writes
    to the file's memory.

    Raises:
        OSError: the file system has no room.
    """
    missing = size - os.fstat(file).st_size
    if missing > 0:
        os.pwrite(file, bytes(missing), size - missing)
