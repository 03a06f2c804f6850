"""Something that is measured: where it takes requests, and which processes it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.processes import Process


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests of one kind go. `model` is put before the models' names."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A running target. `parts` are process ids by what they are: `service`, `envoy`, or the target's own name."""

    name: str
    unary: Route
    stream: Route
    parts: Mapping[str, Sequence[int]]
    processes: Sequence[Process]
    version: str = ""

    def stop(self) -> None:
        """End its processes."""
        for process in self.processes:
            process.stop()
