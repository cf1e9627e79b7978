from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract import Lease, ReportItem
from workers.reports import WRITES_PER_SECOND, Batch, ReportQueue

LEASE = Lease("t1", 1, "token")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> ReportQueue:
    made = ReportQueue(lambda: None, clock)
    made.open(LEASE, timeout_seconds=60)
    return made


def take(queue: ReportQueue, **changes: Any) -> Batch:
    limits = {"heartbeat_seconds": 10.0, "grace_seconds": 5.0, "max_items": 100, "max_bytes": 4_000_000}
    return queue.take(**{**limits, **changes})


def texts(batch: Batch) -> str:
    return "".join(item.body["data"]["text"] for item in batch.items if item.kind == "events")


def test_streamed_text_is_joined_and_keeps_its_order(queue: ReportQueue) -> None:
    for piece in ("a", "b", "c"):
        queue.partial(LEASE, piece)
    batch = take(queue)
    assert [item.body for item in batch.items] == [{"type": "partial", "data": {"text": "abc"}}]


def test_another_event_stands_between_the_texts_around_it(queue: ReportQueue) -> None:
    queue.partial(LEASE, "before")
    queue.event(LEASE, "log", "in between", {"n": 1})
    queue.partial(LEASE, "after")
    types = [item.body["type"] for item in take(queue).items]
    assert types == ["partial", "log", "partial"]


def test_a_task_writes_at_most_five_times_a_second(queue: ReportQueue, clock: Clock) -> None:
    written: list[tuple[float, int]] = []
    streamed = ""
    for step in range(400):  # four seconds, a piece and a step of progress every 10 ms
        clock.now = 1000.0 + step / 100
        queue.partial(LEASE, f"{step} ")
        queue.progress(LEASE, step / 5)
        batch = take(queue, heartbeat_seconds=100)
        streamed += texts(batch)
        if batch.items:
            written.append((clock.now, len(batch.items)))
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    streamed += texts(take(queue))
    for start, _ in written:
        in_a_second = sum(count for at, count in written if start <= at < start + 1)
        assert in_a_second <= WRITES_PER_SECOND + 1  # the window may begin in the middle of a pair
    assert sum(count for _, count in written) <= 4 * WRITES_PER_SECOND + 2
    assert streamed == "".join(f"{step} " for step in range(400))


def test_the_last_text_goes_out_before_the_completion_even_within_the_pause(queue: ReportQueue) -> None:
    queue.partial(LEASE, "first")
    take(queue)
    queue.partial(LEASE, " last")
    assert take(queue).items == ()
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "first last"}))
    kinds = [item.kind for item in take(queue).items]
    assert kinds == ["events", "completed"]
    assert queue.empty


def test_progress_never_falls_and_only_the_newest_is_told(queue: ReportQueue) -> None:
    queue.progress(LEASE, 40, "so far")
    queue.progress(LEASE, 30)
    queue.progress(LEASE, 55, "further")
    queue.progress(LEASE, 55)
    assert [item.body for item in take(queue).items] == [{"progress": 55, "progress_message": "further"}]


def test_heartbeats_are_due_only_after_their_time(queue: ReportQueue, clock: Clock) -> None:
    assert take(queue).items == ()
    assert queue.next_due(10.0, 5.0) == clock.now + 10
    clock.now += 10
    assert [item.kind for item in take(queue).items] == ["heartbeats"]
    assert take(queue).items == ()


def test_an_attempt_that_hangs_past_its_deadline_gets_no_more_heartbeats(queue: ReportQueue, clock: Clock) -> None:
    clock.now += 64
    assert len(take(queue).items) == 1
    clock.now += 11
    assert take(queue).items == ()
    assert queue.next_due(10.0, 5.0) is None
    assert queue.running == 1


def test_heartbeats_go_first_when_not_everything_fits(clock: Clock) -> None:
    queue = ReportQueue(lambda: None, clock)
    leases = [Lease(f"t{number}", 1, "token") for number in range(4)]
    for lease in leases:
        queue.open(lease, 60)
    queue.finish(leases[0], ReportItem("completed", leases[0], {"response": "x"}))
    clock.now += 10
    first = take(queue, max_items=3)
    assert [item.kind for item in first.items] == ["heartbeats"] * 3
    assert first.more
    assert [item.kind for item in take(queue).items] == ["completed"]


def test_an_item_larger_than_the_cap_travels_alone(queue: ReportQueue) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    for lease in (LEASE, other):
        queue.finish(lease, ReportItem("completed", lease, {"response": "x" * 5000}))
    assert len(take(queue, max_bytes=1000).items) == 1
    assert len(take(queue, max_bytes=1000).items) == 1
    assert queue.empty


def test_a_forgotten_lease_says_nothing_but_holds_its_slot_until_its_agent_ends(queue: ReportQueue) -> None:
    queue.partial(LEASE, "x")
    queue.forget(LEASE)
    queue.partial(LEASE, "y")
    queue.progress(LEASE, 90)
    assert take(queue).items == ()
    assert queue.running == 1
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "too late"}))
    assert (queue.running, queue.empty, take(queue).items) == (0, True, ())


def test_what_was_given_back_is_released_whatever_its_agent_says_later(queue: ReportQueue) -> None:
    queue.partial(LEASE, "x")
    assert queue.give_back_all() == [LEASE]
    assert [item.kind for item in take(queue).items] == ["events", "released"]
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "too late"}))
    assert take(queue).items == ()
    assert queue.empty


def test_items_put_back_come_again_first_and_in_order(queue: ReportQueue) -> None:
    queue.event(LEASE, "log", "one")
    queue.event(LEASE, "log", "two")
    batch = take(queue)
    queue.put_back(batch.items)
    assert take(queue).items == batch.items


def test_what_jsonb_refuses_is_replaced_on_the_way(queue: ReportQueue) -> None:
    queue.partial(LEASE, "a\x00b\ud800c")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "\x00", "llm_metadata": {"x": float("nan")}}))
    event, completed = take(queue).items
    assert event.body["data"]["text"] == "a\ufffdb\ufffdc"
    assert completed.body == {"response": "\ufffd", "llm_metadata": {"x": None}}


@given(st.lists(st.tuples(st.sampled_from(["partial", "log", "tick"]), st.text(max_size=5)), max_size=60))
def test_nothing_said_is_lost_or_reordered(steps: list[tuple[str, str]]) -> None:
    clock = Clock()
    queue = ReportQueue(lambda: None, clock)
    queue.open(LEASE, 10_000)
    said: list[str] = []
    heard: list[str] = []
    for kind, text in steps:
        if kind == "partial":
            queue.partial(LEASE, text)
            said.append(text)
        elif kind == "log":
            queue.event(LEASE, "log", "", {"text": f"[{len(said)}]"})
            said.append(f"[{len(said)}]")
        else:
            clock.now += 0.1
            heard.append(texts(take(queue, heartbeat_seconds=1e6)))
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    heard.append(texts(take(queue, heartbeat_seconds=1e6)))
    assert "".join(heard) == "".join(said).replace("\x00", "\ufffd")


def test_agents_on_several_threads_lose_nothing() -> None:
    queue = ReportQueue(lambda: None)
    leases = [Lease(f"t{number}", 1, "token") for number in range(4)]
    for lease in leases:
        queue.open(lease, 60)

    def speak(lease: Lease) -> None:
        for number in range(500):
            queue.partial(lease, f"{number},")
        queue.finish(lease, ReportItem("completed", lease, {"response": ""}))

    threads = [threading.Thread(target=speak, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    heard: dict[str, str] = dict.fromkeys((lease.task_id for lease in leases), "")
    while not queue.empty:
        for item in take(queue).items:
            if item.kind == "events":
                heard[item.lease.task_id] += item.body["data"]["text"]
    for thread in threads:
        thread.join()
    assert set(heard.values()) == {"".join(f"{number}," for number in range(500))}
