"""The rows that the benches work on: laid out with all triggers on, measured by the database's own clock."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
from psycopg import sql

from localstack.instance import Instance

# As in prepare.sql.
USER = "00000000-0000-4000-8000-000000000001"
ORGANIZATION = "bench"
NOOP = "bench_noop"
WRITE = "bench_write"
CONVERSATION_TASKS = 10
FILL_ROWS = 50_000  # a statement, a multiple of the organizations there may be

_PREPARE = Path(__file__).with_name("prepare.sql")

_FILL = """
insert into public.tasks (organization_slug, user_id, method, prompt)
select (%(organizations)s::text[])[1 + i %% cardinality(%(organizations)s::text[])], %(user)s, %(method)s, 'Nothing.'
from generate_series(0, %(tasks)s - 1) i
"""

_FILL_CONVERSATIONS = """
with conversations as (
  insert into public.agent_conversations (organization_slug, user_id, agent_slug, agent_name, agent_type)
  select %(organization)s, %(user)s, 'bench-agent', 'Bench', 'context' from generate_series(1, %(conversations)s)
  returning id
)
insert into public.tasks (organization_slug, user_id, method, prompt, agent_conversation_id)
select %(organization)s, %(user)s, %(method)s, 'Write.', c.id from conversations c, generate_series(1, %(each)s)
"""

# From the first claim to the last completion.
_SECONDS = "extract(epoch from max(completed_at) - min(started_at))"
_SPAN = f"select {_SECONDS} from public.tasks where status = 'completed'"  # noqa: S608 - constants of ours
_RATE = f"select count(*) / nullif({_SECONDS}, 0) from public.tasks where status = 'completed'"  # noqa: S608
_UNFINISHED = "from public.tasks where status in ('pending', 'in_progress', 'paused')"

_WRITTEN = """
select least(
  (select count(*) from public.deliverable_versions), (select count(*) from public.messages where sender_type = 'agent')
)
"""

# Dead rows of all our tables, after the statistics of this moment are in.
_DEAD = "select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables where schemaname in ('public', 'private')"


class Database:
    """The stack's database as its superuser."""

    def __init__(self, stack: Instance) -> None:
        self._stack = stack
        self.connection = psycopg.connect(stack.database_url("supabase_admin"), autocommit=True)

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()

    def prepare(self) -> None:
        """Make the organizations (one of its own and 1,000 numbered ones), the user, the methods and the agent."""
        self.connection.execute(_PREPARE.read_text())

    def wipe(self) -> None:
        """Remove every task and what hangs on it; unfinished ones row by row, so that triggers see them go."""
        self.connection.execute(f"delete {_UNFINISHED}")
        self.connection.execute("truncate public.tasks cascade")

    def fill(self, tasks: int, method: str = NOOP, organizations: Sequence[str] = (ORGANIZATION,)) -> None:
        """Add pending tasks, spread evenly over organizations; with WRITE in conversations of ten tasks each."""
        values = {"method": method, "user": USER}
        if method == WRITE:
            conversations = -(-tasks // CONVERSATION_TASKS)
            shape = {"organization": ORGANIZATION, "conversations": conversations, "each": CONVERSATION_TASKS}
            self.connection.execute(_FILL_CONVERSATIONS, values | shape)
            return
        for start in range(0, tasks, FILL_ROWS):
            size = {"tasks": min(FILL_ROWS, tasks - start), "organizations": list(organizations)}
            self.connection.execute(_FILL, values | size)

    def settle(self) -> None:
        """Vacuum, analyze and checkpoint, so that each measurement begins alike."""
        self.connection.execute("vacuum (analyze)")
        self.connection.execute("checkpoint")

    def span(self) -> float:
        """Seconds from the first claim to the last completion."""
        return self.number(_SPAN)

    def rate_since(self, began: float) -> float:
        """Completions per second of tasks claimed after a time, in seconds since 1970 by the database's clock."""
        return self.number(f"{_RATE} and started_at > to_timestamp({began})")

    def now(self) -> float:
        """The time by the database's clock, in seconds since 1970."""
        return self.number("select extract(epoch from clock_timestamp())")

    def completed(self) -> int:
        """How many tasks are completed."""
        return int(self.number("select count(*) from public.tasks where status = 'completed'"))

    def unfinished(self) -> int:
        """How many tasks are not over."""
        return int(self.number(f"select count(*) {_UNFINISHED}"))

    def written(self) -> int:
        """How many versions of deliverables, or messages of agents if those are fewer."""
        return int(self.number(_WRITTEN))

    def dead_rows(self) -> int:
        """How many row versions wait for vacuum in all our tables, as far as the statistics know."""
        return int(self.number(_DEAD))

    def number(self, query: str) -> float:
        """The single number that a query gives; null counts as 0."""
        row = self.connection.execute(query).fetchone()
        return float(row[0] or 0) if row else 0.0

    def snapshot(self) -> AbstractContextManager[psycopg.Connection]:
        """A connection whose transaction holds one snapshot until it is closed."""
        connection = psycopg.connect(self._stack.database_url("supabase_admin"))
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from public.organizations")
        return connection

    def other(self, name: str) -> str:
        """Make another database on the same server, anew; returns its address."""
        identifier = sql.Identifier(name)
        self.connection.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
        self.connection.execute(sql.SQL("create database {}").format(identifier))
        return self._stack.database_url("supabase_admin").rpartition("/")[0] + f"/{name}"


def numbered_organizations(count: int = 1000) -> list[str]:
    """The slugs of the numbered organizations."""
    return [f"org-{number:04d}" for number in range(count)]
