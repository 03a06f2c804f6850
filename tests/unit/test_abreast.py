"""Calls wait for each other between their steps."""

from __future__ import annotations

import asyncio

from service.abreast import abreast
from service.loop import EventLoop


def test_the_others_that_are_ready_take_a_step_before_the_first_takes_its_next() -> None:
    steps: list[tuple[int, str]] = []

    async def call(name: str) -> None:
        for number in range(3):
            await abreast()
            steps.append((number, name))

    async def calls() -> None:
        await asyncio.gather(*map(call, "abc"))

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(calls())
    assert steps == [(number, name) for number in range(3) for name in "abc"]
