"""Retention in a database of its own: what has been made, what must have become of it at a time, and sweeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from localstack.instance import Instance
from tests.database import project_kit, workflow_kit
from tests.database.kit import Row, Session, Tenant, Worker, World, connect
from tests.database.scratch import FILES, apply, scratch_database

STEP: Row = {"sequence_number": 1, "type": "tool_call", "name": "search", "input": "x" * 3000, "output": "found"}
USAGE: Row = {"provider": "p", "model": "m", "input_tokens": 5, "output_tokens": 6, "cost": 0.25}
TRACE: Row = {"steps": [STEP], "usage": [USAGE]}
# An independent ledger: what was ever inserted.
SEEN = """
create table private.seen (kind text, organization_slug text, month text, name text, tokens bigint, cost numeric);
create function private.see() returns trigger language plpgsql security definer as $$
begin
  if tg_table_name = 'runs' then
    insert into private.seen (kind, organization_slug) select 'run', n.organization_slug from new_rows n;
  else
    insert into private.seen
    select 'usage', n.organization_slug, to_char(n.created_at at time zone 'UTC', 'YYYY-MM'),
      concat_ws('/', coalesce(n.agent_slug, '-'), n.provider, n.model), n.input_tokens + n.output_tokens, n.cost
    from new_rows n;
  end if;
  return null;
end $$;
create trigger see after insert on public.runs referencing new table as new_rows
for each statement execute function private.see();
create trigger see after insert on public.usage_events referencing new table as new_rows
for each statement execute function private.see();
"""


@contextmanager
def retention_world(here: Instance, prefix: str) -> Iterator[World]:
    """Give a world in a new database, with all migrations and an independent ledger, where the clock may go far."""
    with scratch_database(here, prefix) as address, connect(address) as connection:
        for file in FILES:
            apply(connection, file)
        connection.execute(SEEN)
        yield World(address, connection)


def at(days: float) -> str:
    """Give the clock's offset for a day."""
    return f"{days * 86400} seconds"


def sweep(session: Session, days: float, seconds: float = 20) -> int:
    """Do all that retention has to do on a day; return how many rows left."""
    query, total = "select private.keep_retention(%s)", 0
    while something_is_due(session.at(at(days))):
        total += int(session.at(at(days)).value(query, seconds))
    return total


def something_is_due(session: Session) -> bool:
    """Say whether there is work; a call ends early when it made or dropped a partition."""
    with session.transaction() as connection:
        connection.execute("reset role")
        query = "select exists (select from private.retention_work where next_at <= private.clock()) as due"
        row = connection.execute(query).fetchone()
    return bool(row and row["due"])


def places(world: World, rows: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Say where rows (table, id) are: public, archive or gone; fails when one is in both, or twice."""
    ids = defaultdict(list)
    for kind, row_id in rows:
        ids[kind].append(row_id)
    found: dict[tuple[str, str], str] = dict.fromkeys(rows, "gone")
    for kind, wanted in ids.items():
        query = (
            f"select id::text as id, 'public' as place from public.{kind} where id = any (%s::uuid[])"
            if kind != "task_events"
            else "select id::text as id, 'public' as place from public.task_events where id = any (%s::bigint[])"
        )
        query += " union all select record_id, 'archive' from archive.records where kind = %s and record_id = any (%s)"
        for row in world.admin.rows(query, wanted, kind, wanted):
            assert found[kind, row["id"]] == "gone", f"{kind} {row['id']} is there twice"
            found[kind, row["id"]] = row["place"]
    return found


def where(world: World, kind: str, row_id: str) -> str:
    """Say where one row is."""
    return places(world, [(kind, row_id)])[kind, row_id]


@dataclass
class Thing:
    """Something that was over on a day (None: it never is), with all the rows that belong to it."""

    name: str
    over_on: float | None
    rows: list[tuple[str, str]]
    archive_days: int = 30
    delete_days: int = 90

    def expected(self, day: float) -> str:
        """Say where its rows must be on a day."""
        if self.over_on is None or day - self.over_on < self.archive_days:
            return "public"
        return "archive" if day - self.over_on < self.delete_days else "gone"


@dataclass
class Model:
    """All that has been made in a world, to be compared with where it is."""

    world: World
    things: list[Thing] = field(default_factory=list)

    def add(self, name: str, over_on: float | None, rows: list[tuple[str, str]]) -> Thing:
        """Note a thing."""
        self.things.append(Thing(name, over_on, rows))
        return self.things[-1]

    def check(self, day: float) -> None:
        """Compare everything with the model."""
        found = places(self.world, [row for thing in self.things for row in thing.rows])
        wrong = [
            (thing.name, row, found[row], thing.expected(day))
            for thing in self.things
            for row in thing.rows
            if found[row] != thing.expected(day)
        ]
        assert wrong == [], f"on day {day}"

    def counts(self, day: float) -> dict[str, int]:
        """Count the things by where they must be."""
        found: dict[str, int] = defaultdict(int)
        for thing in self.things:
            found[thing.expected(day)] += 1
        return dict(found)


def rows_of_task(world: World, *task_ids: str) -> list[tuple[str, str]]:
    """Name the rows of tasks: themselves, their runs, steps, questions and events."""
    found = [("tasks", task_id) for task_id in task_ids]
    query = (
        "select 'runs' as kind, id::text as id from public.runs where task_id = any (%s::uuid[])"
        " union all select 'run_steps', s.id::text from public.run_steps s join public.runs r on r.id = s.run_id"
        " where r.task_id = any (%s::uuid[])"
        " union all select 'task_events', e.id::text from public.task_events e"
        " where e.task_id = any (%s::uuid[]) and e.type <> 'partial'"
        " union all select 'input_requests', q.id::text from public.input_requests q where q.task_id = any (%s::uuid[])"
    )
    ids = list(task_ids)
    return found + [(row["kind"], row["id"]) for row in world.admin.rows(query, ids, ids, ids, ids)]


def done_task(tenant: Tenant, worker: Worker, **columns: Any) -> str:
    """Insert a task and complete it with a step, usage, a message and a streamed text."""
    task_id = tenant.task(**columns)
    lease = worker.claim_one(tenant)
    event = {**{k: lease[k] for k in ("attempt", "lease_token")}, "task_id": task_id, "type": "partial"}
    worker.report("add_task_events", {**event, "data": {"text": "a part"}})
    assert worker.complete(lease, **TRACE, deliverable={"title": "T", "content": "C"}) == "ok"
    return task_id


def rows_of_project(world: World, project_id: str) -> list[tuple[str, str]]:
    """Name the rows of a project: itself, its steps, their questions and their tasks."""
    ids = "select id from public.project_steps where project_id = %s"
    query = (
        "select 'projects' as kind, %s::text as id"
        " union all select 'project_steps', id::text from public.project_steps where project_id = %s"
        f" union all select 'input_requests', id::text from public.input_requests where project_step_id in ({ids})"
    )
    found = [(row["kind"], row["id"]) for row in world.admin.rows(query, project_id, project_id, project_id)]
    tasks = world.admin.rows(f"select id::text from public.tasks where project_step_id in ({ids})", project_id)
    return found + rows_of_task(world, *(row["id"] for row in tasks))


def done_project(tenant: Tenant, worker: Worker) -> list[tuple[str, str]]:
    """Play a project of two steps and a subproject; return its rows."""
    plan = {"steps": [project_kit.agent_step(tenant, "c")]}
    child: Row = {"id": "sub", "type": "subproject", "dependencies": ["b"], "plan": plan}
    steps = [project_kit.agent_step(tenant, "a"), project_kit.agent_step(tenant, "b", "a"), child]
    user = tenant.owner.at(worker.session.clock_offset)
    project = project_kit.started(tenant, steps, user)
    project_kit.play(worker, project)
    assert project.status == "completed"
    (below,) = project.children()
    return rows_of_project(tenant.world, project.id) + rows_of_project(tenant.world, below.id)


def done_execution(tenant: Tenant, worker: Worker, workflow_id: str) -> list[tuple[str, str]]:
    """Run a workflow to its end; return the rows of its execution."""
    user = tenant.owner.at(worker.session.clock_offset)
    execution_id = str(user.call("start_workflow", workflow_id=workflow_id, input={"topic": "x"})["id"])
    world = tenant.world
    rows: list[tuple[str, str]] = [("workflow_executions", execution_id)]
    for _ in range(9):
        worker.exchange(max_tasks=0)
        leases = worker.claim(tenant, 20)
        for lease in leases:
            assert worker.complete(lease, response="done.") == "ok"
    assert workflow_kit.execution(world.admin, execution_id)["status"] == "completed"
    for project in world.admin.rows("select id::text from public.projects where execution_id = %s", execution_id):
        rows += rows_of_project(world, project["id"])
    tasks = world.admin.rows("select id::text from public.tasks where execution_id = %s", execution_id)
    return list(dict.fromkeys(rows + rows_of_task(world, *(row["id"] for row in tasks))))


def months(world: World, table: str) -> set[str]:
    """Name the months of a partitioned table that there are: {"2025_01", …}."""
    return {
        str(row["name"])[-7:]
        for row in world.admin.rows(
            "select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = %s::regclass and c.relname !~ '_default$'",
            table,
        )
    }


def months_between(first: datetime, last: datetime, ahead: int) -> set[str]:
    """Name the months from one time to some months after another."""
    found, month = set(), first.replace(day=1)
    end = (last.year * 12 + last.month - 1) + ahead
    while month.year * 12 + month.month - 1 <= end:
        found.add(f"{month:%Y_%m}")
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def day_of(days: float) -> datetime:
    """Give the time on a day of the walk."""
    return datetime.now(UTC) + timedelta(days=days)
