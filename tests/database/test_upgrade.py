"""Each migration on a database that already holds data of the state before it; and scripts/migrate once more."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from psycopg import sql

from localstack import migrations
from localstack.instance import Instance
from localstack.paths import ROOT
from tests.database.kit import AGENT, Connection, adapt, connect
from tests.database.scratch import FILES, apply, instance_of, scratch_database
from tests.stack import Stack

FIRST = 16  # the state that has data first: tenants, agents, conversations, tasks and runs
USER = str(uuid.uuid5(uuid.NAMESPACE_URL, "upgrade"))
ROWS: dict[str, dict[str, object]] = {
    "organizations": {"slug": "upgrade", "name": "U", "settings": {"limits": {"max_agents": 5}}},
    "organization_members": {"organization_slug": "upgrade", "user_id": USER, "role": "owner"},
    "agents": {**AGENT, "slug": "upgrade-agent", "organization_slug": ["upgrade"]},
    "agent_conversations": {"organization_slug": "upgrade", "user_id": USER, "agent_slug": "upgrade-agent"},
    "tasks": {
        "organization_slug": "upgrade",
        "user_id": USER,
        "agent_slug": "upgrade-agent",
        "method": "process",
        "prompt": "x",
    },
    "runs": {"organization_slug": "upgrade", "created_by": USER, "agent_slug": "upgrade-agent"},
    "usage_events": {"organization_slug": "upgrade", "user_id": USER, "provider": "p", "model": "m", "cost": 1},
}


@pytest.fixture(scope="module")
def here(stack: Stack) -> Instance:
    return instance_of(stack)


@pytest.fixture(scope="module")
def scratch(here: Instance) -> Iterator[str]:
    with scratch_database(here, "upgrade") as address:
        yield address


def insert(connection: Connection, table: str, row: dict[str, object]) -> None:
    query = sql.SQL("insert into public.{} ({}) values ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(query, [adapt(value) for value in row.values()])


def contents(connection: Connection) -> dict[str, list[str]]:
    """Read every row of public as JSON, by table."""
    tables = connection.execute("select tablename from pg_tables where schemaname = 'public' order by 1").fetchall()
    found: dict[str, list[str]] = {}
    for table in (row["tablename"] for row in tables):
        query = sql.SQL("select to_jsonb(t)::text as row from public.{} t order by 1").format(sql.Identifier(table))
        found[table] = [row["row"] for row in connection.execute(query)]
    return found


def survived(connection: Connection, before: dict[str, list[str]]) -> None:
    """Assert that each row is still there with all its values; columns may have been added."""
    for table, rows in before.items():
        for row in rows:
            query = sql.SQL("select count(*) as count from public.{} t where to_jsonb(t) @> %s::jsonb")
            found = connection.execute(query.format(sql.Identifier(table)), [row]).fetchone()
            assert found
            assert found["count"] >= 1, f"{table} lost {row}"


def test_each_migration_keeps_the_rows_that_were_there(scratch: str) -> None:
    with connect(scratch) as connection:
        for file in FILES[:FIRST]:
            apply(connection, file)
        connection.execute("insert into auth.users (id, email) values (%s, 'upgrade@example.com')", [USER])
        for table, row in ROWS.items():
            insert(connection, table, row)
        filled = set(ROWS)
        for file in FILES[FIRST:]:
            before = contents(connection)
            assert all(before[table] for table in filled), file.name
            apply(connection, file)
            survived(connection, before)
            # The state just reached is written to as well, so that the next migration meets data of it.
            limits = "update public.agents set resource_limits = %s where slug = 'upgrade-agent'"
            connection.execute(limits, ['{"cpu_limit": 1}'])
            connection.execute('update public.organizations set settings = settings || \'{"theme": "dark"}\'')


def test_agents_from_before_have_what_new_ones_get(scratch: str) -> None:
    with connect(scratch) as connection:
        assert connection.execute("select from public.agents where slug = 'upgrade-agent'").rowcount == 1
        for table in ("container_resources", "agent_versions"):
            query = sql.SQL("select from public.{} where agent_slug = 'upgrade-agent'").format(sql.Identifier(table))
            assert connection.execute(query).rowcount >= 1, table


def test_both_ways_give_the_same_schema(scratch: str, stack: Stack) -> None:
    query = """
      select format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull) as line
      from pg_attribute a join pg_class c on c.oid = a.attrelid
      where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and a.attnum > 0 and not a.attisdropped
      union all
      select format('%s %s', p.oid::regprocedure, md5(p.prosrc)) from pg_proc p
      where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
      union all
      select format('%s %s %s', tablename, policyname, concat(qual, with_check)) from pg_policies
      where schemaname = 'public'
      order by 1"""
    with connect(scratch) as upgraded, connect(stack.database_url) as fresh:
        assert upgraded.execute(query).fetchall() == fresh.execute(query).fetchall()


def test_migrating_once_more_changes_nothing(here: Instance) -> None:
    with connect(here.database_url()) as connection:
        before = contents(connection)
        done = subprocess.run(
            [ROOT / "scripts" / "migrate", "--name", here.name],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert contents(connection) == before
    found = migrations.listing(here)
    assert len(found) == len(FILES)
    assert all(migration.applied for migration in found)
    assert [migration.version for migration in found if migration.version not in done.stdout] == []
