"""What of a client's request does not reach a provider as it was given."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Protocol

from gateway.v1.chat_response_pb2 import AdjustedParameter
from google.protobuf.message import Message

from service.codec import dumps, field_names


class Extensible(Protocol):
    """A message that keeps the fields which its schema does not know."""

    @property
    def extra(self) -> Mapping[str, str]:
        """Their values, as JSON."""


class Report:
    """Collects what is dropped and what is changed while one request is encoded."""

    __slots__ = ("_dropped", "adjusted")

    def __init__(self) -> None:
        self._dropped: dict[str, None] = {}
        self.adjusted: list[AdjustedParameter] = []

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of fields that are not sent, each once, in the order they were met."""
        return tuple(self._dropped)

    def drop(self, name: str) -> None:
        """Say that a field is not sent."""
        self._dropped[name] = None

    def drop_fields(self, path: str, message: Message, *, but: str = "") -> None:
        """Say that none of the fields of the message at `path` is sent, but for one that has been seen to."""
        for name in (*field_names(message), *getattr(message, "extra", ())):
            if name != but:
                self.drop(f"{path}.{name}")

    def drop_unknown(self, path: str, message: Extensible, *, but: Container[str] = ()) -> None:
        """Say that none of the fields that the schema does not know of the message at `path` is sent, but for these."""
        for name in message.extra:
            if name not in but:
                self.drop(f"{path}.{name}")

    def adjust(self, name: str, before: Any, after: Any) -> None:
        """Say that a field is sent with another value. Both values are JSON-able."""
        adjusted = AdjustedParameter(name=name, to=dumps(after).decode())
        setattr(adjusted, "from", dumps(before).decode())
        self.adjusted.append(adjusted)
