"""How the threads that gRPC brings share the processor with the event loop's."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("gateway")


@contextmanager
def polite_threads() -> Iterator[None]:
    """Threads that are begun within do not push another off its core when they wake up (SCHED_BATCH).

    gRPC's threads wake up for each piece that a socket has, and all they do is to pass it on to the event loop. Where
    they do so on the loop's core, a request is interrupted again and again, and its caches are lost each time. A thread
    gets the policy of the one that begins it. Its share of the time is what it was.

    Nothing is changed on systems without such a policy, or for a process that was given another one.
    """
    polite = sys.platform == "linux" and _exchange(os.SCHED_OTHER, os.SCHED_BATCH)
    try:
        yield
    finally:
        if polite:
            _exchange(os.SCHED_BATCH, os.SCHED_OTHER)


def _exchange(policy: int, other: int) -> bool:
    """Give this thread another policy than it has; say whether it had that one, and the system has let us."""
    try:
        if os.sched_getscheduler(0) != policy:
            return False
        os.sched_setscheduler(0, other, os.sched_param(0))
    except OSError as error:  # musl, for one, has neither of the two
        log.info("no scheduling policy set", extra={"facts": {"error": str(error)}})
        return False
    return True
