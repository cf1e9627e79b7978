"""What a signed-in user sends wrongly is refused where it comes in: status, token, advice, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.helpers import (
    Caller,
    Json,
    Tenant,
    agent_row,
    assert_refused,
    complete_next,
    found,
    ok,
    unique,
)
from tests.stack import Stack

NO_TASK = str(uuid4())
# Columns that workers and triggers write: a client that could would finish, speed up or pay for its own task.
FOREIGN_COLUMNS: Json = {
    "status": "completed",
    "progress": 100,
    "progress_message": "Done",
    "response": "Done",
    "response_metadata": {"cost": 0},
    "llm_metadata": {"usage": {"cost": 0}},
    "error_code": "none",
    "attempt": 0,
    "worker_id": "me",
    "lease_token": NO_TASK,
    "lease_expires_at": "2030-01-01T00:00:00Z",
    "started_at": "2030-01-01T00:00:00Z",
    "completed_at": "2030-01-01T00:00:00Z",
    "created_at": "2030-01-01T00:00:00Z",
}


@dataclass(frozen=True)
class Refusal:
    """A change to a task that is right, and the error it must meet."""

    name: str
    status: int
    code: str
    message: str
    changes: Json = field(default_factory=dict)


BAD_TASKS = [
    Refusal("unknown agent", 404, "PT404", "agent_not_found", {"agent_slug": "no-such-agent"}),
    Refusal("unknown agent name", 404, "PT404", "agent_not_found", {"agent_slug": None, "agent_name": "Nobody"}),
    Refusal("no agent", 400, "22023", "agent_missing", {"agent_slug": None}),
    Refusal("empty prompt", 400, "22023", "prompt_empty", {"prompt": ""}),
    Refusal("blank prompt", 400, "22023", "prompt_empty", {"prompt": " \t\r\n"}),
    Refusal("null prompt", 400, "22023", "prompt_empty", {"prompt": None}),
    Refusal("prompt of 5 MB", 413, "PT413", "prompt_too_large", {"prompt": "x" * 5_000_000}),
    Refusal("params a list", 400, "22023", "params_not_an_object", {"params": ["tide pools"]}),
    Refusal("params a string", 400, "22023", "params_not_an_object", {"params": '{"topic": "tide pools"}'}),
    Refusal("params a number", 400, "22023", "params_not_an_object", {"params": 7}),
    Refusal("params null", 400, "22023", "params_not_an_object", {"params": None}),
    Refusal("params of 2 MB", 413, "PT413", "params_too_large", {"params": {"text": "x" * 2_000_000}}),
    Refusal("unknown method", 400, "22023", "unknown_method", {"method": "destroy"}),
    Refusal("null method", 400, "22023", "unknown_method", {"method": None}),
    Refusal("unknown organization", 403, "42501", "not_allowed", {"organization_slug": "no-such-organization"}),
    Refusal("unknown conversation", 404, "PT404", "conversation_not_found", {"agent_conversation_id": NO_TASK}),
    Refusal("unknown parent", 404, "PT404", "parent_task_not_found", {"parent_task_id": NO_TASK}),
    Refusal(
        "conversation not a uuid",
        400,
        "22P02",
        'invalid input syntax for type uuid: "seven"',
        {"agent_conversation_id": "seven"},
    ),
    Refusal(
        "unknown column", 400, "PGRST204", "Column 'colour' of relation 'tasks' does not exist", {"colour": "blue"}
    ),
    *(
        Refusal(f"writing {column}", 403, "42501", "permission denied for table tasks", {column: value})
        for column, value in FOREIGN_COLUMNS.items()
    ),
]


def count_tasks(operator: Caller, tenant: Tenant) -> int:
    return len(operator.rows("tasks", organization_slug=f"eq.{tenant.organization}", select="id"))


@pytest.mark.parametrize("bad", BAD_TASKS, ids=lambda bad: bad.name)
def test_a_bad_task_is_refused_and_not_written(bad: Refusal, tenant: Tenant, operator: Caller) -> None:
    answer = tenant.owner.insert("tasks", tenant.task(**bad.changes))
    assert_refused(answer, bad.status, bad.code, bad.message)
    assert count_tasks(operator, tenant) == 0


def test_one_bad_task_among_good_ones_refuses_all(tenant: Tenant, operator: Caller) -> None:
    rows = [tenant.task(), tenant.task(prompt="")]
    answer = tenant.owner.http.post("/rest/v1/tasks", json=rows, headers=tenant.owner.headers)
    assert_refused(answer, 400, "22023", "prompt_empty")
    assert count_tasks(operator, tenant) == 0


@pytest.mark.parametrize("body", [b'{"prompt": "unfinished', b"", b"prompt=hello"])
def test_a_body_that_is_not_json_is_refused(body: bytes, tenant: Tenant, operator: Caller) -> None:
    headers = {**tenant.owner.headers, "Content-Type": "application/json"}
    answer = tenant.owner.http.post("/rest/v1/tasks", content=body, headers=headers)
    assert_refused(answer, 400, "PGRST102", "Empty or invalid json")
    assert count_tasks(operator, tenant) == 0


@pytest.mark.parametrize("status", ["draft", "inactive", "error"])
def test_an_agent_that_is_not_active_is_refused(status: str, tenant: Tenant, operator: Caller) -> None:
    ok(tenant.owner.update("agents", {"status": status}, slug=f"eq.{tenant.agent}"))
    body = assert_refused(tenant.owner.insert("tasks", tenant.task()), 409, "PT409", "agent_inactive")
    assert status in body["details"]
    assert count_tasks(operator, tenant) == 0


def test_another_organizations_agent_is_refused_as_if_it_did_not_exist(
    tenant: Tenant, stranger: Tenant, operator: Caller
) -> None:
    row = stranger.task(agent_slug=tenant.agent)
    body = assert_refused(stranger.owner.insert("tasks", row), 404, "PT404", "agent_not_found")
    unknown = stranger.owner.insert("tasks", stranger.task(agent_slug="no-such-agent")).json()
    assert body["details"].replace(tenant.agent, "no-such-agent") == unknown["details"]
    assert tenant.organization not in str(body)
    assert count_tasks(operator, stranger) == 0


def test_another_organization_is_refused_as_if_it_did_not_exist(
    tenant: Tenant, stranger: Tenant, operator: Caller
) -> None:
    body = assert_refused(stranger.owner.insert("tasks", tenant.task()), 403, "42501", "not_allowed")
    unknown = stranger.owner.insert("tasks", tenant.task(organization_slug="no-such-org")).json()
    assert body["details"].replace(tenant.organization, "no-such-org") == unknown["details"]
    assert count_tasks(operator, tenant) == 0


def test_a_task_in_anothers_name_is_refused(tenant: Tenant, stranger: Tenant, operator: Caller) -> None:
    answer = tenant.owner.insert("tasks", tenant.task(user_id=stranger.owner.id))
    assert_refused(answer, 403, "42501", "user_id_is_not_yours")
    assert count_tasks(operator, tenant) == 0


def test_anothers_conversation_is_refused_as_if_it_did_not_exist(
    tenant: Tenant, stranger: Tenant, operator: Caller
) -> None:
    begun = tenant.owner.insert("agent_conversations", {"agent_slug": tenant.agent})
    conversation = ok(begun)[0]["id"]
    answer = stranger.owner.insert("tasks", stranger.task(agent_conversation_id=conversation))
    body = assert_refused(answer, 404, "PT404", "conversation_not_found")
    unknown = stranger.owner.insert("tasks", stranger.task(agent_conversation_id=NO_TASK)).json()
    assert body["details"].replace(conversation, NO_TASK) == unknown["details"]
    assert operator.rows("messages", conversation_id=f"eq.{conversation}") == []
    assert count_tasks(operator, stranger) == 0


def test_a_conversation_that_has_ended_takes_no_task(tenant: Tenant, operator: Caller) -> None:
    conversation = ok(tenant.owner.insert("agent_conversations", {"agent_slug": tenant.agent}))[0]["id"]
    ok(tenant.owner.update("agent_conversations", {"status": "ended"}, id=f"eq.{conversation}"))
    answer = tenant.owner.insert("tasks", tenant.task(agent_conversation_id=conversation))
    assert_refused(answer, 409, "PT409", "conversation_not_active")
    assert count_tasks(operator, tenant) == 0


def test_a_viewer_reads_and_adds_nothing(tenant: Tenant, new_user: Callable[[], Caller], operator: Caller) -> None:
    viewer = new_user()
    invitation = ok(
        tenant.owner.rpc("create_invitation", organization_slug=tenant.organization, email=viewer.email, role="viewer")
    )
    ok(viewer.rpc("accept_invitation", token=invitation["token"]))
    assert viewer.rows("agents", slug=f"eq.{tenant.agent}", select="slug") == [{"slug": tenant.agent}]
    assert_refused(viewer.insert("tasks", tenant.task()), 403, "42501", "not_allowed")
    assert count_tasks(operator, tenant) == 0


def test_a_user_without_an_organization_is_told_to_join_one(new_user: Callable[[], Caller]) -> None:
    row = {"method": "process", "agent_slug": "blog-post-writer", "prompt": "Hello"}
    body = assert_refused(new_user().insert("tasks", row), 400, "22023", "organization_missing")
    assert "create_organization" in body["hint"]


# Changing what is there


def the_task(operator: Caller, task: Json) -> Json:
    (row,) = operator.rows("tasks", id=f"eq.{task['id']}")
    return row


@pytest.fixture
def finished_task(tenant: Tenant, operator: Caller) -> Json:
    task = tenant.insert_task()
    complete_next(operator, tenant.organization)
    return the_task(operator, task)


@pytest.mark.parametrize("column", [*FOREIGN_COLUMNS, "prompt", "params", "method", "user_id", "organization_slug"])
def test_a_client_changes_nothing_that_workers_write_and_nothing_that_was_asked(
    column: str, tenant: Tenant, operator: Caller
) -> None:
    task = the_task(operator, tenant.insert_task())
    change = {column: FOREIGN_COLUMNS.get(column, task.get(column))}
    answer = tenant.owner.update("tasks", change, id=f"eq.{task['id']}")
    assert_refused(answer, 403, "42501", "permission denied for table tasks")
    assert the_task(operator, task) == task


def test_a_task_is_not_deleted(tenant: Tenant, operator: Caller) -> None:
    task = the_task(operator, tenant.insert_task())
    url, headers = f"/rest/v1/tasks?id=eq.{task['id']}", tenant.owner.headers
    assert_refused(tenant.owner.http.delete(url, headers=headers), 403, "42501", "permission denied for table tasks")
    assert the_task(operator, task) == task


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "pending"}, "illegal_move"),
        ({"response": "Something else"}, "task_finished"),
        ({"progress": 50}, "task_finished"),
        ({"prompt": "Something else"}, "task_input_is_fixed"),
        ({"user_id": NO_TASK}, "task_input_is_fixed"),
    ],
)
def test_not_even_a_server_changes_a_finished_task(
    change: Json, message: str, finished_task: Json, operator: Caller
) -> None:
    answer = operator.update("tasks", change, id=f"eq.{finished_task['id']}")
    assert_refused(answer, 409, "PT409", message)
    assert the_task(operator, finished_task) == finished_task


@pytest.mark.parametrize(("function", "message"), [("cancel_task", "task_finished"), ("retry_task", "illegal_move")])
def test_a_completed_task_is_neither_cancelled_nor_retried(
    function: str, message: str, tenant: Tenant, finished_task: Json, operator: Caller
) -> None:
    answer = tenant.owner.rpc(function, task_id=finished_task["id"])
    assert_refused(answer, 409, "PT409", message)
    assert the_task(operator, finished_task) == finished_task


def test_a_running_task_is_not_retried(tenant: Tenant, operator: Caller) -> None:
    task = tenant.insert_task()
    ok(operator.rpc("claim_tasks", worker_id=unique("worker"), organizations=[tenant.organization]))
    assert_refused(tenant.owner.rpc("retry_task", task_id=task["id"]), 409, "PT409", "illegal_move")
    assert the_task(operator, task)["status"] == "in_progress"


def test_cancelling_twice_is_cancelling_once(tenant: Tenant, operator: Caller) -> None:
    task = tenant.insert_task()
    first = ok(tenant.owner.rpc("cancel_task", task_id=task["id"]))
    assert first["status"] == "cancelled"
    assert ok(tenant.owner.rpc("cancel_task", task_id=task["id"])) == first
    assert len(operator.rows("task_events", task_id=f"eq.{task['id']}")) == 2


@pytest.mark.parametrize("function", ["cancel_task", "retry_task"])
def test_anothers_task_is_refused_as_if_it_did_not_exist(
    function: str, tenant: Tenant, stranger: Tenant, operator: Caller
) -> None:
    task = the_task(operator, tenant.insert_task())
    body = assert_refused(stranger.owner.rpc(function, task_id=task["id"]), 404, "PT404", "task_not_found")
    unknown = assert_refused(stranger.owner.rpc(function, task_id=NO_TASK), 404, "PT404", "task_not_found")
    assert body["details"].replace(task["id"], NO_TASK) == unknown["details"]
    assert the_task(operator, task) == task


@pytest.mark.parametrize("function", ["cancel_task", "retry_task"])
def test_an_id_that_is_no_uuid_is_refused(function: str, tenant: Tenant) -> None:
    message = 'invalid input syntax for type uuid: "seven"'
    assert_refused(tenant.owner.rpc(function, task_id="seven"), 400, "22P02", message)
    assert_refused(tenant.owner.get("tasks", id="eq.seven"), 400, "22P02", message)


def test_an_unknown_function_and_a_wrong_argument_are_told_apart(tenant: Tenant) -> None:
    missing = "Could not find the function public.delete_task(task_id) in the schema cache"
    assert_refused(tenant.owner.rpc("delete_task", task_id=NO_TASK), 404, "PGRST202", missing)
    wrong = "Could not find the function public.cancel_task(id) in the schema cache"
    body = assert_refused(tenant.owner.rpc("cancel_task", id=NO_TASK), 404, "PGRST202", wrong)
    assert body["hint"] == "Perhaps you meant to call the function public.cancel_task(task_id)"


# Only the worker can tell


def test_params_that_break_the_io_schema_fail_the_task_and_name_the_place(
    stack: Stack, new_user: Callable[[], Caller]
) -> None:
    word_count = {"type": "integer", "minimum": 50}
    schema = {"type": "object", "properties": {"word_count": word_count}, "required": ["topic"]}
    tenant = found(new_user(), io_schema={"input": schema})
    task = tenant.insert_task(params={"word_count": "many"})
    run_worker_once(stack, tenant.organization)
    (done,) = tenant.owner.rows("tasks", id=f"eq.{task['id']}")
    assert (done["status"], done["error_code"], done["attempt"]) == ("failed", "input_invalid", 1)
    problems = {problem["path"]: problem["message"] for problem in done["error_data"]["problems"]}
    assert set(problems) == {"$", "$.word_count"}
    assert "'topic'" in problems["$"]
    assert "integer" in problems["$.word_count"]
    assert "io_schema.input" in done["error_message"]
    assert "Traceback" not in str(done)
    assert tenant.owner.rows("deliverables", task_id=f"eq.{task['id']}") == []


def run_worker_once(stack: Stack, organization: str) -> None:
    environment = {"SUPABASE_URL": stack.url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}
    command = [sys.executable, "-m", "workers", "run", "--once", "--offline", "--organization", organization]
    worker = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert worker.returncode == 0, worker.stderr


def test_an_agent_is_checked_when_it_is_written(tenant: Tenant) -> None:
    row = agent_row(unique("agent"), tenant.organization)
    bad: list[tuple[Json, str]] = [
        ({"llm_config": {"provider": "nobody", "model": "m"}}, "llm_config_names_provider_and_model"),
        ({"llm_config": None}, "context_agents_have_llm_config_and_no_endpoint"),
        ({"agent_type": "robot"}, "agent_type_is_known"),
        ({"io_schema": []}, "io_schema_is_an_object"),
        ({"slug": "Not A Slug"}, "slug_is_lower_case_words"),
    ]
    for changes, constraint in bad:
        answer: httpx.Response = tenant.owner.insert("agents", row | changes)
        message = f'new row for relation "agents" violates check constraint "{constraint}"'
        assert_refused(answer, 400, "23514", message)
    assert tenant.owner.rows("agents", slug=f"eq.{row['slug']}") == []


def test_the_same_agent_slug_is_refused_whoever_has_it(tenant: Tenant, stranger: Tenant) -> None:
    row: dict[str, Any] = agent_row(tenant.agent, stranger.organization)
    message = 'duplicate key value violates unique constraint "agents_pkey"'
    assert_refused(stranger.owner.insert("agents", row), 409, "23505", message)
