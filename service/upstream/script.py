"""A provider's answer as a script: what an in-process provider sends, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """A chunk of the body, `delay` seconds after the one before it."""

    delay: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Script:
    """An answer. `headers` has lower-case names; `steps` may be generated as it plays.

    With `cut` the connection breaks after the last step.
    """

    status: int
    headers: Mapping[str, str]
    steps: Iterable[Step]
    cut: bool = False
