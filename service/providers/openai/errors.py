"""Errors of OpenAI-compatible providers in the gateway's words: by their code, then by HTTP status, then by their type.

https://platform.openai.com/docs/guides/error-codes
https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from service.codec import AnswerError, parse
from service.errors import FailureKind, ProviderFailure
from service.providers.retry_after import retry_after

_BY_CODE: Mapping[str, FailureKind] = MappingProxyType(
    {
        "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
        "content_policy_violation": FailureKind.CONTENT_POLICY,
        "content_filter": FailureKind.CONTENT_POLICY,
        "ResponsibleAIPolicyViolation": FailureKind.CONTENT_POLICY,
        "insufficient_quota": FailureKind.RATE_LIMITED,
        "rate_limit_exceeded": FailureKind.RATE_LIMITED,
        "invalid_api_key": FailureKind.CREDENTIALS,
        "model_not_found": FailureKind.MODEL_NOT_FOUND,
        "DeploymentNotFound": FailureKind.MODEL_NOT_FOUND,
        "server_error": FailureKind.SERVER,
    }
)
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_BY_STATUS: Mapping[int, FailureKind] = MappingProxyType(
    {
        400: FailureKind.REJECTED,
        401: FailureKind.CREDENTIALS,
        402: FailureKind.CREDENTIALS,
        403: FailureKind.CREDENTIALS,
        404: FailureKind.MODEL_NOT_FOUND,
        408: FailureKind.SERVER,
        409: FailureKind.SERVER,
        413: FailureKind.REJECTED,
        422: FailureKind.REJECTED,
        429: FailureKind.RATE_LIMITED,
        503: FailureKind.OVERLOADED,
        529: FailureKind.OVERLOADED,
    }
)
_BY_TYPE: Mapping[str, FailureKind] = MappingProxyType(
    {
        "invalid_request_error": FailureKind.REJECTED,
        "BadRequestError": FailureKind.REJECTED,
        "authentication_error": FailureKind.CREDENTIALS,
        "permission_error": FailureKind.CREDENTIALS,
        "insufficient_quota": FailureKind.RATE_LIMITED,
        "rate_limit_error": FailureKind.RATE_LIMITED,
        "overloaded_error": FailureKind.OVERLOADED,
    }
)
"""Types that tell an error where there is no status: within a stream, or in a 200."""

_ESSENTIAL = frozenset(
    {"model", "messages", "stream", "tools", "functions", "response_format", "n", "modalities", "audio"}
)
"""Parameters without which the answer would be another one, so that none is asked for without them."""


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """Return the failure that a non-200 answer means. `headers` has lower-case names."""
    wait = retry_after(headers)
    try:
        error = find_error(parse(body))
    except AnswerError:
        error = None
    if error is None:
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        shown = content_type if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", content_type) else "no content type"
        text = f"the provider answered {status} with {shown}"
        return ProviderFailure(_kind_of_status(status), text, status=status, retry_after=wait)
    return failure(error, status, wait)


def find_error(value: Any) -> Mapping[str, Any] | None:
    """Return the error object in an answer, or None.

    Besides OpenAI's `{"error": {...}}` there are `{"error": "text"}`, a list around either (Gemini), the bare object
    (`{"object": "error", "message": ...}`, vLLM) and FastAPI's `{"detail": ...}`.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**value, "message": value["message"] if isinstance(value.get("message"), str) else error}
    if value.get("object") == "error" or isinstance(value.get("message"), str):
        return value
    if isinstance(value.get("detail"), str):
        return {"message": value["detail"]}
    return None


def failure(error: Mapping[str, Any], status: int | None, wait: float | None = None) -> ProviderFailure:
    """Return the failure that an error object means. `status` is None for an error within a stream or a 200."""
    code = error.get("code")
    if isinstance(code, str) and re.fullmatch(r"[0-9]{3}", code):
        code = int(code)
    if status is None and isinstance(code, int) and 400 <= code < 600:
        status = code
    inner = error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    name = code if isinstance(code, str) and code else None
    param = error["param"] if isinstance(error.get("param"), str) and error["param"] else None
    kind = _BY_CODE.get(name or "") or _BY_CODE.get(inner_code if isinstance(inner_code, str) else "")
    if kind is None and name in _UNSUPPORTED and param is not None and status in (None, 400, 422):
        essential = re.split(r"[.\[]", param, maxsplit=1)[0] in _ESSENTIAL
        kind = FailureKind.REJECTED if essential else FailureKind.UNSUPPORTED_PARAMETER
    if kind is None:
        by_type = _BY_TYPE.get(error["type"]) if isinstance(error.get("type"), str) else None
        kind = (by_type or FailureKind.SERVER) if status is None else _kind_of_status(status)
    message = error.get("message")
    text = message if isinstance(message, str) and message else _untold(status)
    if kind is FailureKind.MODEL_NOT_FOUND and name not in _BY_CODE and param not in (None, "model"):
        kind = FailureKind.NOT_FOUND
    elif kind is FailureKind.CREDENTIALS and _flagged(error.get("metadata")):
        kind = FailureKind.CONTENT_POLICY
    return ProviderFailure(kind, text, status=status, code=name, param=param, retry_after=wait)


def _flagged(metadata: Any) -> bool:
    """Say whether a 403 is a moderator's. https://openrouter.ai/docs/api-reference/errors"""
    return isinstance(metadata, dict) and bool(metadata.keys() & {"reasons", "flagged_input"})


def _kind_of_status(status: int) -> FailureKind:
    """Return what a status alone means. A 4xx that is none of a request's own faults is a wrong address."""
    return _BY_STATUS.get(status) or (FailureKind.SERVER if status >= 500 else FailureKind.MALFORMED)


def _untold(status: int | None) -> str:
    return "the provider reported an error" if status is None else f"the provider answered {status}"
