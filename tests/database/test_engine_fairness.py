"""Fairness: organizations take turns whatever their backlogs, within one priority goes before age, nobody starves.

A round is one claim. With room for all organizations that have work, each gets something in every round. With less
room the draw is random: an organization is passed over in a round with probability 1 - room / organizations, so that
the bounds below fail by chance less than once in a billion runs.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.database.kit import Row, Tenant, Worker, World

ORGANIZATIONS = 4
START = datetime(2026, 1, 1, tzinfo=UTC)
# A round: what arrives for each organization, (how many, priority, minutes until due), and for how many there is room.
ARRIVALS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3), st.sampled_from([0, 0, 3])), max_size=2)
ROUNDS = st.lists(
    st.tuples(st.tuples(*[ARRIVALS] * ORGANIZATIONS), st.integers(1, 12)),
    min_size=1,
    max_size=6,
)


def claim(worker: Worker, tenants: list[Tenant], max_tasks: int) -> list[Row]:
    """Claim for these organizations; give the tasks as they stand in the table, already completed."""
    slugs = [tenant.slug for tenant in tenants]
    leases = worker.session.call("claim_tasks", worker_id=worker.id, max_tasks=max_tasks, organizations=slugs)
    for lease in leases:
        assert worker.complete(lease) == "ok"
    ids = [lease["task"]["id"] for lease in leases]
    return tenants[0].world.admin.rows(
        "select t.id::text, t.organization_slug, t.priority, t.scheduled_at"
        " from unnest(%s::uuid[]) with ordinality i (id, place) join public.tasks t on t.id = i.id order by i.place",
        ids,
    )


def fill(tenant: Tenant, count: int, *, priority: int = 100, due: datetime = START, agent: str = "") -> None:
    """Insert many tasks in one statement, each a microsecond after the one before."""
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, priority, scheduled_at)"
        " select %s, %s, %s, 'process', 'Write.', %s, %s + n * interval '1 microsecond' from generate_series(1, %s) n",
        *(tenant.slug, tenant.owner.id, agent or tenant.agent, priority, due, count),
    )


@dataclass
class Backlog:
    """What waits in one organization: (priority, due) of each task."""

    waiting: list[tuple[int, datetime]] = field(default_factory=list)

    def due(self, now: datetime) -> list[tuple[int, datetime]]:
        return sorted(task for task in self.waiting if task[1] <= now)


@pytest.fixture(scope="module")
def tenants(scene: World) -> list[Tenant]:
    return [scene.tenant() for _ in range(ORGANIZATIONS)]


@pytest.fixture
def empty(tenants: list[Tenant]) -> Generator[list[Tenant]]:
    yield tenants
    clear(tenants)


def clear(tenants: list[Tenant]) -> None:
    slugs = [tenant.slug for tenant in tenants]
    tenants[0].world.admin.execute("delete from public.tasks where organization_slug = any (%s)", slugs)


@given(rounds=ROUNDS)
@settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
def test_organizations_take_turns_in_order_of_priority_and_age(
    tenants: list[Tenant], rounds: list[tuple[tuple[list[tuple[int, int, int]], ...], int]]
) -> None:
    clear(tenants)
    backlogs = {tenant.slug: Backlog() for tenant in tenants}
    now = datetime.now(UTC).replace(microsecond=0)
    for arrivals, room in rounds:
        now += timedelta(minutes=1)
        for tenant, groups in zip(tenants, arrivals, strict=True):
            for count, priority, delay in groups:
                due = now + timedelta(minutes=delay, milliseconds=len(backlogs[tenant.slug].waiting))
                due -= timedelta(seconds=1)
                fill(tenant, count, priority=priority, due=due)
                backlogs[tenant.slug].waiting += [
                    (priority, due + timedelta(microseconds=n)) for n in range(1, count + 1)
                ]
        offset = f"{(now - datetime.now(UTC)).total_seconds()} seconds"
        worker = tenants[0].world.worker().on(tenants[0].world.service.at(offset))
        check_round(claim(worker, tenants, room), backlogs, now, room)


def check_round(tasks: list[Row], backlogs: dict[str, Backlog], now: datetime, room: int) -> None:
    """Check one claim's choice, and take it out of the backlogs."""
    given_to: dict[str, list[tuple[int, datetime]]] = {slug: [] for slug in backlogs}
    for task in tasks:
        given_to[task["organization_slug"]].append((task["priority"], task["scheduled_at"]))
    before = {slug: backlog.due(now) for slug, backlog in backlogs.items()}
    assert len(tasks) == min(room, sum(map(len, before.values())))
    most = max(map(len, given_to.values()))
    for slug, mine in given_to.items():
        assert sorted(mine) == before[slug][: len(mine)], "priority, then age"
        # Who has work gets as much as anybody, give or take the one that the round ends with.
        assert len(mine) >= min(most - 1, len(before[slug])), f"{slug} got {len(mine)}, another {most}"
        if room >= sum(1 for waiting in before.values() if waiting):
            assert mine or not before[slug], f"{slug} was passed over"
        for taken in mine:
            backlogs[slug].waiting.remove(taken)


@pytest.mark.parametrize("room", [1, 3])
def test_with_less_room_than_organizations_nobody_waits_long(world: World, worker: Worker, room: int) -> None:
    tenants = [world.tenant() for _ in range(8)]
    bound = math.ceil(math.log(1e-9 / len(tenants)) / math.log(1 - room / len(tenants)))
    for tenant in tenants:
        fill(tenant, bound)
    unserved = {tenant.slug for tenant in tenants}
    for _ in range(bound):
        unserved -= {task["organization_slug"] for task in claim(worker, tenants, room)}
        if not unserved:
            break
    assert not unserved, f"passed over {bound} times"


def test_a_hundred_thousand_waiting_tasks_delay_another_organization_by_at_most_one_round(
    world: World, worker: Worker
) -> None:
    # In one transaction that is rolled back: to delete so many, with what refers to them, would take longest.
    with world.connection.transaction(force_rollback=True):
        busy, quiet = world.tenant(), world.tenant()
        fill(busy, 100_000, priority=0)
        alone = quiet.task(priority=1_000_000)
        assert alone in {task["id"] for task in claim(worker, [busy, quiet], 2)}
        alone = quiet.task(priority=1_000_000)
        rounds = 0
        while alone not in {task["id"] for task in claim(worker, [busy, quiet], 1)}:
            rounds += 1
            assert rounds < 35, "passed over 35 times with probability 1/2 each"


@pytest.mark.parametrize("blocked_by", ["key", "agent", "time", "inactive queue"])
def test_what_may_not_run_does_not_hide_what_may(world: World, worker: Worker, blocked_by: str) -> None:
    tenant = world.tenant()
    agent = tenant.add_agent(max_concurrent_tasks=1) if blocked_by == "agent" else tenant.agent
    if blocked_by == "inactive queue":
        world.service.rows("select public.pause_queue(%s, 'converse')", tenant.slug)
    world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, priority, concurrency_key,"
        " scheduled_at) select %s, %s, %s, %s, 'Write.', 0, %s, private.clock() + %s::interval"
        " from generate_series(1, 5000)",
        tenant.slug,
        tenant.owner.id,
        agent,
        "converse" if blocked_by == "inactive queue" else "process",
        "k" if blocked_by == "key" else None,
        "1 hour" if blocked_by == "time" else "0",
    )
    free = tenant.task(priority=1000)
    taken: set[str] = set()
    for _ in range(2):
        taken |= {lease["task"]["id"] for lease in worker.claim(tenant, 3)}
    assert free in taken
    assert len(taken) == (2 if blocked_by in {"key", "agent"} else 1)


def test_a_task_of_low_priority_is_reached_when_what_goes_before_it_is_worked_off(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    last = tenant.task(priority=1000)
    fill(tenant, 20, priority=1)
    order: list[str] = []
    for _ in range(7):
        order += [task["id"] for task in claim(worker, [tenant], 3)]
    assert order[-1] == last
    assert len(order) == 21
