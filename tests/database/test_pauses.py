"""Pausing for people: a worker asks and lets go, an answer sets the task going where it was, nothing is kept twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Tenant, Worker, World, item, refused
from tests.database.pauses import KEPT, MODEL, QUESTION, answer, kept, pause, paused, questions, reap

# Pausing


def test_a_pause_keeps_question_checkpoint_and_usage_and_frees_the_slot(world: World, worker: Worker) -> None:
    tenant = world.tenant(max_concurrent_tasks=1)
    task_id, other = tenant.task(priority=1), tenant.task(priority=2)
    lease = worker.claim_one(tenant)
    assert worker.claim(tenant) == []
    asked = {**QUESTION, "request_type": "choice", "required_role": "admin", "metadata": {"a": 1}}
    assert pause(worker, lease, input_request={**asked, "expires_in_seconds": 60}, usage=[MODEL]) == "ok"

    task, (question,), (run,) = tenant.read(task_id), questions(tenant, task_id), tenant.runs(task_id)
    assert (task["status"], task["attempt"], task["error_code"]) == ("paused", 1, None)
    assert (task["lease_token"], task["lease_expires_at"]) == (None, None)
    assert task["paused_at"] is not None
    assert {key: question[key] for key in asked} == asked
    assert (question["status"], question["on_expiry"], question["organization_slug"]) == (
        "pending",
        "fail",
        tenant.slug,
    )
    assert (question["expires_at"] - question["requested_at"]).total_seconds() == 60
    assert (run["status"], run["id"]) == ("paused", question["run_id"])
    assert (run["total_tokens"], float(run["total_cost"])) == (15, 0.5)
    assert kept(tenant, task_id) == [KEPT]
    assert worker.claim_one(tenant)["task"]["id"] == other


def test_the_answer_and_the_checkpoint_come_with_the_next_claim_and_go_with_the_end(
    tenant: Tenant, worker: Worker
) -> None:
    task_id, question = paused(tenant, worker)
    assert worker.claim(tenant) == []
    answered = answer(tenant.owner, question)
    lease = tenant.world.worker().claim_one(tenant)
    assert (lease["attempt"], lease["checkpoint"]) == (1, KEPT)
    (told,) = lease["input"]
    assert told == {
        "id": question,
        "request_type": "input",
        "prompt": "Which colour?",
        "status": "answered",
        "response": "blue",
        "responded_by": tenant.owner.id,
        "responded_at": answered["responded_at"],
    }
    assert kept(tenant, task_id) == [KEPT]
    tenant.owner.call("cancel_task", task_id=task_id)
    assert kept(tenant, task_id) == []


def test_a_task_may_ask_again_and_sees_all_its_answers_in_order(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task(max_attempts=1)
    for number in range(3):
        lease = worker.claim_one(tenant)
        assert [told["response"] for told in lease["input"]] == list(range(number))
        assert lease["checkpoint"] == ({"number": number - 1} if number in {1, 2} else None)
        checkpoint = {"number": number} if number < 2 else None
        assert (
            pause(worker, lease, input_request={"prompt": f"{number}?"}, checkpoint=checkpoint, usage=[MODEL]) == "ok"
        )
        answer(tenant.owner, str(questions(tenant, task_id)[-1]["id"]), number)
    lease = worker.claim_one(tenant)
    assert (lease["attempt"], lease["checkpoint"], len(lease["input"])) == (1, None, 3)
    assert worker.complete(lease, usage=[MODEL]) == "ok"
    assert [run["status"] for run in tenant.runs(task_id)] == ["paused"] * 3 + ["completed"]
    assert tenant.world.admin.value("select count(*) from public.usage_events where task_id = %s", task_id) == 4


@pytest.mark.parametrize("trouble", ["the worker is lost", "the attempt fails", "the task is given back"])
def test_an_attempt_after_the_answer_that_comes_to_nothing_costs_neither_answer_nor_checkpoint(
    tenant: Tenant, worker: Worker, trouble: str
) -> None:
    task_id, question = paused(tenant, worker, {"backoff": "0"})
    answer(tenant.owner, question)
    lease = worker.claim_one(tenant)
    match trouble:
        case "the worker is lost":
            query = "update public.tasks set lease_expires_at = now() - interval '1 second' where id = %s"
            tenant.world.admin.execute(query, task_id)
            reap(worker)
        case "the attempt fails":
            assert worker.fail(lease, retryable=True) == "ok"
        case _:
            assert worker.report("release_tasks", item(lease)) == ["ok"]
    again = worker.claim_one(tenant)
    assert (again["checkpoint"], again["input"]) == (KEPT, lease["input"])
    assert worker.complete(again) == "ok"
    assert kept(tenant, task_id) == []


def test_a_paused_task_waits_longer_than_its_timeout(tenant: Tenant, worker: Worker) -> None:
    task_id, question = paused(tenant, worker, {"timeout_seconds": 1, "max_attempts": 1})
    tenant.world.admin.execute("update public.tasks set started_at = now() - interval '9 days' where id = %s", task_id)
    reap(worker)
    assert tenant.read(task_id)["status"] == "paused"
    answer(tenant.owner, question)
    lease = worker.claim_one(tenant)
    reap(worker)
    assert worker.complete(lease) == "ok"


def test_claims_of_tasks_that_never_paused_look_at_no_question_and_no_checkpoint(
    tenant: Tenant, worker: Worker
) -> None:
    query = """
      select coalesce(sum(seq_scan + idx_scan), 0) as looks from pg_stat_xact_all_tables
      where relname in ('input_requests', 'task_checkpoints')"""

    def looks() -> int:
        with worker.session.transaction() as connection:
            before = connection.execute(query).fetchone()
            connection.execute("select public.claim_tasks(%s, 100, 30, null, array[%s])", (worker.id, tenant.slug))
            after = connection.execute(query).fetchone()
        assert before
        assert after
        return int(after["looks"] - before["looks"])

    _, question = paused(tenant, worker)
    for _ in range(3):
        tenant.task()
    assert looks() == 0
    answer(tenant.owner, question)
    assert looks() > 0


# What cannot be asked


BAD_QUESTIONS: dict[str, Any] = {
    "none": None,
    "no object": "Which?",
    "no prompt": {},
    "a prompt that is no text": {"prompt": 7},
    "a blank prompt": {"prompt": " \n\t"},
    "a huge prompt": {"prompt": "x" * 262145},
    "an unknown type": {"prompt": "?", "request_type": "vote"},
    "an unknown role": {"prompt": "?", "required_role": "viewer"},
    "an unknown policy": {"prompt": "?", "on_expiry": "shrug"},
    "a schema that is not understood": {"prompt": "?", "schema": {"pattern": "a+"}},
    "a schema that is none": {"prompt": "?", "schema": ["string"]},
    "metadata that is no object": {"prompt": "?", "metadata": [1]},
    "no time": {"prompt": "?", "expires_in_seconds": 0},
    "less than a second": {"prompt": "?", "expires_in_seconds": 0.5},
    "over 90 days": {"prompt": "?", "expires_in_seconds": 7776001},
    "a time that is no number": {"prompt": "?", "expires_in_seconds": "60"},
}
BAD_CHECKPOINTS: dict[str, tuple[Any, str]] = {
    "no object": ([1], "checkpoint_not_an_object"),
    "over a mebibyte": ({"a": "x" * 1048577}, "checkpoint_too_large"),
    "too deep": ({"a": json.loads("[" * 65 + "]" * 65)}, "json_not_plain"),
    "a gigantic number": ({"a": 10**400}, "json_not_plain"),
}


def assert_refused_whole(tenant: Tenant, worker: Worker, token: str, **bad: Any) -> None:
    """Assert that the pause is refused with this token, and that the worker still holds the task as it was."""
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    before = tenant.read(task_id)
    items = Jsonb([item(lease, **{"input_request": QUESTION, "usage": [MODEL], **bad})])
    (outcome,) = worker.session.call("pause_task", worker_id=worker.id, items=items)
    assert (outcome["kind"], outcome["outcome"]) == ("paused", "invalid")
    assert outcome["detail"].startswith(token)
    assert (tenant.read(task_id), questions(tenant, task_id), kept(tenant, task_id)) == (before, [], [])
    assert tenant.runs(task_id)[0]["total_tokens"] == 0
    assert worker.fail(lease, error_code="input_request_invalid") == "ok"


@pytest.mark.parametrize("kind", BAD_QUESTIONS)
def test_a_question_that_cannot_be_asked_is_refused_whole(tenant: Tenant, worker: Worker, kind: str) -> None:
    assert_refused_whole(tenant, worker, "input_request_invalid", input_request=BAD_QUESTIONS[kind])


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_kept_is_refused_whole(tenant: Tenant, worker: Worker, kind: str) -> None:
    checkpoint, token = BAD_CHECKPOINTS[kind]
    assert_refused_whole(tenant, worker, token, checkpoint=checkpoint)


@pytest.mark.parametrize("seconds", [1, 7776000, 1.5, None])
def test_a_question_may_wait_a_second_ninety_days_or_for_ever(
    tenant: Tenant, worker: Worker, seconds: float | None
) -> None:
    task_id, _ = paused(tenant, worker, expires_in_seconds=seconds)
    (question,) = questions(tenant, task_id)
    waits = question["expires_at"] and (question["expires_at"] - question["requested_at"]).total_seconds()
    assert waits == seconds


def test_null_stands_for_what_is_left_out(tenant: Tenant, worker: Worker) -> None:
    names = ("request_type", "schema", "required_role", "expires_in_seconds", "on_expiry", "metadata")
    task_id, question = paused(tenant, worker, **dict.fromkeys(names))
    (row,) = questions(tenant, task_id)
    assert [row[name] for name in names if name != "expires_in_seconds"] == ["input", {}, "member", "fail", {}]
    assert answer(tenant.owner, question, {"any": "thing"})["status"] == "answered"


# The fence


def test_only_who_holds_the_attempt_pauses_it(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    before = tenant.read(task_id)
    assert pause(worker, {**lease, "attempt": 2}) == "lost"
    assert pause(worker, {**lease, "lease_token": tenant.owner.id}) == "lost"
    assert pause(world.worker(), lease) == "lost"
    assert pause(worker.on(world.service.at("1 hour")), lease) == "lost"
    assert (tenant.read(task_id), questions(tenant, task_id), kept(tenant, task_id)) == (before, [], [])
    tenant.owner.call("cancel_task", task_id=task_id)
    assert pause(worker, lease) == "cancelled"
    assert (questions(tenant, task_id), kept(tenant, task_id)) == ([], [])


def test_a_pause_said_again_answers_ok_and_acts_once(tenant: Tenant, worker: Worker) -> None:
    task_id = tenant.task()
    lease = worker.claim_one(tenant)
    assert [pause(worker, lease, usage=[MODEL]) for _ in range(2)] == ["ok", "ok"]
    answer(tenant.owner, str(questions(tenant, task_id)[0]["id"]))
    assert pause(worker, lease, checkpoint={"late": True}) == "ok"
    second = worker.claim_one(tenant)
    assert (pause(worker, lease), second["checkpoint"]) == ("ok", KEPT)
    assert worker.complete(lease) == "lost"
    assert worker.complete(second) == "ok"
    assert pause(worker, lease) == "ok"
    assert pause(worker, second) == "lost"
    assert (len(questions(tenant, task_id)), tenant.runs(task_id)[0]["total_tokens"]) == (1, 15)


def test_an_exchange_carries_pauses_and_is_repeatable(tenant: Tenant, worker: Worker) -> None:
    task_id, later = tenant.task(priority=1), tenant.task(priority=2)
    lease = worker.claim_one(tenant)
    request_id = tenant.owner.id
    report = {"paused": [item(lease, input_request=QUESTION)], "events": [item(lease, type="log", message="asks")]}
    arguments = {"report": report, "max_tasks": 1, "organizations": [tenant.slug]}
    first, second = (worker.exchange(request_id, **arguments) for _ in range(2))
    assert first == second
    assert [(o["kind"], o["outcome"]) for o in first["outcomes"]] == [("event", "ok"), ("paused", "ok")]
    assert [lease["task"]["id"] for lease in first["tasks"]] == [later]
    assert len(questions(tenant, task_id)) == 1
    moves = [e["data"]["to"] for e in tenant.events(task_id) if e["type"] == "status"]
    assert moves == ["pending", "in_progress", "paused"]


def test_only_servers_pause_and_see_checkpoints(tenant: Tenant, worker: Worker, world: World) -> None:
    task_id, _ = paused(tenant, worker)
    for session in (tenant.owner, world.anon):
        with refused("42501"):
            session.call("pause_task", worker_id=worker.id, items=Jsonb([]))
        with refused("42501"):
            session.rows("select * from private.task_checkpoints")
        with refused("42501"):
            session.rows("select private.checkpoint_of(%s)", task_id)
    assert world.service.value("select count(*) from private.task_checkpoints where task_id = %s", task_id) == 1


def test_deleting_an_organization_deletes_what_its_tasks_kept(world: World, worker: Worker) -> None:
    tenant = world.tenant()
    task_id, _ = paused(tenant, worker)
    world.admin.execute("delete from public.organizations where slug = %s", tenant.slug)
    assert (kept(tenant, task_id), questions(tenant, task_id)) == ([], [])


def test_cancelling_a_paused_task_leaves_nothing_and_a_retry_begins_anew(tenant: Tenant, worker: Worker) -> None:
    task_id, question = paused(tenant, worker)
    tenant.owner.call("cancel_task", task_id=task_id)
    assert (kept(tenant, task_id), questions(tenant, task_id)[0]["status"]) == ([], "cancelled")
    with refused("PT409", "input_request_closed"):
        answer(tenant.owner, question)
    tenant.owner.call("retry_task", task_id=task_id)
    lease = worker.claim_one(tenant)
    assert (lease["attempt"], lease["input"], lease["checkpoint"]) == (2, [], None)
