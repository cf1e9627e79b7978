"""What goes over the wire to the servers of frameworks, and what becomes of what they answer.

LangGraph and AgentOS are real in tests/workers/test_frameworks.py; here they are what real ones are not on demand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from tests.unit.agents.external_kit import Shelf
from tests.unit.agents.frameworks_kit import SECRET, SETTINGS, Bench, bench, in_turn, posts
from tests.unit.http_server import Reply, Seen, json_reply, serve, sse_reply
from workers.agents.frameworks import Frameworks
from workers.agents.frameworks.workflow import Workflows
from workers.agents.status_webhooks import StatusWebhooks
from workers.contract import AgentRow, ClaimedTask, TaskRow, Turn
from workers.door import Door
from workers.errors import BackendUnavailable, TaskFailure
from workers.job import Job
from workers.reports import ReportQueue
from workers.secrets import Secrets

EACH = pytest.mark.parametrize("framework", list(SETTINGS))


@EACH
async def test_a_missing_package_names_the_command_that_installs_it(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"langgraph": "langgraph_sdk.client", "agno": "httpx_sse"}
    if framework not in packages:
        pytest.skip("needs no package")
    monkeypatch.delitem(sys.modules, f"workers.agents.frameworks.{framework}", raising=False)
    monkeypatch.setitem(sys.modules, packages[framework], None)
    failure = await bench(framework, "http://127.0.0.1:9").fails()
    assert (failure.code, failure.retryable) == ("extra_missing", False)
    assert f"pip install 'orchestrator-ai[{framework}]'" in failure.message


@EACH
async def test_a_server_that_is_away_is_tried_again(framework: str) -> None:
    failure = await bench(framework, "http://127.0.0.1:9").fails()
    assert (failure.code, failure.retryable) == ("endpoint_unreachable", True)


@EACH
async def test_a_refusal_is_final_and_says_what_the_server_said_without_secrets(framework: str) -> None:
    with serve(in_turn(json_reply({"detail": f"No such thing for {SECRET}"}, 422))) as server:
        failure = await bench(framework, server.url).fails()
    assert (failure.code, failure.retryable) == ("endpoint_error", False)
    assert failure.message.endswith("answered with status 422: No such thing for [redacted]")


@EACH
async def test_too_many_requests_wait_as_told(framework: str) -> None:
    with serve(in_turn(json_reply({}, 429, Retry_After="7"))) as server:
        failure = await bench(framework, server.url).fails()
    assert (failure.retryable, failure.retry_after) == (True, 7)
    assert len(server.seen) == 1


@EACH
async def test_a_begin_whose_outcome_is_not_known_is_not_repeated(framework: str) -> None:
    with serve(in_turn(json_reply({"error": "oops"}, 500))) as server:
        failure = await bench(framework, server.url).fails()
    assert (failure.code, failure.retryable, len(server.seen)) == ("endpoint_error", False, 1)


@EACH
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_say_where_to_look(framework: str, status: int) -> None:
    with serve(in_turn(json_reply({}, status))) as server:
        failure = await bench(framework, server.url).fails()
    assert (failure.code, failure.retryable) == ("endpoint_auth_failed", False)


@EACH
async def test_redirects_are_not_followed(framework: str) -> None:
    with serve(in_turn(Reply(302, {"Location": "http://127.0.0.1:9/"}))) as server:
        failure = await bench(framework, server.url).fails()
    assert "endpoint.url" in failure.message
    assert len(server.seen) == 1


@EACH
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'"text"', b"[" * 100_000])
async def test_answers_that_cannot_be_read_fail_and_do_no_harm(framework: str, body: bytes) -> None:
    with serve(in_turn(Reply(200, {"Content-Type": "application/json"}, [body]))) as server:
        if framework == "n8n":  # Any JSON is an answer there, as for api agents.
            with suppress(TaskFailure):
                await bench(framework, server.url).run()
            return
        failure = await bench(framework, server.url).fails()
    assert failure.code == "endpoint_response_invalid"


@EACH
async def test_an_endless_answer_is_cut_off(framework: str) -> None:
    kind = "text/event-stream" if framework in {"langgraph", "agno"} else "application/json"
    reply = Reply(200, {"Content-Type": kind}, [b"data: " + b"x" * 1_000_000 + b"\n"] * 25)
    with serve(in_turn(reply)) as server:
        failure = await bench(framework, server.url).fails()
    assert failure.code in {"response_too_large", "endpoint_response_invalid"}


@EACH
async def test_private_addresses_are_refused(framework: str) -> None:
    with serve(in_turn(json_reply({}))) as server:
        failure = await bench(framework, server.url).fails(door=Door(tls=None))
    assert failure.code in {"scheme_not_allowed", "address_not_allowed"}
    assert server.seen == []


@EACH
async def test_credentials_are_the_organizations_secrets(framework: str) -> None:
    authentication = {"type": "bearer", "config": {"token": "${TOKEN}"}}
    with serve(in_turn(json_reply({}, 422))) as server:
        await bench(framework, server.url, authentication=authentication).fails()
    assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("framework", "endpoint", "field"),
    [
        ("langgraph", {"assistant_id": None}, "endpoint.assistant_id"),
        ("langgraph", {"assistant": "x"}, "endpoint.assistant"),
        ("agno", {"agent_id": "a", "team_id": "b"}, "endpoint"),
        ("agno", {"agent_id": None}, "endpoint"),
        ("crewai", {"input_key": ""}, "endpoint.input_key"),
        ("n8n", {"wait_for": "ever"}, "endpoint.wait_for"),
        ("n8n", {"wait_for": "execution"}, "endpoint"),
        ("n8n", {"url": "ftp://x"}, "endpoint.url"),
        ("crewai", {"url": "https://crew.example/?a=1"}, "endpoint.url"),
        ("crewai", {"timeout": 0}, "endpoint.timeout"),
    ],
)
async def test_settings_that_cannot_be_used_are_named(framework: str, endpoint: dict[str, Any], field: str) -> None:
    given = {"url": "https://agents.example", **SETTINGS[framework], **endpoint}
    target = Bench(framework, **{name: value for name, value in given.items() if value is not None})
    failure = await target.fails()
    assert (failure.code, failure.retryable, failure.data) == ("agent_misconfigured", False, {"field": field})


async def test_an_agent_of_a_framework_that_speaks_a2a_is_called_by_a2a() -> None:
    with serve(in_turn(json_reply({}, 404))) as server:
        await Bench("crewai", server.url, protocol="a2a").fails()
    assert server.seen[0].path == "/.well-known/agent-card.json"


# LangGraph and Agno: what the real servers do not do on demand.


async def test_a_broken_stream_of_a_graph_is_polled_to_its_end() -> None:
    def answer(seen: Seen) -> Reply:
        if seen.path.endswith("/runs/stream"):
            event = b'event: metadata\ndata: {"run_id": "r-1"}\n\nevent: mess'
            return Reply(200, {"Content-Type": "text/event-stream"}, [event], cut=True)
        if seen.path.endswith("/history"):
            return json_reply([{"values": {"messages": [{"type": "ai", "content": "Done"}]}, "next": [], "tasks": []}])
        return json_reply({"run_id": "r-1", "status": next(statuses), "metadata": None})

    statuses = iter(["pending", "running", "success"])
    with serve(answer) as server:
        target = bench("langgraph", server.url)
        result = await target.run()
    assert result.text == "Done"
    assert target.database.link is not None
    assert target.database.link["remote_task_id"] == "r-1"
    sent = posts(server.seen)[0].json
    assert sent["metadata"]["orchestrator_message_id"] == "t1.1"
    assert (sent["on_disconnect"], sent["if_not_exists"]) == ("continue", "create")


async def test_a_graph_that_was_forgotten_is_begun_again_by_the_next_attempt() -> None:
    stream = sse_reply([("metadata", {"run_id": "r-1"})])
    with serve(lambda seen: stream if seen.method == "POST" else json_reply({"detail": "gone"}, 404)) as server:
        target = bench("langgraph", server.url)
        failure = await target.fails()
    assert (failure.code, failure.retryable, target.database.link) == ("remote_task_lost", True, None)


async def test_earlier_turns_go_to_a_thread_that_does_not_know_them_and_params_into_its_state() -> None:
    with serve(in_turn(json_reply({}, 422))) as server:
        target = bench("langgraph", server.url)
        target.history, target.params = (Turn("user", "before"),), {"topic": "tides"}
        await target.fails()
        other = bench("langgraph", server.url, input_key="question")
        await other.fails()
    turns = [{"role": "user", "content": "before"}, {"role": "user", "content": "hello"}]
    assert server.seen[0].json["input"] == {"topic": "tides", "messages": turns}
    assert server.seen[1].json["input"] == {"question": "hello"}


async def test_a_server_that_poses_as_another_run_is_not_believed() -> None:
    for run_id in ("../../admin", "x" * 600, "", None, {"a": 1}):
        with serve(in_turn(sse_reply([("metadata", {"run_id": run_id})]))) as server:
            failure = await bench("langgraph", server.url).fails()
        assert failure.code == "endpoint_response_invalid"
        assert all("admin" not in seen.path for seen in server.seen[1:])


async def test_a_broken_stream_of_an_agno_agent_is_polled_to_its_end() -> None:
    metrics = {"details": {"model": [{"provider": "OpenAI", "id": "gpt-4o", "input_tokens": 5, "output_tokens": 2}]}}

    def answer(seen: Seen) -> Reply:
        if seen.method == "POST":
            event = b'event: RunStarted\ndata: {"event": "RunStarted", "run_id": "r1"}\n\nevent: R'
            return Reply(200, {"Content-Type": "text/event-stream"}, [event], cut=True)
        return json_reply({"status": next(statuses), "content": {"answer": 42}, "metrics": metrics})

    statuses = iter(["RUNNING", "COMPLETED"])
    with serve(answer) as server:
        result = await bench("agno", server.url).run()
    assert result.document == {"answer": 42}
    (row,) = result.usage
    assert (row.provider, row.model, row.input_tokens, row.output_tokens) == ("openai", "gpt-4o", 5, 2)
    assert server.seen[1].path.startswith("/agents/helper/runs/r1?session_id=")


async def test_a_team_and_a_workflow_of_an_agent_os_are_told_from_their_members() -> None:
    members = {"event": "RunCompleted", "run_id": "member", "content": "not this"}
    for kind, prefix, begins in (("team", "TeamRun", "TeamRunStarted"), ("workflow", "Workflow", "WorkflowStarted")):
        events = [
            (begins, {"event": begins, "run_id": "top"}),
            ("RunStarted", {"event": "RunStarted", "run_id": "member"}),
            ("RunCompleted", members),
            (f"{prefix}Completed", {"event": f"{prefix}Completed", "run_id": "top", "content": "this"}),
        ]
        with serve(in_turn(sse_reply(events))) as server:
            result = await Bench("agno", server.url, **{f"{kind}_id": "a/b"}).run()
        assert (result.text, server.seen[0].path) == ("this", f"/{kind}s/a%2Fb/runs")


# The handler of run_workflow: what it does with what the database says; tests/workers has the rest.


class Executions(Shelf):
    """A database that says this of the task's execution."""

    def __init__(self, told: Any) -> None:
        super().__init__()
        self.told = told

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        if function != "read_workflow_execution":
            return await super().call(function, arguments)
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


FLOW = {"name": "Flow", "version": "1.0.0", "framework": "crewai", "workflow_type": "code", "workflow_data": {}}


@pytest.mark.parametrize(
    ("told", "code", "retryable"),
    [
        (None, "workflow_misconfigured", False),
        (FLOW, "workflow_misconfigured", False),
        ({**FLOW, "workflow_type": "visual"}, "workflow_misconfigured", False),
        ({**FLOW, "framework": "cobol"}, "workflow_misconfigured", False),
        ({**FLOW, "workflow_data": {"endpoint": "no object"}}, "agent_misconfigured", False),
        (BackendUnavailable("away"), "internal_error", True),
    ],
)
async def test_a_workflow_that_cannot_run_says_why(told: Any, code: str, retryable: bool) -> None:
    database = Executions(told)
    agent = AgentRow("a", "A", "context", "", "active")
    task = TaskRow("t1", "demo-org", "run_workflow", "Run", 1, params={"input": {"topic": "tides"}})
    job = Job(ClaimedTask(task, agent, 1, "token"), ReportQueue(lambda: None))
    async with Door() as door:
        webhooks = StatusWebhooks(database, url="http://here", anon_key=None)
        workflows = Workflows(Frameworks(door, Secrets(database), database, webhooks), database)
        with pytest.raises(TaskFailure) as caught:
            await workflows.run(job)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
