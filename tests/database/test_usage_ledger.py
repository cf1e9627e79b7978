"""organization_usage equals the runs and the ledger: while workers write, across months, without agents."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.database.kit import Connection, Row, Session, Tenant, Worker, World, connect, item

SECONDS = 3.0
WRITERS = 4
MODELS = [("anthropic", "a/b"), ("anthropic", "c"), ("openrouter", "anthropic/c"), ("ollama", "free")]
BOUNDARIES = (
    "2025-12-31 23:59:59.999999+00",
    "2026-01-01 00:00:00+00",
    "2026-01-31 23:30:00+00",
    "2026-02-28 23:59:59+00",
    "2026-03-01 00:00:00+00",
    "2024-02-29 12:00:00+00",
)


def month_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m")


def ledger(connection: Connection, slug: str) -> dict[str, Row]:
    """Add up the rows themselves, in Python and without SQL's help with dates: {month: what the view must say}."""
    months: dict[str, Row] = defaultdict(
        lambda: {"runs": 0, "status": defaultdict(int), "tokens": 0, "cost": Decimal(0), "details": {}}
    )
    for run in connection.execute("select created_at, status from public.runs where organization_slug = %s", [slug]):
        month = months[month_of(run["created_at"])]
        month["runs"] += 1
        month["status"][run["status"]] += 1
    rows = connection.execute("select * from public.usage_events where organization_slug = %s", [slug])
    for row in rows:
        month = months[month_of(row["created_at"])]
        tokens = row["input_tokens"] + row["output_tokens"]
        month["tokens"] += tokens
        month["cost"] += row["cost"] or 0
        key = "/".join((row["agent_slug"] or "-", row["provider"], row["model"]))
        old = month["details"].get(key, {"tokens": 0, "cost": None})
        cost = old["cost"] if row["cost"] is None else (old["cost"] or 0) + row["cost"]
        month["details"][key] = {"tokens": old["tokens"] + tokens, "cost": cost}
    # What retention has taken out; tests/database/test_retention.py knows otherwise what was there.
    for row in connection.execute("select * from private.usage_totals where organization_slug = %s", [slug]):
        month = months[month_of(row["period_start"])]
        if row["kind"] == "status":
            month["runs"] += row["runs"]
            month["status"][row["name"]] += row["runs"]
            continue
        month["tokens"] += row["tokens"]
        month["cost"] += row["cost"] or 0
        old = month["details"].get(row["name"], {"tokens": 0, "cost": None})
        cost = old["cost"] if row["cost"] is None else (old["cost"] or 0) + row["cost"]
        month["details"][row["name"]] = {"tokens": old["tokens"] + row["tokens"], "cost": cost}
    return {name: {**month, "status": dict(month["status"])} for name, month in months.items()}


def shown(connection: Connection, slug: str) -> dict[str, Row]:
    rows = connection.execute(
        "select *, (select jsonb_object_agg(d.key, jsonb_build_object('tokens', d.value -> 'tokens',"
        " 'cost', (d.value ->> 'cost')::numeric::text)) from jsonb_each(usage_details) d) as exact"
        " from public.organization_usage where organization_slug = %s",
        [slug],
    ).fetchall()
    assert len({row["id"] for row in rows}) == len(rows)
    return {
        month_of(row["period_start"]): {
            "runs": row["total_runs"],
            "status": row["runs_by_status"],
            "tokens": row["total_tokens"],
            "cost": row["total_cost"],
            "details": {
                key: {"tokens": entry["tokens"], "cost": None if entry["cost"] is None else Decimal(entry["cost"])}
                for key, entry in (row["exact"] or {}).items()
            },
        }
        for row in rows
    }


def usage(chance: random.Random) -> list[Row]:
    rows = []
    for _ in range(chance.randrange(4)):
        provider, model = chance.choice(MODELS)
        tokens = {"input_tokens": chance.randrange(5000), "output_tokens": chance.randrange(5000)}
        cost = None if provider == "ollama" else chance.randrange(10**6) / 10**6
        rows.append({"provider": provider, "model": model, **tokens, "cost": cost})
    return rows


def write_usage(worker: Worker, tenant: Tenant, seed: int, stop: threading.Event) -> int:
    """Claim and end tasks in every way there is, until told to stop; return how many reports were taken."""
    chance, taken = random.Random(seed), 0  # noqa: S311 - no secret
    question = {"input_request": {"prompt": "Go on?", "on_expiry": "resume"}}
    failure = {"error_code": "internal_error", "error_message": "It broke."}
    while not stop.is_set():
        for lease in worker.claim(tenant, 3):
            choices: list[tuple[str, Row]] = [
                ("complete_tasks", {"response": "done"}),
                ("fail_tasks", {**failure, "retryable": True}),
                ("fail_tasks", {**failure, "retryable": False}),
                ("fail_tasks", {**failure, "error_code": "timeout", "retryable": False}),
                ("pause_task", question),
                ("release_tasks", {}),
            ]
            function, more = chance.choice(choices)
            report = item(lease, **more, usage=usage(chance))
            twice = [report] if chance.random() < 0.7 else [report, report]
            taken += worker.report(function, *twice).count("ok")
    return taken


def add_tasks(tenant: Tenant, agents: list[str], seed: int, stop: threading.Event) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    with tenant.owner.fresh() as owner:
        while not stop.wait(0.02):
            row = {"organization_slug": tenant.slug, "agent_slug": chance.choice(agents), "backoff": "1 millisecond"}
            try:
                task = owner.insert("tasks", **row, method="process", prompt="Write.", max_attempts=3)
            except psycopg.Error as error:
                assert error.diag.message_primary == "agent_not_found"  # noqa: PT017 - the one that is being deleted
                continue
            if chance.random() < 0.2:
                with if_not_over():
                    owner.call("cancel_task", task_id=task["id"])


@contextmanager
def if_not_over() -> Generator[None]:
    """Let a task be over before it is cancelled."""
    try:
        yield
    except psycopg.Error as error:
        if error.diag.message_primary != "task_finished":
            raise


def compare_until(session: Session, tenants: list[Tenant], stop: threading.Event) -> int:
    """Compare view and rows in one snapshot again and again; return how many differed from the one before."""
    seen: list[Any] = []
    with connect(session.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        while not stop.is_set():
            with connection.transaction():
                connection.execute(
                    "select set_config('timezone', %s, true)", [("UTC", "Asia/Kolkata")[len(seen) % 4 // 2]]
                )
                for tenant in tenants:
                    expected = ledger(connection, tenant.slug)
                    assert shown(connection, tenant.slug) == expected
                    seen.append(expected)
    return sum(a != b for a, b in zip(seen, seen[len(tenants) :], strict=False))


def test_the_view_equals_the_rows_in_every_snapshot_while_workers_write(world: World) -> None:
    tenants = [world.tenant(), world.tenant()]
    agents = {tenant.slug: [tenant.agent, tenant.add_agent()] for tenant in tenants}
    stop = threading.Event()
    with ThreadPoolExecutor(WRITERS + 4) as pool:
        workers = [world.worker() for _ in range(WRITERS)]
        connections = [connect(world.dsn) for _ in workers]
        writers = [
            pool.submit(
                write_usage,
                worker.on(Session(world.dsn, connection, "service_role")),
                tenants[number % 2],
                number,
                stop,
            )
            for number, (worker, connection) in enumerate(zip(workers, connections, strict=True))
        ]
        adders = [pool.submit(add_tasks, t, agents[t.slug], n, stop) for n, t in enumerate(tenants)]
        reader = pool.submit(compare_until, world.admin, tenants, stop)
        stop.wait(SECONDS / 2)
        # In the middle of it an agent is deleted: what it has cost is still its own.
        gone = agents[tenants[0].slug].pop()
        world.admin.execute("delete from public.agents where slug = %s", gone)
        stop.wait(SECONDS / 2)
        stop.set()
        taken = sum(writer.result() for writer in writers)
        changes = reader.result()
        for adder in adders:
            adder.result()
    for connection in connections:
        connection.close()
    assert taken > 20
    assert changes > 5
    for tenant in tenants:
        with world.admin.transaction() as connection:
            assert shown(connection, tenant.slug) == ledger(connection, tenant.slug)
        totals = world.admin.row(
            "select sum(r.total_tokens) as tokens, sum(r.total_cost) as cost from public.runs r"
            " where r.organization_slug = %s",
            tenant.slug,
        )
        events = world.admin.row(
            "select sum(input_tokens + output_tokens) as tokens, coalesce(sum(cost), 0) as cost"
            " from public.usage_events where organization_slug = %s",
            tenant.slug,
        )
        assert totals == events


@pytest.fixture
def old(tenant: Tenant) -> Tenant:
    """An organization with a run and usage on each side of the edges of months."""
    admin = tenant.world.admin
    for number, moment in enumerate(BOUNDARIES):
        columns = {"organization_slug": tenant.slug, "agent_slug": tenant.agent, "created_at": moment}
        status = ("completed", "failed", "released")[number % 3]
        admin.insert("runs", **columns, created_by=tenant.owner.id, status=status, completed_at=moment)
        provider, model = MODELS[number % len(MODELS)]
        tokens = {"input_tokens": 10**number, "output_tokens": 1}
        cost = None if provider == "ollama" else Decimal(number) / 7
        admin.insert("usage_events", **columns, **tokens, provider=provider, model=model, cost=cost)
    return tenant


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"])
def test_months_are_utcs_wherever_the_reader_is(old: Tenant, zone: str) -> None:
    with old.owner.transaction() as connection:
        connection.execute("select set_config('timezone', %s, true)", [zone])
        months = shown(connection, old.slug)
    with old.world.admin.transaction() as connection:
        assert months == ledger(connection, old.slug)
    assert sorted(months) == ["2024-02", "2025-12", "2026-01", "2026-02", "2026-03"]
    assert months["2026-01"]["runs"] == 2


def test_what_a_deleted_agent_has_cost_stays_its_own(old: Tenant) -> None:
    with old.owner.transaction() as connection:
        before = shown(connection, old.slug)
    old.world.admin.execute("delete from public.agents where slug = %s", old.agent)
    with old.owner.transaction() as connection:
        assert shown(connection, old.slug) == before
    assert all(key.startswith(f"{old.agent}/") for month in before.values() for key in month["details"])


def test_the_usage_of_a_deleted_user_stays_in_the_ledger(tenant: Tenant, worker: Worker) -> None:
    member = tenant.join("member")
    tenant.task(member)
    row = {"provider": "p", "model": "m", "input_tokens": 5, "output_tokens": 6, "cost": 0.5}
    assert worker.complete(worker.claim_one(tenant), usage=[row]) == "ok"
    tenant.world.admin.execute("delete from auth.users where id = %s", member.id)
    with tenant.owner.transaction() as connection:
        (month,) = shown(connection, tenant.slug).values()
    assert (month["tokens"], month["cost"], month["runs"]) == (11, Decimal("0.5"), 1)


def test_use_without_an_agent_is_told_from_that_of_an_agent_named_like_a_provider(tenant: Tenant) -> None:
    slug = tenant.add_agent()
    columns = {"organization_slug": tenant.slug, "input_tokens": 1, "output_tokens": 0}
    tenant.world.admin.insert("usage_events", **columns, provider=slug, model="p/m")
    tenant.world.admin.insert("usage_events", **columns, agent_slug=slug, provider="p", model="m")
    with tenant.owner.transaction() as connection:
        (month,) = shown(connection, tenant.slug).values()
    assert set(month["details"]) == {f"-/{slug}/p/m", f"{slug}/p/m"}
