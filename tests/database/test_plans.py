"""Query plans that must stay: lists read about what they return, whoever asks, and claims walk their own index.

The rows are written in one transaction without triggers, analysed, and rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.database.kit import Connection, connect
from tests.database.scratch import FILES, apply, instance_of, scratch_database
from tests.stack import Stack

# 100 organizations, of which the first has half of everything, and half of that is one member's; a newcomer's has five
# tasks.
FILL = """
create function pg_temp.organization(n integer) returns text
return 'plan-' || case when n % 2 = 0 then 1 else 2 + n % 99 end;
create function pg_temp.person(n integer) returns uuid
return md5(case when n % 4 = 0 then 'plan-member' else 'plan-' || n % 300 end)::uuid;
insert into auth.users (id, email)
select md5(name)::uuid, name || '@example.com'
from unnest(array['plan-member', 'plan-newcomer', 'plan-admin']
  || array(select 'plan-' || n from generate_series(0, 299) n)) name;
insert into public.organizations (slug, name) select 'plan-' || n, 'n' from generate_series(1, 101) n;
insert into public.organization_members (organization_slug, user_id, role) values
('plan-1', md5('plan-member')::uuid, 'member'), ('plan-1', md5('plan-admin')::uuid, 'admin'),
('plan-101', md5('plan-newcomer')::uuid, 'member');
insert into public.organization_members (organization_slug, user_id)
select distinct pg_temp.organization(n), pg_temp.person(n) from generate_series(1, 600) n on conflict do nothing;
insert into public.agent_conversations (id, organization_slug, user_id, agent_name, agent_type, last_message_at)
select md5('conversation-' || n)::uuid, pg_temp.organization(n), pg_temp.person(n), 'a', 'context',
  now() - n * interval '1 minute'
from generate_series(1, 12000) n;
insert into public.messages (conversation_id, content)
select md5('conversation-' || n)::uuid, 'x' from generate_series(1, 12000) n, generate_series(1, 2);
insert into public.tasks (
  organization_slug, user_id, agent_conversation_id, agent_name, method, prompt, status, created_at,
  scheduled_at, completed_at, progress
)
select case when n > 5 then pg_temp.organization(n) else 'plan-101' end,
  case when n > 5 then pg_temp.person(n) else md5('plan-newcomer')::uuid end,
  md5('conversation-' || 1 + n % 12000)::uuid, 'a', 'process', 'x',
  case when n % 7 = 0 then 'pending' else 'completed' end,
  now() - (case when n > 5 then n else 30000 end) * interval '1 second', now() - n * interval '1 second',
  case when n % 7 > 0 then now() end, case when n % 7 = 0 then 0 else 100 end
from generate_series(1, 20000) n;
select private.rebuild_live_tasks();
insert into public.projects (id, organization_slug, user_id, conversation_id, created_at)
select md5('project-' || n)::uuid, pg_temp.organization(n), pg_temp.person(n), md5('conversation-' || n)::uuid,
  now() - n * interval '1 minute'
from generate_series(1, 6000) n;
insert into public.project_steps (project_id, step_id, step_index, step_type, step_name)
select md5('project-' || n)::uuid, 's' || i, i, 'agent', 's' from generate_series(1, 6000) n, generate_series(1, 3) i;
insert into public.deliverables (organization_slug, user_id, title, type)
select pg_temp.organization(n), pg_temp.person(n), 'x', 'text' from generate_series(1, 12000) n;
"""
FILLED = (
    "users",
    "organizations",
    "organization_members",
    "agent_conversations",
    "messages",
    "tasks",
    "projects",
    "project_steps",
    "deliverables",
)
WHO = {"member": "plan-member", "newcomer": "plan-newcomer", "admin": "plan-admin"}
ADMINS = {"admin": "plan-1"}
LISTS = {
    "newest tasks": "select * from public.tasks where {} order by created_at desc limit 20",
    "active tasks": "select * from public.active_tasks where {} order by priority, created_at limit 20",
    "recent conversations": "select * from public.recent_conversations where {} order by last_message_at desc limit 20",
    "project progress": "select * from public.project_progress where {} order by created_at desc limit 20",
}
# Rows that one listed row may cost: itself; its conversation; two messages; three steps, counted three times over. What
# hangs on a row asks that row's policy once more for each.
COST = {"newest tasks": 1, "active tasks": 2, "recent conversations": 1 + 2 * 2, "project progress": 1 + 3 * (3 + 3)}
BIG = {"tasks", "agent_conversations", "messages", "projects", "project_steps", "deliverables"}


@dataclass(frozen=True)
class Node:
    """A scan of a plan that ran: what it read, by what, and how many rows, filtered-out ones included."""

    kind: str
    relation: str
    index: str
    rows: float


@pytest.fixture(scope="module")
def dsn(stack: Stack) -> Iterator[str]:
    """Give a database without what other tests leave behind: the size of an index decides as its rows do."""
    with scratch_database(instance_of(stack), "plans") as address:
        with connect(address) as connection:
            for file in FILES:
                apply(connection, file)
        yield address


@pytest.fixture(scope="module")
def full(dsn: str) -> Iterator[Connection]:
    """Give a connection in whose open transaction the rows stand."""
    with connect(dsn) as connection, connection.transaction(force_rollback=True):
        for table in FILLED:
            connection.execute(f"alter table public.{table} disable trigger user")
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        for table in FILLED:
            connection.execute(f"alter table public.{table} enable trigger user")
            connection.execute(f"analyze public.{table}")
        connection.execute("analyze private.live_tasks")
        yield connection


def act_as(connection: Connection, who: str) -> str:
    """Become this user within the transaction and return the id."""
    row = connection.execute("select md5(%s)::uuid::text as id", [WHO[who]]).fetchone()
    assert row
    claims = json.dumps({"role": "authenticated", "sub": row["id"]})
    connection.execute(
        "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)", [claims]
    )
    return str(row["id"])


def scans(plan: dict[str, Any]) -> Iterator[Node]:
    if "Relation Name" in plan or "Index Name" in plan:
        read = (
            plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        )
        rows = read * plan["Actual Loops"]
        yield Node(plan["Node Type"], plan.get("Relation Name", ""), plan.get("Index Name", ""), rows)
    for child in plan.get("Plans", []):
        yield from scans(child)


def explain(connection: Connection, query: str) -> tuple[float, list[Node]]:
    """Run a query; return how many rows it gave and its scans."""
    row = connection.execute(f"explain (analyze, timing off, format json) {query}".encode()).fetchone()
    assert row
    plan = row["QUERY PLAN"][0]["Plan"]
    return plan["Actual Rows"], list(scans(plan))


# What organization_active_tasks runs, with its settings: an explained function shows no scans.
ACTIVE_OF_ADMINS = """
  select t.* from private.live_tasks l
  cross join lateral (select a.* from public.active_tasks a where a.id = l.task_id) t
  where l.organization_slug = 'plan-1' order by l.priority, l.created_at limit 20"""


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_reads_about_what_it_returns(full: Connection, name: str, who: str) -> None:
    with full.transaction(force_rollback=True):
        user_id = act_as(full, who)
        where = f"organization_slug = '{ADMINS[who]}'" if who in ADMINS else f"user_id = '{user_id}'"
        query = LISTS[name].format(where)
        if (name, who) == ("active tasks", "admin"):
            full.execute("set local enable_sort = off")
            full.execute("set local enable_bitmapscan = off")
            query = ACTIVE_OF_ADMINS
        returned, nodes = explain(full, query)
    big = [node for node in nodes if node.relation in BIG]
    assert returned == (20 if who != "newcomer" else {"newest tasks": 5}.get(name, returned))
    assert [node for node in big if node.kind == "Seq Scan" and node.rows] == []
    assert sum(node.rows for node in big) <= COST[name] * returned + 25, big


def test_a_newcomer_does_not_walk_over_everybodys_tasks(full: Connection) -> None:
    with full.transaction(force_rollback=True):
        act_as(full, "newcomer")
        returned, nodes = explain(full, LISTS["newest tasks"].format("true"))
    assert returned == 5
    assert sum(node.rows for node in nodes if node.relation == "tasks") <= 50, nodes


# What private.pick_tasks asks for each queue, and private.queues_with_work for the next one.
CLAIM = """
  select l.task_id from private.live_tasks l
  where l.state = 'pending' and l.organization_slug = 'plan-1' and l.method = 'process'
  order by l.priority, l.scheduled_at, l.ticket limit 10"""
NEXT = """
  select l.organization_slug, l.method from private.live_tasks l
  where l.state = 'pending' and (l.organization_slug, l.method) > ('plan-5', 'process')
  order by l.organization_slug, l.method limit 1"""


@pytest.mark.parametrize("query", [CLAIM, NEXT], ids=["tasks of a queue", "next queue"])
def test_a_claim_walks_the_index_of_what_is_claimable(full: Connection, query: str) -> None:
    returned, nodes = explain(full, query)
    assert [node.index for node in nodes if node.relation == "live_tasks"] == ["live_tasks_pending_idx"]
    assert sum(node.rows for node in nodes) <= 2 * returned


def test_claiming_uses_that_index_and_reads_no_table_whole(full: Connection) -> None:
    reads = (
        "select sum(seq_tup_read) as count from pg_stat_xact_user_tables"
        " where relname in ('tasks', 'live_tasks', 'runs', 'task_events')"
    )
    scans_of = "select pg_stat_get_xact_numscans('private.live_tasks_pending_idx'::regclass) as count"
    claim = "select json_array_length(public.claim_tasks('plan-worker', 50, organizations => %s)) as count"
    with full.transaction(force_rollback=True):
        before = count(full, reads), count(full, scans_of)
        assert count(full, claim, ["plan-1", "plan-20"]) == 50
        assert count(full, reads) == before[0]
        assert count(full, scans_of) > before[1]


def count(connection: Connection, query: str, *args: Any) -> int:
    row = connection.execute(query.encode(), args).fetchone()
    assert row
    return int(row["count"])
