"""Far alarms: whoever waits for one is told in time, whoever has left is not, and nothing ticks for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from service.upstream.alarms import Alarms


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is what it is set to."""

    now = 1000.25

    def time(self) -> float:
        return self.now

    def pass_to(self, when: float) -> None:
        """Let the seconds pass one by one, and whatever is due in each."""
        while self.now < when:
            self.now = min(self.now + 1, when)
            self.run_until_complete(asyncio.sleep(0))

    def timers(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled() for timer in self._scheduled)  # type: ignore[attr-defined]


class Sleeper:
    """Who waits for an alarm, and when it was told to look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.looked_at: list[float] = []

    def look(self) -> None:
        self.looked_at.append(self._clock.now)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.close()


@pytest.mark.parametrize("wait", [3.0, 3.74, 3.75, 4.5, 60.0, 600.0])
def test_whoever_waits_is_told_once_and_with_time_to_spare(clock: Clock, wait: float) -> None:
    sleeper, at = Sleeper(clock), clock.now + wait
    waiting = Alarms(clock).far(at)
    assert waiting is not None
    waiting.add(sleeper)
    clock.pass_to(at + 5)
    (looked_at,) = sleeper.looked_at
    assert at - 3 <= looked_at <= at - 1


@pytest.mark.parametrize("wait", [-1.0, 0.0, 0.1, 1.0, 2.0])
def test_a_near_alarm_is_left_to_a_timer(clock: Clock, wait: float) -> None:
    assert Alarms(clock).far(clock.now + wait) is None
    assert clock.timers() == 0


def test_whoever_has_left_is_not_told_and_then_nothing_ticks(clock: Clock) -> None:
    alarms, sleeper = Alarms(clock), Sleeper(clock)
    waiting = alarms.far(clock.now + 60)
    assert waiting is not None
    waiting.add(sleeper)
    assert clock.timers() == 1
    clock.pass_to(clock.now + 5)
    assert clock.timers() == 1
    waiting.remove(sleeper)
    clock.pass_to(clock.now + 100)
    assert sleeper.looked_at == []
    assert clock.timers() == 0


def test_whoever_is_told_may_wait_again_and_let_others_leave(clock: Clock) -> None:
    alarms = Alarms(clock)
    first, last = clock.now + 10, clock.now + 30
    told = Sleeper(clock)
    both = alarms.far(first)
    assert both is not None
    waiting = both

    class Again(Sleeper):
        def look(self) -> None:
            super().look()
            waiting.clear()
            later = alarms.far(last)
            assert later is not None
            later.add(told)

    one, other = Again(clock), Again(clock)
    waiting |= {one, other}
    clock.pass_to(last + 5)
    assert len(one.looked_at) + len(other.looked_at) == 1
    assert [last - 3 <= at <= last - 1 for at in told.looked_at] == [True]


def test_closing_forgets_all(clock: Clock) -> None:
    alarms, sleeper = Alarms(clock), Sleeper(clock)
    waiting = alarms.far(clock.now + 10)
    assert waiting is not None
    waiting.add(sleeper)
    alarms.close()
    assert clock.timers() == 0
    clock.pass_to(clock.now + 20)
    assert sleeper.looked_at == []
