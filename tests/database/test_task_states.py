"""The state machine of tasks: legal moves and what they imply, for every writer."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, World, refused

MOVES = {
    "pending": {"in_progress", "cancelled"},
    "in_progress": {"completed", "failed", "timeout", "cancelled", "rejected", "paused", "pending"},
    "paused": {"pending", "cancelled", "timeout"},
    "completed": set(),
    "failed": {"pending"},
    "cancelled": {"pending"},
    "timeout": {"pending"},
    "rejected": set(),
}
FINAL = {"completed", "failed", "cancelled", "timeout", "rejected"}
PAIRS = [(old, new) for old in MOVES for new in MOVES]


@pytest.fixture(scope="module")
def place(scene: World) -> Tenant:
    return scene.tenant()


def start(session: Session, task_id: str) -> None:
    session.execute(
        "update public.tasks set status = 'in_progress', attempt = attempt + 1, worker_id = 'w',"
        " lease_token = gen_random_uuid(), lease_expires_at = now() + interval '1 minute', started_at = now()"
        " where id = %s",
        task_id,
    )


def move(session: Session, task_id: str, status: str) -> None:
    """Write a status with the columns that its constraints ask for."""
    if status == "in_progress":
        start(session, task_id)
    elif status in {"failed", "timeout", "rejected"}:
        session.update("tasks", {"id": task_id}, status=status, error_code="some_error")
    else:
        session.update("tasks", {"id": task_id}, status=status)


def task_in(place: Tenant, status: str, **columns: Any) -> str:
    """Bring a new task into a status by legal moves; a started one has progress 40."""
    task_id = place.task(**columns)
    if status != "pending":
        start(place.world.admin, task_id)
        place.world.admin.update("tasks", {"id": task_id}, progress=40)
    if status not in {"pending", "in_progress"}:
        move(place.world.admin, task_id, status)
    return task_id


@pytest.mark.parametrize("writer", ["none", "service_role"])
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_servers_make_legal_moves_only(place: Tenant, old: str, new: str, writer: str) -> None:
    session = place.world.service if writer == "service_role" else place.world.admin
    task_id = task_in(place, old)
    before = place.read(task_id)
    if new == old:
        session.update("tasks", {"id": task_id}, status=new)
        assert place.read(task_id) | {"updated_at": None} == before | {"updated_at": None}
    elif new in MOVES[old]:
        move(session, task_id, new)
        check_what_follows(place.read(task_id), before, new)
    else:
        with refused("PT409", "illegal_move"):
            move(session, task_id, new)
        assert place.read(task_id) == before


def check_what_follows(task: Row, before: Row, status: str) -> None:
    assert task["status"] == status
    assert (task["completed_at"] is not None) == (status in FINAL)
    assert (task["lease_token"] is not None) == (task["lease_expires_at"] is not None) == (status == "in_progress")
    assert task["progress"] == {"completed": 100, "pending": 0, "in_progress": 0}.get(status, before["progress"])


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_client_never_writes_a_status(place: Tenant, old: str, new: str) -> None:
    task_id = task_in(place, old)
    before = place.read(task_id)
    with refused("42501"):
        place.owner.update("tasks", {"id": task_id}, status=new)
    assert place.read(task_id) == before


def test_the_moves_are_told_in_the_trail(place: Tenant) -> None:
    task_id = task_in(place, "failed")
    place.owner.call("retry_task", task_id=task_id)
    events = [(e["type"], e["data"]) for e in place.events(task_id)]
    assert events == [
        ("status", {"to": "pending"}),
        ("status", {"from": "pending", "to": "in_progress"}),
        ("progress", {"progress": 40}),
        ("status", {"from": "in_progress", "to": "failed", "error_code": "some_error"}),
        ("status", {"from": "failed", "to": "pending"}),
    ]


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("response", "something else"),
        ("response_metadata", {"changed": True}),
        ("llm_metadata", {"changed": True}),
        ("error_code", "other_error"),
        ("error_message", "something else"),
        ("error_data", {"changed": True}),
        ("attempt", 2),
        ("completed_at", "2030-01-01"),
        ("started_at", "2030-01-01"),
        ("worker_id", "somebody-else"),
    ],
)
def test_what_a_finished_task_says_does_not_change(place: Tenant, status: str, column: str, value: Any) -> None:
    task_id = task_in(place, status)
    with refused("PT409", "task_finished"):
        place.world.service.update("tasks", {"id": task_id}, **{column: value})


@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout", "rejected"])
def test_progress_of_a_finished_task_does_not_change(place: Tenant, status: str) -> None:
    task_id = task_in(place, status)
    with refused("PT409", "task_finished"):
        place.world.service.update("tasks", {"id": task_id}, progress=50)


@pytest.mark.parametrize("status", sorted(MOVES))
def test_its_user_rates_a_task_in_any_state(place: Tenant, status: str) -> None:
    task_id = task_in(place, status)
    assert place.owner.update("tasks", {"id": task_id}, evaluation={"stars": 5}, metadata={"seen": True}) == 1
    assert place.read(task_id)["evaluation"] == {"stars": 5}


@pytest.mark.parametrize("status", sorted(MOVES))
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", uuid.uuid4()),
        ("organization_slug", "demo-org"),
        ("user_id", uuid.uuid4()),
        ("method", "converse"),
        ("prompt", "Write something else."),
        ("params", {"changed": True}),
        ("created_at", "2030-01-01"),
    ],
)
def test_what_was_asked_of_a_task_does_not_change(place: Tenant, status: str, column: str, value: Any) -> None:
    task_id = task_in(place, status)
    with refused("PT409", "task_input_is_fixed"):
        place.world.service.update("tasks", {"id": task_id}, **{column: value})


def test_progress_does_not_fall_within_an_attempt(place: Tenant) -> None:
    task_id = task_in(place, "in_progress")
    place.world.service.update("tasks", {"id": task_id}, progress=30)
    assert place.read(task_id)["progress"] == 40
    place.world.service.update("tasks", {"id": task_id}, status="pending")
    start(place.world.service, task_id)
    place.world.service.update("tasks", {"id": task_id}, progress=10)
    assert place.read(task_id)["progress"] == 10


@pytest.mark.parametrize(
    ("status", "constraint", "columns"),
    [
        ("pending", "lease_matches_in_progress", {"lease_token": uuid.uuid4()}),
        ("pending", "lease_matches_in_progress", {"status": "in_progress", "attempt": 1}),
        ("in_progress", "lease_matches_in_progress", {"lease_token": None}),
        ("in_progress", "lease_matches_in_progress", {"lease_expires_at": None}),
        ("in_progress", "lease_matches_in_progress", {"worker_id": None}),
        ("in_progress", "completed_at_matches_final_status", {"completed_at": "2030-01-01"}),
        ("in_progress", "failures_have_an_error_code", {"status": "failed"}),
        ("in_progress", "failures_have_an_error_code", {"status": "timeout"}),
        ("in_progress", "failures_have_an_error_code", {"status": "rejected"}),
        ("in_progress", "error_code_is_snake_case", {"status": "failed", "error_code": "Some Error"}),
        ("in_progress", "pending_tasks_have_an_attempt_left", {"status": "pending", "max_attempts": 1}),
        ("in_progress", "attempt_is_within_max_attempts", {"attempt": 4}),
        ("in_progress", "progress_is_a_percentage", {"progress": 101}),
        ("pending", "progress_is_a_percentage", {"progress": 1000}),
        ("pending", "timeout_is_between_a_second_and_a_day", {"timeout_seconds": 0}),
        ("pending", "max_attempts_is_small", {"max_attempts": 0}),
        ("pending", "scheduled_at_is_finite", {"scheduled_at": "infinity"}),
        ("pending", "names_and_keys_are_short_and_not_blank", {"deliverable_type": " "}),
        ("pending", "backoff_is_at_most_an_hour", {"backoff": "61 minutes"}),
        ("pending", "backoff_is_at_most_an_hour", {"backoff": "-1 second"}),
        ("pending", "metadata_is_a_small_object", {"metadata": Jsonb([])}),
        ("pending", "evaluation_is_a_small_object", {"evaluation": Jsonb("good")}),
        ("completed", "llm_metadata_is_an_object", {"llm_metadata": Jsonb(1)}),
    ],
)
def test_impossible_rows_are_refused(place: Tenant, status: str, constraint: str, columns: dict[str, Any]) -> None:
    before_completion = "in_progress" if status == "completed" else status
    task_id = task_in(place, before_completion)
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        place.world.service.update(
            "tasks", {"id": task_id}, **columns, **({"status": status} if status == "completed" else {})
        )
    assert caught.value.diag.constraint_name == constraint


def test_an_unknown_status_is_refused(place: Tenant) -> None:
    with refused("PT409", "illegal_move"):
        place.world.service.update("tasks", {"id": place.task()}, status="done")


@pytest.mark.parametrize("old", sorted(MOVES))
def test_cancel_task_ends_what_is_not_finished_and_repeats_safely(place: Tenant, old: str) -> None:
    task_id = task_in(place, old)
    if "cancelled" in MOVES[old] or old == "cancelled":
        assert place.owner.call("cancel_task", task_id=task_id)["status"] == "cancelled"
        assert place.owner.call("cancel_task", task_id=task_id)["status"] == "cancelled"
        assert [e["data"].get("to") for e in place.events(task_id)].count("cancelled") == 1
    else:
        with refused("PT409", "task_finished"):
            place.owner.call("cancel_task", task_id=task_id)


@pytest.mark.parametrize("old", sorted(MOVES))
def test_retry_task_queues_what_failed_and_repeats_safely(place: Tenant, old: str) -> None:
    task_id = task_in(place, old)
    if old in {"failed", "timeout", "cancelled", "pending"}:
        for _ in range(2):
            task = place.owner.call("retry_task", task_id=task_id)
            assert (task["status"], task["error_code"], task["progress"]) == ("pending", None, 0)
        assert len([e for e in place.events(task_id) if e["data"].get("to") == "pending"]) == (
            1 if old == "pending" else 2
        )
    else:
        with refused("PT409", "illegal_move"):
            place.owner.call("retry_task", task_id=task_id)


@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout"])
def test_retry_task_gives_one_more_attempt_to_a_task_without_any_left(place: Tenant, status: str) -> None:
    task_id = task_in(place, status, max_attempts=1)
    task = place.owner.call("retry_task", task_id=task_id)
    assert (task["attempt"], task["max_attempts"]) == (1, 2)


def test_a_paused_task_goes_on_even_when_it_paused_in_its_last_attempt(place: Tenant) -> None:
    task_id = task_in(place, "paused", max_attempts=1)
    place.world.service.update("tasks", {"id": task_id}, status="pending")
    assert place.read(task_id)["status"] == "pending"


@pytest.mark.parametrize("function", ["cancel_task", "retry_task"])
def test_a_task_that_does_not_exist_is_not_found(place: Tenant, function: str) -> None:
    with refused("PT404", "task_not_found"):
        place.owner.call(function, task_id=uuid.uuid4())
