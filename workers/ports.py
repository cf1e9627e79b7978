"""What the parts of a worker need of each other: the exchange's options, the side that runs attempts, who watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.contract import ClaimedTask, Lease, StopReason


class Agents(Protocol):
    """The side that runs attempts; both methods may be called from any thread and return at once."""

    def start(self, tasks: Sequence[ClaimedTask]) -> None:
        """Begin attempts whose lanes are open."""

    def stop(self, lease: Lease, reason: StopReason) -> None:
        """Stop an attempt; what it still says is not sent."""


class Observer(Protocol):
    """Who counts attempts; called on the agents' loop, and returns at once."""

    def attempt_ended(self, method: str, outcome: str, seconds: float, waited: float | None) -> None:
        """Take note of an attempt: how it ended, how long it took, and how long its task was due before the claim."""


class Unobserved:
    """The observer of a worker whose numbers nobody wants."""

    def attempt_ended(self, method: str, outcome: str, seconds: float, waited: float | None) -> None:
        """Take no note."""


class Vitals(Protocol):
    """How a worker is; may be read from any thread."""

    @property
    def running(self) -> int:
        """How many attempts hold a slot."""

    @property
    def waiting(self) -> int:
        """How many last words the database has not taken yet."""

    @property
    def draining(self) -> bool:
        """Whether the worker is leaving."""


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
    max_in_flight: int = 3  # How many requests are under way at once; one more if only heartbeats are due.
    linger_seconds: float = 0.01  # How long a small report waits for more while other requests are under way.
    max_tasks: int = 1000  # At most so many tasks in one answer,
    max_items: int = 1000  # so many items in one report,
    fair_items: int = 50  # so many always fit, when what there is to say is shared out to the requests in flight,
    max_bytes: int = 4_000_000  # and so many bytes.
