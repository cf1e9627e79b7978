"""Reads JSON that PostgreSQL can hold and Python's reader refuses: endless nesting, numbers of thousands of digits.

One such value in one tenant's row would otherwise make a whole batch of tasks unreadable.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Stands for a value that was left out. PostgreSQL cannot store NUL, so no row can hold this text.
UNREADABLE = "\x00"
_MAX_DEPTH = 200
_MAX_DIGITS = 4000
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def read_damaged_json(content: bytes) -> Any:
    """Return the document with `UNREADABLE` for what is nested deeper than 200 levels or has over 4000 digits.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(_pruned(content), parse_int=_integer)


def holds_unreadable(value: Any) -> bool:
    """Whether something was left out of `value`."""
    if isinstance(value, dict):
        return any(holds_unreadable(entry) for entry in value.values())
    if isinstance(value, list):
        return any(holds_unreadable(entry) for entry in value)
    return isinstance(value, str) and value == UNREADABLE


def _pruned(content: bytes) -> bytes:
    """Return the text with every array or object that begins too deep replaced."""
    parts: list[bytes] = []
    kept_to = depth = 0
    for token in _TOKEN.finditer(content):
        mark = token.group()
        if mark in (b"[", b"{"):
            depth += 1
            if depth == _MAX_DEPTH + 1:
                parts += [content[kept_to : token.start()], json.dumps(UNREADABLE).encode()]
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == _MAX_DEPTH:
                kept_to = token.end()
    return b"".join([*parts, content[kept_to:]])


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else UNREADABLE
