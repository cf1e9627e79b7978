"""What the agents' side has to say, kept until the exchange can carry it.

Thread-safe: agents write from their loop, the exchange reads from its thread. For each lease there is a lane that
keeps order, joins streamed text, and writes at most `WRITES_PER_SECOND` rows; an attempt's last words go out right
after what it said before.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.clean import clean_json, clean_text
from workers.contract import EventType, Lease, ReportItem

WRITES_PER_SECOND = 5


@dataclass(slots=True)
class _Lane:
    """All that is known of one lease on this side; times are of the queue's clock, in seconds."""

    lease: Lease
    beat_at: float
    deadline: float
    next_write_at: float = 0.0
    progress: float = -1.0
    progress_body: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    final: ReportItem | None = None
    ended: bool = False
    muted: bool = False

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return len(self.events) + (self.progress_body is not None)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one exchange carries; `more` says that something that is due did not fit."""

    items: tuple[ReportItem, ...]
    more: bool


class ReportQueue:
    """The lanes of all leases this worker holds.

    `wake` is called, from any thread, whenever there is something new for the exchange to look at.
    """

    def __init__(self, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._lanes: dict[Lease, _Lane] = {}
        self._returned: deque[ReportItem] = deque()

    # The agents' side.

    def progress(self, lease: Lease, percent: float, message: str | None = None) -> None:
        """Note how far an attempt is, 0 to 100; a number that falls is not reported."""
        with self._lock:
            lane = self._open_lane(lease)
            if lane is None or percent <= lane.progress:
                return
            lane.progress = percent
            lane.progress_body = {"progress": round(percent)}
            if message is not None:
                lane.progress_body["progress_message"] = clean_text(message)
        self._wake()

    def partial(self, lease: Lease, text: str) -> None:
        """Add streamed text; the texts of an attempt's partial events, joined in order, are what was streamed."""
        self._say(lease, "partial", None, {"text": text})

    def event(
        self, lease: Lease, event_type: EventType, message: str | None, data: Mapping[str, Any] | None = None
    ) -> None:
        """Add an entry to the task's trail."""
        self._say(lease, event_type, message, data)

    def finish(self, lease: Lease, item: ReportItem | None) -> None:
        """Free the attempt's slot; `item` is its last word, None when there is nothing to say."""
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is not None:
                lane.ended = True
                if item is None or lane.muted:
                    del self._lanes[lease]
                elif lane.final is None:
                    lane.final = ReportItem(item.kind, lease, clean_json(item.body))
        self._wake()

    # The exchange's side.

    def open(self, lease: Lease, timeout_seconds: float) -> None:
        """Start a lane for a lease just claimed, whose attempt may take `timeout_seconds`."""
        now = self._clock()
        with self._lock:
            self._lanes[lease] = _Lane(lease, beat_at=now, deadline=now + timeout_seconds)

    def add(self, item: ReportItem) -> None:
        """Queue an item that belongs to no running attempt, ahead of everything else."""
        with self._lock:
            self._returned.append(ReportItem(item.kind, item.lease, clean_json(item.body)))

    def put_back(self, items: tuple[ReportItem, ...]) -> None:
        """Take back items that could not be delivered, in their order, ahead of everything else."""
        with self._lock:
            self._returned.extendleft(reversed(items))

    def forget(self, lease: Lease) -> None:
        """Say nothing more about a lease that is lost or cancelled; its slot stays taken until its agent ends."""
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is None:
                return
            lane.muted = True
            lane.events.clear()
            lane.progress_body = None
            lane.final = None
            if lane.ended:
                del self._lanes[lease]

    def give_back_all(self) -> list[Lease]:
        """Make every attempt that has no last word yet end as released; return their leases."""
        with self._lock:
            open_lanes = [lane for lane in self._lanes.values() if lane.final is None and not lane.muted]
            for lane in open_lanes:
                lane.final = ReportItem("released", lane.lease)
            return [lane.lease for lane in open_lanes]

    def leases_of(self, task_id: str) -> list[Lease]:
        """Return the leases this worker holds on a task: one, or two when it lost it and claimed it again."""
        with self._lock:
            return [lease for lease in self._lanes if lease.task_id == task_id]

    @property
    def running(self) -> int:
        """How many attempts hold a slot."""
        with self._lock:
            return sum(not lane.ended for lane in self._lanes.values())

    @property
    def empty(self) -> bool:
        """Whether there is nothing left to say, now or later."""
        with self._lock:
            return not self._lanes and not self._returned

    def next_due(self, heartbeat_seconds: float, grace_seconds: float) -> float | None:
        """Return when there will be something to carry, by the queue's clock; None when nothing is in sight."""
        with self._lock:
            if self._returned:
                return self._clock()
            times = [self._due(lane, heartbeat_seconds, grace_seconds) for lane in self._lanes.values()]
        return min((due for due in times if due is not None), default=None)

    def take(self, *, heartbeat_seconds: float, grace_seconds: float, max_items: int, max_bytes: int) -> Batch:
        """Remove and return what is due: heartbeats first, since a lost lease is lost work, then the rest by lane.

        An attempt that is `grace_seconds` past its deadline gets no more heartbeats, so that the database takes it
        from an agent that hangs. At least one item is taken, however large.
        """
        packer = _Packer(max_items, max_bytes)
        now = self._clock()
        with self._lock:
            while self._returned and packer.add(self._returned[0]):
                self._returned.popleft()
            self._take_heartbeats(packer, now, heartbeat_seconds, grace_seconds)
            for lane in sorted(self._lanes.values(), key=lambda lane: lane.final is None):
                if lane.final is not None or (lane.waiting and lane.next_write_at <= now):
                    self._drain_lane(lane, packer, now)
        return Batch(tuple(packer.items), packer.full)

    def _take_heartbeats(self, packer: _Packer, now: float, every: float, grace: float) -> None:
        for lane in self._lanes.values():
            if lane.muted or lane.final is not None or now >= lane.deadline + grace or now < lane.beat_at + every:
                continue
            if packer.add(ReportItem("heartbeats", lane.lease)):
                lane.beat_at = now

    def _drain_lane(self, lane: _Lane, packer: _Packer, now: float) -> None:
        written = 0
        while lane.events and packer.add(ReportItem("events", lane.lease, lane.events[0])):
            lane.events.pop(0)
            written += 1
        if lane.progress_body is not None and lane.final is not None:
            lane.progress_body = None  # The last word says how far it came.
        if (
            lane.progress_body is not None
            and not lane.events
            and packer.add(ReportItem("heartbeats", lane.lease, lane.progress_body))
        ):
            lane.progress_body = None
            lane.beat_at = now
            written += 1
        lane.next_write_at = now + written / WRITES_PER_SECOND
        if lane.final is not None and not lane.events and packer.add(lane.final):
            self._close(lane)

    def _close(self, lane: _Lane) -> None:
        """Let go of a lane whose last word is on its way; a slot that is still taken stays counted."""
        if lane.ended:
            del self._lanes[lane.lease]
        else:
            lane.muted = True
            lane.final = None

    def _open_lane(self, lease: Lease) -> _Lane | None:
        lane = self._lanes.get(lease)
        return None if lane is None or lane.muted or lane.final is not None else lane

    def _say(self, lease: Lease, event_type: EventType, message: str | None, data: Mapping[str, Any] | None) -> None:
        entry: dict[str, Any] = {"type": event_type}
        if message is not None:
            entry["message"] = clean_text(message)
        if data is not None:
            entry["data"] = clean_json(data)
        with self._lock:
            lane = self._open_lane(lease)
            if lane is None:
                return
            if event_type == "partial" and lane.events and lane.events[-1]["type"] == "partial":
                lane.events[-1]["data"]["text"] += entry["data"]["text"]
            else:
                lane.events.append(entry)
        self._wake()

    def _due(self, lane: _Lane, every: float, grace: float) -> float | None:
        if lane.muted:
            return None
        if lane.final is not None:
            return self._clock()
        beat = lane.beat_at + every
        times = [beat] if beat < lane.deadline + grace else []
        if lane.waiting:
            times.append(lane.next_write_at)
        return min(times, default=None)


class _Packer:
    """Collects items up to a number and a size in bytes of JSON; the first item always fits."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._room = max_bytes
        self.items: list[ReportItem] = []
        self.full = False

    def add(self, item: ReportItem) -> bool:
        """Take the item if there is room."""
        size = len(json.dumps(item.to_json(), ensure_ascii=False).encode())
        if self.full or len(self.items) >= self._max_items or (self.items and size > self._room):
            self.full = True
            return False
        self.items.append(item)
        self._room -= size
        return True
