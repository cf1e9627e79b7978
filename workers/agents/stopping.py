"""Why an attempt was stopped."""

from __future__ import annotations

import asyncio

from workers.contract import ClaimedTask


def is_for_good(stopped: asyncio.CancelledError, claimed: ClaimedTask) -> bool:
    """Whether nobody will go on with what the attempt began: it was cancelled, or its last one ran out of time."""
    reason = stopped.args[0] if stopped.args else None
    return reason == "cancelled" or (reason == "timeout" and claimed.attempt >= claimed.task.max_attempts)
