"""Reads the header Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MAX_SECONDS = 86_400.0


def read_retry_after(value: str | None) -> float | None:
    """Return a Retry-After header in seconds, a day at most; it holds seconds or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdecimal():
        return min(float(value), _MAX_SECONDS)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    return min(max(0.0, (when - datetime.now(UTC)).total_seconds()), _MAX_SECONDS)
