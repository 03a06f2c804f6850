"""What the fault matrix shares with the end-to-end tests."""

from tests.e2e.conftest import gateway_of, short_dir

__all__ = ["gateway_of", "short_dir"]
