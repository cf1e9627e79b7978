"""The lane of one lease: what its attempt has said and the database has not confirmed yet, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.contract import Lease, ReportItem
from workers.packing import PackedItem, Packer, pack, pack_steps, with_steps

WRITES_PER_SECOND = 5
STEPS_WAIT = 0.25  # Seconds: the steps of a short attempt travel with its last word.
_MAX_STEP_BYTES = 500_000  # In one item; a single step may be larger.


@dataclass(slots=True, eq=False)
class Lane:
    """All that is known of one lease on this side; times are of the queue's clock, in seconds.

    What is under way (`flying`) holds back the rest of the lane, so that nothing overtakes. Only a heartbeat without
    progress cannot be out of order, and goes whenever it is due.
    """

    lease: Lease
    beat_at: float  # When a heartbeat was last due.
    deadline: float
    organization: str | None = None  # Whose task it is, as far as it is known.
    number: int = 0  # Of all lanes of this worker, the how manieth.
    next_write_at: float = 0.0
    final_at: float = 0.0  # When the last word was said.
    progress: float = -1.0
    progress_body: dict[str, Any] | None = None
    repeats: list[PackedItem] = field(default_factory=list)  # Sent before and not taken: goes first.
    events: list[PackedItem | list[str]] = field(default_factory=list)  # A list holds streamed text, to be joined.
    steps: dict[int, bytes] = field(default_factory=dict)  # Encoded, by number: the newest word about each.
    final: PackedItem | None = None
    refusals: int = 0  # How often in a row something was not taken.
    ended: bool = False  # Whether its slot is free.
    muted: bool = False  # Whether nothing is to be said any more.
    flying: bool = False
    group: dict[Lease, Lane] | None = None  # Where it waits to be looked at.

    @property
    def waiting(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self.repeats or self.events or self.steps or self.progress_body is not None)

    def beats(self, now: float, grace: float) -> bool:
        """Whether the lease is to be kept: not when `grace` seconds have passed since the deadline."""
        return not self.muted and now < self.deadline + grace

    def add_text(self, text: str) -> None:
        """Keep streamed text."""
        if self.events and isinstance(last := self.events[-1], list):
            last.append(text)
        else:
            self.events.append([text])

    def note_progress(self, percent: float, message: str | None) -> None:
        """Keep how far the attempt is, unless it was as far before."""
        if percent <= self.progress:
            return
        self.progress = percent
        self.progress_body = {"progress": round(percent)}
        if message is not None:
            self.progress_body["progress_message"] = message

    def note_step(self, number: int, step: bytes, now: float) -> None:
        """Keep what is to be said about a step, in place of what was not said yet."""
        if not self.waiting:
            self.next_write_at = max(self.next_write_at, now + STEPS_WAIT)
        self.steps[number] = step

    def end_with(self, final: PackedItem, now: float) -> None:
        """Keep the attempt's last word; steps that wait go with it, unless they are too many."""
        if self.steps and sum(map(len, self.steps.values())) <= _MAX_STEP_BYTES:
            final = with_steps(final, self.steps.values())
            self.steps.clear()
        self.final = final
        self.final_at = now

    def mute(self) -> None:
        """Forget what waits, and keep nothing from now on."""
        self.muted = True
        self.final = self.progress_body = None
        self.repeats.clear()
        self.events.clear()
        self.steps.clear()

    def load(self, packer: Packer, now: float) -> bool:
        """Put what waits into `packer`, as far as there is room; return whether the last word is in it."""
        before = len(packer.items)
        del self.repeats[: packer.add_all(self.repeats)]
        if not self.repeats:
            self._load_steps(packer)
        if not (self.repeats or self.steps):
            self._load_events(packer)
        if not (self.repeats or self.steps or self.events):
            self._load_progress(packer)
        rows = len(packer.items) - before
        self.next_write_at = now + rows / WRITES_PER_SECOND
        last = self.final is not None and not self.waiting and packer.add(self.final)
        self.flying = last or rows > 0
        return last

    def _load_steps(self, packer: Packer) -> None:
        while self.steps:
            numbers: list[int] = []
            size = 0
            for number, step in self.steps.items():
                size += len(step)
                if numbers and size > _MAX_STEP_BYTES:
                    break
                numbers.append(number)
            if not packer.add(pack_steps(self.lease, [self.steps[number] for number in numbers])):
                return
            for number in numbers:
                del self.steps[number]

    def _load_events(self, packer: Packer) -> None:
        taken = 0
        for number, entry in enumerate(self.events):
            item = self._packed(entry)
            if not packer.add(item):
                self.events[number] = item
                break
            taken += 1
        del self.events[:taken]

    def _load_progress(self, packer: Packer) -> None:
        if self.final is not None:
            self.progress_body = None  # The last word says how far it came.
        if self.progress_body is not None and packer.add(
            pack(ReportItem("heartbeats", self.lease, self.progress_body))
        ):
            self.progress_body = None

    def _packed(self, entry: PackedItem | list[str]) -> PackedItem:
        if isinstance(entry, PackedItem):
            return entry
        return pack(ReportItem("events", self.lease, {"type": "partial", "data": {"text": "".join(entry)}}))

    def say_again(self, items: Sequence[PackedItem], at: float) -> None:
        """Take back items of this lane, to be sent at `at`, in their order and ahead of what was said later."""
        self.refusals += 1
        self.next_write_at = at
        # The last word was sent from `final` and is still there.
        self.repeats[:0] = [item for item in items if item is not self.final]
