"""What steps cost: rows that are read and written, which no busy machine changes."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from tests.database.kit import Row, Tenant, Worker, World, item
from tests.database.project_kit import agent_step, claim_all, started

TOUCHED = (
    "select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read,"
    " n_tup_ins + n_tup_upd + n_tup_del as written"
    " from pg_stat_xact_user_tables where schemaname in ('public', 'private')"
)


def cost_of_one_step(world: World, tenant: Tenant, worker: Worker, number: int) -> dict[str, tuple[int, int]]:
    """Finish one step of a project of so many and count, by table, the rows that were read and written for it."""
    steps = [agent_step(tenant, "a"), agent_step(tenant, "b", "a"), agent_step(tenant, "c", "a")]
    steps += [agent_step(tenant, f"s{n}", "b") for n in range(number - 3)]
    project = started(tenant, steps)
    world.admin.execute(
        "analyze public.project_steps, private.step_links, public.projects, public.tasks, private.live_tasks"
    )
    touched = touched_by_completing(world, worker, worker.claim_one(tenant))
    assert sorted(claim_all(worker, tenant)) == ["b", "c"]
    project.do("cancel")
    return touched


def touched_by_completing(world: World, worker: Worker, lease: Row) -> dict[str, tuple[int, int]]:
    """Complete a lease and count, by table, the rows that were read and written for it."""
    with world.service.transaction() as connection:
        before = {t["relname"]: t for t in connection.execute(TOUCHED).fetchall()}  # Counts that were not flushed yet.
        body = Jsonb([item(lease, response="x")])
        row = connection.execute("select public.complete_tasks(%s, %s) as outcomes", [worker.id, body]).fetchone()
        assert row
        assert row["outcomes"][0]["outcome"] == "ok"
        after = connection.execute(TOUCHED).fetchall()
    counts = {t["relname"]: tuple(int(t[k] - before[t["relname"]][k]) for k in ("read", "written")) for t in after}
    return {name: (read, written) for name, (read, written) in counts.items() if read or written}


def test_a_step_of_a_project_of_ten_thousand_ends_at_the_cost_of_one_of_ten(
    world: World, tenant: Tenant, worker: Worker
) -> None:
    cost_of_one_step(world, tenant, worker, 10)  # The session has planned everything.
    small = cost_of_one_step(world, tenant, worker, 10)
    large = cost_of_one_step(world, tenant, worker, 10_000)
    written = {name: (small.get(name, (0, 0))[1], large.get(name, (0, 0))[1]) for name in small | large}
    assert {name: pair for name, pair in written.items() if pair[0] != pair[1]} == {}
    read = [sum(pair[0] for pair in counts.values()) for counts in (small, large)]
    assert read[1] <= 1.5 * read[0], (small, large)


def test_tasks_of_no_project_pay_nothing(world: World, tenant: Tenant, worker: Worker) -> None:
    task = tenant.task()
    touched = touched_by_completing(world, worker, worker.claim_one(tenant))
    assert touched["tasks"][1] == 1
    assert touched.keys() & {"projects", "project_steps", "step_links", "map_items", "project_work"} == set()
    assert tenant.read(task)["status"] == "completed"


PROJECT_TABLES = {"projects", "project_steps", "step_links", "map_items", "tasks", "input_requests"}


def answered(worker: Worker, query: str, *values: object) -> tuple[Row, dict[str, int]]:
    """Ask for a list of one thing; return that, and how many rows were read for it, by table."""
    with worker.session.transaction() as connection:
        before = {t["relname"]: t["read"] for t in connection.execute(TOUCHED).fetchall()}
        row = connection.execute(query.encode(), values).fetchone()
        after = connection.execute(TOUCHED).fetchall()
    assert row
    ((first,),) = row.values()
    return first, {t["relname"]: int(t["read"] - before[t["relname"]]) for t in after}


def read_for_one_task(worker: Worker, tenant: Tenant) -> dict[str, int]:
    """Claim and complete one task of this organization; count the rows that were read at most, by table of projects."""
    claim = "select public.claim_tasks(%s, 1, organizations => %s) as answer"
    lease, for_claim = answered(worker, claim, worker.id, [tenant.slug])
    done = item(lease, response="true" if lease["task"]["method"] == "evaluate_step" else "[1, 2, 3]")
    _, for_end = answered(worker, "select public.complete_tasks(%s, %s) as answer", worker.id, Jsonb([done]))
    return {name: max(for_claim.get(name, 0), for_end.get(name, 0)) for name in PROJECT_TABLES}


def test_steps_of_every_type_read_nothing_of_other_projects(world: World, tenant: Tenant, worker: Worker) -> None:
    started(tenant, [agent_step(tenant, f"s{n}") for n in range(2000)])
    mine = world.tenant()
    plan = [
        agent_step(mine, "a"),
        agent_step(mine, "b", "a", condition=".steps.a.result | length == 3"),
        {"id": "c", "type": "transform", "transform": ".steps.a.result", "dependencies": ["b"]},
        agent_step(mine, "d", "c", type="map", over="a"),
        {"id": "e", "type": "subproject", "plan": {"steps": [agent_step(mine, "x")]}, "dependencies": ["d"]},
        agent_step(mine, "f", "e", prompt="{{ steps.d.result }} {{ steps.e.result }}"),
    ]
    project = started(mine, plan)
    world.admin.execute("analyze public.project_steps, private.step_links, public.projects, public.tasks")
    read: dict[str, int] = {}
    while project.read()["status"] == "running":
        for name, number in read_for_one_task(worker, mine).items():
            read[name] = max(read.get(name, 0), number)
    assert project.read()["status"] == "completed"
    assert {name: number for name, number in read.items() if number > 150} == {}
