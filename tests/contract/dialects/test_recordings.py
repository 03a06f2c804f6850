"""Every recording, of every dialect: of the vendor's published type, and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from anthropic.types import Message
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS
from service.upstream.sse import EventDecoder

FOLDER = Path(__file__).parents[2] / "recordings"
ANSWERS: dict[str, type[BaseModel]] = {
    "openai": ChatCompletion,
    "anthropic": Message,
    "google": GenerateContentResponse,
}
BROKEN = ("cut", "error")
"""Streams that do not come to an end."""
UNUSABLE = ("malformed_call",)
"""Answers that are none."""


def recorded(kind: str) -> Sequence[Path]:
    """Return the recordings of a kind."""
    return sorted(path for path in FOLDER.glob(f"*/{kind}/*") if path.stem not in UNUSABLE)


def _name(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


@pytest.mark.parametrize("path", recorded("unary"), ids=_name)
def test_whole_answer(path: Path) -> None:
    ANSWERS[path.parts[-3]].model_validate_json(path.read_bytes())
    answer = DIALECTS[path.parts[-3]].decode(path.read_bytes())
    assert all(choice.finish_reason for choice in answer.choices)
    assert answer.native_response_id
    assert answer.usage.prompt_tokens


@pytest.mark.parametrize("path", recorded("stream"), ids=_name)
def test_stream(path: Path) -> None:
    decoder = DIALECTS[path.parts[-3]].stream_decoder()
    failures = []
    for event in EventDecoder(1 << 20).feed(path.read_bytes()):
        try:
            decoder.decode(event)
        except ProviderFailure as failure:
            failures.append(failure)
    assert decoder.finished == (path.stem not in BROKEN)
    assert bool(failures) == (path.stem == "error")


@pytest.mark.parametrize("path", recorded("errors"), ids=_name)
def test_error(path: Path) -> None:
    body = path.read_bytes()
    failure = DIALECTS[path.parts[-3]].decode_error(400 if path.suffix == ".json" else 502, {}, body)
    assert isinstance(failure.kind, FailureKind)
    assert failure.message
    assert "<" not in failure.message
