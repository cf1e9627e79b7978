"""Makes any JSON value acceptable to PostgreSQL's jsonb."""

from __future__ import annotations

import math
import re
from typing import Any

# jsonb refuses NUL, and UTF-8 has no surrogates; models and endpoints produce both.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_DEPTH = 100


def clean_text(text: str) -> str:
    """Return `text` with the characters that PostgreSQL cannot store replaced by U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean_json(value: Any, depth: int = 0) -> Any:
    """Return a copy of `value` that jsonb accepts: storable text, finite numbers (else null), bounded nesting.

    What is nested deeper than 100 levels becomes null.
    """
    if isinstance(value, dict | list | tuple):
        return _clean_container(value, depth) if depth < _MAX_DEPTH else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return clean_text(str(value))


def _clean_container(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(entry, depth + 1) for key, entry in value.items()}
    return [clean_json(entry, depth + 1) for entry in value]
