"""The lanes of a worker in the orders in which they are looked at, so that no look goes over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, takewhile

from workers.contract import Lease
from workers.lanes import Lane


class LaneSet:
    """All lanes, and which of them have something to send. Not thread-safe."""

    def __init__(self) -> None:
        self._lanes: dict[Lease, Lane] = {}  # In the order in which heartbeats are due.
        self._of_task: dict[str, Lease] = {}  # The newest lease of each task.
        self.added = 0  # How many there have been.
        self.without_slot = 0  # How many of the attempts have ended.
        self.holders: Counter[str] = Counter()  # How many lanes there are of each organization.
        # Lanes with something to send, each in one of these: sent in vain before, the last word, rows.
        self._again: dict[Lease, Lane] = {}
        self._last: dict[Lease, Lane] = {}
        self._talking: dict[Lease, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def with_slot(self) -> int:
        """How many attempts hold a slot."""
        return len(self._lanes) - self.without_slot

    @property
    def last_words(self) -> int:
        """How many lanes have only to say their last word."""
        return len(self._last)

    def get(self, lease: Lease) -> Lane | None:
        """Return the lane of a lease."""
        return self._lanes.get(lease)

    def lease_of(self, task_id: str, among_first: int | None = None) -> Lease | None:
        """Return the newest lease of a task, unless it is not among so many that came first."""
        lease = self._of_task.get(task_id)
        return lease if lease is None or among_first is None or self._lanes[lease].number <= among_first else None

    def organizations_of(self, leases: Iterable[Lease]) -> dict[str, int]:
        """Return how many of these leases are of each organization."""
        names = (self._lanes[lease].organization for lease in leases)
        return dict(Counter(name for name in names if name is not None))

    def add(self, lane: Lane) -> None:
        """Add a lane whose heartbeat was due just now, in place of an older one of the same lease."""
        if (older := self._lanes.get(lane.lease)) is not None:
            self.remove(older)
        self.added += 1
        lane.number = self.added
        self._lanes[lane.lease] = lane
        self._of_task[lane.lease.task_id] = lane.lease
        self.without_slot += lane.ended
        if lane.organization is not None:
            self.holders[lane.organization] += 1
        self.place(lane)

    def free_slot(self, lane: Lane) -> None:
        """Note that the lane's attempt has ended."""
        self.without_slot += not lane.ended
        lane.ended = True

    def close(self, lane: Lane) -> None:
        """Let go of a lane that has nothing to say any more; while its attempt runs on it still holds a slot."""
        if lane.ended:
            self.remove(lane)
        else:
            lane.mute()
            self.place(lane)

    def remove(self, lane: Lane) -> None:
        """Forget a lane altogether."""
        lane.mute()
        self.place(lane)
        del self._lanes[lane.lease]
        self.without_slot -= lane.ended
        if lane.organization is not None:
            self.holders[lane.organization] -= 1
            if not self.holders[lane.organization]:
                del self.holders[lane.organization]
        if self._of_task.get(lane.lease.task_id) == lane.lease:
            del self._of_task[lane.lease.task_id]

    def place(self, lane: Lane) -> None:
        """Put a lane where its state belongs; to be called after every change of it."""
        group = self._group_of(lane)
        if group is lane.group:
            return
        if lane.group is not None:
            del lane.group[lane.lease]
        if group is not None:
            group[lane.lease] = lane
        lane.group = group

    def _group_of(self, lane: Lane) -> dict[Lease, Lane] | None:
        if lane.flying or lane.muted:
            return None
        if lane.repeats or (lane.final is not None and lane.refusals):
            return self._again
        if lane.final is not None:
            return self._last
        return self._talking if lane.waiting else None

    def again(self, now: float) -> list[Lane]:
        """Return the lanes that are due to send again what was not taken."""
        return [lane for lane in self._again.values() if lane.next_write_at <= now]

    def last(self) -> list[Lane]:
        """Return the lanes that have only to say their last word, the oldest first."""
        return list(self._last.values())

    def talking(self, now: float) -> list[Lane]:
        """Return the lanes that are due to send rows."""
        return [lane for lane in self._talking.values() if lane.next_write_at <= now]

    def send_times(self) -> Iterator[float]:
        """Yield when there will be something to send, in no order and without heartbeats."""
        for lane in self._again.values():
            yield lane.next_write_at
        for lane in self._talking.values():
            yield lane.next_write_at
        for lane in islice(self._last.values(), 1):
            yield lane.final_at

    def beat_times(self, every: float, grace: float) -> Iterator[float]:
        """Yield when heartbeats will be due, the earliest first."""
        for lane in self._lanes.values():
            at = lane.beat_at + every
            if lane.beats(at, grace):
                yield at

    def beating(self, now: float, every: float) -> list[Lane]:
        """Return the lanes whose time for a heartbeat has come, the earliest first."""
        return list(takewhile(lambda lane: lane.beat_at + every <= now, self._lanes.values()))

    def beat(self, lane: Lane, now: float) -> None:
        """Note that the lane's heartbeat was due now."""
        lane.beat_at = now
        del self._lanes[lane.lease]
        self._lanes[lane.lease] = lane
