"""The orchestrator from end to end: real workers, people who talk to it, agents it makes, workers that are killed."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stack import Stack
from tests.unit.agents.context_kit import names
from tests.unit.http_server import Reply, Seen, Server, serve, sse_reply
from tests.unit.wire import EVENTS, MODELS, stream
from tests.workers.conftest import Lab, WorkerProcess, laboratory
from tests.workers.waiting import Row, wait_for


def join(lab: Lab) -> None:
    """Make the lab's user an owner, for whom the orchestrator works."""
    lab.sql.execute(
        "insert into public.organization_members (organization_slug, user_id, role) values (%s, %s, 'owner')",
        (lab.organization, lab.user_id),
    )


def say(lab: Lab, message: str, **more: Any) -> Row:
    """Send a message as the person."""
    given = {"organization_slug": lab.organization, "user_id": lab.user_id, "message": message}
    row: Row = lab.post("rpc/message_orchestrator", **given | more)
    return row


def reply(lab: Lab, message: str, **more: Any) -> str:
    """Send a message and wait for what comes of it."""
    return str(lab.await_task(say(lab, message, **more)["task_id"], seconds=60)["response"])


def boss(lab: Lab) -> Row:
    query = "select * from public.orchestrator_agents where organization_slug = %s and not archived"
    row = lab.sql.execute(query, (lab.organization,)).fetchone()
    assert row is not None
    return row


def instance(lab: Lab, name: str) -> Row:
    query = (
        "select i.* from public.agent_instances i join public.orchestrator_agents o on o.id = i.orchestrator_agent_id"
        " where o.organization_slug = %s and i.name = %s order by i.created_at desc limit 1"
    )
    row = lab.sql.execute(query, (lab.organization, name)).fetchone()
    assert row is not None
    return row


def logs(lab: Lab, task_id: str) -> list[Row]:
    query = "select * from public.agent_logs where task_id = %s order by entry_index"
    return lab.sql.execute(query, (task_id,)).fetchall()


def commands(lab: Lab) -> list[Row]:
    query = (
        "select * from public.tasks where organization_slug = %s and method = 'command_agent' order by created_at, id"
    )
    return lab.sql.execute(query, (lab.organization,)).fetchall()


def said(lab: Lab, conversation_id: str) -> list[tuple[str, str]]:
    query = "select * from public.messages where conversation_id = %s order by created_at"
    rows = lab.sql.execute(query, (conversation_id,)).fetchall()
    return [(row["sender_type"], row["receiver_type"]) for row in rows]


def assert_counted(lab: Lab) -> None:
    """Fail unless the counters are what the ledger says."""
    rows = lab.sql.execute(
        "select x.input_tokens, x.output_tokens, x.total_cost, coalesce(sum(u.input_tokens), 0) as input,"
        " coalesce(sum(u.output_tokens), 0) as output, coalesce(sum(u.cost), 0) as cost from ("
        "  select id, id as orchestrator_id, null::uuid as instance_id, input_tokens, output_tokens, total_cost"
        "  from public.orchestrator_agents where organization_slug = %s"
        "  union all select i.id, i.orchestrator_agent_id, i.id, i.input_tokens, i.output_tokens, i.total_cost"
        "  from public.agent_instances i join public.orchestrator_agents o on o.id = i.orchestrator_agent_id"
        "  where o.organization_slug = %s) x"
        " left join private.orchestrator_tasks t on t.orchestrator_agent_id = x.orchestrator_id"
        "  and t.agent_instance_id is not distinct from x.instance_id"
        " left join public.usage_events u on u.task_id = t.task_id group by 1, 2, 3, x.id",
        (lab.organization, lab.organization),
    ).fetchall()
    assert len(rows) > 1
    for row in rows:
        assert (row["input"], row["output"], row["cost"]) == (
            row["input_tokens"],
            row["output_tokens"],
            row["total_cost"],
        )
    assert sum(row["output"] for row in rows) > 0


@contextmanager
def office(stack: Stack, folder: Path) -> Iterator[Lab]:
    with laboratory(stack, f"boss-{uuid.uuid4().hex[:12]}", folder) as lab:
        join(lab)
        yield lab


def offline(lab: Lab, *options: str, seconds: float = 0.05) -> WorkerProcess:
    return lab.start_worker(*options, LLM_OFFLINE="1", LLM_OFFLINE_DELAY=str(seconds))


def test_create_command_check_remember_and_archive(stack: Stack, tmp_path: Path) -> None:
    with office(stack, tmp_path) as lab:
        first = offline(lab, "--concurrency", "1")
        told = say(lab, "Write about tides")
        task = lab.await_task(told["task_id"], seconds=60)
        (command,) = commands(lab)
        assert (command["status"], task["response"]) == ("completed", command["response"])
        assert said(lab, told["conversation_id"]) == [
            ("user", "orchestrator"),
            ("orchestrator", "agent"),
            ("agent", "orchestrator"),
            ("orchestrator", "user"),
        ]
        written = logs(lab, told["task_id"])
        assert [entry["entry_index"] for entry in written] == list(range(1, len(written) + 1))
        kinds = [entry["event_type"] for entry in written]
        assert kinds == [
            *("UserPromptSubmit", "tool_use", "PreToolUse", "tool_result", "PostToolUse"),
            *("tool_use", "PreToolUse", "Stop", "SubagentStop", "tool_result", "PostToolUse", "text", "Stop"),
        ]
        assert {entry["task_slug"] for entry in written} == {told["task_slug"]}
        assert [entry["event_type"] for entry in logs(lab, str(command["id"]))] == ["UserPromptSubmit", "text", "Stop"]
        session = instance(lab, "writer")["session_id"]
        first.kill()
        offline(lab)
        assert "idle" in reply(lab, "status of writer")
        again = reply(lab, "Shorter, please", agent_instance_id=str(instance(lab, "writer")["id"]))
        assert again
        assert instance(lab, "writer")["session_id"] == session
        assert "archived" in reply(lab, "archive writer\ndone")
        assert (instance(lab, "writer")["archived"], boss(lab)["status"]) == (True, "complete")
        assert "agent_instance_not_found" in reply(lab, "ask writer to write more")
        assert_counted(lab)


def test_a_command_in_the_background_comes_back_by_itself(stack: Stack, tmp_path: Path) -> None:
    with office(stack, tmp_path) as lab:
        offline(lab)
        told = say(lab, "create agent scout\nstart scout to find tides")
        assert "task_id" in lab.await_task(told["task_id"], seconds=60)["response"]
        wait_for(lambda: len(said(lab, told["conversation_id"])) == 5, 30, "the orchestrator hears and answers")
        assert said(lab, told["conversation_id"])[-2:] == [("agent", "orchestrator"), ("orchestrator", "user")]
        turns = lab.sql.execute(
            "select * from public.tasks where organization_slug = %s and method = 'orchestrate' order by created_at",
            (lab.organization,),
        ).fetchall()
        assert [turn["status"] for turn in turns] == ["completed"] * 2
        assert 'Your agent "scout" has ended' in turns[1]["prompt"]


def test_it_asks_the_person_and_goes_on(stack: Stack, tmp_path: Path) -> None:
    with office(stack, tmp_path) as lab:
        offline(lab)
        told = say(lab, "ask me: Which sea?")
        lab.await_task(told["task_id"], "paused", 60)
        wait_for(lambda: boss(lab)["status"] == "waiting", 10, "it waits")
        assert boss(lab)["metadata"] == {"waiting": {"for": "person"}}
        query = "select id from public.input_requests where task_id = %s"
        asked = lab.sql.execute(query, (told["task_id"],)).fetchone()
        assert asked is not None
        lab.post("rpc/respond_to_input_request", input_request_id=str(asked["id"]), response="The North Sea")
        assert "The North Sea" in lab.await_task(told["task_id"])["response"]


def test_a_worker_killed_in_the_middle_of_a_turn_does_nothing_twice(stack: Stack, tmp_path: Path) -> None:
    with office(stack, tmp_path) as lab:
        victim = offline(lab, "--lease-seconds", "2", seconds=6)
        told = say(lab, "create agent one\ncreate agent two\nstart one to write\nask two to write")
        lab.await_task(told["task_id"], "paused", 60)
        wait_for(lambda: len(commands(lab)) == 2, 20, "both are commanded")
        wait_for(lambda: {c["status"] for c in commands(lab)} == {"in_progress"}, 20, "both are at work")
        victim.kill()
        offline(lab, "--lease-seconds", "2")
        assert lab.await_task(told["task_id"], seconds=60)["attempt"] == 1
        ended = wait_for(
            lambda: [c for c in commands(lab) if c["status"] == "completed"][1:] and commands(lab), 30, "both end"
        )
        assert [(c["metadata"]["agent_instance"], c["attempt"]) for c in ended] == [("one", 2), ("two", 2)]
        prompts = lab.sql.execute(
            "select author from public.prompts where orchestrator_agent_id = %s", (boss(lab)["id"],)
        ).fetchall()
        assert sorted(row["author"] for row in prompts) == ["engineer", "orchestrator_agent", "orchestrator_agent"]
        wait_for(lambda: boss(lab)["status"] == "idle", 30, "the woken turn ends")
        assert_counted(lab)


# With a model behind HTTP, whose ids of calls are new each time


class Model:
    """Creates an agent, commands it without waiting, and then holds its next answer until it may go on."""

    def __init__(self, loop: bool = False) -> None:
        self.go = threading.Event()
        self.held = threading.Event()
        self.loop = loop
        self.commands: list[list[Any]] = []

    def answer(self, seen: Seen) -> Reply:
        text = json.dumps(seen.json["messages"])
        if "You are an orchestrator" not in text:
            self.commands.append(seen.json["messages"])
            return stream("openai", ["Written."])
        assert "command_agent" in names(seen.json["tools"])
        told = [message for message in seen.json["messages"] if message["role"] == "tool"]
        if self.loop:
            return self._call("list_agents", {})
        if not told:
            return self._call("create_agent", {"name": "writer", "system_prompt": "You write."})
        if len(told) == 1:
            return self._call("command_agent", {"name": "writer", "prompt": "Write.", "wait": False})
        self.held.set()
        self.go.wait(20)
        return stream("openai", ["It has begun."])

    def _call(self, tool: str, arguments: Row) -> Reply:
        events = EVENTS["openai"]([json.dumps(arguments)], tool=tool, stop="tool_calls")
        events[0][1]["choices"][0]["delta"]["tool_calls"][0]["id"] = f"call_{uuid.uuid4().hex}"
        return sse_reply(events)


@contextmanager
def modelled(stack: Stack, folder: Path, model: Model) -> Iterator[tuple[Lab, Server]]:
    with office(stack, folder) as lab, serve(model.answer) as server:
        agent = lab.add_agent(llm_config={"provider": "openai", "model": MODELS["openai"]}, context="You help.")
        settings = {"max_tool_calls": 3, "wake": False}
        lab.post("rpc/configure_orchestrator", organization_slug=lab.organization, agent_slug=agent, settings=settings)
        try:
            yield lab, server
        finally:
            model.go.set()


def real(lab: Lab, server: Server) -> WorkerProcess:
    options = ("--lease-seconds", "2")
    return lab.start_worker(*options, OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=f"{server.url}/v1")


def test_a_lost_attempt_goes_on_where_it_was_although_the_models_ids_are_new(stack: Stack, tmp_path: Path) -> None:
    model = Model()
    with modelled(stack, tmp_path, model) as (lab, server):
        victim = real(lab, server)
        told = say(lab, "Go")
        assert model.held.wait(60)
        victim.kill()
        model.go.set()
        real(lab, server)
        task = lab.await_task(told["task_id"], seconds=60)
        assert (task["attempt"], task["response"]) == (2, "It has begun.")
        (command,) = wait_for(lambda: [c for c in commands(lab) if c["status"] == "completed"], 30, "it is done")
        reply(lab, "Again, please.", agent_instance_id=str(instance(lab, "writer")["id"]))
        heard = [(m["role"], m["content"]) for m in model.commands[-1] if m["role"] != "system"]
        assert heard == [("user", "Write."), ("assistant", "Written."), ("user", "Again, please.")]
        assert command["prompt"] == "Write."
        assert_counted(lab)


def test_an_orchestrator_that_loops_is_stopped_and_says_so(stack: Stack, tmp_path: Path) -> None:
    with modelled(stack, tmp_path, Model(loop=True)) as (lab, server):
        real(lab, server)
        told = say(lab, "Go")
        task = lab.await_task(told["task_id"], "failed", 60)
        assert task["error_code"] == "limit_reached"
        wait_for(lambda: boss(lab)["status"] == "blocked", 10, "it is blocked")
        assert boss(lab)["metadata"]["blocked"]["reason"] == "limit_reached"
        assert "max_tool_calls" in boss(lab)["metadata"]["blocked"]["detail"]


# The log of the application itself


def test_warnings_of_a_worker_stand_in_the_system_log(stack: Stack, tmp_path: Path) -> None:
    with office(stack, tmp_path) as lab, serve(lambda _seen: Reply(500)) as server:
        lab.start_worker(SYSTEM_LOG_LEVEL="INFO", OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=f"{server.url}/v1")
        agent = lab.add_agent(llm_config={"provider": "openai", "model": MODELS["openai"]})
        task_id = lab.add_task(agent, max_attempts=1)
        lab.await_task(task_id, "failed", 60)
        query = "select * from public.system_logs where organization_slug = %s and metadata ->> 'task_id' = %s"
        (entry,) = wait_for(lambda: lab.sql.execute(query, (lab.organization, task_id)).fetchall(), 10, "it is written")
        assert (entry["level"], entry["message"]) == ("INFO", "task")
        assert entry["metadata"]["error_code"] == "provider_unavailable"
    with laboratory(stack, f"boss-{uuid.uuid4().hex[:12]}", tmp_path) as lab:
        assert lab.sql.execute("delete from public.system_logs where organization_slug is null").rowcount > 0
