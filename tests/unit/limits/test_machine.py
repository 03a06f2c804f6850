"""The limits of one machine, over its worker processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.config import MOST_WORKERS
from service.limits.buckets import Limits
from service.limits.machine import MachineStore

TWO = Limits(None, None, 2)
PER_MINUTE = Limits(600, None, None)

Worker = Callable[[Path, int, str], "subprocess.Popen[str]"]

PREAMBLE = """
import sys, time
from service.limits.buckets import Limits
from service.config import MOST_WORKERS
from service.limits.machine import MachineStore
store = MachineStore(sys.argv[1], int(sys.argv[2]))
def take(limits):
    return store.take("k", limits, 0, time.monotonic())[0]
"""

HOLD_ONE = """
print(take(Limits(None, None, 2)), flush=True)
time.sleep(60)
"""

TAKE_MANY = """
print("ready", flush=True)
sys.stdin.readline()
print(sum(take(Limits(600, None, None)) for _ in range(500)), flush=True)
"""


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Start worker processes; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, index: int, script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PREAMBLE + script, str(path), str(index)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def take(store: MachineStore, limits: Limits, now: float, name: str = "k", tokens: int = 0) -> bool:
    return store.take(name, limits, tokens, now)[0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MachineStore]:
    opened = MachineStore(str(tmp_path / "limits"), 0)
    yield opened
    opened.close()


def test_a_minutes_worth_at_once_and_then_as_it_fills(store: MachineStore) -> None:
    limits = Limits(3, None, None)
    assert [take(store, limits, 100) for _ in range(4)] == [True, True, True, False]
    assert [take(store, limits, 120) for _ in range(2)] == [True, False]


def test_a_refusal_charges_nothing(store: MachineStore) -> None:
    limits = Limits(3, None, 1)
    assert take(store, limits, 100)
    allowed, levels = store.take("k", limits, 0, 100)
    assert (allowed, levels.requests, levels.running) == (False, 2, 1)


def test_tokens_are_charged_by_estimate_and_settled_by_use(store: MachineStore) -> None:
    limits = Limits(None, 600, None)
    assert store.take("k", limits, 100, 100)[1].tokens == 500
    store.settle("k", limits, 100 - 30, 100)
    assert store.take("k", limits, 0, 100)[1].tokens == 570
    store.settle("k", limits, 0 - 1000, 100)
    assert not take(store, limits, 100)
    assert take(store, limits, 145)


def test_keys_are_apart(store: MachineStore) -> None:
    assert take(store, Limits(1, None, None), 100, "a")
    assert not take(store, Limits(1, None, None), 100, "a")
    assert take(store, Limits(1, None, None), 100, "b")


def test_a_limit_that_comes_later_begins_full(store: MachineStore) -> None:
    assert take(store, Limits(5, None, None), 100, tokens=50)
    store.settle("k", Limits(5, None, None), 0, 100)
    assert store.take("k", Limits(5, 100, None), 0, 100)[1].tokens == 100


def test_without_a_path_a_store_is_its_own() -> None:
    first, second = MachineStore(None, 0), MachineStore(None, 0)
    assert take(first, Limits(1, None, None), 100)
    assert take(second, Limits(1, None, None), 100)
    assert not take(first, Limits(1, None, None), 100)
    first.close()
    second.close()


def test_a_file_of_another_form_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    path.write_bytes(b"something else" * 1000)
    opened = MachineStore(str(path), 0)
    assert take(opened, Limits(1, None, None), 100)
    opened.close()


def test_a_file_is_all_there_so_that_a_full_disk_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    MachineStore(str(path), 0).close()
    assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_an_index_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="index"):
        MachineStore(None, MOST_WORKERS)


def test_slots_of_idle_keys_are_used_again(store: MachineStore) -> None:
    # More keys than there are slots, each idle long before the next comes.
    for number in range(8300):
        assert take(store, Limits(1, None, None), 1000.0 * number, f"key-{number}") is True
        store.settle(f"key-{number}", Limits(1, None, None), 0, 1000.0 * number)


def test_workers_share_one_limit(tmp_path: Path, worker: Worker) -> None:
    path = tmp_path / "limits"
    workers = [worker(path, index, TAKE_MANY) for index in range(2)]
    assert [line(process) for process in workers] == ["ready", "ready"]
    began = time.monotonic()
    for process in workers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = sum(int(line(process)) for process in workers)
    filled = (time.monotonic() - began) * 10
    assert 600 <= taken <= 601 + filled


def test_a_killed_worker_takes_its_counts_with_it(tmp_path: Path, worker: Worker) -> None:
    path = tmp_path / "limits"
    store = MachineStore(str(path), 0)
    holder = worker(path, 1, HOLD_ONE)
    assert line(holder) == "True"
    now = time.monotonic()
    assert take(store, TWO, now)
    assert not take(store, TWO, now)
    # Not waited for: it stays as a zombie, and is dead all the same.
    holder.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while not take(store, TWO, now):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not take(store, TWO, now)
    store.close()


def test_a_worker_that_comes_again_begins_without_its_counts(tmp_path: Path, worker: Worker) -> None:
    path = tmp_path / "limits"
    store = MachineStore(str(path), 0)
    for _ in range(2):
        holder = worker(path, 1, HOLD_ONE)
        assert line(holder) == "True"
        holder.kill()
        holder.wait()
    again = worker(path, 1, HOLD_ONE)
    assert line(again) == "True"
    assert store.take("k", TWO, 0, time.monotonic())[1].running == 2
    store.close()


def test_closing_gives_everything_back(tmp_path: Path) -> None:
    first, second = (MachineStore(str(tmp_path / "limits"), index) for index in range(2))
    assert take(first, TWO, 100)
    assert take(first, TWO, 100)
    assert not take(second, TWO, 100)
    first.close()
    assert take(second, TWO, 100)
    second.close()
