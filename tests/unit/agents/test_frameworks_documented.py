"""CrewAI and n8n, in the wire format that their documentation has; tried against the real ones in
tests/workers/test_frameworks_opt_in.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.unit.agents.external_kit import traced
from tests.unit.agents.frameworks_kit import SECRET, answered, bench, in_turn, posts
from tests.unit.helpers import until
from tests.unit.http_server import Reply, Seen, json_reply, serve

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


async def test_runs_questions_and_answers_are_steps_of_the_trace() -> None:
    with serve(crew(HUMAN, HUMAN, COMPLETED, {"status": "error", "error": f"Bad key {SECRET}"})) as server:
        target = bench("crewai", server.url, prompt="Plan a trip.")
        with traced() as steps:
            asked = await target.asks()
            await target.run(2, checkpoint=asked.checkpoint, answer=answered({"approved": True}))
            target.database.link = None
            await target.fails(3)
    host = f"crewai {httpx.URL(server.url).host}"
    assert [(s.type, s.name, s.status) for s in steps] == [
        ("http_request", host, "completed"),
        ("input_request", "ask_person", "completed"),
        ("input_request", "ask_person", "completed"),
        ("http_request", host, "completed"),
        ("http_request", host, "failed"),
    ]
    first, question, answer, second, last = steps
    assert (first.input["prompt"], first.metadata["remote_run_id"]) == ("Plan a trip.", "k-1")
    assert (question.input, question.metadata) == ({"question": "Facts, draft"}, {"phase": "asked"})
    assert (answer.output, answer.metadata["phase"]) == ({"approved": True}, "answered")
    assert second.output == "An itinerary"
    assert last.error is not None
    assert last.error.startswith("remote_failed: ")


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


@pytest.mark.parametrize(
    ("reason", "attempt", "stops"), [("lost", 1, 0), ("timeout", 1, 0), ("timeout", 3, 1), ("cancelled", 1, 1)]
)
async def test_a_stopped_attempt_stops_the_execution_when_nobody_goes_on(reason: str, attempt: int, stops: int) -> None:
    with serve(n8n_api("running")) as server:
        running = asyncio.create_task(bench("n8n", server.url, **API).run(attempt))
        await until(lambda: any("executions" in seen.path for seen in server.seen))
        running.cancel(reason)
        with suppress(asyncio.CancelledError):
            await running
    assert sum(seen.path.endswith("/stop") for seen in server.seen) == stops
