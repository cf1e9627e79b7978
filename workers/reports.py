"""What the agents' side has to say, kept until the database has confirmed it.

Thread-safe: agents write from their loop, the exchange reads from its thread. For each lease there is a lane that
keeps order, joins streamed text, and writes at most `WRITES_PER_SECOND` rows; an attempt's last words go out right
after what it said before. A lane lives until its last word is confirmed, so the lanes are the leases that this
worker may still hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract import EventType, Lease, ReportItem
from workers.lanes import Lane
from workers.laneset import LaneSet
from workers.packing import PackedItem, Packer, pack
from workers.redaction import Veil

# How soon a busy row is tried again: this many seconds, twice as many each time, up to a cap.
_BUSY_SECONDS, _BUSY_CAP = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one exchange carries; `lanes` wait for its answer, each with whether its last word is in it.

    `freed` is of how many attempts of each organization it carries the last word; `known` how many lanes there were
    before it.
    """

    items: tuple[PackedItem, ...] = ()
    lanes: Mapping[Lease, bool] = field(default_factory=dict)
    freed: Mapping[str, int] = field(default_factory=dict)
    known: int = 0

    @property
    def finals(self) -> int:
        """How many last words are in it."""
        return sum(self.lanes.values())


class ReportQueue:
    """The lanes of all leases this worker holds.

    `wake` is called, from any thread, when the exchange has reason to look again: for the first of the things that
    wait, and when `enough` last words do.
    """

    def __init__(
        self, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic, *, enough: int = 1
    ) -> None:
        self._wake = wake
        self._clock = clock
        self._enough = enough
        self._lock = threading.Lock()
        self._lanes = LaneSet()

    # The agents' side.

    def progress(self, lease: Lease, percent: float, message: str | None = None) -> None:
        """Note how far an attempt is, 0 to 100; a number that falls is not reported."""
        self._say(lease, lambda lane: lane.note_progress(percent, message))

    def partial(self, lease: Lease, text: str) -> None:
        """Add streamed text; the texts of an attempt's partial events, joined in order, are what was streamed."""
        self._say(lease, lambda lane: lane.add_text(text))

    def event(
        self, lease: Lease, event_type: EventType, message: str | None, data: Mapping[str, Any] | None = None
    ) -> None:
        """Add an entry to the task's trail."""
        said = {"type": event_type, "message": message, "data": data}
        item = pack(ReportItem("events", lease, {key: value for key, value in said.items() if value is not None}))
        self._say(lease, lambda lane: lane.events.append(item))

    def step(self, lease: Lease, number: int, step: bytes) -> None:
        """Say how a step of a run is; nobody is woken for it, it goes with what is said next."""
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is None or lane.muted or lane.final is not None:
                return
            lane.note_step(number, step, self._clock())
            self._lanes.place(lane)

    def finish(self, lease: Lease, item: ReportItem | None, veil: Veil | None = None) -> None:
        """Free the attempt's slot; `item` is its last word, None when there is nothing to say, `veil` hides secrets."""
        final = None if item is None else pack(item, veil)
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is None or lane.ended:
                return
            self._lanes.free_slot(lane)
            if final is None or lane.muted:
                self._lanes.remove(lane)
            elif lane.final is None:
                lane.end_with(final, self._clock())
                self._lanes.place(lane)
            matters = lane.muted or self._lanes.last_words in {1, self._enough}
        if matters:
            self._wake()

    # The exchange's side.

    def open(self, lease: Lease, timeout_seconds: float, organization: str | None = None) -> None:
        """Start a lane for a lease just claimed, whose attempt may take `timeout_seconds`."""
        now = self._clock()
        with self._lock:
            self._lanes.add(Lane(lease, beat_at=now, deadline=now + timeout_seconds, organization=organization))

    def add(self, item: ReportItem) -> None:
        """Say the last word about a lease that has no attempt, or none any more."""
        now = self._clock()
        lane = Lane(item.lease, beat_at=now, deadline=now, ended=True)
        lane.end_with(pack(item), now)
        with self._lock:
            self._lanes.add(lane)

    def take(
        self,
        *,
        heartbeat_seconds: float,
        grace_seconds: float,
        max_items: int,
        max_bytes: int,
        only_heartbeats: bool = False,
    ) -> Batch:
        """Return what is due; until the batch is settled or put back, its lanes send nothing but heartbeats.

        First what was not taken before, then heartbeats, since a lost lease is lost work, then last words, then the
        rest. An attempt that is `grace_seconds` past its deadline gets no more heartbeats, so that the database takes
        it from an agent that hangs. At least one item is taken, however large.
        """
        packer = Packer(max_items, max_bytes)
        flying: dict[Lease, bool] = {}
        now = self._clock()
        with self._lock:
            if not only_heartbeats:
                self._load(self._lanes.again(now), packer, flying, now)
            for lane in self._lanes.beating(now, heartbeat_seconds):
                needed = only_heartbeats or lane.flying or lane.final is None  # Else its last word goes now.
                needed = needed and lane.beats(now, grace_seconds)
                if needed and not packer.add(pack(ReportItem("heartbeats", lane.lease))):
                    break
                self._lanes.beat(lane, now)
            if not only_heartbeats:
                self._load(self._lanes.last(), packer, flying, now)
                self._load(self._lanes.talking(now), packer, flying, now)
            freed = self._lanes.organizations_of(lease for lease, last in flying.items() if last)
            known = self._lanes.added
        return Batch(tuple(packer.items), flying, freed, known)

    def settle(self, batch: Batch, busy: Iterable[PackedItem] = ()) -> None:
        """Let go of what a batch carried; items whose row was busy are said again soon, in order, ahead of others."""
        self._land(batch, busy, _BUSY_SECONDS)

    def put_back(self, batch: Batch) -> None:
        """Take back a batch that was not delivered, to be sent at once, in order, ahead of everything else."""
        self._land(batch, batch.items, 0.0)

    def forget(self, lease: Lease) -> None:
        """Say nothing more about a lease that is lost or cancelled; its slot stays taken until its agent ends."""
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is not None:
                self._lanes.close(lane)

    def give_back_all(self) -> list[Lease]:
        """Make every attempt that has no last word yet end as released; return their leases."""
        with self._lock:
            running = [lane for lane in self._lanes if lane.final is None and not lane.muted]
            for lane in running:
                lane.end_with(pack(ReportItem("released", lane.lease)), self._clock())
                self._lanes.place(lane)
        return [lane.lease for lane in running]

    def lease_of(self, task_id: str, known_to: Batch | None = None) -> Lease | None:
        """Return the newest lease this worker holds on a task, unless it came after a batch was made."""
        with self._lock:
            return self._lanes.lease_of(task_id, None if known_to is None else known_to.known)

    @property
    def held(self) -> int:
        """How many leases this worker may hold: attempts that run, and those whose last word is not confirmed."""
        return len(self._lanes)

    @property
    def holders(self) -> dict[str, int]:
        """How many of the leases are of each organization."""
        with self._lock:
            return dict(self._lanes.holders)

    @property
    def running(self) -> int:
        """How many attempts hold a slot."""
        return self._lanes.with_slot

    @property
    def waiting(self) -> int:
        """How many last words the database has not taken yet."""
        return self._lanes.without_slot

    @property
    def last_words(self) -> int:
        """How many attempts have only to say their last word, and can."""
        return self._lanes.last_words

    @property
    def empty(self) -> bool:
        """Whether there is nothing left to say, now or later."""
        return not len(self._lanes)

    def next_due(self, heartbeat_seconds: float, grace_seconds: float) -> float | None:
        """Return when there will be something to carry, by the queue's clock; None when nothing is in sight."""
        with self._lock:
            beat = next(self._lanes.beat_times(heartbeat_seconds, grace_seconds), None)
            times = list(self._lanes.send_times())
        return min([*times, beat] if beat is not None else times, default=None)

    def next_beat(self, heartbeat_seconds: float, grace_seconds: float) -> float | None:
        """Return when the next heartbeat is due, by the queue's clock; None when none is in sight."""
        with self._lock:
            return next(self._lanes.beat_times(heartbeat_seconds, grace_seconds), None)

    def _say(self, lease: Lease, change: Callable[[Lane], None]) -> None:
        """Change a lane that may speak; the exchange is woken when it had nothing to say before."""
        with self._lock:
            lane = self._lanes.get(lease)
            if lane is None or lane.muted or lane.final is not None:
                return
            silent = not (lane.waiting or lane.flying)
            change(lane)
            if silent:
                self._lanes.place(lane)
            matters = silent and lane.waiting
        if matters:
            self._wake()

    def _load(self, lanes: Sequence[Lane], packer: Packer, flying: dict[Lease, bool], now: float) -> None:
        for lane in lanes:
            if packer.full:
                return
            last = lane.load(packer, now)
            if lane.flying:
                flying[lane.lease] = last
            self._lanes.place(lane)

    def _land(self, batch: Batch, again: Iterable[PackedItem], pause: float) -> None:
        """Let the lanes of a batch speak; items of `again` first, after a pause that doubles with each refusal."""
        repeats: dict[Lease, list[PackedItem]] = {}
        for item in again:
            repeats.setdefault(item.lease, []).append(item)
        now = self._clock()
        with self._lock:
            for lease in {**batch.lanes, **repeats}:
                lane = self._lanes.get(lease)
                if lane is None:
                    continue
                lane.flying = lane.flying and lease not in batch.lanes
                said_again = repeats.get(lease, [])
                if batch.lanes.get(lease) and not any(item is lane.final for item in said_again):
                    self._lanes.close(lane)
                elif said_again and not lane.muted:
                    lane.say_again(said_again, now + min(pause * 2.0 ** min(lane.refusals, 20), _BUSY_CAP))
                    self._lanes.place(lane)
                else:
                    lane.refusals = 0
                    self._lanes.place(lane)
