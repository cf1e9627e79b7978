"""Workers that die and sleep at random moments, hundreds of times over thousands of tasks.

ORCHESTRATOR_CHAOS_SEED repeats a run's dice, ORCHESTRATOR_CHAOS_KILLS says how many workers are to die.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.stack import Stack
from tests.workers.chaos_invariants import assert_whole, count_runs
from tests.workers.chaos_kit import Errand, Fleet, ForkedWorker, Ground, dice, laid_out
from tests.workers.chaos_worker import Script
from tests.workers.waiting import Row

KILLS = int(os.environ.get("ORCHESTRATOR_CHAOS_KILLS", "200"))
TASKS_PER_KILL = 12  # How many are over from one kill to the next, on average.
SLEEPS_PER_KILL = 0.1
CANCELS_PER_KILL = 0.5
WORKERS = 5
CONCURRENCY = 8
LEASE_SECONDS = 2
LIMIT = 6  # What the first organization may run at once.
BACKLOG = 150  # Tasks that wait, so that nobody is idle while others die.
TOLERABLE_SECONDS = 300  # Many times what 200 kills take on two quiet cores.

# Two partial indexes answer this, however many tasks are over.
_STATE = """
select
  (select count(*) from public.tasks where status = 'pending' and organization_slug = any (%s)) as waiting,
  count(*) as held,
  count(*) filter (where organization_slug = %s) as limited,
  coalesce(array_agg(distinct worker_id), '{}') as holders
from public.tasks where status = 'in_progress' and organization_slug = any (%s)
"""


class Havoc:
    """One run: keeps workers at work, kills them, puts some to sleep, cancels tasks, and looks on."""

    def __init__(self, rng: random.Random, ground: Ground, fleet: Fleet) -> None:
        self._rng = rng
        self._ground = ground
        self._fleet = fleet
        self._asleep: dict[ForkedWorker, float] = {}
        self._next_kill = 0  # How many tasks are to be over before it.
        self.kills = 0
        self.sleeps = 0
        self.added = 0
        self.cancelled: set[str] = set()
        self.most_at_once = 0

    def rage(self, kills: int) -> None:
        """Go on until so many workers have been killed."""
        deadline = time.monotonic() + TOLERABLE_SECONDS
        while self.kills < kills:
            assert time.monotonic() < deadline, f"only {self.kills} kills in {TOLERABLE_SECONDS} seconds"
            state = self.tend()
            if self.added - state["waiting"] - state["held"] >= self._next_kill:
                self._next_kill += self._rng.randrange(2 * TASKS_PER_KILL)
                self._strike(state["holders"])
            if state["waiting"] < BACKLOG:
                self.added += len(self._ground.add(*(self._errand() for _ in range(BACKLOG))))
            time.sleep(self._rng.uniform(0.01, 0.06))

    def tend(self) -> Row:
        """Replace the dead, wake those who have slept past their leases, and return how things stand."""
        for worker in [worker for worker, until in self._asleep.items() if time.monotonic() >= until]:
            worker.signal(signal.SIGCONT)
            del self._asleep[worker]
        for _ in range(WORKERS - len(self._fleet.alive) + len(self._asleep)):
            self._fleet.start(
                concurrency=CONCURRENCY, lease_seconds=LEASE_SECONDS, clock_offset=self._rng.uniform(-86400, 86400)
            )
        slugs = self._ground.organizations
        (state,) = self._ground.rows(_STATE, slugs, slugs[0], slugs)
        self.most_at_once = max(self.most_at_once, state["limited"])
        return state

    def _strike(self, holders: list[str]) -> None:
        """Kill a worker, mostly one that has tasks; sometimes stop another or cancel a task."""
        alive = self._fleet.alive
        at_work = [worker for worker in alive if worker.id in holders]
        victim = self._rng.choice(at_work if at_work and self._rng.random() < 0.9 else alive)
        self._asleep.pop(victim, None)
        victim.kill()
        self.kills += 1
        awake = [worker for worker in at_work if worker is not victim and worker not in self._asleep]
        if awake and self._rng.random() < SLEEPS_PER_KILL:
            sleeper = self._rng.choice(awake)
            sleeper.signal(signal.SIGSTOP)
            self._asleep[sleeper] = time.monotonic() + LEASE_SECONDS * self._rng.uniform(0.5, 2)
            self.sleeps += 1
        if self._rng.random() < CANCELS_PER_KILL:
            self._cancel()

    def _errand(self) -> Errand:
        rng = self._rng
        script = Script(
            ms=round(2 * 10 ** rng.uniform(0, 2.3)),  # 2 to 400, mostly short
            fails=rng.choice([0] * 8 + [1, 2]),
            fatal=rng.random() < 0.03,
            stubborn=rng.random() < 0.1,
        )
        return Errand(
            script,
            organization=rng.randrange(len(self._ground.organizations)),
            conversation=rng.choice([None, None, rng.randrange(Ground.CONVERSATIONS)]),
            priority=rng.choice([10, 100, 100]),
            max_attempts=rng.choice([2, 1000, 1000, 1000, 1000]),
        )

    def _cancel(self) -> None:
        rows = self._ground.rows(
            "select id from public.tasks where organization_slug = any (%s) and status = %s limit 20",
            self._ground.organizations,
            self._rng.choice(["pending", "in_progress"]),
        )
        if not rows:
            return
        task_id = str(self._rng.choice(rows)["id"])
        try:
            self._ground.rows("select public.cancel_task(%s)", task_id)
        except psycopg.Error as error:
            if error.sqlstate != "PT409":  # It was over before.
                raise
        else:
            self.cancelled.add(task_id)


@pytest.fixture
def ground(stack: Stack) -> Iterator[Ground]:
    with laid_out(stack, organizations=4) as ground:
        yield ground


def test_hundreds_of_killed_and_sleeping_workers_lose_nothing_and_repeat_nothing(
    stack: Stack, ground: Ground, tmp_path: Path
) -> None:
    ground.rows(
        "update public.organizations set settings = jsonb_build_object('limits',"
        " jsonb_build_object('max_concurrent_tasks', %s::integer)) where slug = %s returning slug",
        LIMIT,
        ground.organizations[0],
    )
    fleet = Fleet(stack, tmp_path, ground.organizations)
    havoc = Havoc(dice(), ground, fleet)
    try:
        havoc.rage(KILLS)
        ground.await_all_final(60, havoc.tend)
        havoc.tend()
        fleet.drain()
    finally:
        fleet.close()

    runs = count_runs(ground.sql, ground.organizations)
    print(f"{havoc.kills} kills, {havoc.sleeps} sleeps, {havoc.added} tasks, {len(havoc.cancelled)} cancelled, {runs}")
    assert_whole(ground.sql, ground.organizations)
    query = "select id from public.tasks where organization_slug = any (%s) and status = 'cancelled'"
    assert {str(row["id"]) for row in ground.rows(query, ground.organizations)} == havoc.cancelled
    crowds = ground.rows(
        "select id, response_metadata from public.tasks"
        " where organization_slug = any (%s) and (response_metadata ->> 'running')::integer > %s",
        ground.organizations,
        CONCURRENCY,
    )
    assert crowds == [], "a worker ran more than it may"
    assert 1 <= havoc.most_at_once <= LIMIT
    # The run was worth it: the dead left work behind, and far more was done than was lost.
    assert runs["abandoned"] >= KILLS
    assert runs["completed"] >= 8 * KILLS
