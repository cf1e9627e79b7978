"""Shares of slots: what hangs for ever in one organization never takes all the slots of a worker.

The workers here tell their slots as workers/slots.py does, and none of their tasks ever ends unless a test says so.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tests.database import webhook_kit
from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item

CLAIMERS = 8


@dataclass
class Slotted:
    """A worker that tells its slots; `held` is what it runs."""

    worker: Worker
    slots: int
    organizations: list[str]
    held: list[Row] = field(default_factory=list)

    def holding(self) -> Counter[str]:
        return Counter(lease["task"]["organization_slug"] for lease in self.held)

    def claim(self, max_tasks: int | None = None, **told: Any) -> list[str]:
        """Ask for as many tasks as there are slots free; return the organizations of those that came."""
        free = self.slots - len(self.held)
        slots = {"free": free, "held": dict(self.holding()), **told}
        answer = self.worker.exchange(
            report={"slots": slots},
            max_tasks=free if max_tasks is None else max_tasks,
            organizations=self.organizations,
        )
        self.held += answer["tasks"]
        return [lease["task"]["organization_slug"] for lease in answer["tasks"]]

    def settle(self) -> Counter[str]:
        """Claim until nothing more comes; return what is held then."""
        while len(self.held) < self.slots and self.claim():
            pass
        return self.holding()

    def end(self, organization: str, number: int = 1) -> None:
        """Complete tasks of this organization."""
        for _ in range(number):
            lease = next(lease for lease in self.held if lease["task"]["organization_slug"] == organization)
            assert self.worker.complete(lease) == "ok"
            self.held.remove(lease)


def fill(tenant: Tenant, count: int, **columns: Any) -> None:
    """Insert many tasks that are due in one statement."""
    row = {"method": "process", "agent_slug": tenant.agent, **columns}
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, timeout_seconds)"
        " select %s, %s, %s, %s, 'Hang.', 3600 from generate_series(1, %s)",
        *(tenant.slug, tenant.owner.id, row["agent_slug"], row["method"], count),
    )


def of(world: World, tenants: list[Tenant], slots: int) -> Slotted:
    return Slotted(world.worker(), slots, [tenant.slug for tenant in tenants])


def set_share(world: World, share: float) -> float:
    return float(world.service.row("select public.set_max_share(%s::numeric) as share", share)["share"])


@pytest.fixture
def shared(world: World) -> Generator[World]:
    """Give a world whose share may be changed: it is set back."""
    (before,) = world.admin.rows("select max_share from private.slot_rules")
    yield world
    world.admin.execute("update private.slot_rules set max_share = %s", before["max_share"])


def test_whoever_comes_while_others_hang_finds_slots_at_once(world: World) -> None:
    tenants = [world.tenant() for _ in range(6)]
    worker = of(world, tenants, 100)
    found = []
    for tenant in tenants:
        fill(tenant, 200)
        found.append(worker.settle()[tenant.slug])
    # Three quarters of what the others leave, each time.
    assert found == [75, 18, 5, 1, 1, 0]


@pytest.mark.parametrize(("slots", "hanging"), [(1, 1), (2, 1), (3, 2), (4, 3), (10, 7)])
def test_of_a_few_slots_one_at_the_least_is_left_and_one_at_the_least_is_taken(
    world: World, slots: int, hanging: int
) -> None:
    hog, quiet = tenants = [world.tenant(), world.tenant()]
    worker = of(world, tenants, slots)
    fill(hog, 50)
    assert worker.settle() == {hog.slug: hanging}
    fill(quiet, 50)
    assert worker.settle()[quiet.slug] == (0 if slots == 1 else max(1, (slots - hanging) * 3 // 4))


def test_under_eight_claimers_thousands_of_hanging_tasks_leave_others_their_slots(world: World) -> None:
    hog, quiet = tenants = [world.tenant(), world.tenant()]
    workers = [of(world, tenants, 10) for _ in range(CLAIMERS)]
    fill(hog, 5000)
    deal, arrived = threading.Barrier(CLAIMERS, timeout=20), []

    def hang(session: Session) -> tuple[Counter[str], Counter[str], float]:
        worker = workers[deal.wait()]
        worker.worker = worker.worker.on(session)
        for _ in range(5):
            worker.claim()
        before = worker.holding()
        if deal.wait() == 0:
            fill(quiet, 100)
            arrived.append(time.monotonic())
        deal.wait()
        worker.claim()
        return before, worker.holding(), time.monotonic() - arrived[0]

    results = in_parallel([world.service] * CLAIMERS, hang)
    for before, after, seconds in results:
        assert before == {hog.slug: 7}
        assert after == {hog.slug: 7, quiet.slug: 2}
        assert seconds < 5


def test_requests_of_a_worker_that_overlap_do_not_add_up_to_more(world: World) -> None:
    hog, quiet = tenants = [world.tenant(), world.tenant()]
    fill(hog, 50)
    worker = of(world, tenants, 2)
    # The second was sent while the first was under way, for a slot that became free in between.
    assert worker.claim(1, free=1) == [hog.slug]
    assert worker.claim(1, free=1, held={}, under_way=True) == []
    fill(quiet, 1)
    assert worker.claim() == [quiet.slug]


def test_who_waits_for_its_first_slot_while_requests_overlap_is_asked_for_again_soon(world: World) -> None:
    tenant, other = world.tenant(), world.tenant()
    fill(tenant, 1)
    slots = {"free": 1, "under_way": True}
    slugs = [tenant.slug, other.slug]
    answer = world.worker().exchange(report={"slots": slots}, max_tasks=1, organizations=slugs)
    assert (answer["tasks"], answer["next_poll_ms"]) == ([], 100)


def test_what_its_own_tasks_free_an_organization_takes_again(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    worker = of(world, tenants, 10)
    slug = tenants[0].slug
    fill(tenants[0], 50)
    assert worker.settle() == {slug: 7}
    worker.end(slug, 2)
    assert worker.claim(2, free=2, held={slug: 5}, freed={slug: 2}, under_way=True) == [slug] * 2
    worker.end(slug)
    assert worker.claim(4) == [slug]


def test_those_with_the_fewest_slots_go_first(world: World) -> None:
    long, short = tenants = [world.tenant(), world.tenant()]
    worker = of(world, tenants, 20)
    fill(long, 10)
    assert worker.settle() == {long.slug: 10}
    fill(long, 50)
    fill(short, 50)
    assert Counter(worker.claim(4)) == {short.slug: 4}
    worker.end(long.slug, 7)
    # 3 and 4 are held: the next go to who has fewer until both have 5.
    assert Counter(worker.claim(3)) == {long.slug: 2, short.slug: 1}


def test_where_one_organization_is_alone_it_takes_every_slot(world: World) -> None:
    alone, gone = world.tenant(), world.tenant()
    fill(alone, 50)
    assert of(world, [alone], 10).settle() == {alone.slug: 10}
    world.admin.execute("update public.organizations set is_active = false where slug = %s", gone.slug)
    assert of(world, [alone, gone], 10).settle() == {alone.slug: 10}


def test_webhooks_of_a_dead_receiver_take_no_more_than_their_share(world: World) -> None:
    noisy, quiet = tenants = [world.tenant(), world.tenant()]
    for _ in range(2):
        webhook_kit.add(noisy, "task.cancelled")
    for _ in range(6):
        noisy.task()
    noisy.owner.call("cancel_tasks", organization_slug=noisy.slug, status="pending")
    worker = of(world, tenants, 10)
    assert worker.settle() == {noisy.slug: 7}
    assert {lease["task"]["method"] for lease in worker.held} == {"deliver_webhook"}
    fill(quiet, 3)
    assert worker.settle()[quiet.slug] == 2


def test_a_worker_that_was_killed_counts_no_more(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    slug = tenants[0].slug
    fill(tenants[0], 30)
    killed = of(world, tenants, 10)
    assert killed.settle() == {slug: 7}
    other = of(world, tenants, 10)
    assert other.settle() == {slug: 7}, "whatever others hold, also those that are gone"


def test_a_worker_that_tells_nothing_gets_what_it_asks_for(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    fill(tenants[0], 20)
    slugs = [tenant.slug for tenant in tenants]
    assert len(world.worker().exchange(max_tasks=10, organizations=slugs)["tasks"]) == 10
    told = world.service.call("claim_tasks", worker_id="w", max_tasks=10, organizations=slugs, slots={"free": 10})
    assert len(told) == 7


def test_the_operator_sets_the_share_and_nobody_else(shared: World) -> None:
    tenants = [shared.tenant(), shared.tenant()]
    fill(tenants[0], 60)
    for share, hanging in ((0.5, 5), (0.01, 1), (1, 10)):
        assert set_share(shared, share) == share
        assert of(shared, tenants, 10).settle() == {tenants[0].slug: hanging}
    assert float(shared.service.row("select public.set_max_share() as share")["share"]) == 1
    for share in (0, -1, 1.5):
        with pytest.raises(psycopg.Error, match="argument_out_of_range"):
            set_share(shared, share)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        tenants[0].owner.row("select public.set_max_share(1)")


@pytest.mark.parametrize(
    "slots",
    [
        [],
        "all",
        {},
        {"free": -1},
        {"free": 1.5},
        {"free": "1"},
        {"free": 1, "held": {"a": -1}},
        {"free": 1, "held": {"a": {"b": 1}}, "freed": []},
        {"free": 1, "freed": {"a": "b"}},
        {"free": 1, "under_way": 1},
        {"free": 10**9},
    ],
    ids=str,
)
def test_slots_that_say_nothing_are_refused(worker: Worker, slots: Any) -> None:
    with pytest.raises(psycopg.Error, match="slots_invalid"):
        worker.exchange(report={"slots": slots}, max_tasks=1, organizations=["none"])
    assert worker.exchange(report={"slots": None}, max_tasks=1, organizations=["none"])["tasks"] == []


# What only the operator allows ----------------------------------------------------------------------------------------


def cap(tenant: Tenant, most: int | None) -> None:
    tenant.world.service.execute(
        "update public.organizations set max_running_tasks = %s where slug = %s", most, tenant.slug
    )


def test_max_running_tasks_is_never_exceeded_over_all_workers_and_methods(world: World) -> None:
    tenant = world.tenant()
    webhook_kit.add(tenant, "task.cancelled")
    for _ in range(20):
        tenant.task()
    tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="pending")
    fill(tenant, 200)
    cap(tenant, 5)

    def claim_often(session: Session) -> list[Row]:
        worker = world.worker().on(session)
        return [lease for _ in range(20) for lease in worker.claim(tenant, 3)]

    leases = [lease for mine in in_parallel([world.service] * CLAIMERS, claim_often) for lease in mine]
    assert len(leases) == 5
    running = world.admin.rows(
        "select count(*) from private.live_tasks where organization_slug = %s and state = 'running'", tenant.slug
    )
    assert running[0]["count"] == 5
    lease = leases[0]
    owner = Worker(world.service, tenant.read(lease["task"]["id"])["worker_id"])
    assert owner.report("release_tasks", item(lease)) == ["ok"]
    assert len(world.worker().claim(tenant, 10)) == 1
    cap(tenant, None)
    assert len(world.worker().claim(tenant, 10)) == 10


def test_the_lower_of_both_limits_holds_and_internal_methods_are_free_of_the_tenants_own(world: World) -> None:
    tenant = world.tenant(max_concurrent_tasks=2)
    webhook_kit.add(tenant, "task.cancelled")
    for _ in range(4):
        tenant.task()
    tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="pending")
    fill(tenant, 10)
    cap(tenant, 5)
    worker = world.worker()
    assert len(worker.claim(tenant, 10, methods=["process"])) == 2
    assert len(worker.claim(tenant, 10, methods=["deliver_webhook"])) == 3
    cap(tenant, 6)
    assert [lease["task"]["method"] for lease in worker.claim(tenant, 10)] == ["deliver_webhook"]


def test_an_organization_at_its_cap_is_passed_over_without_a_filter_too(world: World) -> None:
    capped, other = world.tenant(), world.tenant()
    fill(capped, 10)
    cap(capped, 1)
    worker = Slotted(world.worker(), 10, [capped.slug, other.slug])
    assert worker.settle() == {capped.slug: 1}
    with world.admin.transaction(keep=False) as connection:
        answer = connection.execute("select public.claim_tasks('w', 1000) as leases").fetchone()
        assert answer
        assert capped.slug not in {lease["task"]["organization_slug"] for lease in answer["leases"]}


def test_a_tenant_neither_raises_its_cap_nor_starts_without_one(world: World) -> None:
    tenant = world.tenant()
    cap(tenant, 1)
    for statement in (
        "update public.organizations set max_running_tasks = 1000 where slug = %s",
        "update public.organizations set max_running_tasks = null where slug = %s",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            tenant.owner.execute(statement, tenant.slug)
    query = "select max_running_tasks from public.organizations where slug = %s"
    assert tenant.owner.row(query, tenant.slug) == {"max_running_tasks": 1}
    with pytest.raises(psycopg.errors.CheckViolation):
        cap(tenant, 0)
