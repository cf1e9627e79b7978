"""Executions while many hands are on them: nobody waits for each other in a circle, and the execution says what is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import psycopg
import pytest

from tests.database.kit import Row, Session, Tenant, World, in_parallel
from tests.database.pauses import reap
from tests.database.workflow_kit import add_workflow, edge, execution, node, project, steps

Act = Callable[[Session], object]
FINAL = {"completed", "failed", "cancelled", "timeout"}


def fan(tenant: Tenant) -> Row:
    """Give a -> eight nodes -> z."""
    middle = [f"m{n}" for n in range(8)]
    edges = [edge("a", name) for name in middle] + [edge(name, "z") for name in middle]
    return {"nodes": [node(tenant, name) for name in ("a", *middle, "z")], "edges": edges}


def working(tenant: Tenant, world: World) -> Act:
    worker = world.worker()

    def work(session: Session) -> None:
        for _ in range(12):
            for lease in worker.on(session).claim(tenant, 3):
                while worker.on(session).complete(lease) == "busy":
                    time.sleep(0.01)

    return work


def steering(function: str, key: str, times: int) -> Act:
    def steer(session: Session) -> None:
        for _ in range(times):
            try:
                session.call(function, execution_id=key)
            except psycopg.Error as error:
                if error.diag.message_primary != "illegal_move":
                    raise

    return steer


@pytest.mark.parametrize("end", ["cancel_execution", "pause_execution"])
def test_workers_people_and_the_reaper_never_block_each_other(world: World, tenant: Tenant, end: str) -> None:
    workflow = add_workflow(tenant.owner, tenant, fan(tenant), name=uuid.uuid4().hex)
    key = str(tenant.owner.call("start_workflow", workflow_id=workflow["id"])["id"])
    reaping = world.worker()
    acts: list[tuple[Session, Act]] = [(world.service, working(tenant, world)) for _ in range(3)]
    acts += [(tenant.owner, steering(f"{verb}_execution", key, 6)) for verb in ("pause", "resume", "pause", "resume")]
    acts += [(world.service, lambda session: [reaping.on(session).exchange() for _ in range(6)])]
    acts += [(tenant.owner, steering(end, key, 1))]
    left = {
        role: iter([act for session, act in acts if session.role == role]) for role in ("service_role", "authenticated")
    }
    results = in_parallel([session for session, _ in acts], lambda session: next(left[session.role])(session))
    assert [result for result in results if isinstance(result, psycopg.Error)] == []
    settle(world, tenant, key)


def settle(world: World, tenant: Tenant, key: str) -> None:
    """Let what is left go on to its end, and compare the execution with its project."""
    worker = world.worker()
    reap(worker)
    row = execution(tenant.owner, key)
    if row["status"] == "paused":
        tenant.owner.call("resume_execution", execution_id=key)
    deadline = time.monotonic() + 20
    while execution(tenant.owner, key)["status"] not in FINAL and time.monotonic() < deadline:
        working(tenant, world)(world.service)
        reap(worker)
    row = execution(tenant.owner, key)
    assert row["status"] in FINAL
    assert row["status"] == project(tenant, key)["status"]
    assert set(steps(tenant, key).values()) <= {"completed", "cancelled"}
    ended = world.admin.rows("select from public.tasks where execution_id = %s and completed_at is null", key)
    assert ended == []
