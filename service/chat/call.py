"""What the use case knows of the call that it serves, apart from the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from service.config import Key


@dataclass(slots=True)
class Call:
    """One call of one caller.

    `started` and `deadline` are readings of the monotonic clock, in seconds; `created` is Unix time. `headers` collects
    what the caller is told in headers (HTTP) or initial metadata (gRPC), `facts` what the access log says.
    `before_sending` is called whenever a first byte is about to go to a provider.
    """

    generation_id: str
    key: Key
    started: float
    created: int
    deadline: float | None = None
    before_sending: Callable[[], None] | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"x-gateway-attempts": "0"})
    facts: dict[str, object] = field(default_factory=dict)
