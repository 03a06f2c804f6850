"""How the simulator behaves, by the name of its model: `simulator` and words of one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

_USUAL_WORD_DELAY = 0.01
_SLOW_WORD_DELAY = 0.05
_UNITS: Mapping[str, float] = MappingProxyType({"ms": 0.001, "s": 1.0})

Fault = Literal["cut", "cut-early", "stall", "empty", "error-event"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a model's name asks for. Delays are seconds: before the answer, and before each word of a stream.

    `status` is an error to answer with. `words` asks for an answer of so many words.
    """

    first_delay: float = 0.0
    word_delay: float = _USUAL_WORD_DELAY
    status: int | None = None
    fault: Fault | None = None
    words: int | None = None


def _fault(fault: Fault) -> Callable[[Behaviour, re.Match[str]], Behaviour]:
    return lambda behaviour, match: replace(behaviour, fault=fault)


_WORDS: Mapping[str, Callable[[Behaviour, re.Match[str]], Behaviour]] = MappingProxyType(
    {
        r"fast": lambda behaviour, match: replace(behaviour, word_delay=0.0),
        r"slow": lambda behaviour, match: replace(behaviour, word_delay=_SLOW_WORD_DELAY),
        r"delay-(\d{1,6})(ms|s)": lambda behaviour, match: replace(
            behaviour, first_delay=int(match[1]) * _UNITS[match[2]]
        ),
        r"fail-([45]\d\d)": lambda behaviour, match: replace(behaviour, status=int(match[1])),
        r"long-(\d{1,6})": lambda behaviour, match: replace(behaviour, words=int(match[1])),
        r"cut-early": _fault("cut-early"),
        r"cut": _fault("cut"),
        r"stall": _fault("stall"),
        r"empty": _fault("empty"),
        r"error-event": _fault("error-event"),
    }
)
"""What may follow `simulator-`, one or several, joined with `-`."""

_FOLLOWING = tuple((re.compile(f"-{pattern}(?=-|$)"), change) for pattern, change in _WORDS.items())


def read_name(model: str) -> Behaviour | None:
    """Return the behaviour that a model's name asks for, e.g. `simulator-delay-200ms-fail-503`; None: no such model."""
    rest = model.removeprefix("simulator")
    if rest == model:
        return None
    behaviour = Behaviour()
    while rest:
        for pattern, change in _FOLLOWING:
            if match := pattern.match(rest):
                behaviour = change(behaviour, match)
                rest = rest[match.end() :]
                break
        else:
            return None
    return behaviour
