"""Generation ids: a ULID each, so that they sort by time. https://github.com/ulid/spec"""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS = tuple(range(120, -1, -10))


def generation_id(unix_ms: int, random_bits: int) -> str:
    """Return `chatcmpl-` and the ULID of a time, in milliseconds, and 80 random bits."""
    number = unix_ms << 80 | random_bits
    return "chatcmpl-" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
