"""The wait that a provider asks for in the headers of an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_S = 30 * 24 * 3600.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds, never negative, or None where there is none that can be read.

    `headers` has lower-case names. `retry-after-ms` beats `retry-after`, which is seconds or an HTTP date; a date
    counts from the answer's own `date`. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    until, now = _date(text), _date(headers.get("date"))
    return within_reason((until - now).total_seconds()) if until and now else None


def _number(text: str | None) -> float | None:
    try:
        return within_reason(float(text or ""))
    except ValueError:
        return None


def within_reason(seconds: float) -> float | None:
    """Return a wait that is none below 0, nor above 30 days; None for what is no number."""
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_S)


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
