"""What an attempt says goes out once, in order and no more often than agreed, whatever becomes of the requests.

Over 400 lines, because lanes, repeats and last words are seen only together.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.answers import Answers
from workers.contract import ClaimedTask, ExchangeAnswer, Lease, ReportItem, StopReason, TaskRow
from workers.lanes import WRITES_PER_SECOND
from workers.logs import build_logger
from workers.packing import PackedItem
from workers.reports import Batch, ReportQueue

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


def sent(queue: ReportQueue, **changes: Any) -> Batch:
    """Take what is due, and let the database take it."""
    batch = take(queue, **changes)
    queue.settle(batch)
    return batch


def body(item: PackedItem) -> dict[str, Any]:
    """Return what an item says, without its fence."""
    said: dict[str, Any] = json.loads(item.text)
    assert tuple(said.pop(key) for key in ("task_id", "attempt", "lease_token")) == item.lease
    return said


def texts(batch: Batch) -> str:
    return "".join(body(item)["data"]["text"] for item in batch.items if item.kind == "events")


def kinds(batch: Batch) -> list[str]:
    return [item.kind for item in batch.items]


def test_streamed_text_is_joined_and_keeps_its_order(queue: ReportQueue) -> None:
    for piece in ("a", "b", "c"):
        queue.partial(LEASE, piece)
    batch = take(queue)
    assert [body(item) for item in batch.items] == [{"type": "partial", "data": {"text": "abc"}}]


def test_another_event_stands_between_the_texts_around_it(queue: ReportQueue) -> None:
    queue.partial(LEASE, "before")
    queue.event(LEASE, "log", "in between", {"n": 1})
    queue.partial(LEASE, "after")
    types = [body(item)["type"] for item in take(queue).items]
    assert types == ["partial", "log", "partial"]


def test_a_task_writes_at_most_five_times_a_second(queue: ReportQueue, clock: Clock) -> None:
    written: list[tuple[float, int]] = []
    streamed = ""
    for step in range(400):  # four seconds, a piece and a step of progress every 10 ms
        clock.now = 1000.0 + step / 100
        queue.partial(LEASE, f"{step} ")
        queue.progress(LEASE, step / 5)
        batch = sent(queue, heartbeat_seconds=100)
        streamed += texts(batch)
        if batch.items:
            written.append((clock.now, len(batch.items)))
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    streamed += texts(sent(queue))
    for start, _ in written:
        in_a_second = sum(count for at, count in written if start <= at < start + 1)
        assert in_a_second <= WRITES_PER_SECOND + 1  # the window may begin in the middle of a pair
    assert sum(count for _, count in written) <= 4 * WRITES_PER_SECOND + 2
    assert streamed == "".join(f"{step} " for step in range(400))


def test_the_last_text_goes_out_before_the_completion_even_within_the_pause(queue: ReportQueue) -> None:
    queue.partial(LEASE, "first")
    sent(queue)
    queue.partial(LEASE, " last")
    assert take(queue).items == ()
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "first last"}))
    assert kinds(sent(queue)) == ["events", "completed"]
    assert queue.empty


def test_what_is_under_way_holds_back_the_rest_of_its_lane_and_no_other(queue: ReportQueue) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    queue.partial(LEASE, "first")
    first = take(queue)
    queue.partial(LEASE, " last")
    queue.progress(LEASE, 50)
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "first last"}))
    queue.partial(other, "between")
    second = take(queue)
    assert [item.lease for item in second.items] == [other]
    queue.settle(first)
    assert kinds(take(queue)) == ["events", "completed"]


def test_heartbeats_go_out_while_the_rest_of_the_lane_is_under_way(queue: ReportQueue, clock: Clock) -> None:
    queue.partial(LEASE, "first")
    take(queue)
    clock.now += 10
    assert kinds(take(queue)) == ["heartbeats"]
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "first"}))
    clock.now += 10
    assert kinds(take(queue)) == ["heartbeats"]


def test_a_batch_may_be_restricted_to_heartbeats(queue: ReportQueue, clock: Clock) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    queue.partial(LEASE, "text")
    queue.finish(other, ReportItem("completed", other, {"response": "x"}))
    clock.now += 10
    assert kinds(take(queue, only_heartbeats=True)) == ["heartbeats", "heartbeats"]
    assert kinds(take(queue)) == ["completed", "events"]


def test_progress_never_falls_and_only_the_newest_is_told(queue: ReportQueue) -> None:
    queue.progress(LEASE, 40, "so far")
    queue.progress(LEASE, 30)
    queue.progress(LEASE, 55, "further")
    queue.progress(LEASE, 55)
    assert [body(item) for item in take(queue).items] == [{"progress": 55, "progress_message": "further"}]


def test_heartbeats_are_due_only_after_their_time(queue: ReportQueue, clock: Clock) -> None:
    assert take(queue).items == ()
    assert queue.next_due(10.0, 5.0) == clock.now + 10
    assert queue.next_beat(10.0, 5.0) == clock.now + 10
    clock.now += 10
    assert kinds(take(queue)) == ["heartbeats"]
    assert take(queue).items == ()


def test_heartbeats_that_did_not_fit_are_still_due(queue: ReportQueue, clock: Clock) -> None:
    queue.open(Lease("t2", 1, "token"), 60)
    clock.now += 10
    told = [take(queue, max_items=1).items[0].lease.task_id for _ in range(2)]
    assert sorted(told) == ["t1", "t2"]
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
    assert kinds(take(queue, max_items=3)) == ["heartbeats"] * 3
    assert kinds(take(queue)) == ["completed"]


def test_an_item_larger_than_the_cap_travels_alone(queue: ReportQueue) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    for lease in (LEASE, other):
        queue.finish(lease, ReportItem("completed", lease, {"response": "x" * 5000}))
    assert len(sent(queue, max_bytes=1000).items) == 1
    assert len(sent(queue, max_bytes=1000).items) == 1
    assert queue.empty


def test_events_that_did_not_fit_follow_in_order(queue: ReportQueue) -> None:
    for number in range(5):
        queue.event(LEASE, "log", str(number))
    queue.partial(LEASE, "text")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    said = []
    while not queue.empty:
        said += [body(item) for item in sent(queue, max_items=2).items]
    assert [entry.get("message", entry.get("data")) for entry in said] == [*"01234", {"text": "text"}, None]


def test_a_forgotten_lease_says_nothing_but_holds_its_slot_until_its_agent_ends(queue: ReportQueue) -> None:
    queue.partial(LEASE, "x")
    queue.forget(LEASE)
    queue.partial(LEASE, "y")
    queue.progress(LEASE, 90)
    assert take(queue).items == ()
    assert queue.running == 1
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "too late"}))
    assert (queue.running, queue.empty, take(queue).items) == (0, True, ())


def test_what_is_forgotten_while_it_is_under_way_does_not_come_again(queue: ReportQueue) -> None:
    queue.partial(LEASE, "x")
    batch = take(queue)
    queue.forget(LEASE)
    queue.put_back(batch)
    assert take(queue).items == ()
    queue.finish(LEASE, None)
    assert queue.empty


def test_what_was_given_back_is_released_whatever_its_agent_says_later(queue: ReportQueue) -> None:
    queue.partial(LEASE, "x")
    assert queue.give_back_all() == [LEASE]
    assert kinds(sent(queue)) == ["events", "released"]
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "too late"}))
    assert take(queue).items == ()
    assert queue.empty


def test_items_put_back_come_again_first_and_in_order(queue: ReportQueue) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    queue.event(LEASE, "log", "one")
    queue.event(LEASE, "log", "two")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "x"}))
    batch = take(queue)
    queue.finish(other, ReportItem("completed", other, {"response": "y"}))
    queue.put_back(batch)
    again = take(queue)
    assert again.items[:3] == batch.items
    assert again.finals == 2


def test_a_busy_row_is_told_again_soon_and_ever_less_often(queue: ReportQueue, clock: Clock) -> None:
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "x"}))
    pauses = []
    for _ in range(8):
        batch = take(queue)
        queue.settle(batch, busy=batch.items)
        assert take(queue).items == ()
        due = queue.next_due(100.0, 5.0)
        assert due is not None
        pauses.append(round(due - clock.now, 3))
        clock.now = due
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert pauses[-1] == 1.0
    assert kinds(sent(queue)) == ["completed"]
    assert queue.empty


def test_what_is_said_after_a_busy_row_waits_behind_it(queue: ReportQueue, clock: Clock) -> None:
    queue.event(LEASE, "log", "one")
    first = take(queue)
    queue.settle(first, busy=first.items)
    queue.event(LEASE, "log", "two")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "x"}))
    assert take(queue).items == ()
    clock.now += 0.05
    again = sent(queue)
    assert again.items[0] == first.items[0]
    assert [body(item).get("message") for item in again.items] == ["one", "two", None]


def test_the_events_of_an_attempt_whose_end_was_taken_are_not_told_again(queue: ReportQueue) -> None:
    queue.event(LEASE, "log", "one")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "x"}))
    batch = take(queue)
    queue.settle(batch, busy=batch.items[:1])
    assert queue.empty


def test_a_busy_heartbeat_is_told_again_soon(queue: ReportQueue, clock: Clock) -> None:
    clock.now += 10
    batch = take(queue)
    queue.settle(batch, busy=batch.items)
    clock.now += 0.05
    assert kinds(sent(queue)) == ["heartbeats"]
    assert queue.next_due(10.0, 5.0) == clock.now - 0.05 + 10


def test_the_queue_counts_what_may_still_be_held(queue: ReportQueue) -> None:
    other = Lease("t2", 1, "token")
    queue.open(other, 60)
    assert (queue.held, queue.running, queue.waiting) == (2, 2, 0)
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    assert (queue.held, queue.running, queue.waiting, queue.last_words) == (2, 1, 1, 1)
    batch = take(queue)
    assert (batch.finals, queue.held, queue.last_words) == (1, 2, 0)
    queue.settle(batch)
    assert (queue.held, queue.running, queue.waiting) == (1, 1, 0)
    queue.add(ReportItem("failed", Lease("t3", 1, "token"), {}))
    assert (queue.held, queue.running, queue.waiting) == (2, 1, 1)


def test_the_exchange_is_woken_when_something_begins_to_wait_and_not_for_every_piece(clock: Clock) -> None:
    woken: list[None] = []
    queue = ReportQueue(lambda: woken.append(None), clock, enough=3)
    leases = [Lease(f"t{number}", 1, "token") for number in range(5)]
    for lease in leases:
        queue.open(lease, 60)
    for _ in range(100):
        queue.partial(LEASE._replace(task_id="t0"), "x")
    assert len(woken) == 1
    for lease in leases[1:]:
        queue.finish(lease, ReportItem("completed", lease, {}))
    assert len(woken) == 3  # for the first last word, and when there are enough


def test_what_jsonb_refuses_is_replaced_on_the_way(queue: ReportQueue) -> None:
    queue.partial(LEASE, "a\x00b\ud800c")
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": "\x00", "llm_metadata": {"x": float("nan")}}))
    event, completed = take(queue).items
    assert body(event)["data"]["text"] == "a\ufffdb\ufffdc"
    assert body(completed) == {"response": "\ufffd", "llm_metadata": {"x": None}}


@given(st.lists(st.tuples(st.sampled_from(["partial", "log", "tick", "back", "busy"]), st.text(max_size=5))))
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
        elif kind == "tick":
            clock.now += 0.1
            heard.append(texts(sent(queue, heartbeat_seconds=1e6)))
        elif kind == "back":
            queue.put_back(take(queue, heartbeat_seconds=1e6))
        else:
            batch = take(queue, heartbeat_seconds=1e6)
            queue.settle(batch, busy=batch.items)
    queue.finish(LEASE, ReportItem("completed", LEASE, {"response": ""}))
    clock.now += 1
    heard.append(texts(sent(queue, heartbeat_seconds=1e6)))
    assert "".join(heard) == "".join(said).replace("\x00", "\ufffd")
    assert queue.empty


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
        for item in sent(queue).items:
            if item.kind == "events":
                heard[item.lease.task_id] += body(item)["data"]["text"]
    for thread in threads:
        thread.join()
    assert set(heard.values()) == {"".join(f"{number}," for number in range(500))}


class Agents:
    """Remembers which attempts were started and stopped."""

    def __init__(self) -> None:
        self.started: list[Lease] = []
        self.stopped: list[Lease] = []

    def start(self, tasks: Sequence[ClaimedTask]) -> None:
        self.started.extend(claimed.lease for claimed in tasks)

    def stop(self, lease: Lease, reason: StopReason) -> None:
        assert reason in {"cancelled", "lost"}
        self.stopped.append(lease)


def test_a_late_word_of_a_cancellation_does_not_stop_the_retry(queue: ReportQueue) -> None:
    agents = Agents()
    answers = Answers(queue, agents, build_logger("json", "ERROR"))
    late, retry = take(queue), Lease("t1", 2, "token of the retry")
    queue.open(retry, timeout_seconds=60)
    answers.apply(ExchangeAnswer(cancel=("t1",)), late, draining=False)
    assert agents.stopped == []
    queue.finish(retry, ReportItem("completed", retry))
    assert [(item.kind, item.lease) for item in sent(queue).items] == [("completed", retry)]


def test_a_cancellation_stops_the_attempt_that_was_known_to_its_request(queue: ReportQueue) -> None:
    agents = Agents()
    answers = Answers(queue, agents, build_logger("json", "ERROR"))
    answers.apply(ExchangeAnswer(cancel=("t1",)), take(queue), draining=False)
    assert agents.stopped == [LEASE]
    queue.finish(LEASE, ReportItem("completed", LEASE))
    assert queue.empty


def test_an_attempt_that_comes_after_its_successor_is_not_begun(queue: ReportQueue) -> None:
    agents = Agents()
    answers = Answers(queue, agents, build_logger("json", "ERROR"))
    first, second = (ClaimedTask(TaskRow("t2", "org", "process", "x", 3), None, n, f"token {n}") for n in (1, 2))
    answers.apply(ExchangeAnswer(tasks=(second,)), take(queue), draining=False)
    answers.apply(ExchangeAnswer(tasks=(first,)), take(queue), draining=False)
    assert (agents.started, agents.stopped) == ([second.lease], [])
    queue.finish(second.lease, ReportItem("completed", second.lease))
    assert [(item.kind, item.lease) for item in sent(queue).items] == [("completed", second.lease)]


def test_an_attempt_takes_the_place_of_the_one_before(queue: ReportQueue) -> None:
    agents = Agents()
    answers = Answers(queue, agents, build_logger("json", "ERROR"))
    answers.apply(
        ExchangeAnswer(tasks=(ClaimedTask(TaskRow("t1", "org", "process", "x", 3), None, 2, "other"),)),
        take(queue),
        draining=False,
    )
    assert (agents.started, agents.stopped) == ([Lease("t1", 2, "other")], [LEASE])
