"""What workers write down of what they sent, in two processes, over deaths, and when places are used again."""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import GatewayError
from service.sent import Sending, SentRecord, admit

ROOT = Path(__file__).resolve().parents[2]
# A worker that sends the calls named on its command line, but the last one, which it only has.
WORKER = """
import sys, time
from service.sent import SentRecord, admit
record = SentRecord(sys.argv[1], 64)
sendings = [admit({"x-envoy-attempt-count": "1", "x-gateway-call": call}, record) for call in sys.argv[2:]]
for sending in sendings[:-1]:
    sending.begin()
sendings[0].end()
print("sent", flush=True)
time.sleep(60)
"""


def attempt(call: str, count: int = 1) -> Mapping[str, str]:
    return {"x-envoy-attempt-count": str(count), "x-gateway-call": call}


def taken(call: str, record: SentRecord, count: int = 1) -> Sending:
    sending = admit(attempt(call, count), record)
    assert sending is not None
    return sending


def is_refused(call: str, record: SentRecord, count: int = 2) -> bool:
    try:
        admit(attempt(call, count), record)
    except GatewayError as error:
        # Without the header that makes Envoy ask one more worker.
        return (error.code, error.retry_after, error.headers) == ("overloaded", 1, {})
    return False


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sent"))


def test_what_does_not_come_from_envoy_is_not_kept(tmp_path: Path) -> None:
    record = SentRecord(str(tmp_path), 1)
    assert admit({}, record) is None
    assert admit({"x-gateway-call": "a"}, record) is None
    assert admit({"x-envoy-attempt-count": "1"}, record) is None
    assert admit(attempt("a"), None) is None


@pytest.mark.parametrize("count", ["0", "2", "3", "17", "-1", "one", "", "9" * 5000])
def test_without_a_record_or_a_name_what_is_repeated_is_refused(count: str, tmp_path: Path) -> None:
    for metadata, record in (
        ({"x-gateway-call": "a"}, None),
        ({}, SentRecord(str(tmp_path), 1)),
    ):
        with pytest.raises(GatewayError, match="GATEWAY_SENT_DIR"):
            admit({"x-envoy-attempt-count": count, **metadata}, record)


def test_what_a_worker_has_sent_no_other_sends(tmp_path: Path) -> None:
    one, other = SentRecord(str(tmp_path), 8), SentRecord(str(tmp_path), 8)
    sending = taken("a", one)
    sending.begin()
    sending.begin()
    assert is_refused("a", other)
    assert is_refused("a", one)
    assert is_refused("a", other, 3)
    sending.end()
    assert is_refused("a", other)
    assert not is_refused("b", other)


def test_of_two_attempts_the_later_one_goes_on_when_the_earlier_was_not_sent(tmp_path: Path) -> None:
    one, other, third = (SentRecord(str(tmp_path), 8) for _ in range(3))
    first, second = taken("a", one), taken("a", other, 2)
    with pytest.raises(GatewayError, match="taken the request over"):
        first.begin()
    last = taken("b", third, 3)
    overtaken = taken("b", other, 2)
    last.begin()
    second.begin()
    with pytest.raises(GatewayError, match="taken the request over"):
        overtaken.begin()


def test_of_many_calls_that_are_repeated_together_each_is_sent_once(tmp_path: Path) -> None:
    """A worker has died, and all that it had comes back."""
    one, other = SentRecord(str(tmp_path), 1000), SentRecord(str(tmp_path), 1000)
    earlier = [taken(str(number), one) for number in range(500)]
    for number in range(500):
        taken(str(number), other, 2).begin()
    for sending in earlier:
        with pytest.raises(GatewayError, match="taken the request over"):
            sending.begin()


def test_the_tables_ends_are_like_the_rest(tmp_path: Path) -> None:
    record = SentRecord(str(tmp_path), 8)
    for start in (b"\x00\x00", b"\x0f\xff", b"\xff\xff"):
        for number in range(1, 1000):
            entry = start + number.to_bytes(6)
            assert not record.is_overtaken(entry)
        record.overtake(entry)
        assert record.is_overtaken(entry)


def test_a_killed_workers_record_stays(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), "ended", "under way", "waiting"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"sent\n"
    (file,) = files(tmp_path)
    before = SentRecord(str(tmp_path), 8)
    assert is_refused("under way", before)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    after = SentRecord(str(tmp_path), 8)
    for record in (before, after):
        assert is_refused("under way", record)
        assert is_refused("ended", record)
        assert not is_refused("waiting", record)

    # Its death was noticed just now: the file is needed.
    (death,) = struct.unpack("<d", file.read_bytes()[:8])
    assert abs(time.time() - death) < 10
    SentRecord(str(tmp_path), 8)
    assert file.exists()
    # It was noticed long ago.
    with file.open("r+b") as written:
        written.write(struct.pack("<d", time.time() - 3600))
    SentRecord(str(tmp_path), 8)
    assert not file.exists()
    assert not is_refused("under way", after)


def test_the_file_of_a_worker_that_lives_is_never_deleted(tmp_path: Path) -> None:
    record = SentRecord(str(tmp_path), 8)
    (file,) = files(tmp_path)
    with file.open("r+b") as written:
        written.write(struct.pack("<d", time.time() - 3600))
    other = SentRecord(str(tmp_path), 8)
    assert file.exists()
    taken("a", record).begin()
    assert is_refused("a", other)


def test_where_files_were_deleted_nothing_is_certain(tmp_path: Path) -> None:
    record = SentRecord(str(tmp_path), 8)
    for file in files(tmp_path):
        file.unlink()
    assert is_refused("a", record)


def test_without_a_free_place_nothing_is_sent(tmp_path: Path) -> None:
    record = SentRecord(str(tmp_path), 1)
    first, second = taken("a", record), taken("b", record)
    first.begin()
    with pytest.raises(GatewayError, match="too many requests"):
        second.begin()
    second.end()
    first.end()
    taken("c", record).begin()
    assert is_refused("c", record)


@given(st.lists(st.integers(0, 5), max_size=60))
def test_requests_under_way_are_known_and_those_that_ended_last(steps: list[int]) -> None:
    """0 begins a request, another number ends one of those under way."""
    places = 6
    with tempfile.TemporaryDirectory() as folder:
        record, other = SentRecord(folder, places), SentRecord(folder, places)
        running: list[tuple[str, Sending]] = []
        ended: deque[str] = deque()
        for number, step in enumerate(steps):
            if step and running:
                call, sending = running.pop(step % len(running))
                sending.end()
                ended.append(call)
            elif len(running) < places - 1:
                sending = taken(str(number), record)
                sending.begin()
                running.append((str(number), sending))
        remembered = list(ended)[-(places - len(running)) :]
        assert all(is_refused(call, other) for call, _ in running)
        assert all(is_refused(call, other) for call in remembered)
        assert not is_refused("never", other)
