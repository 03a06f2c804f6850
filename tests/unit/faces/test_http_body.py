"""HttpBody messages are what protobuf makes of them."""

from __future__ import annotations

import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import given
from hypothesis import strategies as st

from service.errors import GatewayError
from service.faces.http_body import EVENTS, JSON, packed, unpacked


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
@pytest.mark.parametrize("kind", [JSON, EVENTS])
def test_data_of_any_size_is_packed(size: int, kind: str) -> None:
    data = b"x" * size
    assert HttpBody.FromString(packed(data, kind)) == HttpBody(content_type=kind, data=data)


@given(st.binary())
def test_what_is_packed_is_unpacked(data: bytes) -> None:
    assert unpacked(packed(data)) == data


def test_a_caller_who_sent_nothing_has_sent_no_data() -> None:
    assert unpacked(b"") == b""


def test_what_is_no_http_body_is_refused() -> None:
    with pytest.raises(GatewayError) as refused:
        unpacked(b"\xff")
    assert refused.value.code == "invalid_json"
