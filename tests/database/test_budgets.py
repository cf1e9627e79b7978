"""Budgets: what a month's limit of cost stops, what it leaves alone, and when it lets go again."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from psycopg.types.json import Jsonb

from tests.database import webhook_kit as hooks
from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, refused
from tests.database.pauses import reap

MODEL: Row = {"provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1}


@pytest.fixture
def tenant(world: World) -> Tenant:
    """Give an organization that may spend a dollar."""
    return world.tenant(max_monthly_cost=1)


def spend(tenant: Tenant, worker: Worker, *costs: float | None) -> None:
    """Let a task be completed that cost this much, before the reaper looks again."""
    task_id = tenant.task()
    (lease,) = [lease for lease in worker.claim(tenant, 100) if lease["task"]["id"] == task_id]
    assert worker.complete(lease, usage=[{**MODEL, "cost": cost} for cost in costs]) == "ok"


def status(tenant: Tenant, session: Session | None = None) -> Row:
    row: Row = (session or tenant.owner).call("budget_status", organization_slug=tenant.slug)
    return row


def limit(tenant: Tenant, **limits: float) -> None:
    tenant.owner.call("set_organization_limits", organization_slug=tenant.slug, limits=limits)


def next_month() -> datetime:
    now = datetime.now(UTC)
    return datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)


def assert_stopped(tenant: Tenant, worker: Worker) -> None:
    for caller in (tenant.owner, tenant.world.service):
        with refused("PT429", "budget_spent"):
            tenant.task(caller, user_id=tenant.owner.id)
    assert worker.claim(tenant, 10) == []


def test_what_reaches_the_limit_stops_claims_and_new_tasks_and_fails_nothing(tenant: Tenant, worker: Worker) -> None:
    waiting = [tenant.task() for _ in range(2)]
    spend(tenant, worker, 0.25, 0.25)
    reap(worker)
    third = tenant.task()
    for lease in worker.claim(tenant, 10):
        assert worker.report("release_tasks", item(lease)) == ["ok"]
    spend(tenant, worker, 0.5)
    reap(worker)
    assert_stopped(tenant, worker)
    with refused("PT429", "budget_spent") as refusal:
        tenant.task()
    reset = f"{next_month():%Y-%m-%dT%H:%M:%SZ}"
    assert reset in refusal.detail
    assert reset in refusal.hint
    assert {tenant.read(task_id)["status"] for task_id in (*waiting, third)} <= {"pending", "in_progress"}
    told = status(tenant)
    assert (float(told["spent"]), told["max_monthly_cost"], told["is_spent"]) == (1.0, 1, True)
    assert datetime.fromisoformat(told["resets_at"]) == next_month()


def test_claims_of_any_organization_pass_over_one_whose_budget_is_spent(world: World, tenant: Tenant) -> None:
    worker, other = world.worker(), world.tenant()
    pending = tenant.task()
    limit(tenant, max_monthly_cost=0)
    ours = other.task()
    claimed = world.service.call("claim_tasks", worker_id=worker.id, max_tasks=1000)
    ids = {lease["task"]["id"] for lease in claimed}
    for lease in claimed:
        worker.report("release_tasks", item(lease))
    assert ours in ids
    assert pending not in ids


def test_less_than_the_limit_and_costs_that_are_not_known_stop_nothing(tenant: Tenant, worker: Worker) -> None:
    spend(tenant, worker, 0.999999, None, None)
    spend(tenant, worker, None)
    reap(worker)
    assert status(tenant)["is_spent"] is False
    assert float(status(tenant)["spent"]) == 0.999999
    tenant.task()
    worker.claim_one(tenant)


def test_what_runs_goes_on_and_its_retry_waits(tenant: Tenant, worker: Worker) -> None:
    ids = [tenant.task() for _ in range(2)]
    first, second = worker.claim(tenant, 2)
    spend(tenant, worker, 5)
    reap(worker)
    assert worker.report("heartbeat_tasks", item(first)) == ["ok"]
    assert worker.complete(first, usage=[{**MODEL, "cost": 1}]) == "ok"
    assert worker.fail(second, retryable=True) == "ok"
    tenant.world.admin.execute("update public.tasks set scheduled_at = now() where id = any (%s::uuid[])", ids)
    assert worker.claim(tenant, 5) == []
    assert sorted(tenant.read(task_id)["status"] for task_id in ids) == ["completed", "pending"]
    limit(tenant, max_monthly_cost=100)
    assert worker.complete(worker.claim_one(tenant)) == "ok"


def test_raising_or_taking_away_the_limit_frees_at_once(tenant: Tenant, worker: Worker) -> None:
    for limits in ({"max_monthly_cost": 3.0}, {"max_agents": 9.0}):
        spend(tenant, worker, 2)
        reap(worker)
        assert_stopped(tenant, worker)
        limit(tenant, **limits)
        assert status(tenant)["is_spent"] is False
        tenant.task()
        worker.claim_one(tenant)


def test_a_limit_that_is_set_later_counts_what_was_spent_before(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    spend(tenant, worker, 2)
    assert (status(tenant)["max_monthly_cost"], float(status(tenant)["spent"])) == (None, 2.0)
    limit(tenant, max_monthly_cost=3)
    tenant.task()
    limit(tenant, max_monthly_cost=2)
    assert_stopped(tenant, worker)


def test_months_are_those_of_utc_whatever_the_session_says(world: World) -> None:
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        with world.admin.transaction(keep=False) as connection:
            connection.execute("select set_config('timezone', %s, true)", [zone])
            row = connection.execute("select private.end_of_month('2026-11-01') as at").fetchone()
            assert row == {"at": datetime(2026, 12, 1, tzinfo=UTC)}


def test_a_limit_of_nothing_stops_everything(tenant: Tenant, worker: Worker) -> None:
    limit(tenant, max_monthly_cost=0)
    assert_stopped(tenant, worker)


def test_the_next_month_begins_anew(tenant: Tenant, worker: Worker) -> None:
    spend(tenant, worker, 1)
    reap(worker)
    assert_stopped(tenant, worker)
    later, service = tenant.owner.at("31 days"), tenant.world.service.at("31 days")
    task_id = tenant.task(later)  # nobody has to look first
    (lease,) = worker.on(service).claim(tenant)
    assert lease["task"]["id"] == task_id
    service.execute("select private.fold_costs()")
    assert (float(status(tenant, later)["spent"]), status(tenant, later)["is_spent"]) == (0.0, False)
    assert worker.on(service).complete(lease, usage=[{**MODEL, "cost": 1}]) == "ok"
    service.execute("select private.fold_costs()")
    assert (float(status(tenant, later)["spent"]), status(tenant, later)["is_spent"]) == (1.0, True)
    with refused("PT429", "budget_spent"):
        tenant.task(later)


def test_costs_of_the_last_month_that_come_late_are_not_the_next_ones(tenant: Tenant, worker: Worker) -> None:
    spend(tenant, worker, 0.75)
    service = tenant.world.service.at("31 days")
    service.execute("select private.fold_costs()")
    assert float(status(tenant, tenant.owner.at("31 days"))["spent"]) == 0.0


def test_reports_of_many_workers_are_counted_once_each(world: World, tenant: Tenant) -> None:
    workers = [world.worker() for _ in range(6)]
    ids = [tenant.task() for _ in range(30)]
    leases = workers[0].claim(tenant, 30)
    assert len(ids) == len(leases)

    def act(session: Session) -> None:
        for number in range(5):
            lease = leases.pop()
            assert workers[0].on(session).complete(lease, usage=[{**MODEL, "cost": 0.01}]) == "ok", number
            session.execute("select private.fold_costs()")

    assert in_parallel([world.service] * 6, act) == [None] * 6
    reap(workers[1])
    assert float(status(tenant)["spent"]) == 0.30
    assert (
        world.admin.value("select count(*) from private.unfolded_costs where organization_slug = %s", tenant.slug) == 0
    )
    spend(tenant, workers[2], 0.69)
    reap(workers[1])
    assert status(tenant)["is_spent"] is False
    spend(tenant, workers[2], 0.01)
    reap(workers[1])
    assert status(tenant)["is_spent"] is True


def test_a_report_under_way_while_the_first_limit_is_set_is_counted_by_the_recount(
    world: World, worker: Worker
) -> None:
    tenant = world.tenant()
    tenant.task()
    lease = worker.claim_one(tenant)
    with world.service.fresh() as other, other.transaction():
        report = worker.on(other)
        query = "select private.record_usage(%s)"
        other.connection.execute(query, [Jsonb([item(lease, usage=[{**MODEL, "cost": 5}])])])
        assert report.id
        limit(tenant, max_monthly_cost=5)
    reap(worker)
    assert status(tenant)["is_spent"] is False
    world.service.at("16 seconds").execute("select private.fold_costs()")
    told = status(tenant)
    assert (float(told["spent"]), told["is_spent"]) == (5.0, True)


def test_where_no_limit_is_set_nothing_is_kept(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    spend(tenant, worker, 5)
    for table in ("budgets", "unfolded_costs", "spent_budgets"):
        query = f"select count(*) from private.{table} where organization_slug = %s"
        assert world.admin.value(query, tenant.slug) == 0


def test_deliveries_of_webhooks_go_on(tenant: Tenant, worker: Worker) -> None:
    hooks.add(tenant)
    spend(tenant, worker, 1)
    reap(worker)
    tenant.owner.call("cancel_tasks", organization_slug=tenant.slug, status="pending", method="process")
    assert_stopped_but_for_webhooks(tenant, worker)


def assert_stopped_but_for_webhooks(tenant: Tenant, worker: Worker) -> None:
    with refused("PT429", "budget_spent"):
        tenant.task()
    assert {lease["task"]["method"] for lease in worker.claim(tenant, 10)} == {"deliver_webhook"}


def test_a_schedule_says_why_it_makes_no_task(tenant: Tenant) -> None:
    limit(tenant, max_monthly_cost=0)
    row = {"name": "s", "cron": "0 6 * * *", "method": "process", "prompt": "x", "agent_slug": tenant.agent}
    schedule = tenant.owner.insert("schedules", organization_slug=tenant.slug, **row)
    with refused("PT429", "budget_spent"):
        tenant.owner.call("run_schedule", schedule_id=str(schedule["id"]))


@pytest.mark.parametrize("role", ["viewer", "member", "developer", "admin"])
def test_admins_see_the_budget_and_nobody_else(tenant: Tenant, role: str) -> None:
    caller = tenant.join(role)
    if role == "admin":
        assert status(tenant, caller)["max_monthly_cost"] == 1
    else:
        with refused("42501", "not_allowed"):
            status(tenant, caller)


def test_strangers_do_not_learn_whether_a_budget_is_spent(world: World, tenant: Tenant) -> None:
    limit(tenant, max_monthly_cost=0)
    stranger = world.tenant().owner
    with refused("42501", "not_allowed"):
        status(tenant, stranger)
    with refused("42501") as refusal:
        tenant.task(stranger)
    assert "budget" not in re.sub(r"\s", "", f"{refusal.message}{refusal.detail}")
