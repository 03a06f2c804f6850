"""What the fault matrix shares with the end-to-end tests."""

from tests.e2e.conftest import short_dir

__all__ = ["short_dir"]
