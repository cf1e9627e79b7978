"""Finishing a step of a project of 10,000 steps against one of 10: by the functions that workers call, in turns."""

import time
import uuid
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from bench.dag import plans
from bench.queue.database import ORGANIZATION, numbered_organizations
from bench.queue.lab import Lab
from bench.results import Result, at_most, percentile, plain

LARGE, SMALL = 10_000, 10
FINISHED = 200


def run(lab: Lab) -> list[Result]:
    """Milliseconds of a completion that makes a dependent a task; half of the steps depend on one of the others."""
    finished, large = lab.options.scale(FINISHED, 10), lab.options.scale(LARGE, 100)
    database, (few, *_) = lab.database, numbered_organizations()
    database.wipe()
    database.connection.execute("truncate public.projects cascade")
    database.connection.execute(
        "update public.agents set organization_slug = %s where slug = %s", [[ORGANIZATION, few], plans.AGENT]
    )
    plans.begin(database, _pairs(large), ORGANIZATION)
    for _ in range(-(-finished // (SMALL // 2))):
        plans.begin(database, _pairs(SMALL), few)
    database.settle()
    times: dict[str, list[float]] = {ORGANIZATION: [], few: []}
    with psycopg.connect(lab.stack.database_url(), autocommit=True) as connection:
        connection.execute("set role service_role")
        for _ in range(finished):
            for organization, found in times.items():
                found.append(_finish_one(connection, organization))
    before, after = percentile(times[few], 50), percentile(times[ORGANIZATION], 50)
    return [
        plain(f"finishing a step of {SMALL}: p50", before, "ms"),
        plain(f"finishing a step of {large:,}: p50", after, "ms"),
        at_most(f"finishing a step of {large:,}: against one of {SMALL}", after / before, f"x one of {SMALL}", 1.5),
    ]


def _pairs(steps: int) -> list[plans.Step]:
    half = steps // 2
    return [plans.step(n, *([n - half] if n >= half else [])) for n in range(steps)]


def _finish_one(connection: psycopg.Connection, organization: str) -> float:
    name = f"bench-{uuid.uuid4()}"
    (claimed,) = _call(connection, "select public.claim_tasks(%s, 1, organizations => %s)", name, [organization])
    report = [
        {"task_id": claimed["task"]["id"], "response": "Done."}
        | {key: claimed[key] for key in ("attempt", "lease_token")}
    ]
    began = time.perf_counter()
    (outcome,) = _call(connection, "select public.complete_tasks(%s, %s)", name, Jsonb(report))
    took = (time.perf_counter() - began) * 1000
    if outcome["outcome"] != "ok":
        raise SystemExit(f"bench: a step was to be completed, and was not: {outcome}")
    return took


def _call(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]
