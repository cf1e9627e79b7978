from __future__ import annotations

import pytest

from workers.contract import ClaimedTask, ExchangeAnswer, TaskRow
from workers.polls import Polls

INTERVAL = 2.0
TASK = ClaimedTask(TaskRow("t1", "demo-org", "echo", "hi", 3), None, 1, "token")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def polls(clock: Clock) -> Polls:
    return Polls(INTERVAL, clock)


def answer(tasks: int = 0, next_poll_ms: int = 60_000) -> ExchangeAnswer:
    return ExchangeAnswer(tasks=(TASK,) * tasks, next_poll_ms=next_poll_ms)


def wait_after(polls: Polls, clock: Clock, told: ExchangeAnswer, asked: int = 5) -> float:
    polls.begun()
    polls.answered(told, asked)
    return round(polls.due_at - clock.now, 6)


def test_the_first_poll_is_due_at_once(polls: Polls, clock: Clock) -> None:
    assert polls.due_at <= clock.now


def test_no_other_poll_is_due_while_one_is_under_way(polls: Polls, clock: Clock) -> None:
    polls.begun()
    clock.now += 3600
    assert polls.due_at > clock.now


@pytest.mark.parametrize(
    ("tasks", "next_poll_ms", "seconds"),
    [(0, 60_000, 2.0), (0, 2000, 2.0), (0, 300, 0.3), (3, 60_000, 0.05), (3, 10, 0.01), (3, 0, 0.0), (5, 60_000, 0.0), (0, -5, 0.0)],
)
def test_the_next_poll_is_as_told_and_never_later_than_the_interval(
    polls: Polls, clock: Clock, tasks: int, next_poll_ms: int, seconds: float
) -> None:
    assert wait_after(polls, clock, answer(tasks, next_poll_ms)) == seconds


def test_more_that_waits_and_never_comes_is_asked_for_ever_less_often(polls: Polls, clock: Clock) -> None:
    waits = [wait_after(polls, clock, answer(0, 0)) for _ in range(12)]
    assert waits[:4] == [0.0, 0.01, 0.02, 0.04]
    assert waits[-1] == INTERVAL
    assert wait_after(polls, clock, answer(1, 0)) == 0.0
    assert wait_after(polls, clock, answer(0, 0)) == 0.0


def test_where_work_came_from_more_is_asked_for_soon_and_then_ever_less_often(polls: Polls, clock: Clock) -> None:
    assert wait_after(polls, clock, answer(1)) == 0.05
    waits = [wait_after(polls, clock, answer()) for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, INTERVAL, INTERVAL, INTERVAL]
    assert wait_after(polls, clock, answer(1)) == 0.05


def test_an_answer_that_was_not_asked_for_tasks_may_only_bring_the_poll_nearer(polls: Polls, clock: Clock) -> None:
    wait_after(polls, clock, answer(0, 500))
    polls.answered(answer(0, 60_000), 0)
    assert polls.due_at == clock.now + 0.5
    polls.answered(answer(0, 0), 0)
    assert polls.due_at == clock.now


def test_a_request_is_served_once_and_then_the_interval_holds_again(polls: Polls, clock: Clock) -> None:
    wait_after(polls, clock, answer())
    clock.now += 1
    for _ in range(1000):
        polls.request()
    assert polls.due_at <= clock.now
    assert wait_after(polls, clock, answer()) == INTERVAL


def test_a_request_during_a_poll_is_served_by_another_poll_a_little_later(polls: Polls, clock: Clock) -> None:
    polls.begun()
    polls.request()
    polls.answered(answer(), 5)
    assert clock.now < polls.due_at <= clock.now + 0.05


def test_after_something_went_wrong_even_requests_wait(polls: Polls, clock: Clock) -> None:
    polls.begun()
    polls.postpone()
    polls.request()
    assert polls.due_at == clock.now + INTERVAL
