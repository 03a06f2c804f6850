"""How much an answer's made-up values may hold, however much the schemas of a request ask for."""

from __future__ import annotations

from typing import TypeVar

import orjson

VALUE = 50
"""What a value costs beside its characters: there are at most 2,000, which take some 15 ms of the event loop."""

_CHARACTERS = 100_000
"""Of one choice: no sensible schema comes near it."""
_CHARACTERS_OF_ALL = 2_000_000
"""Of all choices, for each repeats the same."""

T = TypeVar("T")


class Budget:
    """What one answer may spend: on characters of JSON, on values, on the entries of a schema that are looked at.

    Whoever asks for more than is left gets nothing, and nor does anybody after them.
    """

    def __init__(self, choices: int = 1) -> None:
        self._whole = self._left = min(_CHARACTERS, _CHARACTERS_OF_ALL // choices)

    @property
    def scarce(self) -> bool:
        """Whether half of it is gone: what follows had better be small, so that all that is required has its place."""
        return self._left < self._whole // 2

    @property
    def overdrawn(self) -> bool:
        """Whether something was asked for that there was too little left for."""
        return self._left < 0

    def spend(self, cost: int) -> bool:
        """Pay for something; say whether there was enough left."""
        self._left -= cost
        return self._left >= 0

    def buy(self, value: T) -> T | None:
        """Return a JSON value, or None if its characters cost more than is left."""
        return value if self.spend(len(orjson.dumps(value))) else None
