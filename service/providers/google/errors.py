"""Google's errors (`google.rpc.Status` in JSON) as failures.

They are told apart by status and by the reason of `ErrorInfo`. Where Gemini says several things with one bare
INVALID_ARGUMENT, the beginning of its message is the only mark there is; these are the table _MESSAGES.
https://ai.google.dev/gemini-api/docs/troubleshooting
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from service.codec import AnswerError, parse
from service.errors import FailureKind, ProviderFailure
from service.providers.google.parameters import keys_refused
from service.providers.not_found import not_found
from service.providers.retry_after import retry_after, within_reason

_KINDS: Mapping[str, FailureKind] = MappingProxyType(
    {
        "INVALID_ARGUMENT": FailureKind.REJECTED,
        "OUT_OF_RANGE": FailureKind.REJECTED,
        "FAILED_PRECONDITION": FailureKind.CREDENTIALS,  # the key's country or billing, not the request
        "UNAUTHENTICATED": FailureKind.CREDENTIALS,
        "PERMISSION_DENIED": FailureKind.CREDENTIALS,
        "NOT_FOUND": FailureKind.MODEL_NOT_FOUND,
        "RESOURCE_EXHAUSTED": FailureKind.RATE_LIMITED,
        "UNAVAILABLE": FailureKind.OVERLOADED,
        "INTERNAL": FailureKind.SERVER,
        "UNKNOWN": FailureKind.SERVER,
        "DEADLINE_EXCEEDED": FailureKind.SERVER,
        "CANCELLED": FailureKind.SERVER,
        "ABORTED": FailureKind.SERVER,
        "DATA_LOSS": FailureKind.SERVER,
        "UNIMPLEMENTED": FailureKind.SERVER,
    }
)
_KINDS_BY_HTTP: Mapping[int, FailureKind] = MappingProxyType(
    {
        401: FailureKind.CREDENTIALS,
        402: FailureKind.CREDENTIALS,
        403: FailureKind.CREDENTIALS,
        404: FailureKind.MODEL_NOT_FOUND,
        408: FailureKind.SERVER,
        429: FailureKind.RATE_LIMITED,
        503: FailureKind.OVERLOADED,
    }
)
_KEY_REASONS = frozenset(
    {
        "API_KEY_INVALID",
        "API_KEY_EXPIRED",
        "API_KEY_SERVICE_BLOCKED",
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "API_KEY_IP_ADDRESS_BLOCKED",
        "SERVICE_DISABLED",
        "BILLING_DISABLED",
        "CONSUMER_INVALID",
        "CONSUMER_SUSPENDED",
    }
)

_MESSAGES: Sequence[tuple[re.Pattern[str], FailureKind]] = (
    # "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
    # https://github.com/google-gemini/gemini-cli/issues/6678
    (re.compile(r"The input token count\b"), FailureKind.CONTEXT_LENGTH),
    # "Penalty is not enabled for models/gemini-2.5-flash": https://github.com/vercel/ai/issues/8943
    # "Logprobs is not enabled for ...": https://github.com/googleapis/python-genai/issues/1921
    (
        re.compile(
            r"(?:Unable to submit request because )?(?P<name>Penalty|Logprobs|Thinking(?: level| budget)?)"
            r" is not (?:enabled|supported|configurable)",
            re.IGNORECASE,
        ),
        FailureKind.UNSUPPORTED_PARAMETER,
    ),
    # 'Invalid JSON payload received. Unknown name "labels": Cannot find field.'
    # https://github.com/fishjar/kiss-translator/issues/256
    (re.compile(r'Invalid JSON payload received\. Unknown name "(?P<name>\w+)"'), FailureKind.UNSUPPORTED_PARAMETER),
    # A file or cache that the caller named, with a 403 that says nothing of the key.
    # https://github.com/googleapis/python-genai/issues/1218
    (
        re.compile(r"(?:You do not have permission to access the File\b|CachedContent not found\b)"),
        FailureKind.REJECTED,
    ),
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
    """Return the failure that a non-200 answer means. A body that is not Google's error is not quoted."""
    try:
        value = parse(body)
    except AnswerError:
        value = None
    if isinstance(value, list) and value:  # as the stream's address answers without `alt=sse`
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    return error_of(error, status, headers)


def error_of(error: Any, status: int | None, headers: Mapping[str, str]) -> ProviderFailure:
    """Return the failure that an error object means. Without an HTTP status (inside a 200) the error's own is taken."""
    if not isinstance(error, dict):
        message = "The provider answered with an error" + (f" (HTTP {status})." if status else ".")
        return ProviderFailure(_kind("", status), message, status=status, retry_after=retry_after(headers))
    code, own_status = error.get("code"), error.get("status")
    if status is None and isinstance(code, int) and 400 <= code < 600:
        status = code
    message, own_status = _text(error.get("message")), _text(own_status)
    details = error.get("details")
    details = [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    kind, param = _kind_and_param(own_status, status, message, details)
    reason = _reason(details)
    own_code = "context_length_exceeded" if kind is FailureKind.CONTEXT_LENGTH else reason or own_status or None
    return ProviderFailure(
        kind,
        message or f"The provider answered {own_status or status}.",
        status=status,
        code=own_code,
        param=param,
        retry_after=_retry_delay(details) or retry_after(headers),
    )


def _kind_and_param(
    own_status: str, status: int | None, message: str, details: list[dict[str, Any]]
) -> tuple[FailureKind, str | None]:
    if _reason(details) in _KEY_REASONS:
        return FailureKind.CREDENTIALS, None
    kind = _kind(own_status, status)
    field = _violated_field(details)
    if kind is FailureKind.MODEL_NOT_FOUND:
        return not_found(message), field
    if kind not in (FailureKind.REJECTED, FailureKind.CREDENTIALS):
        return kind, field
    for pattern, meant in _MESSAGES:
        if (match := pattern.match(message)) is None:
            continue
        if meant is not FailureKind.UNSUPPORTED_PARAMETER:
            return meant, field
        if keys_refused(match["name"]):
            return meant, match["name"]
    return kind, field


def _kind(own_status: str, status: int | None) -> FailureKind:
    if own_status in _KINDS:
        return _KINDS[own_status]
    if status is None or status >= 500:
        return _KINDS_BY_HTTP.get(status or 500, FailureKind.SERVER)
    return _KINDS_BY_HTTP.get(status, FailureKind.REJECTED)


def _reason(details: list[dict[str, Any]]) -> str:
    return next((_text(item["reason"]) for item in details if item.get("reason")), "")


def _violated_field(details: list[dict[str, Any]]) -> str | None:
    for item in details:
        violations = item.get("fieldViolations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and isinstance(violation.get("field"), str):
                return violation["field"] or None
    return None


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Return the wait of `google.rpc.RetryInfo`, written like `17s` or `0.5s`."""
    for item in details:
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)s", _text(item.get("retryDelay"))):
            return within_reason(float(match[1]))
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
