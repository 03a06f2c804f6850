"""Generation ids are ULIDs."""

from __future__ import annotations

import pytest

from service.faces.generation import generation_id

CASES = [
    (0, 0, "00000000000000000000000000"),
    (2**48 - 1, 2**80 - 1, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
    # The specification's example: its time, and its random part.
    (1469918176385, 0, "01ARYZ6S410000000000000000"),
    (0, 1, "00000000000000000000000001"),
    (1, 0, "00000000010000000000000000"),
]


@pytest.mark.parametrize(("unix_ms", "random_bits", "ulid"), CASES)
def test_an_id_is_the_ulid_of_its_time_and_its_random_bits(unix_ms: int, random_bits: int, ulid: str) -> None:
    assert generation_id(unix_ms, random_bits) == f"chatcmpl-{ulid}"


def test_ids_sort_by_time() -> None:
    times = [1, 31, 32, 1023, 1024, 1_763_841_600_000, 1_763_841_600_001]
    ids = [generation_id(time, 2**80 - 1 - time) for time in times]
    assert ids == sorted(ids)
