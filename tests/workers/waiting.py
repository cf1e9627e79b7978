"""What every test of processes does: it waits until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

Row = dict[str, Any]
T = TypeVar("T")

FINAL = ("completed", "failed", "cancelled", "timeout", "rejected")


def wait_for(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Return the condition's first true value; fail when there is none for that many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.03)
    return value
