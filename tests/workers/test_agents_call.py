"""Agents that call agents from end to end: a real worker with one slot, a provider's wire format, a real database."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack
from tests.unit.agents.context_kit import AnsweringBackend, Heard, Surroundings, context_agents, llm_config, names
from tests.unit.agents.test_agents_ask import script
from tests.unit.agents.test_agents_context import TOOL_STOP
from tests.unit.http_server import Reply, Seen, Server, serve, sse_reply
from tests.unit.wire import EVENTS, MODELS, stream
from tests.workers.conftest import Lab, WorkerProcess, laboratory
from tests.workers.waiting import Row, wait_for
from workers.agents.result import AgentResult
from workers.calls import AgentCall, ReturnedCall
from workers.contract import AgentRow, ClaimedTask, TaskRow
from workers.errors import AgentsNeeded, BackendUnavailable, InputNeeded, TaskFailure
from workers.questions import Answer

ALL = sorted(EVENTS)
HELPER = {"slug": "fact-checker", "name": "Checker", "description": "Checks facts.", "input": {"type": "object"}}
CALLS = {"call_agents": {"agents": ["fact-checker"]}}
ASKED = '{"prompt": "Is it true?", "params": {"depth": 2}}'


async def run(
    provider: str, url: str, tools: Any = None, heard: Heard | None = None, database: Any = None, **claim: Any
) -> AgentResult:
    """Run one attempt of an agent that may call the helper."""
    limits = claim.pop("limits", {})
    row = AgentRow(
        "a", "A", "context", "Be kind.", "active", llm_config=llm_config(provider, tools=tools or CALLS, limits=limits)
    )
    claimed = ClaimedTask(TaskRow("t1", "demo-org", "process", "Write about tide pools", 3), row, 1, "token", **claim)
    around = Surroundings(database=database or AnsweringBackend(agents_to_call=[HELPER]))
    async with context_agents(provider, url, around) as agents:
        result: AgentResult = await agents.run(claimed, row, heard or Heard())
    return result


async def pause(provider: str, url: str, **changes: Any) -> AgentsNeeded:
    """Run one attempt that must call; what it wants kept has been through JSON, as in the database."""
    with pytest.raises(AgentsNeeded) as caught:
        await run(provider, url, **changes)
    caught.value.checkpoint = json.loads(json.dumps(caught.value.checkpoint))
    return caught.value


def calling(provider: str, arguments: str = ASKED, tool: str = "call_fact-checker") -> Reply:
    return stream(provider, [arguments], tool=tool, stop=TOOL_STOP[provider])


def returned(needed: AgentsNeeded, **columns: Any) -> tuple[ReturnedCall, ...]:
    given: Row = {"status": "completed", "task_id": "t2", "response": "Quite so.", "seconds": 1.5, **columns}
    return tuple(ReturnedCall(call.call_id, call.agent_slug, **given) for call in needed.calls)


@pytest.mark.parametrize("provider", ALL)
async def test_a_model_calls_an_agent_and_goes_on_with_its_answer(provider: str) -> None:
    heard = Heard()
    with serve(script(calling(provider), stream(provider, ["It is ", "true."]))) as server:
        needed = await pause(provider, server.url)
        claim = {"checkpoint": needed.checkpoint, "agent_calls": returned(needed)}
        result = await run(provider, server.url, heard=heard, **claim)
    (call,) = needed.calls
    assert call == AgentCall(call.call_id, "fact-checker", "Is it true?", {"depth": 2})
    assert [(row.input_tokens, row.output_tokens) for row in needed.usage] == [(30, 15)]
    assert (result.text, [row.output_tokens for row in result.usage]) == ("It is true.", [15])
    assert "Checks facts." in server.seen[0].body.decode()
    assert "Quite so." in server.seen[1].body.decode()
    said = {"tool": "call_agent", "agent": "fact-checker", "task_id": "t2", "outcome": "ok", "duration_ms": 1500}
    assert heard.events == [("tool", said)]


async def test_what_went_wrong_with_a_call_is_told_to_the_model() -> None:
    with serve(script(calling("openai"), stream("openai", ["Without it."]))) as server:
        needed = await pause("openai", server.url)
        failed = returned(
            needed,
            status="rejected",
            task_id=None,
            response=None,
            error_code="agent_inactive",
            error_message="It rests.",
        )
        result = await run("openai", server.url, checkpoint=needed.checkpoint, agent_calls=failed)
    assert result.text == "Without it."
    assert "agent_inactive: It rests." in server.seen[1].body.decode()


async def test_a_long_answer_is_cut_and_says_so() -> None:
    with serve(script(calling("openai"), stream("openai", ["Ok."]))) as server:
        needed = await pause("openai", server.url)
        long = returned(needed, response="x" * 100_000)
        await run("openai", server.url, checkpoint=needed.checkpoint, agent_calls=long)
    told = json.loads(next(m["content"] for m in server.seen[1].json["messages"] if m["role"] == "tool"))
    assert (len(told["response"]), "task t2" in told["note"]) == (32_000, True)


async def test_a_question_and_a_call_at_once_wait_one_after_the_other() -> None:
    calls = [("call_fact-checker", json.loads(ASKED)), ("ask_person", {"question": "For whom?"})]
    (event,) = EVENTS["google"]([ASKED], tool="call_fact-checker")
    event[1]["candidates"][0]["content"]["parts"] = [{"functionCall": {"name": n, "args": a}} for n, a in calls]
    tools = {**CALLS, "ask_person": {}}
    heard = Heard()
    with serve(script(sse_reply([event]), stream("google", ["Done."]))) as server:
        first = await pause("google", server.url, tools=tools)
        claim: Row = {"checkpoint": first.checkpoint, "agent_calls": returned(first), "tools": tools}
        with pytest.raises(InputNeeded) as caught:
            await run("google", server.url, heard=heard, **claim)
        assert caught.value.request.prompt == "For whom?"
        asked = len(server.seen)
        told = Answer("q1", "input", "For whom?", "answered", "children")
        claim |= {"checkpoint": json.loads(json.dumps(caught.value.checkpoint)), "input": (told,)}
        result = await run("google", server.url, heard=heard, **claim)
    assert (asked, len(server.seen), result.text) == (1, 2, "Done.")
    assert len(heard.events) == 1, "a call is told once"
    sent = server.seen[1].body.decode()
    assert sent.index("Quite so.") < sent.index("children")


async def test_the_tool_is_not_there_where_the_stack_is_full_or_the_agent_is_not() -> None:
    with serve(lambda _seen: stream("openai", ["ok"])) as server:
        await run("openai", server.url)
        await run("openai", server.url, call_stack=("x",) * 5)
        await run("openai", server.url, tools={"call_agents": {"agents": ["a"], "max_depth": 1}}, call_stack=("x",))
        await run("openai", server.url, database=AnsweringBackend(agents_to_call=[]))
    offered = [names(seen.json.get("tools", [])) for seen in server.seen]
    assert offered == [["call_fact-checker"], [], [], []]


async def test_names_fit_every_provider_and_are_told_apart() -> None:
    slugs = ["ä.b", "ö.b", "x" * 100, "x" * 99]
    database = AnsweringBackend(agents_to_call=[{**HELPER, "slug": slug} for slug in slugs])
    with serve(lambda _seen: stream("openai", ["ok"])) as server:
        await run("openai", server.url, database=database, tools={"call_agents": {"agents": slugs}})
    found = names(server.seen[0].json["tools"])
    assert (len(set(found)), max(map(len, found))) == (4, 64)
    assert all(name.replace("_", "").replace("-", "").isascii() for name in found)


@pytest.mark.parametrize("arguments", ['{"prompt": " "}', "{}", '{"prompt": "x", "params": [1]}'])
async def test_a_call_that_makes_no_sense_is_sent_back_once(arguments: str) -> None:
    with serve(script(calling("openai", arguments), calling("openai"))) as server:
        needed = await pause("openai", server.url)
    assert (needed.calls[0].prompt, len(server.seen)) == ("Is it true?", 2)


@pytest.mark.parametrize("told", [(), (ReturnedCall("other", "fact-checker", "completed"),)])
async def test_a_checkpoint_without_its_answers_is_unreadable(told: tuple[ReturnedCall, ...]) -> None:
    with serve(script(calling("openai"))) as server:
        needed = await pause("openai", server.url)
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, checkpoint=needed.checkpoint, agent_calls=told)
    assert (caught.value.code, caught.value.retryable) == ("checkpoint_unreadable", True)


async def test_when_the_database_is_away_the_attempt_may_be_made_again() -> None:
    with serve(script()) as server, pytest.raises(TaskFailure) as caught:
        await run("openai", server.url, database=AnsweringBackend(agents_to_call=BackendUnavailable("away")))
    assert (caught.value.code, caught.value.retryable, server.seen) == ("internal_error", True, [])


async def test_limits_count_across_pauses() -> None:
    with serve(script(calling("openai"), stream("openai", ["Done."]))) as server:
        needed = await pause("openai", server.url, limits={"max_requests": 1})
        claim: Row = {"checkpoint": needed.checkpoint, "agent_calls": returned(needed)}
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, limits={"max_requests": 1}, **claim)
        assert (caught.value.code, caught.value.usage, len(server.seen)) == ("limit_reached", (), 1)
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, limits={"max_output_tokens": 20}, **claim)
    assert caught.value.data is not None
    assert (caught.value.data["field"], caught.value.data["used"]) == ("llm_config.limits.max_output_tokens", 30)
    assert [row.output_tokens for row in caught.value.usage] == [15]


# With a real worker and a real database


class Models:
    """Language models of two agents: the writer calls the helper as often as its prompt says, the helper helps."""

    def __init__(self) -> None:
        self.hold: threading.Event | None = None

    def answer(self, seen: Seen) -> Reply:
        messages = seen.json["messages"]
        text = json.dumps(messages)
        if "You help." in text:
            if self.hold is not None:
                self.hold.wait(20)
            return stream("openai", ["Helped."])
        told = [message["content"] for message in messages if message["role"] == "tool"]
        if told:
            return stream("openai", [f"With {len(told)}: {told[0]}"])
        events = EVENTS["openai"]([], tool=names(seen.json["tools"])[0], stop="tool_calls")
        calls = []
        for number in range(int(messages[-1]["content"].split()[0])):
            asked = {"name": names(seen.json["tools"])[0], "arguments": json.dumps({"prompt": f"Part {number}"})}
            calls.append({"index": number, "id": f"call_{number}", "type": "function", "function": asked})
        first: Any = events[0][1]
        first["choices"][0]["delta"]["tool_calls"] = calls
        return sse_reply(events)


@contextmanager
def playing(stack: Stack, organization: str, folder: Path) -> Iterator[tuple[Lab, Server, Models, str, str]]:
    models = Models()
    with laboratory(stack, organization, folder) as lab, serve(models.answer) as server:
        helper = lab.add_agent(context="You help.", llm_config={"provider": "openai", "model": MODELS["openai"]})
        config = {"provider": "openai", "model": MODELS["openai"], "tools": {"call_agents": {"agents": [helper]}}}
        yield lab, server, models, lab.add_agent(llm_config=config), helper


def start(lab: Lab, server: Server, *options: str) -> WorkerProcess:
    return lab.start_worker(*options, OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=f"{server.url}/v1")


def children(lab: Lab, task_id: str) -> list[Row]:
    query = "select * from public.tasks where parent_task_id = %s order by created_at, id"
    return lab.sql.execute(query, (task_id,)).fetchall()


def test_one_slot_is_enough_for_callers_and_called(stack: Stack, tmp_path: Path) -> None:
    with playing(stack, f"calls-{uuid.uuid4().hex[:12]}", tmp_path) as (lab, server, _, writer, helper):
        start(lab, server, "--concurrency", "1")
        tasks = [lab.add_task(writer, "2 parts, please") for _ in range(3)]
        for task_id in tasks:
            task = lab.await_task(task_id)
            assert task["response"].startswith("With 2: ")
            assert "Helped." in task["response"]
            made = children(lab, task_id)
            assert [(row["status"], row["agent_slug"], row["attempt"]) for row in made] == [
                ("completed", helper, 1)
            ] * 2
            paused, done = lab.runs(task_id)
            assert (paused["status"], done["status"], task["attempt"]) == ("paused", "completed", 1)
            for child in made:
                (run,) = lab.runs(child["id"])
                assert (run["parent_run_id"], run["call_stack"]) == (paused["id"], [writer])
                assert [bill["output_tokens"] for bill in lab.usage(child["id"])] == [15]
            assert [bill["output_tokens"] for bill in lab.usage(task_id)] == [15, 15]
            told = [event["data"] for event in lab.events(task_id, type_="tool")]
            assert {entry["task_id"] for entry in told} == {str(child["id"]) for child in made}
        assert len(server.seen) == 3 * (2 + 2), "nothing is asked twice"


def test_a_killed_worker_and_a_cancelled_caller(stack: Stack, tmp_path: Path) -> None:
    go = threading.Event()
    with playing(stack, f"calls-{uuid.uuid4().hex[:12]}", tmp_path) as (lab, server, models, writer, _):
        models.hold = go
        try:
            victim = start(lab, server, "--lease-seconds", "2")
            kept, doomed = lab.add_task(writer, "1 part"), lab.add_task(writer, "1 part")
            for task_id in (kept, doomed):
                lab.await_task(task_id, "paused", 60)
            wait_for(lambda: len(server.seen) == 4, 20, "both helpers are asked")
            lab.post("rpc/cancel_task", task_id=doomed)
            assert [row["status"] for row in children(lab, doomed)] == ["cancelled"]
            victim.kill()
            go.set()
            start(lab, server)
            assert "Helped." in lab.await_task(kept, seconds=60)["response"]
            (child,) = children(lab, kept)
            assert (child["status"], child["attempt"]) == ("completed", 2)
            assert lab.task(doomed)["status"] == "cancelled"
        finally:
            go.set()
