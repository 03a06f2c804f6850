"""The wire forms of an error: OpenAI's JSON envelope, and a canonical gRPC status with details."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from service.errors import GatewayError

DOMAIN = "gateway.v1"
# A gRPC status travels as metadata, of which clients take 8 KiB in all: texts are cut to so many bytes.
_MESSAGE_BYTES = 600
_VALUE_BYTES = 150
_MOST_DETAILS = 8


_LINE_ENDS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))
"""What no event ends a line with, but Python's `str.splitlines` does, by which many clients read: within a string."""


def envelope(error: GatewayError, generation_id: str) -> bytes:
    """Return OpenAI's error object as JSON text."""
    body: dict[str, Any] = {
        "message": error.message,
        "type": error.error_class.type,
        "param": error.param,
        "code": error.wire_code,
        "generation_id": generation_id,
    }
    if error.details:
        body["details"] = list(error.details)
    return orjson.dumps({"error": body})


def error_event(error: GatewayError, generation_id: str) -> bytes:
    """Return the server-sent event that ends a stream with an error."""
    return one_line_each(b"data: " + envelope(error, generation_id) + b"\n\n")


def one_line_each(events: bytes) -> bytes:
    """Return events whose data are one line for every reader."""
    for end, escaped in _LINE_ENDS:
        events = events.replace(end, escaped)
    return events


def error_headers(error: GatewayError) -> dict[str, str]:
    """Return the headers that an error's HTTP answer has."""
    headers = {**error.headers, "x-http-status": str(error.http_status)}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def status_code(error: GatewayError) -> StatusCode:
    """Return the canonical code."""
    return StatusCode[error.error_class.grpc]


def status_details(error: GatewayError, generation_id: str) -> bytes:
    """Return the google.rpc.Status of an error, serialized: ErrorInfo, and BadRequest and RetryInfo where they apply.

    ErrorInfo's reason is the error's code in upper case; its metadata has `generation_id`, `param`, `http_status`, and
    what each detail says, as `details[0].provider` and so on. Long texts are cut.
    """
    message = clipped(error.message)
    metadata = {"generation_id": generation_id, "http_status": str(error.http_status), "code": error.wire_code}
    if error.param:
        metadata["param"] = error.param
    for place, detail in enumerate(error.details[:_MOST_DETAILS]):
        metadata.update(_flat(f"details[{place}]", detail))
    metadata = {name: clipped(value, _VALUE_BYTES) for name, value in metadata.items()}
    details = [_packed(ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata=metadata))]
    if error.param and error.http_status < 500:
        field = clipped(error.param, _VALUE_BYTES)
        violation = BadRequest.FieldViolation(field=field, description=message, reason=error.code.upper())
        details.append(_packed(BadRequest(field_violations=[violation])))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(math.ceil(error.retry_after * 1000))
        details.append(_packed(RetryInfo(retry_delay=delay)))
    status = Status(code=status_code(error).value[0], message=message, details=details)
    return bytes(status.SerializeToString())


def clipped(text: str, size: int = _MESSAGE_BYTES) -> str:
    """Return a text, cut to so many bytes of UTF-8."""
    data = text.encode()
    return text if len(data) <= size else data[: size - 3].decode(errors="ignore") + "..."


def _packed(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def _flat(path: str, detail: Mapping[str, Any]) -> dict[str, str]:
    return {f"{path}.{name}": str(value) for name, value in detail.items() if value is not None}
