"""What the Anthropic dialect makes of recorded errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anthropic.types.shared import ErrorType
from pydantic import TypeAdapter

from service.errors import FailureKind, ProviderFailure
from service.providers.anthropic import AnthropicDialect

RECORDINGS = Path(__file__).parents[2] / "recordings" / "anthropic" / "errors"
BY_CLOUDFLARE = {"request_too_large"}
"""Types of errors that are made in front of the API, and are not among its types."""


def decode(name: str, status: int, **headers: str) -> ProviderFailure:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return AnthropicDialect().decode_error(status, named, (RECORDINGS / name).read_bytes())


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_errors_are_of_published_types(path: Path) -> None:
    error = json.loads(path.read_bytes())["error"]
    assert error["message"]
    if error["type"] not in BY_CLOUDFLARE:
        TypeAdapter(ErrorType).validate_python(error["type"])


@pytest.mark.parametrize(
    ("name", "status", "kind", "code", "param"),
    [
        ("invalid_key", 401, FailureKind.CREDENTIALS, None, None),
        ("billing", 402, FailureKind.CREDENTIALS, None, None),
        ("permission", 403, FailureKind.CREDENTIALS, None, None),
        ("not_found", 404, FailureKind.MODEL_NOT_FOUND, None, None),
        ("rate_limit", 429, FailureKind.RATE_LIMITED, None, None),
        ("spend_limit", 429, FailureKind.CREDENTIALS, "enforced_spend_limit_reached", None),
        ("server", 500, FailureKind.SERVER, None, None),
        ("timeout", 504, FailureKind.SERVER, None, None),
        ("overloaded", 529, FailureKind.OVERLOADED, None, None),
        ("too_large", 413, FailureKind.REJECTED, "request_too_large", None),
        ("invalid", 400, FailureKind.REJECTED, None, None),
        ("image", 400, FailureKind.REJECTED, "image_dimensions_too_large", None),
        ("context_length", 400, FailureKind.CONTEXT_LENGTH, "context_length_exceeded", None),
        ("max_tokens_exceed", 400, FailureKind.CONTEXT_LENGTH, "context_length_exceeded", None),
        ("credit", 400, FailureKind.CREDENTIALS, None, None),
        ("usage_limit", 400, FailureKind.CREDENTIALS, None, None),
        ("disabled", 400, FailureKind.CREDENTIALS, None, None),
        ("both_sampling", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "top_p"),
        ("extra_user", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "metadata.user_id"),
        ("extra_ttl", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "cache_control.ttl"),
        ("extra_cache_control", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "cache_control"),
        ("extra_input", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "temperature"),
        ("extra_strict", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "strict"),
        ("deprecated", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "temperature"),
        ("thinking_form", 400, FailureKind.UNSUPPORTED_PARAMETER, None, "thinking.type.enabled"),
    ],
)
def test_errors_by_their_type(name: str, status: int, kind: FailureKind, code: str | None, param: str | None) -> None:
    failure = decode(f"{name}.json", status)
    assert (failure.kind, failure.status, failure.code, failure.param) == (kind, status, code, param)
    assert failure.message == json.loads((RECORDINGS / f"{name}.json").read_bytes())["error"]["message"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, FailureKind.SERVER),
        (400, FailureKind.REJECTED),
        (401, FailureKind.CREDENTIALS),
        (403, FailureKind.CREDENTIALS),
        (404, FailureKind.MODEL_NOT_FOUND),
        (408, FailureKind.SERVER),
        (409, FailureKind.SERVER),
        (413, FailureKind.REJECTED),
        (422, FailureKind.REJECTED),
        (429, FailureKind.RATE_LIMITED),
        (502, FailureKind.SERVER),
        (503, FailureKind.SERVER),
        (529, FailureKind.OVERLOADED),
    ],
)
def test_a_proxys_page_is_told_by_its_status_and_never_shown(status: int, kind: FailureKind) -> None:
    failure = decode("bad_gateway.html", status)
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message == f"the provider answered {status} without an error of its own"


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"error": "no"}', b'{"error": {}}', b'{"error": {"message": 3}}']
)
def test_errors_of_no_known_form(body: bytes) -> None:
    failure = AnthropicDialect().decode_error(500, {}, body)
    assert failure.kind is FailureKind.SERVER
    assert isinstance(failure.message, str)


def test_the_wait_is_read() -> None:
    assert decode("rate_limit.json", 429, retry_after="7").retry_after == 7
    assert decode("overloaded.json", 529, retry_after="7", retry_after_ms="250").retry_after == 0.25
    assert decode("bad_gateway.html", 503, retry_after="2").retry_after == 2


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("model: claude-x", FailureKind.MODEL_NOT_FOUND),
        ("File not found: file_011CNha8iCJcU1wXNR6q4V8w", FailureKind.NOT_FOUND),
    ],
)
def test_a_404_for_what_the_caller_names_is_not_for_the_model(message: str, kind: FailureKind) -> None:
    body = json.dumps({"type": "error", "error": {"type": "not_found_error", "message": message}}).encode()
    assert AnthropicDialect().decode_error(404, {}, body).kind is kind
