"""The form of the contract table's rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

ABSENT = ...
"""In the place of a value: nothing there."""


@dataclass(frozen=True, slots=True)
class Good:
    """A request that is served.

    `given` are the client's fields beside model and messages, or instead of them. `sent` are the provider's; None: the
    same. `dropped` is what `meta.dropped_parameters` names.
    """

    given: Mapping[str, Any]
    sent: Mapping[str, Any] | None = None
    dropped: Sequence[str] = ()
    model: str = "plain"

    def __str__(self) -> str:
        return f"{self.model} {self.given}"[:90]


def allowed(*references: Mapping[str, Any], mode: str = "auto") -> Mapping[str, Any]:
    """Return the choice of some of the tools."""
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(references)}}


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that is refused: a good one with `value` in the place `path`.

    `param` is the place that the error names; "": `path`. `typed` is the code over gRPC where it is another, "-" where
    the typed schema cannot say the same.
    """

    path: str
    value: Any
    code: str
    param: str | None = ""
    typed: str = ""

    def __str__(self) -> str:
        return f"{self.path}={self.value!r}"[:90]


def put(body: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a body with a value, or nothing, in a place such as `messages[0].content`; what leads there is made."""
    root: dict[str, Any] = json.loads(json.dumps(body))
    place: Any = root
    steps = [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)]
    last = steps[-1]
    for step, following in pairwise(steps):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            while len(place) <= step:
                place.append(empty)
        elif not isinstance(place.get(step), type(empty)):
            place[step] = empty
        place = place[step]
    if value is ABSENT:
        del place[last]
    elif isinstance(last, int) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return root
