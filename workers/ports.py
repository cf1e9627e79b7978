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
    heartbeats_per_lease: int = 3
    careful_exchanges: int = 20  # How many go one by one after an answer that could not be read.
    ask_seconds: float = 1.5  # How often to ask, while attempts run, whether people have cancelled any.
    grace_seconds: float = 5.0  # How long after its deadline a hanging attempt keeps its lease.
    goodbye_seconds: float = 10.0  # How long leaving may take without the database.
    max_items: int = 100
    max_bytes: int = 4_000_000
