"""Clients for Node: OpenAI's own and the Vercel AI SDK, run as TypeScript."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.running import Gateway

FOLDER = Path(__file__).parent / "node"
NODE = Path(sys.executable).with_name("node")


def run(script: str, gateway: Gateway) -> dict[str, Any]:
    environ = {"PATH": os.environ["PATH"], "GATEWAY_URL": f"{gateway.url}/v1", "NODE_NO_WARNINGS": "1"}
    ended = subprocess.run([NODE, script], cwd=FOLDER, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


def test_the_official_openai_package(gateway: Gateway) -> None:
    seen = run("openai.ts", gateway)
    assert seen["whole"] == seen["streamed"] != ""
    assert seen["pieces"] > 3
    assert seen["usage"] is True
    assert seen["finish"] == "tool_calls"
    assert json.loads(seen["call"]["function"]["arguments"]) == {"city": "Paris"}
    assert set(seen["parsed"]) == {"name", "population"}
    assert seen["model"] == "local/simulator"
    assert seen["model"] in seen["models"]
    assert seen["errors"] == {
        "400": "BadRequestError out_of_range",
        "401": "AuthenticationError invalid_api_key",
        "404": "NotFoundError model_not_found",
    }


def test_the_vercel_ai_sdk(gateway: Gateway) -> None:
    seen = run("vercel.ts", gateway)
    assert seen["whole"] == seen["streamed"] != ""
    assert seen["pieces"] > 3
    assert seen["finish"] == "stop"
    assert seen["tokens"] is True
    assert seen["steps"] == 2
    assert seen["calls"] == [{"name": "get_weather", "input": {"city": "Paris"}}]
    assert "21" in seen["answer"]
    assert seen["error"] == "APICallError 404"
