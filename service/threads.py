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
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER or not _take(os.SCHED_BATCH):
        yield
        return
    try:
        yield
    finally:
        _take(os.SCHED_OTHER)


def _take(policy: int) -> bool:
    """Give this thread a policy; say whether the system has let us."""
    try:
        os.sched_setscheduler(0, policy, os.sched_param(0))
    except OSError as error:
        log.info("no scheduling policy set", extra={"facts": {"error": str(error)}})
        return False
    return True
