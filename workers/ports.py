"""What the exchange needs to be told and to be given: its options, and the side that runs attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workers.contract import ClaimedTask, Lease, StopReason


class Agents(Protocol):
    """The side that runs attempts; both methods may be called from any thread and return at once."""

    def start(self, claimed: ClaimedTask) -> None:
        """Begin an attempt whose lane is open."""

    def stop(self, lease: Lease, reason: StopReason) -> None:
        """Stop an attempt; what it still says is not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeOptions:
    """How the exchange behaves; times are in seconds."""

    worker_id: str
    concurrency: int
    lease_seconds: int
    poll_interval: float
    drain_seconds: float
    methods: tuple[str, ...] | None = None
    organizations: tuple[str, ...] | None = None
    once: bool = False
    max_items: int = 100
    max_bytes: int = 4_000_000
