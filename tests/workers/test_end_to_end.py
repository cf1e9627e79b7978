"""What becomes of a task: worker processes, the gateway, PostgREST and Postgres, all real."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.stack import Stack
from tests.workers.conftest import CONCURRENCY, DRAFT_SECONDS, Crew, Endpoint, Lab, WorkerProcess, laboratory
from tests.workers.waiting import wait_for

INPUT_SCHEMA = {
    "type": "object",
    "properties": {"prompt": {"type": "string", "maxLength": 200}, "words": {"type": "integer", "minimum": 10}},
    "required": ["words"],
}


# Workers -------------------------------------------------------------------------------------------------------------


def test_two_workers_share_the_work_and_nothing_runs_twice(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    workers = crew.muster(2)
    endpoint.seconds = 0.1
    agent = lab.add_api_agent(endpoint.url)
    tasks = [lab.add_task(agent, f"Number {number}") for number in range(30)]
    finished = [lab.await_task(task_id) for task_id in tasks]

    assert Counter(body["taskId"] for body in endpoint.bodies) == dict.fromkeys(tasks, 1)
    assert {task["worker_id"] for task in finished} == {worker.id for worker in workers}
    assert {task["attempt"] for task in finished} == {1}
    assert all(len(lab.versions(task_id)) == 1 for task_id in tasks)


def test_no_more_tasks_run_at_once_than_the_concurrency(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1, most=1)
    endpoint.seconds = 0.3
    agent = lab.add_api_agent(endpoint.url)
    tasks = [lab.add_task(agent, f"Number {number}") for number in range(3 * CONCURRENCY)]
    for task_id in tasks:
        lab.await_task(task_id)
    assert endpoint.peak == CONCURRENCY


def test_cancel_reaches_a_running_task_and_later_writes_are_refused(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    (worker,) = crew.muster(1, most=1)
    endpoint.hold.set()
    task_id = lab.add_task(lab.add_api_agent(endpoint.url))
    wait_for(lambda: endpoint.running == 1, 10, "the task runs")
    held = lab.task(task_id)

    cancelled_at = time.monotonic()
    lab.post("rpc/cancel_task", task_id=task_id)
    wait_for(lambda: endpoint.gone == 1, 5, "the worker hangs up")
    assert time.monotonic() - cancelled_at < 2  # The crew's short lease makes it report every second.

    before = lab.events(task_id)
    item = {"task_id": task_id, "attempt": held["attempt"], "lease_token": str(held["lease_token"])}
    for function, more in (
        ("complete_tasks", {"response": "too late"}),
        ("add_task_events", {"type": "partial", "data": {"text": "too late"}}),
        ("fail_tasks", {"error_code": "internal_error", "error_message": "too late", "retryable": True}),
    ):
        (outcome,) = lab.post(f"rpc/{function}", worker_id=held["worker_id"], items=[{**item, **more}])
        assert outcome["outcome"] == "cancelled"
    assert lab.events(task_id) == before
    assert lab.task(task_id)["response"] is None
    assert (lab.task(task_id)["status"], lab.run_statuses(task_id)) == ("cancelled", ["cancelled"])
    wait_for(lambda: worker.lines(task_id=task_id, outcome="cancelled"), 3, "the worker logs it")


# A context agent -----------------------------------------------------------------------------------------------------


def test_a_task_becomes_version_1_of_a_deliverable_with_everything_that_belongs_to_it(crew: Crew, lab: Lab) -> None:
    crew.muster(1)
    agent = lab.add_agent()
    conversation = lab.add_conversation(agent)

    task_id = lab.add_task(agent, agent_conversation_id=conversation, deliverable_type="document")
    task = lab.await_task(task_id)

    (version,) = lab.versions(task_id)
    assert (version["version_number"], version["is_current_version"]) == (1, True)
    assert (version["type"], str(version["conversation_id"])) == ("document", conversation)
    assert version["content"] == task["response"]
    assert version["title"] in task["response"]
    assert version["created_by_type"] == "ai_response"
    assert task["response_metadata"]["deliverable"]["version_number"] == 1
    assert (task["attempt"], task["progress"], task["error_code"]) == (1, 100, None)
    assert lab.messages(conversation) == [("user", task["prompt"]), ("agent", task["response"])]

    (run,) = lab.runs(task_id)
    (used,) = lab.usage(task_id)
    assert (run["status"], run["attempt"], run["worker_id"]) == ("completed", 1, task["worker_id"])
    assert (used["provider"], used["run_id"], used["cost"]) == ("offline", run["id"], 0)
    assert 0 < used["input_tokens"] + used["output_tokens"] == run["total_tokens"]
    assert task["llm_metadata"]["offline"] is True
    assert task["llm_metadata"]["usage"]["output_tokens"] == used["output_tokens"]


def test_the_trail_of_a_task_has_no_gaps_and_its_partials_are_the_response(crew: Crew, lab: Lab) -> None:
    crew.muster(1)
    task_id = lab.add_task(lab.add_agent())
    task = lab.await_task(task_id)

    events = lab.events(task_id)
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    moves = [event["data"]["to"] for event in events if event["type"] == "status"]
    assert moves == ["pending", "in_progress", "completed"]
    assert [events[0]["type"], events[1]["type"], events[-1]["type"]] == ["status"] * 3
    steps = [event["data"]["progress"] for event in events if event["type"] == "progress"]
    assert steps == sorted(steps)
    assert len(steps) >= 2
    assert lab.streamed(task_id) == task["response"]
    partials = [event for event in events if event["type"] == "partial"]
    assert 3 <= len(partials) <= 5 * (DRAFT_SECONDS + 1)


def test_converse_answers_without_a_deliverable_and_knows_what_was_said(
    crew: Crew, lab: Lab, endpoint: Endpoint
) -> None:
    crew.muster(1)
    agent = lab.add_api_agent(endpoint.url)
    conversation = lab.add_conversation(agent)

    for prompt in ("Who lives there?", "And above the tide?"):
        task_id = lab.add_task(agent, prompt, method="converse", agent_conversation_id=conversation)
        task = lab.await_task(task_id)
        assert lab.versions(task_id) == []
        assert "deliverable" not in task["response_metadata"]

    first = "# Answer 1\n\nTo: Who lives there?"
    assert endpoint.bodies[0]["history"] == []
    assert endpoint.bodies[1]["history"] == [
        {"role": "user", "content": "Who lives there?"},
        {"role": "assistant", "content": first},
    ]
    assert lab.messages(conversation)[1::2] == [("agent", first), ("agent", "# Answer 2\n\nTo: And above the tide?")]


def test_a_context_agent_converses_in_its_conversation(crew: Crew, lab: Lab) -> None:
    crew.muster(1)
    agent = lab.add_agent()
    conversation = lab.add_conversation(agent)
    tokens = []
    for prompt in ("Tell me about tide pools", "Tell me about tide pools"):
        task_id = lab.add_task(agent, prompt, method="converse", agent_conversation_id=conversation)
        lab.await_task(task_id)
        assert lab.versions(task_id) == []
        tokens.append(lab.usage(task_id)[0]["input_tokens"])
    assert len(lab.messages(conversation)) == 4
    assert tokens[1] > 2 * tokens[0], "the second request carries the first answer"


# An agent behind HTTP ------------------------------------------------------------------------------------------------


def test_an_api_agent_gives_a_deliverable(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1)
    agent = lab.add_api_agent(endpoint.url)
    task_id = lab.add_task(agent, "Say hello", params={"tone": "warm"})
    lab.await_task(task_id)

    (version,) = lab.versions(task_id)
    assert (version["content"], version["title"]) == ("# Answer 1\n\nTo: Say hello", "Answer 1")
    (body,) = endpoint.bodies
    assert (body["taskId"], body["prompt"], body["params"]) == (task_id, "Say hello", {"tone": "warm"})
    assert lab.usage(task_id) == []


def test_an_endpoint_that_answers_500_is_asked_again_after_a_while(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1)
    endpoint.statuses = [500, 503]
    task_id = lab.add_task(lab.add_api_agent(endpoint.url), backoff="400 milliseconds")
    task = lab.await_task(task_id)

    assert (task["attempt"], task["error_code"]) == (3, None)
    assert [(run["status"], run["error_code"]) for run in lab.runs(task_id)] == [
        ("failed", "endpoint_error"),
        ("failed", "endpoint_error"),
        ("completed", None),
    ]
    waits = [later - earlier for earlier, later in zip(endpoint.at, endpoint.at[1:], strict=False)]
    assert waits[0] >= 0.3, "a quarter less than the back-off at the least"
    assert waits[1] >= 0.6, "twice that after the second failure"
    assert len(lab.versions(task_id)) == 1


def test_an_endpoint_that_answers_400_is_not_asked_again(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1)
    endpoint.statuses = [400]
    secret = "s3cr3t-of-the-endpoint"
    agent = lab.add_api_agent(endpoint.url, authentication={"type": "bearer", "config": {"token": secret}})
    task_id = lab.add_task(agent, backoff="0")
    task = lab.await_task(task_id, "failed")

    assert (task["error_code"], task["error_data"], task["attempt"]) == ("endpoint_error", {"status": 400}, 1)
    assert len(endpoint.bodies) == 1
    assert lab.versions(task_id) == []
    assert secret not in f"{task} {lab.events(task_id)} {lab.runs(task_id)}"
    assert secret not in crew.holder(task).log.read_text()


def test_an_endpoint_that_is_too_slow_ends_the_task_as_timeout(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1)
    endpoint.hold.set()
    agent = lab.add_api_agent(endpoint.url)
    task_id = lab.add_task(agent, timeout_seconds=1, max_attempts=2, backoff="0.1 seconds")
    task = lab.await_task(task_id, "timeout")

    assert (task["error_code"], task["attempt"]) == ("timeout", 2)
    assert lab.run_statuses(task_id) == ["timeout", "timeout"]
    wait_for(lambda: endpoint.gone == 2, 3, "both requests are given up")


# What cannot run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error_code"),
    [
        ("update public.agents set status = 'inactive' where slug = %s", "agent_inactive"),
        ("delete from public.agents where slug = %s", "agent_not_found"),
    ],
)
def test_an_agent_that_went_away_after_the_insert_fails_the_task(
    crew: Crew, lab: Lab, change: str, error_code: str
) -> None:
    crew.muster(1)
    agent = lab.add_agent()
    with lab.sql.transaction():  # The worker sees both or none.
        row = lab.sql.execute(
            "insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt)"
            " values (%s, %s, %s, 'process', 'Write') returning id",
            (lab.organization, lab.user_id, agent),
        ).fetchone()
        lab.sql.execute(change.encode(), (agent,))
    assert row is not None
    task = lab.await_task(str(row["id"]), "failed")
    assert (task["error_code"], task["attempt"]) == (error_code, 1)


def test_input_that_breaks_the_schema_fails_with_the_paths(crew: Crew, lab: Lab, endpoint: Endpoint) -> None:
    crew.muster(1)
    agent = lab.add_agent(agent_type="api", endpoint={"url": endpoint.url}, io_schema={"input": INPUT_SCHEMA})
    broken = lab.add_task(agent, "x" * 201, params={"words": 3})
    lacking = lab.add_task(agent)
    good = lab.add_task(agent, params={"words": 10})

    lab.await_task(good)
    task = lab.await_task(broken, "failed")
    assert (task["error_code"], task["attempt"]) == ("input_invalid", 1)
    assert {problem["path"] for problem in task["error_data"]["problems"]} == {"$.prompt", "$.words"}
    task = lab.await_task(lacking, "failed")
    assert "words" in task["error_data"]["problems"][0]["message"]
    assert len(endpoint.bodies) == 1, "only the good one was sent"


# A worker that leaves when nothing is pending, without a key and not told to be offline -------------------------------


@dataclass(frozen=True)
class Drained:
    """What a worker with `--once` left behind; `row` is its own in `workers`."""

    worker: WorkerProcess
    exit_code: int
    row: dict[str, Any]
    draft: dict[str, Any]
    posts: list[dict[str, Any]]


@pytest.fixture(scope="module")
def drained(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    with laboratory(stack, f"once-{secrets.token_hex(5)}", tmp_path_factory.mktemp("once")) as lab:
        draft = lab.add_task(lab.add_agent())
        unreachable = lab.add_api_agent("http://127.0.0.1:9/")
        posts = [lab.add_task(unreachable, max_attempts=1) for _ in range(5)]
        worker = lab.start_worker("--once", "--concurrency", "2")
        exit_code = worker.exit_code(60)
        row = lab.sql.execute("select * from public.workers where id = %s", (worker.id,)).fetchone()
        assert row is not None
        yield Drained(worker, exit_code, row, lab.task(draft), [lab.task(post) for post in posts])


def test_once_finishes_what_is_pending_and_exits_0(drained: Drained) -> None:
    assert drained.exit_code == 0
    assert [task["error_code"] for task in drained.posts] == ["endpoint_unreachable"] * 5
    assert {task["status"] for task in [drained.draft, *drained.posts]} == {"failed"}


def test_a_worker_without_a_key_says_so_and_never_writes_offline(drained: Drained, stack: Stack) -> None:
    task = drained.draft
    assert (task["status"], task["error_code"], task["attempt"]) == ("failed", "provider_key_missing", 1)
    assert task["error_data"] == {"provider": "anthropic", "variable": "ANTHROPIC_API_KEY"}
    assert "ANTHROPIC_API_KEY" in task["error_message"]
    assert (task["response"], task["llm_metadata"]) == (None, {})
    told = f"{task['error_message']} {task['error_data']} {drained.worker.log.read_text()}"
    assert stack.service_role_key not in told


def test_a_worker_is_registered_while_it_works_and_stopped_afterwards(crew: Crew, lab: Lab, drained: Drained) -> None:
    worker = crew.muster(1)[0]
    row = lab.sql.execute("select * from public.workers where id = %s", (worker.id,)).fetchone()
    assert row is not None
    assert (row["status"], row["pid"], row["concurrency"]) == ("active", worker.process.pid, CONCURRENCY)
    assert lab.organization in row["organizations"]
    assert (drained.row["status"], drained.row["pid"]) == ("stopped", drained.worker.process.pid)
    assert drained.row["version"]
