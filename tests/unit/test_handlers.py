from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from workers.agents.result import AgentResult, AgentRunner, Reporter
from workers.contract import AgentRow, ClaimedTask, Completion, TaskRow
from workers.errors import TaskFailure
from workers.handlers import build_handlers
from workers.job import Job
from workers.ledger import UsageRow
from workers.reports import ReportQueue

AGENT = AgentRow("writer", "Writer", "context", "You write.", "active", version="1.2.0")
TASK = TaskRow("t1", "demo-org", "process", "About tide pools", 3, params={"tone": "dry"}, agent_slug="writer")


class Canned:
    """An agent that answers what it was given."""

    def __init__(self, result: AgentResult) -> None:
        self.result = result

    async def run(self, _claimed: ClaimedTask, _agent: AgentRow, _reporter: Reporter, /) -> AgentResult:
        await asyncio.sleep(0)
        return self.result


async def handle(
    method: str = "process", result: AgentResult | None = None, agent: AgentRow | None = AGENT, **task: Any
) -> Completion:
    claimed = ClaimedTask(replace(TASK, **task), agent, 1, "token")
    queue = ReportQueue(lambda: None)
    queue.open(claimed.lease, 60)
    agents: dict[str, AgentRunner] = {
        "context": Canned(result or AgentResult("# Tide pools\n\nText")),
    }
    return await build_handlers(agents)[method](Job(claimed, queue))


async def failure(**changes: Any) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await handle(**changes)
    return caught.value


async def test_process_makes_a_deliverable_and_in_a_conversation_a_message() -> None:
    usage = [UsageRow("offline", "offline", 1, 2)]
    result = AgentResult("# Tide pools\n\nText", llm_metadata={"provider": "p"}, usage=usage)
    done = await handle(result=result, agent_conversation_id="c1", deliverable_type="blog")
    assert done.response == "# Tide pools\n\nText"
    assert done.deliverable is not None
    assert (done.deliverable.title, done.deliverable.type, done.deliverable.format) == (
        "Tide pools",
        "blog",
        "markdown",
    )
    assert [message["content"] for message in done.messages] == [done.response]
    assert (done.usage, done.llm_metadata) == (usage, {"provider": "p"})
    assert done.response_metadata["agent_version"] == "1.2.0"


async def test_converse_answers_without_a_deliverable() -> None:
    done = await handle("converse", agent_conversation_id="c1")
    assert done.deliverable is None
    assert len(done.messages) == 1


async def test_outside_a_conversation_there_is_no_message() -> None:
    assert (await handle()).messages == []


async def test_a_structured_answer_is_kept_whole() -> None:
    document = {"title": "T", "content": "Text", "tags": ["a"]}
    done = await handle(result=AgentResult("Text", document=document, title="T"))
    assert done.response_metadata["output"] == document
    assert done.deliverable is not None
    assert done.deliverable.title == "T"


async def test_a_task_without_its_agent_fails() -> None:
    failed = await failure(agent=None)
    assert failed.code == "agent_not_found"
    assert "'writer'" in failed.message


@pytest.mark.parametrize("status", ["draft", "inactive", "error"])
async def test_an_agent_that_is_not_active_does_not_run(status: str) -> None:
    failed = await failure(agent=replace(AGENT, status=status))
    assert failed.code == "agent_inactive"
    assert status in failed.message


async def test_files_of_a_result_are_those_of_its_deliverable() -> None:
    files = [{"name": "a.png", "url": "https://files.example/a.png"}]
    done = await handle(result=AgentResult("Text", file_attachments=files))
    assert done.deliverable is not None
    assert done.deliverable.file_attachments == files


async def test_a_type_that_cannot_be_run_is_unsupported_for_good() -> None:
    failed = await failure(agent=replace(AGENT, agent_type="robot"))
    assert (failed.code, failed.retryable) == ("agent_type_unsupported", False)


INPUT_CASES: Sequence[tuple[dict[str, Any], Any, str | None]] = [
    (
        {"properties": {"prompt": {"minLength": 5}, "tone": {"enum": ["dry"]}}, "required": ["prompt"]},
        {"tone": "dry"},
        None,
    ),
    ({"properties": {"prompt": {"minLength": 500}}}, {}, "$.prompt"),
    ({"properties": {"tone": {"enum": ["warm"]}}}, {"tone": "dry"}, "$.tone"),
    ({"required": ["prompt"]}, {}, "$"),
    ({"type": "object"}, [1], "$"),
    ({"type": "object"}, None, None),
]


@pytest.mark.parametrize(("schema", "params", "path"), INPUT_CASES)
async def test_params_and_the_prompt_that_the_schema_names_are_checked(
    schema: dict[str, Any], params: Any, path: str | None
) -> None:
    agent = replace(AGENT, io_schema={"input": schema})
    if path is None:
        await handle(agent=agent, params=params)
        return
    failed = await failure(agent=agent, params=params)
    assert (failed.code, failed.retryable) == ("input_invalid", False)
    assert failed.data is not None
    assert failed.data["problems"][0]["path"] == path


@pytest.mark.parametrize("io_schema", [[], "x", {"input": []}, {"input": {"type": 5}}])
async def test_a_schema_that_is_none_is_the_agents_fault(io_schema: Any) -> None:
    failed = await failure(agent=replace(AGENT, io_schema=io_schema))
    assert failed.code == "agent_misconfigured"
    assert "io_schema" in failed.message


@pytest.mark.parametrize(
    "columns",
    [
        {"endpoint": {"url": "https://a.example", "headers": {"X-Stolen": "${STRIPE_KEY}"}}},
        {"llm_config": {"tools": {"mcp_servers": [{"url": "https://a.example/${STRIPE_KEY}"}]}}},
    ],
)
async def test_a_private_agent_gets_no_secret_of_the_organization(columns: dict[str, Any]) -> None:
    refused = await failure(agent=replace(AGENT, is_private=True, **columns))
    assert (refused.code, refused.data) == ("agent_misconfigured", {"secrets": ["STRIPE_KEY"]})
    assert (await handle(agent=replace(AGENT, **columns))).response
    escaped = {"url": "https://a.example/$${STRIPE_KEY}"}
    assert (await handle(agent=replace(AGENT, is_private=True, endpoint=escaped))).response
