"""The wire forms of an error."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from service.errors import GatewayError
from service.faces.status import clipped, envelope, status_details

METADATA_LIMIT = 8 * 1024
OTHER_METADATA = 512


@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
def test_an_error_of_any_length_fits_into_grpc_metadata(letter: str) -> None:
    long = letter * 20_000
    details = [{"provider": "p", "upstream_model": "m", "outcome": "server_error", "message": long}] * 20
    error = GatewayError("upstream_rejected", long, param=long, details=details, upstream_code=long, retry_after=1)
    status = status_details(error, "chatcmpl-1")
    size = len(quote(clipped(error.message))) + len(base64.b64encode(status))
    assert size + OTHER_METADATA < METADATA_LIMIT
    told = Status.FromString(status)
    assert told.message.startswith(letter * 100)
    assert told.message.endswith("...")
    info, fields = ErrorInfo(), BadRequest()
    assert told.details[0].Unpack(info)
    assert told.details[1].Unpack(fields)
    assert info.metadata["details[7].provider"] == "p"
    assert len(fields.field_violations) == 1


def test_json_callers_read_the_whole_message() -> None:
    assert b"x" * 20_000 in envelope(GatewayError("upstream_rejected", "x" * 20_000), "chatcmpl-1")


def test_short_messages_are_not_cut() -> None:
    assert clipped("é" * 300) == "é" * 300
