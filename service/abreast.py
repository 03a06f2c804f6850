"""Calls that take a step one right after the other, so that what the step needs is in the processor's caches."""

from __future__ import annotations

import types
from collections.abc import Generator


@types.coroutine
def abreast() -> Generator[None]:
    """Let the other calls that are ready take their next step first. Where there are none it costs a turn of the loop.

    A step is some 20 us of code, and the nearest caches do not hold that of all steps: a call that takes them in one go
    finds it gone each time, and so does the next. Where each call waits between two steps for the others, only the
    first finds it gone.

    Its place is where nothing is half done, for a call may be cancelled there.
    """
    yield
