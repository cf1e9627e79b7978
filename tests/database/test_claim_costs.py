"""What claims cost: entries of live tasks that are read, which no busy machine changes."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from tests.database.kit import Tenant, Worker, World

READ = (
    "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read"
    " from pg_stat_xact_user_tables where relname = 'live_tasks'"
)
EXCHANGE = (
    "select public.exchange_work(%s, gen_random_uuid(), %s, max_tasks => %s, lease_seconds => 60, organizations => %s)"
    " as answer"
)


def fill(tenant: Tenant, count: int) -> None:
    tenant.world.admin.execute(
        "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt)"
        " select %s, %s, %s, 'process', 'x' from generate_series(1, %s)",
        *(tenant.slug, tenant.owner.id, tenant.agent, count),
    )


def claim(
    connection: Connection[dict[str, Any]], worker: Worker, tenants: list[Tenant], number: int, report: dict[str, Any]
) -> tuple[int, int]:
    """Claim in this transaction; return how many tasks came, and how many entries were read for them."""
    before = sum(row["read"] for row in connection.execute(READ))
    slugs = [tenant.slug for tenant in tenants]
    row = connection.execute(EXCHANGE, [worker.id, Jsonb(report), number, slugs]).fetchone()
    assert row
    return len(row["answer"]["tasks"]), sum(r["read"] for r in connection.execute(READ)) - before


def test_a_claim_for_one_organization_does_not_go_over_all_that_waits_there(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    fill(tenant, 3000)
    with world.service.transaction() as connection:
        tasks, read = claim(connection, worker, [tenant], 1, {})
    assert tasks == 1
    assert read < 100


def test_a_claim_beside_another_reads_in_proportion_to_what_it_takes(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    fill(tenant, 5000)
    other = world.tenant()
    slots = {"slots": {"free": 40, "held": {}}}
    with world.service.fresh() as session, session.transaction() as first, world.service.transaction() as second:
        claim(first, worker, [tenant, other], 100, {})  # They are locked, and look as if they still waited.
        tasks, read = claim(second, world.worker(), [tenant, other], 40, slots)
    assert 20 <= tasks <= 40
    assert read < 1500
