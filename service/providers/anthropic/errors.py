"""Anthropic's errors in the gateway's words, by the error's type, then by HTTP status.

https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from service.codec import AnswerError, parse
from service.errors import FailureKind, ProviderFailure
from service.providers.not_found import not_found
from service.providers.retry_after import retry_after

_BY_TYPE: Mapping[str, FailureKind] = MappingProxyType(
    {
        "authentication_error": FailureKind.CREDENTIALS,
        "permission_error": FailureKind.CREDENTIALS,
        "billing_error": FailureKind.CREDENTIALS,
        "not_found_error": FailureKind.MODEL_NOT_FOUND,
        "rate_limit_error": FailureKind.RATE_LIMITED,
        "overloaded_error": FailureKind.OVERLOADED,
        "api_error": FailureKind.SERVER,
        "timeout_error": FailureKind.SERVER,
        "conflict_error": FailureKind.SERVER,
        "request_too_large": FailureKind.REJECTED,
    }
)
_BY_STATUS: Mapping[int, FailureKind] = MappingProxyType(
    {
        401: FailureKind.CREDENTIALS,
        402: FailureKind.CREDENTIALS,
        403: FailureKind.CREDENTIALS,
        404: FailureKind.MODEL_NOT_FOUND,
        408: FailureKind.SERVER,
        409: FailureKind.SERVER,
        429: FailureKind.RATE_LIMITED,
        529: FailureKind.OVERLOADED,
    }
)
_BY_CODE: Mapping[str, FailureKind] = MappingProxyType(
    {
        "organization_on_hold": FailureKind.CREDENTIALS,
        "contract_spend_limit_reached": FailureKind.CREDENTIALS,
        "enforced_spend_limit_reached": FailureKind.CREDENTIALS,
    }
)
"""Codes that say more than their status: no wait and no other request helps."""

# Anthropic has neither a type nor a code for these, so the message's fixed form is all there is to tell them by.
# https://github.com/anthropics/claude-code/issues/12186
_CONTEXT_LENGTH = (
    "prompt is too long",
    # https://github.com/continuedev/continue/issues/6080
    "input length and `max_tokens` exceed context limit",
)
# https://github.com/anthropics/claude-code/issues/66314, https://github.com/anthropics/claude-code/issues/38035
_ACCOUNT = (
    "Your credit balance is too low",
    "You have reached your specified API usage limits",
    "This organization has been disabled",
)
"""What is wrong with the account, though the error is called the request's."""
# https://github.com/Metaculus/forecasting-tools/pull/308, https://github.com/ttlequals0/MinusPod/releases/tag/v2.101.10,
# https://github.com/BerriAI/litellm/issues/15097 (of the two the temperature stays)
_UNSUPPORTED_PARAMETER = re.compile(
    r"([a-z_]+(?:\.\w+)*): Extra inputs are not permitted"
    r"|[`\"]([a-z_]+(?:\.\w+)*)[`\"] is (?:deprecated|not supported) for this model"
    r"|`temperature` and `(top_p)` cannot both be specified"
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """Return the failure that a non-200 answer means. `headers` has lower-case names."""
    try:
        value = parse(body)
    except AnswerError:
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        kind = _BY_STATUS.get(status) or (FailureKind.REJECTED if status in (400, 413, 422) else FailureKind.SERVER)
        message = f"the provider answered {status} without an error of its own"
        return ProviderFailure(kind, message, status=status, retry_after=retry_after(headers))
    return failure(error, status, retry_after(headers))


def failure(error: Mapping[str, Any], status: int | None, wait: float | None) -> ProviderFailure:
    """Return the failure that an error object means. `status` is None for an error within a stream or a 200."""
    kind_of_error = error.get("type")
    message = error.get("message")
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    text = message if isinstance(message, str) and message else f"the provider's error: {kind_of_error}"
    kind = _BY_CODE.get(str(code)) or _BY_TYPE.get(str(kind_of_error)) or _BY_STATUS.get(status or 0)
    param = None
    if kind is FailureKind.MODEL_NOT_FOUND:
        kind = not_found(message if isinstance(message, str) else "")
    if kind is None:
        rejected = kind_of_error == "invalid_request_error" or 400 <= (status or 0) < 500
        kind = FailureKind.REJECTED if rejected else FailureKind.SERVER
        if rejected and text.startswith(_CONTEXT_LENGTH):
            kind, code = FailureKind.CONTEXT_LENGTH, "context_length_exceeded"
        elif rejected and text.startswith(_ACCOUNT):
            kind = FailureKind.CREDENTIALS
        elif rejected and (match := _UNSUPPORTED_PARAMETER.match(text)):
            kind, param = FailureKind.UNSUPPORTED_PARAMETER, _parameter(next(filter(None, match.groups())))
    elif kind_of_error == "request_too_large":
        code = "request_too_large"
    return ProviderFailure(
        kind, text, status=status, code=code if isinstance(code, str) else None, param=param, retry_after=wait
    )


def _parameter(path: str) -> str:
    """Return the name that `request.encode` knows a refused parameter by: of a tool's field, its last part."""
    _, found, below = path.rpartition("cache_control")
    if found:
        return found + below
    return path.rpartition(".")[2] if path.startswith("tools.") else path
