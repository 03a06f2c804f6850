"""Which scheduling policy threads get. Each test has a thread of its own, for there is no way back from some."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from service.threads import polite_threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")


def in_a_thread(work: Callable[[], list[int]]) -> list[int]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def policies() -> list[int]:
    """Policies within: this thread's and that of one begun there; and this one's afterwards."""
    found: list[int] = []
    with polite_threads():
        found.append(os.sched_getscheduler(0))
        begun = Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        begun.start()
        begun.join()
    return [*found, os.sched_getscheduler(0)]


def test_threads_begun_within_are_polite_and_the_one_that_begins_them_is_as_before() -> None:
    assert in_a_thread(policies) == [os.SCHED_BATCH, os.SCHED_BATCH, os.SCHED_OTHER]


def test_another_policy_is_kept() -> None:
    def idle() -> list[int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return policies()

    assert in_a_thread(idle) == [os.SCHED_IDLE] * 3


def test_a_system_that_allows_no_policy_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert in_a_thread(policies) == [os.SCHED_OTHER] * 3
