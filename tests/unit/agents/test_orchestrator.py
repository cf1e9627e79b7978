"""The orchestrator's turns as a worker makes them: what the model is told, what is kept and logged, what goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)

from tests.unit.agents.context_kit import AnsweringBackend, Surroundings, context_agents, llm_config, names
from tests.unit.agents.test_agents_ask import script
from tests.unit.http_server import serve, sse_reply
from tests.unit.wire import EVENTS, stream
from workers.contract import AgentRow, ClaimedTask, TaskRow
from workers.errors import AgentsNeeded, BackendRejected, BackendUnavailable, TaskFailure
from workers.job import Job
from workers.orchestrator import Orchestrators
from workers.orchestrator.desk import Desk
from workers.orchestrator.logbook import LogBook
from workers.redaction import Redactor, Veil
from workers.reports import ReportQueue

CHIEF = {"id": "o", "system_prompt": "Be brief.", "archived": False, "max_tool_calls": 50, "max_cost": None}
BEGUN: Mapping[str, Any] = {
    "orchestrator": CHIEF,
    "instance": None,
    "session": {"summary": None, "entries": []},
    "history": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}],
    "transcript": None,
    "billed": {},
    "entries": 0,
}
INSTANCE = {
    "id": "i", "name": "writer", "agent_slug": None, "model": "gpt-4o-mini", "system_prompt": "You write.",
    "archived": False,
}  # fmt: skip


class Office(AnsweringBackend):
    """A database that answers `begin`, and what tools give in turn."""

    def __init__(self, begun: Mapping[str, Any] = BEGUN, *tools: Any, failures: int = 0) -> None:
        super().__init__()
        self.begun = begun
        self.tools = list(tools)
        self.failures = failures

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        self.asked.append((function, dict(arguments)))
        if self.failures:
            self.failures -= 1
            raise BackendUnavailable("away")
        match arguments["action"]:
            case "begin":
                return self.begun
            case "tool":
                return self.tools.pop(0)
            case _:
                return True

    def said(self, action: str) -> list[dict[str, Any]]:
        return [arguments["arguments"] for _, arguments in self.asked if arguments["action"] == action]

    def logged(self) -> list[tuple[str, str | None]]:
        """Return the entries in order, each once, whatever the batches."""
        return [(e["event_type"], e["content"]) for batch in self.said("log") for e in batch["entries"]]


def job(method: str = "orchestrate", prompt: str = "Go", **claim: Any) -> Job:
    task = TaskRow("t", "acme", method, prompt, 3)
    agent = AgentRow("boss", "Boss", "context", "You lead.", "active", llm_config=llm_config("openai"))
    redactor = Redactor()
    redactor.remember("hunter-22", "acme")
    return Job(ClaimedTask(task, agent, 1, "token", **claim), ReportQueue(lambda: None), Veil(redactor, "acme"))


async def act(office: Office, url: str, this: Job, **more: Any) -> str:
    async with context_agents("openai", url, Surroundings(database=office)) as agents:
        handlers = Orchestrators(agents, {}, office)
        run = handlers.command if this.claimed.task.method == "command_agent" else handlers.orchestrate
        return str((await run(this, **more)).response)


def calling(tool: str, arguments: str) -> Any:
    return sse_reply(EVENTS["openai"]([arguments], tool=tool, stop="tool_calls"))


async def test_a_turn_knows_what_was_said_uses_tools_and_logs_all_of_it() -> None:
    office = Office(BEGUN, {"agents": [], "note": "hunter-22"})
    with serve(script(calling("list_agents", "{}"), stream("openai", ["None yet."]))) as server:
        assert await act(office, server.url, job()) == "None yet."
    first = server.seen[0].json
    assert [(m["role"], m["content"]) for m in first["messages"][1:]] == [
        ("user", "Hello"),
        ("assistant", "Yes?"),
        ("user", "Go"),
    ]
    assert "You lead." in first["messages"][0]["content"]
    assert "Be brief." in first["messages"][0]["content"]
    assert {"create_agent", "command_agent", "delegate_task", "report_cost"} <= set(names(first["tools"]))
    assert [kind for kind, _ in office.logged()] == [
        *("UserPromptSubmit", "tool_use", "PreToolUse", "tool_result", "PostToolUse", "text", "Stop"),
    ]
    assert "hunter-22" not in str(office.said("log")), "secrets are hidden"
    numbers = [batch["number"] for batch in office.said("log")]
    lengths = [len(batch["entries"]) for batch in office.said("log")]
    assert numbers == [1 + sum(lengths[:index]) for index in range(len(lengths))], "each has its number"
    saved = office.said("save")
    assert [len(save["messages"]) for save in saved] == [4, 6]
    assert "instructions" not in saved[0]["messages"][0]
    (used,) = office.said("tool")
    assert (used["name"], used["arguments"]) == ("list_agents", {})


async def test_the_answer_is_kept_before_its_tools_act() -> None:
    office = Office(BEGUN, {})
    with serve(script(calling("list_agents", "{}"), stream("openai", ["Ok."]))) as server:
        await act(office, server.url, job())
    actions = [arguments["action"] for _, arguments in office.asked]
    assert actions.index("save") < actions.index("tool")


async def test_an_attempt_after_a_lost_one_does_what_its_last_answer_asked_for() -> None:
    kept: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart("Go")]),
        ModelResponse(parts=[ToolCallPart("list_agents", "{}", tool_call_id="c7")]),
    ]
    dumped = ModelMessagesTypeAdapter.dump_python(kept, mode="json")
    used = {"requests": 1, "input_tokens": 100, "output_tokens": 7, "tool_calls": 1}
    office = Office({**BEGUN, "transcript": {"messages": dumped, "used": used}}, {"agents": []})
    with serve(script(stream("openai", ["None."]))) as server:
        assert await act(office, server.url, job()) == "None."
    assert len(server.seen) == 1, "the first request is not made again"
    assert [call["call_id"] for call in office.said("tool")] == ["c7"]
    assert office.said("save")[0]["used"]["requests"] == 2


async def test_an_answer_that_was_kept_and_not_told_is_asked_for_again() -> None:
    kept: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("Go")]), ModelResponse(parts=[TextPart("Lost.")])]
    dumped = ModelMessagesTypeAdapter.dump_python(kept, mode="json")
    office = Office({**BEGUN, "transcript": {"messages": dumped, "used": {}}})
    with serve(script(stream("openai", ["Found."]))) as server:
        assert await act(office, server.url, job()) == "Found."
    assert [m["role"] for m in server.seen[0].json["messages"]] == ["system", "user"]


async def test_to_wait_for_a_command_is_a_call_of_the_instance() -> None:
    office = Office()
    asked = calling("command_agent", '{"name": "writer", "prompt": "Write."}')
    with serve(script(asked)) as server, pytest.raises(AgentsNeeded) as caught:
        await act(office, server.url, job())
    (call,) = caught.value.calls
    assert (call.agent_instance, call.agent_slug, call.prompt) == ("writer", "writer", "Write.")
    assert office.said("tool") == []
    assert office.logged()[-1] == ("Stop", "waiting")


async def test_a_command_goes_on_with_its_session_and_has_no_tools_of_the_orchestrator() -> None:
    before: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart("One")]),
        ModelResponse(parts=[TextPart("First.")]),
    ]
    entries = [
        {"prompt": "Zero", "response": "None.", "messages": [{"kind": "of another version"}]},
        {"prompt": "One", "response": "-", "messages": ModelMessagesTypeAdapter.dump_python(before, mode="json")},
    ]
    session = {"summary": "- long ago -> done", "entries": entries}
    office = Office({**BEGUN, "instance": INSTANCE, "session": session, "history": []})
    with serve(script(stream("openai", ["Second."]))) as server:
        assert await act(office, server.url, job("command_agent", "Two")) == "Second."
    sent = server.seen[0].json
    said = [(m["role"], m["content"]) for m in sent["messages"]]
    assert said[0] == ("system", "You write.")
    assert "long ago" in said[1][1]
    assert said[3:] == [
        ("user", "Zero"),
        ("assistant", "None."),
        ("user", "One"),
        ("assistant", "First."),
        ("user", "Two"),
    ]
    assert (sent["model"], sent.get("tools")) == ("gpt-4o-mini", None)
    (saved,) = office.said("save")
    assert [part["content"] for m in saved["messages"] for part in m["parts"]] == ["Two", "Second."]


async def test_an_archived_agent_does_nothing() -> None:
    office = Office({**BEGUN, "instance": {**INSTANCE, "archived": True}})
    with serve(script()) as server, pytest.raises(TaskFailure) as caught:
        await act(office, server.url, job("command_agent"))
    assert (caught.value.code, server.seen) == ("agent_inactive", [])


async def test_the_orchestrators_limit_lowers_its_agents() -> None:
    office = Office({**BEGUN, "orchestrator": {**CHIEF, "max_tool_calls": 1}}, {}, {})
    calls = [calling("list_agents", "{}"), calling("list_agents", "{}")]
    with serve(script(*calls)) as server, pytest.raises(TaskFailure) as caught:
        await act(office, server.url, job())
    assert caught.value.code == "limit_reached"
    assert office.logged()[-1] == ("Stop", "failed")


async def test_thinking_and_tool_blocks_are_kept() -> None:
    office = Office()
    book = LogBook(Desk(job(), office))
    parts: list[ModelResponsePart] = [
        ThinkingPart("Hm."),
        TextPart("Well."),
        ToolCallPart("list_agents", {"a": 1}, tool_call_id="c"),
    ]
    await book.responded([ModelResponse(parts=parts)], {})
    (batch,) = office.said("log")
    assert [(e["event_category"], e["event_type"]) for e in batch["entries"]] == [
        ("response", "thinking"),
        ("response", "text"),
        ("response", "tool_use"),
    ]
    assert batch["entries"][2]["payload"] == {"tool": "list_agents", "call_id": "c", "input": {"a": 1}}


async def test_the_database_may_be_away_for_a_moment_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.orchestrator.desk._WAIT_SECONDS", 0.01)
    assert (await Desk(job(), Office(failures=3)).begin()).history[0].content == "Hello"
    with pytest.raises(TaskFailure) as caught:
        await Desk(job(), Office(failures=9)).begin()
    assert (caught.value.code, caught.value.retryable) == ("internal_error", True)
    book = LogBook(Desk(job(), Office(failures=9)))
    book.hook("Stop")
    await book.flush()  # A log that cannot be written ends nothing.


async def test_a_lost_lease_ends_the_attempt() -> None:
    office = AnsweringBackend(call_orchestrator=BackendRejected("lease_lost", "gone"))
    with pytest.raises(TaskFailure) as caught:
        await Desk(job(), office).begin()
    assert (caught.value.code, caught.value.retryable) == ("internal_error", True)
