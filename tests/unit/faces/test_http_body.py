"""HttpBody messages are what protobuf makes of them."""

from __future__ import annotations

import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError
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


@given(st.binary(), st.sampled_from([JSON, f"{JSON}; charset=utf-8", ""]), st.integers(0, 20), st.binary(max_size=8))
def test_what_others_make_is_read_as_protobuf_reads_it(data: bytes, kind: str, cut: int, behind: bytes) -> None:
    message = HttpBody(content_type=kind, data=data).SerializeToString()
    message = message[: len(message) - cut] + behind
    try:
        expected = HttpBody.FromString(message).data
    except DecodeError:
        with pytest.raises(GatewayError):
            unpacked(message)
    else:
        assert unpacked(message) == expected


def test_a_caller_who_sent_nothing_has_sent_no_data() -> None:
    assert unpacked(b"") == b""


def test_what_is_no_http_body_is_refused() -> None:
    with pytest.raises(GatewayError) as refused:
        unpacked(b"\xff")
    assert refused.value.code == "invalid_json"
