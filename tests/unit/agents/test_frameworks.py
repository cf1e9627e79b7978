"""What goes over the wire to the servers of frameworks, and what becomes of what they answer.

CrewAI and n8n are spoken to in the wire format that their documentation has; LangGraph and AgentOS are real in
tests/workers/test_frameworks.py.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.unit.agents.frameworks_kit import SECRET, Bench, answered
from tests.unit.helpers import until
from tests.unit.http_server import Reply, Seen, json_reply, serve, sse_reply
from workers.contract import Turn
from workers.door import Door
from workers.errors import TaskFailure

SETTINGS: dict[str, dict[str, Any]] = {
    "langgraph": {"assistant_id": "echo"},
    "agno": {"agent_id": "helper"},
    "crewai": {},
    "n8n": {"webhook_path": "webhook/flow"},
}
EACH = pytest.mark.parametrize("framework", list(SETTINGS))


def bench(framework: str, url: str, prompt: str = "hello", **endpoint: Any) -> Bench:
    return Bench(framework, url, prompt, **{**SETTINGS[framework], **endpoint})


def in_turn(*replies: Reply) -> Callable[[Seen], Reply]:
    """Answer one after another, the last one for ever."""
    left = list(replies)
    return lambda _seen: left.pop(0) if len(left) > 1 else left[0]


def posts(seen: Sequence[Seen]) -> list[Seen]:
    return [one for one in seen if one.method == "POST"]


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


# CrewAI, as docs.crewai.com has it.


def crew(*statuses: dict[str, Any]) -> Callable[[Seen], Reply]:
    left = list(statuses)

    def answer(seen: Seen) -> Reply:
        if seen.path == "/kickoff":
            return json_reply({"kickoff_id": "k-1"})
        if seen.path == "/resume":
            return json_reply({"status": "resumed", "message": "Execution resumed successfully"})
        assert seen.path == "/status/k-1"
        return json_reply(left.pop(0) if len(left) > 1 else left[0])

    return answer


RUNNING = {"status": "running", "current_task": "research", "progress": {"completed_tasks": 1, "total_tasks": 3}}
TASKS = [{"task_id": "research", "output": "Facts", "agent": "Researcher", "execution_time": 1.5}]
COMPLETED = {"status": "completed", "result": {"output": "An itinerary", "tasks": TASKS}, "execution_time": 2.5}
HUMAN = {"status": "pending_human_input", "current_task": "research", "output": "Facts, draft"}


async def test_a_crew_is_kicked_off_and_followed_to_its_result() -> None:
    with serve(crew(RUNNING, RUNNING, COMPLETED)) as server:
        target = bench("crewai", server.url, "tides", input_key="topic")
        target.params = {"days": "7"}
        result = await target.run()
    assert posts(server.seen)[0].json == {
        "inputs": {"topic": "tides", "days": "7"},
        "meta": {"taskId": "t1", "messageId": "t1.1"},
    }
    assert (result.text, result.response_metadata) == (
        "An itinerary",
        {"crewai": {"kickoff_id": "k-1", "tasks": TASKS}},
    )
    assert target.story.events == [("log", "Works on research")]
    assert target.story.percents == [20, 45, 95]


async def test_a_crew_that_fails_says_why_and_is_kicked_off_anew_by_a_retry() -> None:
    with serve(crew({"status": "error", "error": f"Bad key {SECRET}"})) as server:
        target = bench("crewai", server.url)
        failure = await target.fails()
        assert (failure.code, failure.message) == ("remote_failed", "The crew failed: Bad key [redacted]")
        await target.fails(2)
    assert len(posts(server.seen)) == 2


async def test_a_crew_that_waits_for_feedback_asks_and_is_resumed_once() -> None:
    with serve(crew(HUMAN, HUMAN, RUNNING, COMPLETED)) as server:
        target = bench("crewai", server.url)
        asked = await target.asks()
        assert (asked.request.request_type, asked.request.prompt) == ("approval", "Facts, draft")
        reply = answered({"approved": False, "note": "Cite sources."})
        for attempt in (2, 3):  # The third goes on after a lost worker.
            result = await target.run(attempt, checkpoint=asked.checkpoint, answer=reply)
            assert result.text == "An itinerary"
    kickoff, resume = posts(server.seen)
    assert kickoff.path == "/kickoff"
    assert resume.json == {
        "execution_id": "k-1",
        "task_id": "research",
        "human_feedback": "Cite sources.",
        "is_approve": False,
    }


async def test_a_crew_goes_on_after_a_lost_worker_and_is_waited_for_through_trouble() -> None:
    replies = iter([json_reply({}, 503), json_reply({}, 500), json_reply(COMPLETED)])
    with serve(lambda seen: json_reply({"kickoff_id": "k-1"}) if seen.path == "/kickoff" else next(replies)) as server:
        target = bench("crewai", server.url)
        await target.database.call("begin_remote_task", {"task_id": "t1", "attempt": 1})
        assert target.database.link is not None
        target.database.link["remote_task_id"] = "k-1"
        assert (await target.run(2)).text == "An itinerary"
    assert posts(server.seen) == []


async def test_what_a_crew_used_is_billed_where_its_server_says_it() -> None:
    used = {"prompt_tokens": 10, "completion_tokens": 3, "cached_prompt_tokens": 4, "model": "gpt-4o", "cost": 0.5}
    with serve(crew({**COMPLETED, "token_usage": used})) as server:
        (row,) = (await bench("crewai", server.url).run()).usage
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.cost) == (10, 3, 4, 0.5)


# n8n, as docs.n8n.io has it; tried against n8n 2.8.4 by hand (docs/frameworks.md).


async def test_a_workflow_of_n8n_that_answers_is_done() -> None:
    with serve(in_turn(json_reply([{"content": "Made", "n": 7}]))) as server:
        target = bench("n8n", server.url + "/base")
        target.params = {"days": 7}
        result = await target.run()
    assert (result.text, result.document) == ("Made", {"content": "Made", "n": 7})
    sent = server.seen[0]
    assert sent.path == "/base/webhook/flow"
    assert sent.json | {"context": ""} == {
        "taskId": "t1", "messageId": "t1.1", "prompt": "hello", "params": {"days": 7}, "context": "", "history": [],
    }  # fmt: skip


async def test_a_workflow_of_n8n_that_only_says_it_began_says_what_to_set() -> None:
    with serve(in_turn(json_reply({"message": "Workflow was started"}))) as server:
        failure = await bench("n8n", server.url).fails()
    assert (failure.code, failure.retryable) == ("agent_misconfigured", False)
    assert "endpoint.wait_for" in failure.message


def n8n_api(*statuses: str, data: Any = None) -> Callable[[Seen], Reply]:
    left = list(statuses)

    def answer(seen: Seen) -> Reply:
        if seen.path == "/webhook/flow":
            return json_reply({"executionId": "12"})
        assert seen.path.startswith("/api/v1/executions/12")
        status = left.pop(0) if len(left) > 1 else left[0]
        return json_reply({"id": "12", "finished": status == "success", "status": status, "data": data})

    return answer


def run_data(*items: Any) -> dict[str, Any]:
    main = [[{"json": item} for item in items]]
    return {"resultData": {"lastNodeExecuted": "Code", "runData": {"Code": [{"data": {"main": main}}]}}}


API = {"wait_for": "execution", "api_key": "${TOKEN}"}


async def test_an_execution_of_n8n_is_followed_by_its_public_api() -> None:
    with serve(n8n_api("running", "waiting", "success", data=run_data({"content": "Made"}))) as server:
        target = bench(
            "n8n", server.url, authentication={"type": "basic", "config": {"username": "a", "password": "b"}}, **API
        )
        result = await target.run()
        again = await target.run(2)
    assert (result.text, again.text) == ("Made", "Made")
    assert result.response_metadata == {"n8n": {"execution_id": "12", "last_node": "Code"}}
    webhook, *looks = server.seen
    assert "x-n8n-api-key" not in webhook.headers
    assert webhook.headers["authorization"].startswith("Basic ")
    assert {seen.headers["x-n8n-api-key"] for seen in looks} == {SECRET}
    assert all("authorization" not in seen.headers for seen in looks)
    assert len(posts(server.seen)) == 1


@pytest.mark.parametrize(
    ("status", "code"), [("error", "remote_failed"), ("crashed", "remote_failed"), ("canceled", "remote_cancelled")]
)
async def test_an_execution_of_n8n_that_ends_badly(status: str, code: str) -> None:
    error = {"resultData": {"error": {"message": f"boom {SECRET}"}}}
    with serve(n8n_api(status, data=error)) as server:
        target = bench("n8n", server.url, **API)
        failure = await target.fails()
    assert (failure.code, target.database.link) == (code, None)
    assert code == "remote_cancelled" or failure.message == "The workflow failed: boom [redacted]"


async def test_a_workflow_of_n8n_that_does_not_name_its_execution_says_what_to_do() -> None:
    with serve(in_turn(json_reply({"message": "Workflow was started"}))) as server:
        failure = await bench("n8n", server.url, **API).fails()
    assert "$execution.id" in failure.message


async def test_a_workflow_of_n8n_reports_and_is_not_called_again_after_a_lost_worker() -> None:
    done = {"outcome": {"status": "completed", "result": {"content": "Reported"}}}
    with serve(in_turn(json_reply({"message": "Workflow was started"}))) as server:
        target = bench("n8n", server.url, wait_for="report")
        target.database.outcomes = [{"progress": 40, "message": "Half"}, done]
        assert (await target.run()).text == "Reported"
        assert server.seen[0].json["status_webhook"]["secret"] == "whsec_x"
        target.database.under_way, target.database.outcomes = True, [done]
        assert (await target.run(2)).text == "Reported"
    assert len(server.seen) == 1
    assert 40 in target.story.percents


async def test_a_stopped_attempt_stops_the_execution_when_nobody_goes_on() -> None:
    with serve(n8n_api("running")) as server:
        for reason, stops in (("lost", 0), ("cancelled", 1)):
            server.seen.clear()
            attempt = asyncio.create_task(bench("n8n", server.url, **API).run())
            await until(lambda: any("executions" in seen.path for seen in server.seen))
            attempt.cancel(reason)
            with suppress(asyncio.CancelledError):
                await attempt
            assert sum(seen.path.endswith("/stop") for seen in server.seen) == stops
