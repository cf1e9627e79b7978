"""Limits under eight claimers at once: never exceeded, keys in order, and everything is worked off in the end.

Two records judge it, each without false alarms. The trail: a claim's event is written after the claimer found room,
and an end's event before the place is free, so whoever replays them in the order of their ids never counts more than
ran at once. The claimers: from the answer to a claim until they report, a task runs for certain.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item

CLAIMERS = 8
SECONDS = 45.0


@dataclass
class Shift:
    """Eight workers that claim and end tasks of these organizations until none is left unfinished."""

    world: World
    slugs: list[str]
    tasks: int
    failing: float = 0.0
    held: list[tuple[float, float, Row]] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        results = in_parallel([self.world.service] * CLAIMERS, self.claim_until_done)
        assert results == [None] * CLAIMERS
        assert len(self.ended) == self.tasks, f"{self.tasks - len(self.ended)} tasks were never worked off"

    def claim_until_done(self, session: Session) -> None:
        worker = self.world.worker().on(session)
        chance = random.Random(worker.id)  # noqa: S311
        give_up = time.monotonic() + SECONDS
        while len(self.ended) < self.tasks and time.monotonic() < give_up:
            answer = worker.exchange(max_tasks=chance.choice([1, 1, 2, 4]), organizations=self.slugs)
            since = time.monotonic()
            for lease in answer["tasks"]:
                time.sleep(chance.random() * 0.004)
                self.end(worker, lease, since, fails=chance.random() < self.failing)
            if not answer["tasks"]:
                time.sleep(0.02)  # Whoever finds nothing lets the others work.

    def end(self, worker: Worker, lease: Row, since: float, fails: bool) -> None:
        last = lease["attempt"] == lease["task"]["max_attempts"]
        with self.lock:
            self.held.append((since, time.monotonic(), lease["task"]))
        kind, more = "completed", item(lease, response="done.")
        if fails and not last:
            kind, more = "failed", item(lease, error_code="some_error", error_message="m", retryable=True)
        while worker.exchange(report={kind: [more]})["outcomes"][0]["outcome"] == "busy":
            time.sleep(0.001)
        if kind == "completed":
            with self.lock:
                self.ended.add(lease["task"]["id"])


def trail(world: World, slugs: list[str]) -> list[Row]:
    """Read every start and end of an attempt in the order in which they were written."""
    return world.admin.rows(
        "select e.task_id::text, e.data ->> 'to' = 'in_progress' as starts, t.organization_slug, t.agent_slug,"
        " t.concurrency_key, t.metadata ->> 'number' as number"
        " from public.task_events e join public.tasks t on t.id = e.task_id"
        " where t.organization_slug = any (%s) and 'in_progress' in (e.data ->> 'to', e.data ->> 'from') order by e.id",
        slugs,
    )


def most_at_once(world: World, slugs: list[str], name: Callable[[Row], Any]) -> dict[Any, int]:
    """Replay the trail: the most tasks of each name that ran at once."""
    now, most = Counter[Any](), Counter[Any]()
    for event in trail(world, slugs):
        now[name(event)] += 1 if event["starts"] else -1
        most[name(event)] = max(most[name(event)], now[name(event)])
    assert not +now
    return most


def most_held_at_once(shift: Shift, name: Callable[[Row], Any]) -> dict[Any, int]:
    """Give the most tasks of each name that claimers held at once for certain."""
    now, most = Counter[Any](), Counter[Any]()
    moments = [(start, 1, task) for start, _, task in shift.held] + [(end, -1, task) for _, end, task in shift.held]
    for _, step, task in sorted(moments, key=lambda moment: moment[:2]):
        now[name(task)] += step
        most[name(task)] = max(most[name(task)], now[name(task)])
    return most


def check_at_most(shift: Shift, limits: dict[Any, int], name: Callable[[Row], Any]) -> None:
    """Hold both records against the limits; where several may run several must have, or this would show nothing."""
    for most in (most_at_once(shift.world, shift.slugs, name), most_held_at_once(shift, name)):
        for limited, limit in limits.items():
            assert most[limited] <= limit, f"{most[limited]} of {limited} ran at once, {limit} may"
            assert most[limited] >= min(limit, 2), f"no two of {limited} ran at once"


@pytest.mark.parametrize("limit", [1, 3])
def test_an_organization_never_runs_more_than_its_limit(world: World, limit: int) -> None:
    tenant = world.tenant(max_concurrent_tasks=limit)
    for _ in range(60):
        tenant.task(backoff="0")
    shift = Shift(world, [tenant.slug], 60, failing=0.1)
    shift.work()
    check_at_most(shift, {tenant.slug: limit}, lambda row: row["organization_slug"])


def test_an_agent_never_has_more_than_its_limit_over_all_its_organizations(world: World) -> None:
    one, other = world.tenant(), world.tenant()
    agents = {one.add_agent(organization_slug=[one.slug, other.slug], max_concurrent_tasks=n): n for n in (1, 3)}
    for number in range(60):
        for agent in [*agents, None]:
            tenant = (one, other)[number % 2]
            tenant.task(agent_slug=agent or tenant.agent, backoff="0")
    shift = Shift(world, [one.slug, other.slug], 180, failing=0.1)
    shift.work()
    check_at_most(shift, agents, lambda row: row["agent_slug"])


def test_a_key_never_has_more_than_its_limit_and_another_organization_has_its_own(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    limits = {"one": 1, "three": 3}
    for _ in range(30):
        for tenant in tenants:
            for key, limit in limits.items():
                tenant.task(concurrency_key=key, concurrency_limit=limit, backoff="0")
            tenant.task()
    shift = Shift(world, [t.slug for t in tenants], 180, failing=0.1)
    shift.work()
    keys = {(tenant.slug, key): limit for tenant in tenants for key, limit in limits.items()}
    most = most_at_once(world, shift.slugs, lambda row: (row["organization_slug"], row["concurrency_key"]))
    assert all(min(limit, 2) <= most[key] <= limit for key, limit in keys.items()), most


@pytest.mark.parametrize("batch", [False, True], ids=["one insert each", "one insert"])
def test_a_key_of_limit_one_runs_in_order_of_insertion_also_when_attempts_fail(world: World, batch: bool) -> None:
    tenant = world.tenant()
    keys = ["a", "b", "c"]
    insert_in_order(tenant, keys, 20, batch)
    shift = Shift(world, [tenant.slug], 60, failing=0.3)
    shift.work()
    runs: dict[str, list[str]] = defaultdict(list)
    for event in trail(world, [tenant.slug]):
        if event["starts"]:
            runs[event["concurrency_key"]].append(event["number"])
    for key in keys:
        # Each task's attempts stand together, and the tasks in the order of their numbers.
        assert runs[key] == sorted(runs[key], key=int)
        assert set(runs[key]) == {str(n) for n in range(20)}
    assert max(Counter(runs["a"]).values()) > 1, "no attempt failed"


def insert_in_order(tenant: Tenant, keys: list[str], count: int, batch: bool) -> None:
    """Insert `count` tasks of each key, numbered; batch: all in one statement."""
    numbered = [(key, n) for n in range(count) for key in keys]
    if not batch:
        for key, n in numbered:
            tenant.task(concurrency_key=key, metadata={"number": n}, backoff="0")
        return
    tenant.owner.execute(
        "insert into public.tasks (organization_slug, agent_slug, method, prompt, concurrency_key, metadata, backoff)"
        " select %s, %s, 'process', 'Write.', i.key, jsonb_build_object('number', i.number), '0'"
        " from unnest(%s::text[], %s::integer[]) with ordinality i (key, number, place) order by i.place",
        tenant.slug,
        tenant.agent,
        [key for key, _ in numbered],
        [n for _, n in numbered],
    )


@pytest.mark.parametrize("limited", ["organization", "agent", "key"])
def test_one_claim_that_asks_for_many_gets_no_more_than_may_run(world: World, worker: Worker, limited: str) -> None:
    tenant = world.tenant(**({"max_concurrent_tasks": 2} if limited == "organization" else {}))
    agent = tenant.add_agent(max_concurrent_tasks=2 if limited == "agent" else None)
    for _ in range(40):
        tenant.task(agent_slug=agent, concurrency_key="k" if limited == "key" else None, concurrency_limit=2)
    leases = worker.claim(tenant, 4) + worker.claim(tenant, 30)
    assert len(leases) == 2
    assert worker.complete(leases[0]) == "ok"
    assert len(worker.claim(tenant, 30)) == 1


def test_a_failed_task_that_waits_keeps_its_place_in_a_key_of_limit_one(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    first, second = [tenant.task(concurrency_key="k", backoff="10 seconds") for _ in range(2)]
    worker.fail(worker.claim_one(tenant), retryable=True)
    assert worker.claim(tenant, 10) == []
    later = worker.on(world.service.at("20 seconds"))
    assert [lease["task"]["id"] for lease in later.claim(tenant, 10)] == [first]
    assert later.claim(tenant, 10) == []
    assert second


def test_all_limits_together_leave_nothing_behind(world: World) -> None:
    tenant = world.tenant(max_concurrent_tasks=4)
    agents = {tenant.add_agent(max_concurrent_tasks=n): n for n in (1, 2)}
    for number in range(90):
        key = [None, "one", "two"][number % 3]
        agent = [tenant.agent, *agents][number // 3 % 3]
        tenant.task(agent_slug=agent, concurrency_key=key, concurrency_limit=2 if key == "two" else 1, backoff="0")
    shift = Shift(world, [tenant.slug], 90, failing=0.2)
    shift.work()
    slugs = [tenant.slug]
    assert most_at_once(world, slugs, lambda row: row["organization_slug"])[tenant.slug] <= 4
    of_agents = most_at_once(world, slugs, lambda row: row["agent_slug"])
    assert all(of_agents[agent] <= limit for agent, limit in agents.items())
    of_keys = most_at_once(world, slugs, lambda row: row["concurrency_key"])
    assert of_keys["one"] <= 1
    assert of_keys["two"] <= 2


def test_a_limit_that_is_raised_and_a_queue_that_is_resumed_let_the_rest_go(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    agent = tenant.add_agent(max_concurrent_tasks=1)
    for _ in range(6):
        tenant.task(agent_slug=agent)
    assert len(worker.claim(tenant, 6)) == 1
    world.service.rows("select public.pause_queue(%s)", tenant.slug)
    tenant.owner.update("agents", {"slug": agent}, max_concurrent_tasks=3)
    assert claim_soon(worker, tenant) == 0
    world.service.rows("select public.resume_queue(%s)", tenant.slug)
    assert claim_soon(worker, tenant) == 2
    tenant.owner.update("agents", {"slug": agent}, max_concurrent_tasks=None)
    assert claim_soon(worker, tenant) == 3


def claim_soon(worker: Worker, tenant: Tenant) -> int:
    """Claim as a worker does that polls: housekeeping has had its turn before the second exchange."""
    tenant.world.admin.execute("update private.maintenance set last_run_at = '-infinity'")
    answers = [worker.exchange(max_tasks=10, organizations=[tenant.slug]) for _ in range(2)]
    return sum(len(answer["tasks"]) for answer in answers)
