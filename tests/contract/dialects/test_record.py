"""`make record` writes what a vendor answers, and no key."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import HELLO
from tests.contract.dialects.vendors import VENDORS
from tests.e2e.running import ROOT, clean_environ
from tests.fakes import wire
from tests.recordings.record import VENDORS as RECORDED
from tests.recordings.record import masked


def files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize("dialect", VENDORS)
async def test_recordings(dialect: str, tmp_path: Path) -> None:
    vendor = VENDORS[dialect]
    fake = Fake(vendor, HELLO)
    async with wire.serve(fake.answer) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.recordings.record", dialect, "m1", "--into", str(tmp_path)),
            *("--base-url", server.url + vendor.path, "--scene", "recorded_text", "--scene", "recorded_tools"),
            cwd=ROOT,
            env={**clean_environ(), "PYTHONPATH": ".:gen", RECORDED[dialect].key: "sk-very-secret"},
        )
        assert await process.wait() == 0
    assert files(tmp_path / dialect) == {
        "unary/recorded_text.json": vendor.whole(HELLO),
        "stream/recorded_text.sse": b"".join(vendor.events(HELLO)),
        "unary/recorded_tools.json": vendor.whole(HELLO),
        "stream/recorded_tools.sse": b"".join(vendor.events(HELLO)),
    }


def test_keys_and_accounts_are_masked() -> None:
    body = b'{"key": "sk-very-secret", "organization": "org-AbC123xyz", "project": "projects/123456", "text": "\xff"}'
    assert masked(body, "sk-very-secret") == (
        b'{"key": "***", "organization": "***", "project": "***", "text": "\xff"}'
    )
