"""Records what a provider really answers: `make record PROVIDER=openai MODEL=gpt-5-nano`.

Its key is taken from the environment. Asks for a few short answers as the gateway would, whole and streamed, and writes
the bodies beside this file, byte for byte but for the key and what looks like an account's id, which are masked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from service.chat.normalise import normalise
from service.config import Endpoint, Provider
from service.providers import DIALECTS
from service.tools import REGISTRY

FOLDER = Path(__file__).parent
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Vendor:
    """Where a dialect is spoken, and the environment variable of its key."""

    base_url: str
    key: str
    settings: Mapping[str, Any]


VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {
        "openai": Vendor("https://api.openai.com/v1", "OPENAI_API_KEY", {"token_limit_field": "max_completion_tokens"}),
        "anthropic": Vendor("https://api.anthropic.com", "ANTHROPIC_API_KEY", {}),
        "google": Vendor("https://generativelanguage.googleapis.com", "GEMINI_API_KEY", {}),
    }
)

_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
_CITY: Mapping[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
    "additionalProperties": False,
}

SCENES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "recorded_text": ("Say hello in five words.", {}),
        "recorded_length": ("Count from one to a thousand.", {"max_tokens": 16}),
        "recorded_tools": ("What is the weather in Paris and in Oslo? Call the tool for both.", {"tools": [_TOOL]}),
        "recorded_structured": (
            "The capital of Norway.",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "city", "strict": True, "schema": _CITY},
                }
            },
        ),
        "recorded_reasoning": (
            "What is 17 * 23?",
            {"reasoning": {"effort": "low", "include_thoughts": True}, "max_tokens": 4000},
        ),
        "recorded_refused": ("Say hello.", {"tools": [{**_TOOL, "function": {"name": "not a name!"}}]}),
    }
)
"""What is asked, by the name of the recording: the prompt, and the request's other fields."""

_IDS = re.compile(
    r"\b(?:org|user|proj|account)-[A-Za-z0-9]{6,}|\bprojects/\d+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
)


def masked(body: bytes, key: str) -> bytes:
    """Return a body without the key and without what looks like an account's id."""
    text = body.decode("utf-8", "surrogateescape").replace(key, "***")
    return _IDS.sub("***", text).encode("utf-8", "surrogateescape")


def record(provider: Provider, model: str, scenes: Iterable[str], client: httpx.Client) -> Iterator[tuple[str, bytes]]:
    """Ask, and yield each answer's file name below the dialect's folder with its body."""
    assert provider.api_key is not None
    key = provider.api_key.get_secret_value()
    endpoint = Endpoint(provider=provider.dialect, model=model)
    for name in scenes:
        prompt, fields = SCENES[name]
        asked = {"max_tokens": 400, **fields, "model": "m", "messages": [{"role": "user", "content": prompt}]}
        for streamed in (False, True):
            message = codec.decode_request(CreateChatCompletionRequest, json.dumps(asked).encode(), max_depth=32)
            request = normalise(message, REGISTRY).request
            request.stream = streamed
            sent = DIALECTS[provider.dialect].encode(request, provider, endpoint, frozenset())
            answer = client.post(sent.url, headers=dict(sent.headers), content=sent.body)
            folder = "errors" if answer.status_code != 200 else "stream" if streamed else "unary"
            suffix = "sse" if folder == "stream" else "json"
            yield f"{folder}/{name}.{suffix}", masked(answer.content, key)


def main() -> int:
    """Record what the arguments name; return the exit code."""
    parser = argparse.ArgumentParser(prog="make record", description=__doc__)
    parser.add_argument("provider", choices=sorted(VENDORS))
    parser.add_argument("model")
    parser.add_argument("--base-url", help="another server of the dialect")
    parser.add_argument("--into", type=Path, default=FOLDER, help="the folder of recordings")
    parser.add_argument("--scene", action="append", choices=list(SCENES), help="only this one; may be repeated")
    arguments = parser.parse_args()
    vendor = VENDORS[arguments.provider]
    key = os.environ.get(vendor.key)
    if not key:
        print(f"{vendor.key} is not set", file=sys.stderr)
        return 2
    provider = Provider.model_validate(
        {
            "dialect": arguments.provider,
            "base_url": arguments.base_url or vendor.base_url,
            "api_key": key,
            **vendor.settings,
        }
    )
    with httpx.Client(timeout=TIMEOUT_S) as client:
        for name, body in record(provider, arguments.model, arguments.scene or SCENES, client):
            path = arguments.into / arguments.provider / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
