"""The state machines of projects, their steps, executions and questions: legal moves, for every writer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, refused

Moves = Mapping[str, set[str]]


@dataclass(frozen=True)
class Machine:
    """A table with states: its moves, the states a row may begin in, and how a new row comes about."""

    table: str
    moves: Moves
    first: tuple[str, ...]
    final: frozenset[str]  # the states with a completed_at
    make: Callable[[Tenant], Row]


def project(place: Tenant) -> Row:
    return {"user_id": place.owner.id, "conversation_id": place.conversation()}


def step(place: Tenant) -> Row:
    project_id = place.world.admin.insert("projects", **project(place))["id"]
    return {"project_id": project_id, "step_id": "a", "step_index": 0, "step_type": "agent", "step_name": "A"}


def workflow(place: Tenant) -> Row:
    return {
        "organization_slug": place.slug,
        "agent_slug": place.agent,
        "name": uuid.uuid4().hex,
        "workflow_data": {"endpoint": {"url": "https://crews.example.com"}},
        "workflow_type": "code",
        "framework": "crewai",
    }


def execution(place: Tenant) -> Row:
    return {
        "workflow_id": place.world.admin.insert("workflows", **workflow(place))["id"],
        "execution_data": {"input": 1},
    }


def question(place: Tenant) -> Row:
    return {"organization_slug": place.slug, "prompt": "Which?"}


STEP_ENDS = frozenset({"completed", "failed", "skipped", "cancelled"})
EXECUTION_ENDS = frozenset({"completed", "failed", "cancelled", "timeout"})
MACHINES = {
    "projects": Machine(
        "projects",
        {
            "planning": {"awaiting_approval", "running", "failed", "cancelled"},
            "awaiting_approval": {"planning", "running", "cancelled"},
            "running": {"paused", "completed", "failed", "cancelled"},
            "paused": {"running", "completed", "failed", "cancelled"},
            "completed": set(),
            "failed": {"planning", "awaiting_approval", "running", "cancelled"},  # back only before it has started
            "cancelled": set(),
        },
        ("planning", "awaiting_approval", "running"),
        frozenset(),
        project,
    ),
    "project_steps": Machine(
        "project_steps",
        {
            "pending": {"ready", "skipped", "cancelled"},
            "ready": {"in_progress", "awaiting_input", "completed", "skipped", "cancelled", "failed"},
            "in_progress": {"completed", "failed", "awaiting_input", "skipped", "cancelled", "ready"},
            "awaiting_input": {"in_progress", "ready", "completed", "failed", "skipped", "cancelled"},
            "completed": set(),
            "failed": {"ready", "pending", "skipped"},
            "skipped": set(),
            "cancelled": {"pending", "ready"},
        },
        ("pending", "ready"),
        STEP_ENDS,
        step,
    ),
    "workflow_executions": Machine(
        "workflow_executions",
        {
            "queued": {"pending", "cancelled"},
            "pending": {"running", "cancelled"},
            "running": {"completed", "failed", "timeout", "paused", "cancelled"},
            "paused": {"running", "cancelled"},
            "completed": set(),
            "failed": {"queued"},
            "cancelled": set(),
            "timeout": {"queued"},
        },
        ("queued",),
        EXECUTION_ENDS,
        execution,
    ),
    "input_requests": Machine(
        "input_requests",
        {
            "pending": {"answered", "expired", "cancelled"},
            "answered": set(),
            "expired": set(),
            "cancelled": set(),
        },
        ("pending",),
        frozenset(),
        question,
    ),
}
PAIRS = [(table, old, new) for table, m in MACHINES.items() for old in m.moves for new in m.moves]
STATES = [(table, state) for table, m in MACHINES.items() for state in m.moves]


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def read(place: Tenant, table: str, key: str) -> Row:
    query = sql.SQL("select * from public.{} where id = %s").format(sql.Identifier(table))
    return place.world.admin.row(query, key)


def implied(machine: Machine, status: str) -> Row:
    """Give the columns that the constraints ask for with this status."""
    if machine.table == "input_requests" and status == "answered":
        return {"response": Jsonb("yes"), "responded_at": "2026-01-01T00:00:00Z"}
    if machine.table == "workflow_executions" and status == "failed":
        return {"error_code": "some_error"}
    return {}


def move(session: Session, machine: Machine, key: str, status: str) -> None:
    session.update(machine.table, {"id": key}, status=status, **implied(machine, status))


def path(machine: Machine, wanted: str) -> list[str]:
    """Find the shortest way of legal moves from the first state."""
    ways = [[machine.first[0]]]
    for way in ways:
        if way[-1] == wanted:
            return way[1:]
        ways += [[*way, state] for state in sorted(machine.moves[way[-1]]) if state not in way]
    raise AssertionError(f"{machine.table} has no way to {wanted}")


def row_in(place: Tenant, machine: Machine, status: str) -> str:
    """Bring a new row into a status by legal moves and return its id."""
    key = str(place.world.admin.insert(machine.table, **machine.make(place))["id"])
    for state in path(machine, status):
        move(place.world.admin, machine, key, state)
    return key


@pytest.mark.parametrize("writer", ["none", "service_role"])
@pytest.mark.parametrize(("table", "old", "new"), PAIRS)
def test_servers_make_legal_moves_only(place: Tenant, table: str, old: str, new: str, writer: str) -> None:
    machine = MACHINES[table]
    session = place.world.service if writer == "service_role" else place.world.admin
    key = row_in(place, machine, old)
    before = read(place, table, key)
    if new == old:
        session.update(table, {"id": key}, status=new)
        assert read(place, table, key) | {"updated_at": None} == before | {"updated_at": None}
    elif new in machine.moves[old]:
        move(session, machine, key, new)
        after = read(place, table, key)
        assert after["status"] == new
        check_what_follows(machine, before, after)
    else:
        with refused("PT409", "illegal_move"):
            move(session, machine, key, new)
        assert read(place, table, key) == before


def check_what_follows(machine: Machine, before: Row, after: Row) -> None:
    old, new = before["status"], after["status"]
    if machine.final:
        assert (after["completed_at"] is not None) == (new in machine.final)
    if machine.table == "project_steps":
        if new in {"pending", "ready"}:
            assert after["started_at"] is None
        elif new in {"in_progress", "awaiting_input"}:
            assert after["started_at"] == (before["started_at"] or after["updated_at"])
        else:
            assert after["started_at"] == before["started_at"]
    if machine.table == "workflow_executions":
        assert (after["started_at"] != before["started_at"]) == ((old, new) == ("pending", "running"))
        assert (after["paused_at"] != before["paused_at"]) == (new == "paused")
        assert (after["resumed_at"] != before["resumed_at"]) == ((old, new) == ("paused", "running"))
        assert after["retry_count"] - before["retry_count"] == (new == "queued")


@pytest.mark.parametrize(("table", "old", "new"), PAIRS)
def test_a_client_never_writes_a_status(place: Tenant, table: str, old: str, new: str) -> None:
    machine = MACHINES[table]
    key = row_in(place, machine, old)
    before = read(place, table, key)
    with refused("42501"):
        place.owner.update(table, {"id": key}, status=new)
    assert read(place, table, key) == before


@pytest.mark.parametrize("writer", ["none", "service_role"])
@pytest.mark.parametrize(("table", "status"), STATES)
def test_no_row_begins_in_a_later_state(place: Tenant, table: str, status: str, writer: str) -> None:
    machine = MACHINES[table]
    session = place.world.service if writer == "service_role" else place.world.admin
    row = machine.make(place) | {"status": status} | implied(machine, status)
    if status in machine.first:
        assert session.insert(table, **row)["status"] == status
    else:
        with refused("PT409", "illegal_move"):
            session.insert(table, **row)


@pytest.mark.parametrize("table", MACHINES)
def test_a_client_begins_no_row_with_a_status(place: Tenant, table: str) -> None:
    machine = MACHINES[table]
    with refused("42501"):
        place.owner.insert(table, **machine.make(place), status=machine.first[0])


@pytest.mark.parametrize("table", MACHINES)
def test_an_unknown_status_is_refused(place: Tenant, table: str) -> None:
    with refused("PT409", "illegal_move"):
        place.world.service.update(table, {"id": row_in(place, MACHINES[table], MACHINES[table].first[0])}, status="x")


# Results


FINISHED: list[tuple[str, str, str, Any]] = [
    ("project_steps", "completed", "result", {"changed": True}),
    ("project_steps", "completed", "completed_at", "2030-01-01"),
    ("project_steps", "completed", "started_at", "2030-01-01"),
    ("project_steps", "skipped", "result", {"changed": True}),
    ("workflow_executions", "completed", "execution_data", {"changed": True}),
    ("workflow_executions", "completed", "error_code", "other_error"),
    ("workflow_executions", "completed", "completed_at", "2030-01-01"),
    ("workflow_executions", "completed", "started_at", "2030-01-01"),
    ("workflow_executions", "cancelled", "execution_data", {"changed": True}),
    ("workflow_executions", "failed", "execution_data", {"changed": True}),
    ("workflow_executions", "failed", "error_code", "other_error"),
    ("workflow_executions", "timeout", "execution_data", {"changed": True}),
    ("input_requests", "answered", "response", Jsonb("no")),
    ("input_requests", "answered", "responded_at", "2030-01-01"),
]


@pytest.mark.parametrize(("table", "status", "column", "value"), FINISHED, ids=lambda v: str(v)[:40])
def test_what_a_finished_row_says_does_not_change(
    place: Tenant, table: str, status: str, column: str, value: Any
) -> None:
    key = row_in(place, MACHINES[table], status)
    before = read(place, table, key)
    with refused("PT409"):
        place.world.service.update(table, {"id": key}, **{column: value})
    assert read(place, table, key) == before


def test_an_answer_is_not_put_into_somebody_elses_mouth(place: Tenant) -> None:
    machine = MACHINES["input_requests"]
    first, second = place.join("member"), place.join("member")
    key = str(place.world.admin.insert("input_requests", **question(place))["id"])
    place.world.service.update(
        "input_requests", {"id": key}, status="answered", responded_by=first.id, **implied(machine, "answered")
    )
    with refused("PT409"):
        place.world.service.update("input_requests", {"id": key}, responded_by=second.id)


def test_an_answer_outlives_whoever_gave_it(place: Tenant) -> None:
    machine = MACHINES["input_requests"]
    user = place.join("member")
    key = str(place.world.admin.insert("input_requests", **question(place))["id"])
    place.world.service.update(
        "input_requests", {"id": key}, status="answered", responded_by=user.id, **implied(machine, "answered")
    )
    place.world.admin.execute("delete from auth.users where id = %s", user.id)
    answered = read(place, "input_requests", key)
    assert (answered["status"], answered["response"], answered["responded_by"]) == ("answered", "yes", None)


@pytest.mark.parametrize("max_retries", [0, 1, 3])
@pytest.mark.parametrize("end", ["failed", "timeout"])
def test_an_execution_is_retried_up_to_max_retries(place: Tenant, end: str, max_retries: int) -> None:
    machine = MACHINES["workflow_executions"]
    row = execution(place) | {"max_retries": max_retries}
    key = str(place.world.service.insert("workflow_executions", **row)["id"])
    for attempt in range(max_retries + 1):
        assert read(place, "workflow_executions", key)["retry_count"] == attempt
        for status in ("pending", "running", end):
            move(place.world.service, machine, key, status)
        if attempt < max_retries:
            move(place.world.service, machine, key, "queued")
    with refused("PT409", "retries_used_up"):
        move(place.world.service, machine, key, "queued")
    assert read(place, "workflow_executions", key)["status"] == end
