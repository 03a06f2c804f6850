"""Threads stay on one CPU as long as they need not wait for it."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from service.pinning import Pinning, Reading

IDLE, ALONE, CROWDED = (0.01, 0.0), (0.6, 0.03), (0.5, 0.4)
"""How a second was spent: on a CPU, and waiting for one."""
MOVES = """
import os, threading
from service.pinning import move
done = threading.Event()
threads = [threading.Thread(target=done.wait) for _ in range(3)]
[thread.start() for thread in threads]
allowed = os.sched_getaffinity(0)
for cpus in ({max(allowed)}, allowed):
    move(cpus)
    assert {frozenset(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")} == {frozenset(cpus)}
done.set()
"""


class Spent:
    """A thread that spends each second as it is told."""

    def __init__(self) -> None:
        self.pinning = Pinning(0.0, Reading(0.0, 0.0))
        self._seconds, self._ran, self._waited = 0, 0.0, 0.0

    def second(self, spent: tuple[float, float]) -> bool | None:
        self._seconds += 1
        self._ran += spent[0]
        self._waited += spent[1]
        return self.pinning.look(float(self._seconds), Reading(self._ran, self._waited))

    def seconds(self, count: int, spent: tuple[float, float]) -> list[bool | None]:
        return [self.second(spent) for _ in range(count)]


def test_a_thread_with_work_is_pinned_and_stays() -> None:
    spent = Spent()
    assert spent.seconds(3, IDLE) == [None] * 3
    assert spent.seconds(3, ALONE) == [True, None, None]
    assert spent.seconds(3, IDLE) == [None] * 3
    assert spent.pinning.pinned


def test_where_it_has_to_wait_it_is_let_go_each_time_for_longer() -> None:
    spent = Spent()
    spent.second(ALONE)
    pauses = []
    for _ in range(8):
        assert spent.second(CROWDED) is False
        pauses.append(next(seconds for seconds in itertools.count(1) if spent.second(ALONE)))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_where_it_waits_everywhere_it_is_pinned_again_and_stays_for_a_minute() -> None:
    spent = Spent()
    spent.second(ALONE)
    for _ in range(3):
        assert spent.seconds(2, CROWDED) == [False, True]
        assert spent.seconds(59, CROWDED) == [None] * 59


def test_where_it_waits_as_long_only_later_it_is_not_pinned_sooner() -> None:
    spent = Spent()
    spent.second(ALONE)
    assert spent.seconds(1, CROWDED) + spent.seconds(1, ALONE) == [False, True]
    assert spent.seconds(1, CROWDED) + spent.seconds(1, ALONE) == [False, None]
    assert spent.seconds(1, CROWDED) == [True]
    assert spent.seconds(1, CROWDED) == [False]


def test_after_a_long_time_in_one_place_the_pause_is_short_again() -> None:
    spent = Spent()
    spent.second(ALONE)
    for _ in range(3):
        assert spent.seconds(61, ALONE) == [None] * 61
        assert spent.seconds(2, CROWDED) == [False, True]


def test_what_could_not_be_done_is_tried_again() -> None:
    spent = Spent()
    assert spent.second(ALONE) is True
    spent.pinning.undo()
    assert spent.second(ALONE) is True
    assert spent.second(ALONE) is None


@pytest.mark.skipif(sys.platform != "linux", reason="threads have CPUs of their own on Linux")
def test_all_threads_are_moved() -> None:
    ended = subprocess.run([sys.executable, "-c", MOVES], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
