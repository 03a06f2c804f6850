"""The error tree, with one table of what each error is to a caller.

    Exception
    +-- GatewayError       what a caller is told; its code is a key of ERRORS
    +-- ProviderFailure    what a provider did wrong; becomes a failover or a GatewayError in `chat`

Codes, statuses and types are those of docs/api.md; the wire forms are made by `faces`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """What an error code is on the wire: HTTP status, canonical gRPC code name, OpenAI `type`."""

    http: int
    grpc: str
    type: str


_BAD_REQUEST = ErrorClass(400, "INVALID_ARGUMENT", "invalid_request_error")

ERRORS: Mapping[str, ErrorClass] = MappingProxyType(
    {
        "invalid_api_key": ErrorClass(401, "UNAUTHENTICATED", "authentication_error"),
        "model_not_allowed": ErrorClass(403, "PERMISSION_DENIED", "permission_error"),
        "invalid_json": _BAD_REQUEST,
        "missing_required_parameter": _BAD_REQUEST,
        "invalid_type": _BAD_REQUEST,
        "out_of_range": _BAD_REQUEST,
        "invalid_value": _BAD_REQUEST,
        "unknown_parameter": _BAD_REQUEST,
        "tool_disabled": _BAD_REQUEST,
        "unknown_tool": _BAD_REQUEST,
        "invalid_timezone": _BAD_REQUEST,
        "model_not_found": ErrorClass(404, "NOT_FOUND", "invalid_request_error"),
        "not_found": ErrorClass(404, "NOT_FOUND", "invalid_request_error"),
        "no_allowed_provider": _BAD_REQUEST,
        "unsupported_by_model": _BAD_REQUEST,
        "request_too_large": ErrorClass(413, "RESOURCE_EXHAUSTED", "invalid_request_error"),
        "unsupported_content_encoding": ErrorClass(415, "INVALID_ARGUMENT", "invalid_request_error"),
        "rate_limit_exceeded": ErrorClass(429, "RESOURCE_EXHAUSTED", "rate_limit_error"),
        "upstream_rejected": _BAD_REQUEST,
        "upstream_rate_limited": ErrorClass(429, "RESOURCE_EXHAUSTED", "rate_limit_error"),
        "all_providers_failed": ErrorClass(502, "UNAVAILABLE", "upstream_error"),
        "upstream_stream_broken": ErrorClass(502, "UNAVAILABLE", "upstream_error"),
        "upstream_timeout": ErrorClass(504, "DEADLINE_EXCEEDED", "upstream_error"),
        "overloaded": ErrorClass(503, "UNAVAILABLE", "server_error"),
        "internal_error": ErrorClass(500, "INTERNAL", "server_error"),
    }
)

INTERNAL_MESSAGE = "The gateway failed to serve this request. The fault is the gateway's, not the request's."


class GatewayError(Exception):
    """What a caller is told.

    `code` is a key of ERRORS. `param` is the path of the field at fault, e.g. `messages[2].content[0].image_url.url`.
    `details` are JSON-able values. `retry_after` is in seconds. A provider's own code, and its status for a rejected
    request (400, 413, 422), stand in `upstream_code` and `upstream_status`. `headers` go with the answer, lower-case.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        retry_after: float | None = None,
        upstream_code: str | None = None,
        upstream_status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.details = details
        self.retry_after = retry_after
        self.upstream_code = upstream_code
        self.upstream_status = upstream_status
        self.headers = headers or {}

    @property
    def error_class(self) -> ErrorClass:
        """What the error is on the wire."""
        return ERRORS[self.code]

    @property
    def http_status(self) -> int:
        """The HTTP status: the provider's own for a rejected request, else the table's."""
        return self.upstream_status or self.error_class.http

    @property
    def wire_code(self) -> str:
        """The `code` that a client reads: the provider's own where it gave one, else the gateway's."""
        return self.upstream_code or self.code


class FailureKind(StrEnum):
    """What went wrong at a provider. The value is the `outcome` of the attempt in `meta` and logs."""

    CONNECTION = "connection_error"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER = "server_error"
    OVERLOADED = "overloaded"
    CREDENTIALS = "credentials_refused"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    MALFORMED = "malformed_answer"
    EMPTY = "empty_answer"
    CUT = "cut_stream"
    REJECTED = "rejected"
    CONTEXT_LENGTH = "context_length_exceeded"
    CONTENT_POLICY = "content_policy"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"


class ProviderFailure(Exception):
    """What a provider did wrong.

    `message` is the provider's own text where it gave one, never a raw non-JSON body; `chat` masks secrets in it before
    anyone reads it. `status` is its HTTP status, `code` and `param` its own error code and field name, `retry_after`
    its wait in seconds. `timeout` names the timeout that passed: `connect`, `first_event`, `idle`, `response`, `total`.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        timeout: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.timeout = timeout
