"""Processes that are started again, by their own doors: what starts one is given."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from asyncio.subprocess import Process

import pytest

from service.child import Child, Program, Spares, start

SLEEPING = Program((sys.executable, "-c", "import time; time.sleep(60)"), {})
NOWHERE = Program(("/nowhere/program",), {})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_process_that_is_being_started_is_stopped_once_it_is_there(number: signal.Signals) -> None:
    is_starting, go_on = asyncio.Event(), asyncio.Event()
    started: list[Process] = []

    async def begin() -> Process:
        is_starting.set()
        await go_on.wait()
        started.append(await start(SLEEPING))
        return started[-1]

    child = Child("it", begin, print)
    running = asyncio.create_task(child.keep_running())
    await is_starting.wait()
    child.stop(number)
    go_on.set()
    async with asyncio.timeout(20):
        await running
    assert [process.returncode for process in started] == [-number]


async def test_what_cannot_be_started_is_reported_and_tried_again() -> None:
    reports: list[str] = []
    failures = [OSError(number, os.strerror(number)) for number in (errno.EAGAIN, errno.ENOMEM)]
    is_there = asyncio.Event()

    async def begin() -> Process:
        if failures:
            raise failures.pop(0)
        process = await start(SLEEPING)
        is_there.set()
        return process

    child = Child("it", begin, reports.append)
    running = asyncio.create_task(child.keep_running())
    async with asyncio.timeout(20):
        await is_there.wait()
        assert reports == [
            "it cannot be started (Resource temporarily unavailable); it is tried again",
            "it cannot be started (Cannot allocate memory); it is tried again",
        ]
        assert child.early_deaths == 2
        child.stop(signal.SIGKILL)
        await running


async def test_what_can_never_be_started_counts_as_dying_early() -> None:
    reports: list[str] = []

    def report(text: str) -> None:
        reports.append(text)
        if len(reports) == 3:
            child.stop()

    child = Child("it", lambda: start(NOWHERE), report)
    async with asyncio.timeout(20):
        await child.keep_running()
    assert reports == ["it cannot be started (No such file or directory); it is tried again"] * 3
    assert child.early_deaths == 3


async def test_a_spare_that_cannot_be_started_is_reported_and_no_obstacle() -> None:
    reports: list[str] = []
    spares = Spares(NOWHERE, reports.append)
    await spares.prepare()
    assert reports == ["nothing waits ahead of need: it cannot be started (No such file or directory)"]
    with pytest.raises(FileNotFoundError):
        await spares.take("order")
    await spares.close()
