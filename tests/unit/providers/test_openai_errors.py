"""What the OpenAI dialect makes of errors, by status, code and type, never by what a message says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS


def decode_error(status: int, body: object, **headers: str) -> ProviderFailure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return DIALECTS["openai"].decode_error(status, {"content-type": "application/json", **named}, data)


def error(message: str = "Oh.", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, FailureKind.MALFORMED),
        (400, FailureKind.REJECTED),
        (401, FailureKind.CREDENTIALS),
        (402, FailureKind.CREDENTIALS),
        (403, FailureKind.CREDENTIALS),
        (404, FailureKind.MODEL_NOT_FOUND),
        (405, FailureKind.MALFORMED),
        (408, FailureKind.SERVER),
        (409, FailureKind.SERVER),
        (413, FailureKind.REJECTED),
        (422, FailureKind.REJECTED),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER),
        (502, FailureKind.SERVER),
        (503, FailureKind.OVERLOADED),
        (504, FailureKind.SERVER),
        (520, FailureKind.SERVER),
        (529, FailureKind.OVERLOADED),
    ],
)
@pytest.mark.parametrize("body", [error(), b"<html>secret</html>", {}])
def test_by_status(status: int, kind: FailureKind, body: object) -> None:
    failure = decode_error(status, body, content_type="text/html; charset=utf-8")

    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message == ("Oh." if body == error() else f"the provider answered {status} with text/html")


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (400, {"code": "context_length_exceeded", "param": "messages"}, FailureKind.CONTEXT_LENGTH),
        (400, {"code": "content_policy_violation"}, FailureKind.CONTENT_POLICY),
        (
            400,
            {
                "code": "content_filter",
                "param": "prompt",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            },
            FailureKind.CONTENT_POLICY,
        ),
        (400, {"innererror": {"code": "ResponsibleAIPolicyViolation"}}, FailureKind.CONTENT_POLICY),
        (400, {"code": "invalid_value", "param": "temperature"}, FailureKind.REJECTED),
        (401, {"code": "invalid_api_key"}, FailureKind.CREDENTIALS),
        (400, {"code": "model_not_found"}, FailureKind.MODEL_NOT_FOUND),
        (403, {"code": "model_not_found"}, FailureKind.MODEL_NOT_FOUND),
        (404, {"code": "DeploymentNotFound"}, FailureKind.MODEL_NOT_FOUND),
        (404, {"code": None, "param": "model"}, FailureKind.MODEL_NOT_FOUND),
        (404, {"code": None, "param": "messages[0].content[0].file.file_id"}, FailureKind.NOT_FOUND),
        (403, {"code": None, "metadata": {"reasons": ["violence"], "flagged_input": "x"}}, FailureKind.CONTENT_POLICY),
        (403, {"code": None, "metadata": {"provider_name": "x"}}, FailureKind.CREDENTIALS),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, FailureKind.RATE_LIMITED),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, FailureKind.RATE_LIMITED),
        (400, {"code": "unsupported_parameter", "param": "max_tokens"}, FailureKind.UNSUPPORTED_PARAMETER),
        (400, {"code": "unsupported_value", "param": "temperature"}, FailureKind.UNSUPPORTED_PARAMETER),
        (
            400,
            {"code": "unknown_parameter", "param": "stream_options.include_usage"},
            FailureKind.UNSUPPORTED_PARAMETER,
        ),
        (400, {"code": "unknown_parameter"}, FailureKind.REJECTED),
        (400, {"code": "unsupported_value", "param": "messages[0].role"}, FailureKind.REJECTED),
        (400, {"code": "unsupported_parameter", "param": "tools"}, FailureKind.REJECTED),
        (400, {"code": "unsupported_value", "param": "response_format.type"}, FailureKind.REJECTED),
        (500, {"code": "unsupported_parameter", "param": "seed"}, FailureKind.SERVER),
    ],
)
def test_by_code(status: int, fields: dict[str, Any], kind: FailureKind) -> None:
    failure = decode_error(status, error(**fields))

    assert (failure.kind, failure.status, failure.code, failure.param, failure.message) == (
        kind,
        status,
        fields.get("code"),
        fields.get("param"),
        "Oh.",
    )


def test_a_message_decides_nothing() -> None:
    text = "Unsupported parameter: 'max_tokens'. maximum context length, rate limit, invalid API key, content policy"

    assert decode_error(400, error(text)).kind is FailureKind.REJECTED


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "model is loading"}, "model is loading"),
        ({"error": "Bad Request", "message": "n is too large"}, "n is too large"),
        ({"object": "error", "message": "n is too large", "type": "BadRequestError", "code": 400}, "n is too large"),
        ([{"error": {"code": 400, "message": "n is too large", "status": "INVALID_ARGUMENT"}}], "n is too large"),
        ({"message": "n is too large", "request_id": "x"}, "n is too large"),
        ({"detail": "n is too large"}, "n is too large"),
        ({"error": {"message": "", "code": None}}, "the provider answered 400"),
        ({"error": {"message": ["a"], "code": 5, "param": 7, "type": 3}}, "the provider answered 400"),
        ({"detail": [{"loc": ["body"]}]}, "the provider answered 400 with application/json"),
        ([], "the provider answered 400 with application/json"),
        ("text", "the provider answered 400 with application/json"),
        ({"error": None}, "the provider answered 400 with application/json"),
    ],
)
def test_other_shapes_of_errors(body: object, message: str) -> None:
    failure = decode_error(400, body)

    assert (failure.kind, failure.message, failure.code, failure.param) == (FailureKind.REJECTED, message, None, None)


@pytest.mark.parametrize("content_type", ["", "text", "<b>x</b>", "text/html\n secret"])
def test_a_content_type_that_is_none_is_not_repeated(content_type: str) -> None:
    assert (
        decode_error(502, b"x", content_type=content_type).message == "the provider answered 502 with no content type"
    )


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7),
        ({"retry_after": "7", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
    ],
)
@pytest.mark.parametrize("body", [error(), b""])
def test_the_wait(headers: dict[str, str], wait: float | None, body: object) -> None:
    assert decode_error(429, body, **headers).retry_after == wait


@pytest.mark.parametrize("code", ["\u00b2", "9" * 5000, "4294967296"])
def test_a_code_that_is_no_status_is_a_code(code: str) -> None:
    failure = decode_error(400, error(code=code))
    assert (failure.kind, failure.status, failure.code) == (FailureKind.REJECTED, 400, code)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("-7", 0.0),
        ("nan", None),
        ("1e300", 30 * 86400.0),
        ("inf", 30 * 86400.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2035 00:00:00 +99999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 30 * 86400.0),
        ("soon", None),
    ],
)
def test_a_wait_is_within_reason(header: str, seconds: float | None) -> None:
    failure = decode_error(429, error(), retry_after=header, date="Fri, 27 Nov 2026 00:00:00 GMT")
    assert failure.retry_after == seconds
