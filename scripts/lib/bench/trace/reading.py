"""How long `run_tree` takes: 1,000 steps in 21 runs, among 1,000,000 of 1,000 organizations, as a signed-in user."""

import json
import time
from collections.abc import Sequence

from bench.parts import part
from bench.queue.database import ORGANIZATION, USER
from bench.queue.lab import Lab
from bench.results import Result, at_most, percentile, plain

STEPS = 1_000_000
PER_RUN = 50
CHILDREN = 20
LIMIT_MS = 50.0
TIMES = 30

_RUNS = """
with made as (
  insert into public.runs (organization_slug, created_by, status, completed_at, agent_slug)
  select (%(organizations)s::text[])[1 + i %% cardinality(%(organizations)s::text[])], %(user)s, 'completed', now(),
    'bench-agent'
  from generate_series(1, %(runs)s) i
  returning id
)
insert into public.run_steps (run_id, sequence_number, type, name, input, output, status, completed_at)
select m.id, n, 'tool_call', 'search', to_jsonb(repeat('in ', 60)), to_jsonb(repeat('out ', 60)), 'completed', now()
from made m, generate_series(1, %(each)s) n
"""

_TREE = """
with top as (
  insert into public.runs (organization_slug, created_by, status, completed_at)
  values (%(organization)s, %(user)s, 'completed', now())
  returning id
),
below as (
  insert into public.runs (organization_slug, created_by, status, completed_at, parent_run_id)
  select %(organization)s, %(user)s, 'completed', now(), t.id from top t, generate_series(1, %(children)s)
  returning id
),
steps as (
  insert into public.run_steps (run_id, sequence_number, type, name, input, output, status, completed_at)
  select b.id, n, 'tool_call', 'search', to_jsonb(repeat('in ', 60)), to_jsonb(repeat('out ', 60)), 'completed', now()
  from below b, generate_series(1, %(each)s) n
)
select id from top
"""


def run(lab: Lab) -> Sequence[Result]:
    """Lay the steps out, then read one tree several times in the database, as its user."""
    steps, connection = lab.options.scale(STEPS, 5000), lab.database.connection
    with part(f"lay out {steps:,} steps"):
        lab.database.wipe()
        connection.execute("alter table public.run_steps disable trigger user")
        slugs = [row[0] for row in connection.execute("select slug from public.organizations")]
        for start in range(0, steps, 100_000):
            runs = min(100_000, steps - start) // PER_RUN
            connection.execute(_RUNS, {"user": USER, "runs": runs, "each": PER_RUN, "organizations": slugs})
        connection.execute("alter table public.run_steps enable trigger user")
        values = {"organization": ORGANIZATION, "user": USER, "children": CHILDREN, "each": PER_RUN}
        top = connection.execute(_TREE, values).fetchone()
        connection.execute("vacuum (analyze) public.runs, public.run_steps")
    if top is None:
        raise SystemExit("bench: there is no tree")
    with part("run_tree"):
        times = [_read(lab, top[0]) for _ in range(TIMES)]
    return [
        plain("steps stored", lab.database.number("select count(*) from public.run_steps"), "steps"),
        plain("run_tree of 1,000 steps, median", percentile(times, 50), "ms"),
        at_most("run_tree of 1,000 steps, p95", percentile(times, 95), "ms", LIMIT_MS),
    ]


def _read(lab: Lab, run_id: object) -> float:
    with lab.database.connection.transaction():
        execute = lab.database.connection.execute
        execute("select set_config('role', 'authenticated', true)")
        claims = {"sub": USER, "role": "authenticated"}
        execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
        began = time.perf_counter()
        row = execute("select public.run_tree(%s)", [run_id]).fetchone()
        milliseconds = (time.perf_counter() - began) * 1000
    tree = row[0] if row is not None else {}
    if sum(len(child["steps"]) for child in tree.get("children", [])) != CHILDREN * PER_RUN:
        raise SystemExit("bench: run_tree did not give every step")
    return milliseconds
