"""What the use case knows of the call that it serves, apart from the request."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.config import Key


@dataclass(slots=True)
class Call:
    """One call of one caller.

    `started` and `deadline` are readings of the monotonic clock, in seconds; `created` is Unix time. `headers` collects
    what the caller is told in headers (HTTP) or initial metadata (gRPC), `facts` what the access log says.
    """

    generation_id: str
    key: Key
    started: float
    created: int
    deadline: float | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"x-gateway-attempts": "0"})
    facts: dict[str, object] = field(default_factory=dict)
