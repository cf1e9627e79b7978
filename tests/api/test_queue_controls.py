"""What a frontend does with many tasks at once, and what an admin's page does with queues."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.api.helpers import Caller, Json, Tenant, assert_refused, ok, unique


def many(tenant: Tenant, number: int, **changes: Any) -> list[Json]:
    """Return so many tasks, each with a key of its own."""
    return [tenant.task(idempotency_key=unique("key"), **changes) for _ in range(number)]


def insert_list(caller: Caller, tasks: list[Json], prefer: str = "return=representation") -> httpx.Response:
    columns = {"on_conflict": "organization_slug,idempotency_key"} if "resolution" in prefer else {}
    headers = {**caller.headers, "Prefer": prefer}
    return caller.http.post("/rest/v1/tasks", json=tasks, params=columns, headers=headers)


def fail_next(operator: Caller, organization: str, code: str = "internal_error") -> str:
    """Do a worker's part for the next task of an organization: claim it, fail it for good; return its id."""
    worker = unique("worker")
    (claimed,) = ok(operator.rpc("claim_tasks", worker_id=worker, organizations=[organization]))
    lease = {"task_id": claimed["task"]["id"], "attempt": claimed["attempt"], "lease_token": claimed["lease_token"]}
    item = {**lease, "error_code": code, "error_message": "It broke.", "retryable": False}
    (outcome,) = ok(operator.rpc("fail_tasks", worker_id=worker, items=[item]))
    assert outcome["outcome"] == "ok", outcome
    return str(claimed["task"]["id"])


def test_a_list_of_a_thousand_tasks_is_one_insert(tenant: Tenant) -> None:
    rows = ok(insert_list(tenant.owner, many(tenant, 1000)))
    assert len({row["id"] for row in rows}) == 1000
    (health,) = tenant.owner.rows("queue_health", organization_slug=f"eq.{tenant.organization}")
    assert (health["method"], health["pending"], health["is_paused"]) == ("process", 1000, False)


def test_an_insert_that_ignores_duplicates_says_nothing_of_them(tenant: Tenant) -> None:
    tasks, prefer = many(tenant, 3), "return=representation,resolution=ignore-duplicates"
    assert len(ok(insert_list(tenant.owner, tasks, prefer))) == 3
    assert ok(insert_list(tenant.owner, [*tasks, *many(tenant, 1)], prefer))[0]["idempotency_key"] not in {
        task["idempotency_key"] for task in tasks
    }
    assert ok(insert_list(tenant.owner, tasks, prefer)) == []


def test_a_thousand_tasks_enqueued_twice_are_the_same_thousand(tenant: Tenant) -> None:
    tasks = many(tenant, 1000)
    first, second = (ok(tenant.owner.rpc("enqueue_tasks", tasks=tasks)) for _ in range(2))
    assert [row["idempotency_key"] for row in first] == [task["idempotency_key"] for task in tasks]
    assert [row["id"] for row in second] == [row["id"] for row in first]
    assert_refused(tenant.owner.rpc("enqueue_tasks", tasks=[*tasks, *tasks[:1]]), 400, "22023", "tasks_not_a_list")


def test_a_hundred_callers_with_one_key_get_one_task_and_equal_answers(tenant: Tenant) -> None:
    (task,) = many(tenant, 1)
    with ThreadPoolExecutor(100) as pool:
        calls = [pool.submit(tenant.owner.rpc, "enqueue_tasks", tasks=[task]) for _ in range(100)]
        answers = [ok(call.result()) for call in calls]
    assert answers == [answers[0]] * 100
    assert len(answers[0]) == 1
    found = tenant.owner.rows("tasks", select="id", idempotency_key=f"eq.{task['idempotency_key']}")
    assert found == [{"id": answers[0][0]["id"]}]


def test_a_colleagues_key_is_refused(tenant: Tenant, operator: Caller, stranger: Tenant) -> None:
    (task,) = many(tenant, 1)
    ok(tenant.owner.rpc("enqueue_tasks", tasks=[task]))
    member = {"organization_slug": tenant.organization, "user_id": stranger.owner.id, "role": "member"}
    ok(operator.insert("organization_members", member))
    assert_refused(stranger.owner.rpc("enqueue_tasks", tasks=[task]), 409, "PT409", "idempotency_key_taken")


def test_an_admin_pauses_and_resumes_a_queue(tenant: Tenant, operator: Caller) -> None:
    queue = {"organization_slug": tenant.organization, "method": "process"}
    pause = ok(tenant.owner.rpc("pause_queue", **queue, reason="The provider is down."))
    assert ok(tenant.owner.rpc("pause_queue", **queue)) == pause
    task = tenant.insert_task()
    assert ok(operator.rpc("claim_tasks", worker_id=unique("worker"), organizations=[tenant.organization])) == []
    (health,) = tenant.owner.rows("queue_health", organization_slug=f"eq.{tenant.organization}")
    assert (health["is_paused"], health["pending"], health["stuck"]) == (True, 1, 0)
    assert tenant.owner.rows("queue_pauses", id=f"eq.{pause['id']}") == [pause]
    assert ok(tenant.owner.rpc("resume_queue", **queue)) == []
    (claimed,) = ok(operator.rpc("claim_tasks", worker_id=unique("worker"), organizations=[tenant.organization]))
    assert claimed["task"]["id"] == task["id"]


@pytest.mark.parametrize("function", ["pause_queue", "resume_queue", "redrive_tasks", "cancel_tasks"])
def test_strangers_control_nothing(function: str, tenant: Tenant, stranger: Tenant) -> None:
    more = {"status": "pending"} if function == "cancel_tasks" else {}
    answer = stranger.owner.rpc(function, organization_slug=tenant.organization, **more)
    assert_refused(answer, 403, "42501", "not_allowed")


@pytest.mark.parametrize("function", ["pause_queue", "resume_queue"])
def test_no_user_controls_the_whole_platform(function: str, tenant: Tenant) -> None:
    assert_refused(tenant.owner.rpc(function), 403, "42501", "not_allowed")


def test_dead_letters_are_listed_and_redriven(tenant: Tenant, operator: Caller) -> None:
    tenant.insert_task()
    task_id = fail_next(operator, tenant.organization, "endpoint_error")
    mine = {"organization_slug": f"eq.{tenant.organization}"}
    (letter,) = tenant.owner.rows("dead_letters", **mine, order="completed_at.desc", limit="20")
    assert (letter["task_id"], letter["error_code"], letter["error_message"]) == (
        task_id,
        "endpoint_error",
        "It broke.",
    )
    assert [(run["attempt"], run["error_code"]) for run in letter["attempts"]] == [(1, "endpoint_error")]
    answer = ok(tenant.owner.rpc("redrive_tasks", organization_slug=tenant.organization, error_code="endpoint_error"))
    assert answer == {"redriven": 1, "remaining": 0, "task_ids": [task_id]}
    assert tenant.owner.rows("dead_letters", **mine) == []
    assert tenant.owner.rows("tasks", select="status", id=f"eq.{task_id}") == [{"status": "pending"}]


def test_many_tasks_are_cancelled_in_parts(tenant: Tenant) -> None:
    ok(tenant.owner.rpc("enqueue_tasks", tasks=many(tenant, 250)))
    organization = {"organization_slug": tenant.organization}
    counts: list[tuple[int, int]] = []
    while not counts or counts[-1][1]:
        answer = ok(tenant.owner.rpc("cancel_tasks", **organization, method="process"))
        assert len(set(answer["task_ids"])) == answer["cancelled"]
        counts.append((answer["cancelled"], answer["remaining"]))
    assert counts == [(100, 150), (100, 50), (50, 0)]
    assert_refused(tenant.owner.rpc("cancel_tasks", **organization), 400, "22023", "filter_missing")
