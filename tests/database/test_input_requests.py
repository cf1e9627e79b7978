"""Questions to people: one answer that fits, from who may give it, in time; and what it sets going."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, refused

ROLES = ("viewer", "member", "developer", "admin", "owner")


def ask(tenant: Tenant, user: Session | None = None, schema: Any = None, **columns: Any) -> tuple[str, str]:
    """Let a worker begin a task of this user, ask and pause; return the ids of task and question."""
    worker = tenant.world.worker()
    task_id = tenant.task(user)
    worker.claim_one(tenant)
    service = tenant.world.service
    row = {"organization_slug": tenant.slug, "task_id": task_id, "prompt": "Which?", "schema": Jsonb(schema or {})}
    question = service.insert("input_requests", **{**row, **columns})
    service.update("tasks", {"id": task_id}, status="paused")
    return task_id, str(question["id"])


def answer(session: Session, question: str, response: Any) -> Row:
    row: Row = session.call("respond_to_input_request", input_request_id=question, response=Jsonb(response))
    return row


def read(tenant: Tenant, question: str) -> Row:
    return tenant.world.admin.row("select * from public.input_requests where id = %s", question)


def test_an_answer_is_kept_and_resumes_the_task(tenant: Tenant, worker: Worker) -> None:
    user = tenant.join("member")
    task_id, question = ask(tenant, user, {"type": "string"})
    answered = answer(user, question, "blue")
    assert (answered["status"], answered["response"], answered["responded_by"]) == ("answered", "blue", user.id)
    assert answered["responded_at"] is not None
    assert tenant.read(task_id)["status"] == "pending"
    lease = worker.claim_one(tenant)
    assert (lease["task"]["id"], lease["attempt"]) == (task_id, 1)  # going on is the same attempt
    assert worker.complete(lease) == "ok"
    assert answer(user, question, "blue")["response"] == "blue"
    assert tenant.read(task_id)["status"] == "completed"


def test_three_questions_use_up_no_attempt(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(max_attempts=1)
    for n in range(3):
        worker.claim_one(tenant)
        row = tenant.world.service.insert(
            "input_requests", organization_slug=tenant.slug, task_id=task_id, prompt=f"Question {n}?"
        )
        tenant.world.service.update("tasks", {"id": task_id}, status="paused")
        answer(tenant.owner, str(row["id"]), n)
    lease = worker.claim_one(tenant)
    assert (lease["attempt"], worker.complete(lease)) == (1, "ok")


@pytest.mark.parametrize("bad", ["red", 7, None, ["blue"], {"colour": "blue"}])
def test_an_answer_that_does_not_fit_leaves_the_question_open(tenant: Tenant, bad: Any) -> None:
    task_id, question = ask(tenant, schema={"type": "string", "enum": ["blue", "green"]})
    with refused("22023", "response_does_not_fit"):
        answer(tenant.owner, question, bad)
    assert (read(tenant, question)["status"], tenant.read(task_id)["status"]) == ("pending", "paused")
    assert answer(tenant.owner, question, "green")["status"] == "answered"


def test_no_answer_at_all_does_not_fit(tenant: Tenant) -> None:
    _, question = ask(tenant)
    with refused("22023", "response_does_not_fit"):
        tenant.owner.call("respond_to_input_request", input_request_id=question, response=None)
    assert answer(tenant.owner, question, None)["response"] is None  # JSON null is an answer
    assert read(tenant, question)["status"] == "answered"


# Who


@pytest.mark.parametrize("required", ROLES[1:])
@pytest.mark.parametrize("role", [*ROLES, "user"])
def test_the_role_asked_for_answers_and_with_it_the_user(scene: World, required: str, role: str) -> None:
    tenant = scene.tenant()
    user = tenant.join("member")
    _, question = ask(tenant, user, required_role=required)
    session = user if role == "user" else tenant.owner if role == "owner" else tenant.join(role)
    rank = ROLES.index("member" if role == "user" else role)
    # A question to any member is the user's own, which admins see too.
    allowed = (
        (role == "user" or rank >= ROLES.index("admin")) if required == "member" else rank >= ROLES.index(required)
    )
    if allowed:
        assert answer(session, question, "x")["status"] == "answered"
    else:
        with refused("PT404", "input_request_not_found"):
            answer(session, question, "x")
        assert read(tenant, question)["status"] == "pending"
    seen = role == "user" or rank >= ROLES.index("admin") or (required == "developer" and role == "developer")
    assert len(session.rows("select from public.input_requests where id = %s", question)) == seen


def test_strangers_and_unknown_questions_are_answered_alike(tenant: Tenant) -> None:
    _, question = ask(tenant)
    stranger = tenant.world.tenant().owner
    refusals = []
    for session, key in ((stranger, question), (stranger, str(uuid.uuid4())), (tenant.owner, str(uuid.uuid4()))):
        with refused("PT404", "input_request_not_found") as refusal:
            answer(session, key, "x")
        refusals.append(refusal.detail.replace(key, "…"))
    assert len(set(refusals)) == 1
    with refused("42501"):
        answer(tenant.world.anon, question, "x")


def test_a_user_who_became_a_viewer_or_left_no_longer_answers(tenant: Tenant) -> None:
    user = tenant.join("member")
    _, question = ask(tenant, user)
    tenant.owner.call("set_member_role", organization_slug=tenant.slug, user_id=user.id, role="viewer")
    with refused("PT404", "input_request_not_found"):
        answer(user, question, "x")
    assert len(user.rows("select from public.input_requests")) == 1
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=user.id)
    assert user.rows("select from public.input_requests") == []


def test_a_participant_reads_the_question_and_does_not_answer_it(tenant: Tenant) -> None:
    user, friend = tenant.join("member"), tenant.join("member")
    conversation = tenant.conversation(user)
    task_id = tenant.task(user, agent_conversation_id=conversation)
    user.insert("conversation_participants", conversation_id=conversation, user_id=friend.id)
    row = tenant.world.service.insert("input_requests", organization_slug=tenant.slug, task_id=task_id, prompt="Which?")
    assert len(friend.rows("select from public.input_requests")) == 1
    with refused("PT404", "input_request_not_found"):
        answer(friend, str(row["id"]), "x")


def test_a_client_writes_questions_in_no_other_way(tenant: Tenant) -> None:
    _, question = ask(tenant)
    with refused("42501"):
        tenant.owner.insert("input_requests", organization_slug=tenant.slug, prompt="Which?")
    with refused("42501"):
        tenant.owner.update("input_requests", {"id": question}, response=Jsonb("x"))
    with refused("42501"):
        tenant.owner.execute("delete from public.input_requests where id = %s", question)


# Once


def test_of_twenty_different_answers_at_once_one_wins(tenant: Tenant) -> None:
    task_id, question = ask(tenant)
    numbers = iter(range(20))
    results = in_parallel([tenant.owner] * 20, lambda s: answer(s, question, next(numbers)))
    won = [r for r in results if not isinstance(r, psycopg.Error)]
    lost = [r.sqlstate for r in results if isinstance(r, psycopg.Error)]
    assert (len(won), lost) == (1, ["PT409"] * 19)
    assert read(tenant, question)["response"] == won[0]["response"]
    assert [e["data"].get("to") for e in tenant.events(task_id)].count("pending") == 2  # inserted, resumed


def test_the_same_answer_ten_times_at_once_is_one_answer(tenant: Tenant) -> None:
    task_id, question = ask(tenant)
    results = in_parallel([tenant.owner] * 10, lambda s: answer(s, question, {"a": [1, 2]}))
    assert results == [results[0]] * 10
    assert [e["data"].get("to") for e in tenant.events(task_id)].count("pending") == 2


def test_the_same_answer_of_somebody_else_is_too_late(tenant: Tenant) -> None:
    _, question = ask(tenant)
    answer(tenant.owner, question, "x")
    with refused("PT409", "input_request_closed"):
        answer(tenant.join("admin"), question, "x")
    with refused("PT409", "input_request_closed"):
        answer(tenant.owner, question, "y")


def test_a_task_waits_for_one_question_at_a_time(tenant: Tenant) -> None:
    task_id, question = ask(tenant)
    more = {"organization_slug": tenant.slug, "task_id": task_id, "prompt": "And?"}
    with refused("23505"):
        tenant.world.service.insert("input_requests", **more)
    answer(tenant.owner, question, "x")
    assert tenant.world.service.insert("input_requests", **more)["status"] == "pending"


# In time


def test_a_question_is_answered_until_it_expires(tenant: Tenant) -> None:
    hour = tenant.world.admin.value("select now() + interval '1 hour'")
    task_id, question = ask(tenant, expires_at=hour)
    with refused("PT409", "input_request_closed") as refusal:
        answer(tenant.owner.at("61 minutes"), question, "x")
    assert "expired" in refusal.detail
    assert (read(tenant, question)["status"], tenant.read(task_id)["status"]) == ("pending", "paused")
    assert answer(tenant.owner.at("59 minutes"), question, "x")["status"] == "answered"


def test_a_question_taken_back_is_not_answered(tenant: Tenant) -> None:
    _, question = ask(tenant)
    tenant.world.service.update("input_requests", {"id": question}, status="expired")
    with refused("PT409", "input_request_closed"):
        answer(tenant.owner, question, "x")


@pytest.mark.parametrize("end", ["cancelled", "timeout"])
def test_the_end_of_a_paused_task_is_the_end_of_its_question(tenant: Tenant, end: str) -> None:
    task_id, question = ask(tenant)
    tenant.world.service.update("tasks", {"id": task_id}, status=end, error_code="some_error")
    assert read(tenant, question)["status"] == "cancelled"
    with refused("PT409", "input_request_closed"):
        answer(tenant.owner, question, "x")
    assert tenant.read(task_id)["status"] == end


def test_cancelling_and_answering_at_once_leave_no_open_question(tenant: Tenant) -> None:
    for _ in range(5):
        task_id, question = ask(tenant)
        deeds = iter((("cancel_task", {"task_id": task_id}), ("respond_to_input_request", {})))

        def act(session: Session, deeds: Any = deeds, question: str = question) -> None:
            name, arguments = next(deeds)
            if arguments:
                session.call(name, **arguments)
            else:
                answer(session, question, "x")

        results = in_parallel([tenant.owner] * 2, act)
        assert {r.sqlstate for r in results if isinstance(r, psycopg.Error)} <= {"PT409"}
        assert tenant.read(task_id)["status"] == "cancelled"
        assert read(tenant, question)["status"] in {"answered", "cancelled"}


def test_a_question_without_a_task_is_answered_by_its_role(tenant: Tenant) -> None:
    row = tenant.world.service.insert(
        "input_requests", organization_slug=tenant.slug, prompt="Go?", request_type="approval", required_role="admin"
    )
    assert answer(tenant.join("admin"), str(row["id"]), True)["response"] is True


# Bounds


def test_a_huge_answer_is_refused_plainly_and_at_once(tenant: Tenant) -> None:
    _, question = ask(tenant)
    began = time.monotonic()
    with refused("22023", "value_refused"):
        answer(tenant.owner, question, ["x" * 1000] * 2000)
    assert time.monotonic() - began < 2


WIDE = {"properties": {f"name-{n}": {"type": "integer"} for n in range(5000)}, "additionalProperties": False}
SLOW: dict[str, tuple[Any, Any, bool]] = {
    "many items": ({"items": {"type": "integer"}}, list(range(50_000)), True),
    "items against a long enum": ({"items": {"enum": list(range(10_000))}}, [9_999] * 10_000, True),
    "many properties": (WIDE, {f"name-{n}": n for n in range(5000)}, True),
    "a long list of required names": (
        {"required": [f"name-{n}" for n in range(5000)]},
        {f"name-{n}": n for n in range(5000)},
        True,
    ),
    "a deep answer": ({"type": "array"}, json.loads("[" * 500 + "]" * 500), True),
    "a huge number": ({"maximum": 1}, 10**1000, False),
}


@pytest.mark.parametrize("kind", SLOW)
def test_an_answer_is_checked_in_bounded_time(scene: World, kind: str) -> None:
    schema, value, fits = SLOW[kind]
    began = time.monotonic()
    found = scene.admin.value("select private.json_matches(%s, %s)", Jsonb(value), Jsonb(schema))
    assert (found, time.monotonic() - began < 4) == (fits, True)
