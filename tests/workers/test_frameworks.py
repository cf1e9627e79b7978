"""Agents and workflows of frameworks from end to end: real workers and database, real LangGraph and AgentOS servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.frameworks.running import framework_servers
from tests.unit.http_server import Reply, Seen, Server, json_reply, serve
from tests.workers.conftest import Crew, Lab
from tests.workers.test_long_jobs import Remote as Reporter
from tests.workers.waiting import wait_for


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with framework_servers(tmp_path_factory.mktemp("frameworks")) as urls:
        yield urls


@pytest.fixture
def graphs(servers: tuple[str, str]) -> str:
    return servers[0]


@pytest.fixture
def agno(servers: tuple[str, str]) -> str:
    return servers[1]


@pytest.fixture(autouse=True)
def crew_of_two(crew: Crew) -> None:
    crew.muster(2)


def add_agent(lab: Lab, framework: str, url: str, **endpoint: Any) -> str:
    return lab.add_agent(agent_type="external", framework=framework, endpoint={"url": url, **endpoint})


def add_graph(lab: Lab, url: str, assistant: str = "echo") -> str:
    return add_agent(lab, "langgraph", url, assistant_id=assistant)


def remote_ids(lab: Lab, task_id: str) -> tuple[str, str]:
    """Return the run's id and its thread's or session's, once the worker has kept them."""
    query = (
        "select remote_task_id, context_id from private.remote_tasks where task_id = %s and remote_task_id is not null"
    )
    row = wait_for(lambda: lab.sql.execute(query, (task_id,)).fetchone(), 20, "the remote run begins")
    assert row is not None
    return str(row["remote_task_id"]), str(row["context_id"])


def runs_of(graphs: str, thread: str) -> list[dict[str, Any]]:
    return list(httpx.get(f"{graphs}/threads/{thread}/runs").raise_for_status().json())


def question(lab: Lab, task_id: str) -> dict[str, Any]:
    lab.await_task(task_id, "paused")
    query = "select * from public.input_requests where task_id = %s order by requested_at desc limit 1"
    row = lab.sql.execute(query, (task_id,)).fetchone()
    assert row is not None
    return row


def answer(lab: Lab, row: dict[str, Any], response: Any) -> None:
    lab.post("rpc/respond_to_input_request", input_request_id=str(row["id"]), response=response)


def test_a_graph_leaves_a_deliverable_its_steps_and_its_bill_and_a_conversation_keeps_its_thread(
    lab: Lab, graphs: str
) -> None:
    agent = add_graph(lab, graphs)
    conversation = lab.add_conversation(agent)
    first = lab.add_task(agent, "one", agent_conversation_id=conversation)
    lab.await_task(first)
    second = lab.add_task(agent, "two", agent_conversation_id=conversation)
    task = lab.await_task(second)
    assert [version["content"] for version in lab.versions(second)] == ["Echo two"]
    assert (task["response"], lab.streamed(second)) == ("Echo two", "Echo two")
    assert task["response_metadata"]["output"] == {"facts": {"turns": 3}}  # The thread knows what was said before.
    assert remote_ids(lab, first)[1] == remote_ids(lab, second)[1]
    (bill,) = lab.usage(second)
    assert (bill["provider"], bill["model"], bill["input_tokens"]) == ("openai", "gpt-4o-mini", 30)
    assert bill["cost"] > 0
    said = [event["message"] for event in lab.events(second) if event["type"] in {"log", "message"}]
    assert [text for text in said if text] == ["Reading", "Step read done", "Step write done"]


def test_interrupts_of_a_graph_are_asked_in_turn_and_the_answers_resume_its_thread(lab: Lab, graphs: str) -> None:
    task_id = lab.add_task(add_graph(lab, graphs), "ask twice")
    for asked, response in (("First?", "red"), ("Second?", "blue")):
        row = question(lab, task_id)
        assert row["prompt"] == asked
        answer(lab, row, response)  # Which takes the task out of its pause.
    assert lab.await_task(task_id)["response"] == "red and blue"
    _, thread = remote_ids(lab, task_id)
    assert [run["status"] for run in runs_of(graphs, thread)] == ["success"] * 3
    assert lab.task(task_id)["attempt"] <= 3


def test_a_breakpoint_of_a_graph_waits_for_a_person(lab: Lab, graphs: str) -> None:
    task_id = lab.add_task(add_graph(lab, graphs, "careful"), "careful")
    row = question(lab, task_id)
    assert row["prompt"] == "The graph stopped before write. Answer to let it go on."
    answer(lab, row, "go on")
    assert lab.await_task(task_id)["response"] == "Echo careful"


def test_what_killed_workers_began_is_joined_and_not_begun_again(lab: Lab, crew: Crew, graphs: str, agno: str) -> None:
    graph_task = lab.add_task(add_graph(lab, graphs), "slow 4")
    agno_task = lab.add_task(add_agent(lab, "agno", agno, agent_id="kept"), "slow 4")
    run, thread = remote_ids(lab, graph_task)
    agno_run, session = remote_ids(lab, agno_task)
    for worker in {
        crew.holder(lab.task(task_id)).id: crew.holder(lab.task(task_id)) for task_id in (graph_task, agno_task)
    }.values():
        worker.kill()
    crew.muster(2)
    assert lab.await_task(graph_task)["response"] == "Echo slow 4"
    assert lab.await_task(agno_task)["response"] == "Echo slow 4"
    assert [seen["run_id"] for seen in runs_of(graphs, thread)] == [run]
    seen = httpx.get(f"{agno}/sessions/{session}/runs").raise_for_status().json()
    assert [(one["run_id"], one["status"]) for one in seen] == [(agno_run, "COMPLETED")]
    lab.assert_done_once(graph_task, agno_task)
    for task_id in (graph_task, agno_task):
        assert lab.streamed(task_id, 2) == "Echo slow 4"
        assert lab.task(task_id)["attempt"] == 2


def test_cancelling_a_task_cancels_the_remote_run(lab: Lab, graphs: str, agno: str) -> None:
    graph_task = lab.add_task(add_graph(lab, graphs), "slow 20")
    agno_task = lab.add_task(add_agent(lab, "agno", agno, agent_id="kept"), "slow 2")
    run, thread = remote_ids(lab, graph_task)
    agno_run, session = remote_ids(lab, agno_task)
    for task_id in (graph_task, agno_task):
        lab.post("rpc/cancel_task", task_id=task_id)
    wait_for(lambda: runs_of(graphs, thread)[0]["status"] == "interrupted", 10, "the graph's run is cancelled")
    assert runs_of(graphs, thread)[0]["run_id"] == run
    url = f"{agno}/agents/kept/runs/{agno_run}?session_id={session}"
    wait_for(lambda: httpx.get(url).json().get("status") == "CANCELLED", 10, "the agent's run is cancelled")


def test_a_graph_that_fails_says_why(lab: Lab, graphs: str) -> None:
    task = lab.await_task(lab.add_task(add_graph(lab, graphs), "fail here", max_attempts=1), "failed")
    assert (task["error_code"], task["error_message"]) == ("remote_failed", "The graph failed: boom here")
    task = lab.await_task(lab.add_task(add_graph(lab, graphs, "gone"), "x"), "failed")
    assert task["error_code"] == "endpoint_error"
    assert "Invalid assistant: 'gone'" in task["error_message"]


@pytest.mark.parametrize(
    ("prompt", "kind", "asked", "response", "text"),
    [
        ("ask confirm", "approval", "wants to call send_mail", {"approved": True}, "Done: sent to bob"),
        ("ask confirm", "approval", "wants to call send_mail", {"approved": False, "note": "No."}, "Done: No."),
        ("ask values", "input", "- colour: str", {"colour": "blue"}, "Done: painted blue"),
    ],
)
def test_a_tool_of_an_agno_agent_waits_for_a_person(  # noqa: PLR0917 - what a case is made of
    lab: Lab, agno: str, prompt: str, kind: str, asked: str, response: Any, text: str
) -> None:
    task_id = lab.add_task(add_agent(lab, "agno", agno, agent_id="kept"), prompt)
    row = question(lab, task_id)
    assert row["request_type"] == kind
    assert asked in row["prompt"]
    answer(lab, row, response)
    assert lab.await_task(task_id)["response"] == text
    assert sum(bill["input_tokens"] for bill in lab.usage(task_id)) == 60


def test_an_agno_agent_without_a_database_runs_too_and_failures_say_why(lab: Lab, agno: str) -> None:
    agent = add_agent(lab, "agno", agno, agent_id="bare")
    assert lab.await_task(lab.add_task(agent, "hello"))["response"] == "Echo hello"
    task = lab.await_task(lab.add_task(agent, "fail here"), "failed")
    assert (task["error_code"], task["error_message"]) == ("remote_failed", "The run failed: boom here")


def add_execution(lab: Lab, agent: str, framework: str, data: dict[str, Any], given: Any) -> str:
    """Make a workflow with one execution and its task, as the database makes them; return the task's id."""
    row = {"organization_slug": lab.organization, "agent_slug": agent, "name": "flow", "workflow_type": "code"}
    (flow,) = lab.post("workflows", **row, framework=framework, workflow_data=data, created_by=lab.user_id)
    (execution,) = lab.post("workflow_executions", workflow_id=flow["id"], organization_slug="", agent_slug="")
    task = lab.sql.execute(
        "insert into public.tasks"
        " (organization_slug, user_id, agent_slug, agent_name, method, prompt, params, execution_id)"
        " values (%s, %s, %s, 'Writer', 'run_workflow', 'Run', %s, %s) returning id",
        (lab.organization, lab.user_id, agent, json.dumps({"input": given}), execution["id"]),
    ).fetchone()
    assert task is not None
    return str(task["id"])


def test_a_code_workflow_runs_on_its_frameworks_server_by_its_own_endpoint(lab: Lab, graphs: str) -> None:
    data = {"endpoint": {"url": graphs, "assistant_id": "echo"}}
    given = {"messages": [{"role": "user", "content": "from a workflow"}], "topic": "tides"}
    task = lab.await_task(add_execution(lab, lab.add_agent(), "langgraph", data, given))
    assert task["response"] == "Echo from a workflow"
    told = task["response_metadata"]
    assert told["workflow"] == {"name": "flow", "version": "1.0.0", "framework": "langgraph"}
    assert told["output"] == {"topic": "tides", "facts": {"turns": 1}}


def test_a_code_workflow_without_an_endpoint_uses_its_agents_and_without_any_says_what_to_do(
    lab: Lab, agno: str
) -> None:
    agent = add_agent(lab, "agno", agno, agent_id="bare")
    assert lab.await_task(add_execution(lab, agent, "agno", {}, "hello"))["response"] == "Echo hello"
    task = lab.await_task(add_execution(lab, lab.add_agent(), "agno", {}, "hello"), "failed")
    assert task["error_code"] == "workflow_misconfigured"
    assert "workflow_data.endpoint" in task["error_message"]


def test_a_workflow_of_n8n_reports_its_end_signed(lab: Lab) -> None:
    def begin(_seen: Seen) -> Reply:
        return json_reply({"message": "Workflow was started"})

    with serve(begin) as n8n:
        agent = add_agent(lab, "n8n", n8n.url, webhook_path="webhook/flow", wait_for="report")
        task_id = lab.add_task(agent, "hello")
        job = _job(n8n)
        assert (job["taskId"], job["prompt"]) == (task_id, "hello")
        reporter = Reporter(n8n.url)
        assert reporter.report(job, "progress", progress=40, message="Reading").status_code == 200
        assert reporter.report(job, "completed", result=[{"content": "made by n8n"}]).status_code == 200
        assert lab.await_task(task_id)["response"] == "made by n8n"
        assert len(n8n.seen) == 1


def _job(n8n: Server) -> dict[str, Any]:
    wait_for(lambda: n8n.seen, 20, "the webhook is called")
    assert n8n.seen[0].path == "/webhook/flow"
    return dict(n8n.seen[0].json)
