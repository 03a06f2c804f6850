"""What a store raises that cannot be asked."""

from __future__ import annotations


class StoreLost(Exception):
    """The server cannot be reached."""
