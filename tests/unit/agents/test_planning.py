"""Planning as a worker does it: what the model is told, what is done with its plan, and what with a bad one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from tests.unit.agents.context_kit import AnsweringBackend, GivenSecrets, Heard
from workers.agents.context import ContextAgents
from workers.agents.draft import write_draft
from workers.agents.plan_format import PlanBrief
from workers.agents.providers import Providers
from workers.agents.sample_plan import sample_plan
from workers.contract import AgentRow, ClaimedTask, Completion, TaskRow
from workers.door import Door
from workers.errors import BackendRejected, BackendUnavailable, TaskFailure
from workers.planning import Planner
from workers.schema_check import check_document
from workers.settings import load_settings

PROJECT = "00000000-0000-4000-8000-000000000001"
WRITER = {"slug": "writer", "name": "Writer", "description": "Writes.", "input": None}
REQUEST = {"written": None, "project": {"id": PROJECT, "name": None, "plan": None}, "max_steps": 5, "agents": [WRITER]}
STEP = {"id": "a", "name": "A", "agent": "writer", "prompt": "Do it."}
PLAN = {"name": "Tides", "steps": [STEP]}
WRITTEN = {
    "project_id": PROJECT,
    "name": "Tides",
    "status": "awaiting_approval",
    "plan_version": 1,
    "plan": {"steps": [STEP]},
}
PROBLEM = {
    "problem": {"error_code": "plan_invalid", "error_message": 'In plan_json, step "a" is odd.', "hint": "Correct it."}
}


class Planned(AnsweringBackend):
    """A database whose write_plan gives one answer after another, and the last one for ever."""

    def __init__(self, *writes: Any, request: Any = REQUEST) -> None:
        super().__init__(read_plan_request=request)
        self.writes = list(writes or [WRITTEN])

    async def call(self, function: str, arguments: Any) -> Any:
        if function == "write_plan":
            self.answers[function] = self.writes.pop(0) if len(self.writes) > 1 else self.writes[0]
        return await super().call(function, arguments)

    def plans(self) -> list[Any]:
        return [arguments["plan"] for function, arguments in self.asked if function == "write_plan"]


class ScriptedAgents(ContextAgents):
    """Context agents whose model says what the test wants, and whose requests the test reads."""

    def __init__(self, database: AnsweringBackend, answers: list[Any]) -> None:
        super().__init__(
            Providers(load_settings({"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "k"}).providers),
            door=Door(),
            secrets=GivenSecrets(),
            database=database,
            offline_seconds=0,
        )
        self.answers = answers
        self.heard: list[tuple[list[ModelMessage], AgentInfo]] = []

    async def _model(self, *_: Any) -> FunctionModel:
        async def say(messages: list[ModelMessage], info: AgentInfo) -> Any:
            answer = self.answers[min(len(self.heard), len(self.answers) - 1)]
            self.heard.append((list(messages), info))
            yield {0: DeltaToolCall(info.output_tools[0].name, json.dumps(answer), tool_call_id=f"c{len(self.heard)}")}

        return FunctionModel(stream_function=say, model_name="scripted")


class PlanningJob(Heard):
    """A job without a queue."""

    def __init__(self, claimed: ClaimedTask) -> None:
        super().__init__()
        self.claimed = claimed


def claim(agent_type: str = "context", **columns: Any) -> ClaimedTask:
    agent = AgentRow(
        "boss", "Boss", agent_type, "You are the boss.", "active", llm_config={"provider": "openai", "model": "gpt-4o"}
    )
    task = TaskRow("t1", "acme", "plan_project", "Write about tides", 3, params={"start": True}, **columns)
    return ClaimedTask(task, agent, 2, "token")


async def plan(
    database: Planned, *answers: Any, claimed: ClaimedTask | None = None
) -> tuple[Completion, ScriptedAgents]:
    agents = ScriptedAgents(database, list(answers) or [PLAN])
    done = await Planner(agents, database).plan(PlanningJob(claimed or claim()))  # type: ignore[arg-type]
    return done, agents


async def refusal(database: Planned, *answers: Any, claimed: ClaimedTask | None = None) -> TaskFailure:
    with pytest.raises(TaskFailure) as caught:
        await plan(database, *answers, claimed=claimed)
    return caught.value


async def test_a_plan_is_written_by_the_lease_and_told() -> None:
    database = Planned()
    done, agents = await plan(database, claimed=claim(agent_conversation_id="c1"))
    fence = {"task_id": "t1", "attempt": 2, "lease_token": "token"}
    assert database.asked == [
        ("read_plan_request", fence),
        ("write_plan", fence | {"plan": {"steps": [STEP]}, "name": "Tides"}),
    ]
    assert done.response.startswith("# Plan: Tides\n\n1. **A** (writer)")
    assert "approval" in done.response
    about = {
        "project_id": PROJECT,
        "plan_version": 1,
        "project_status": "awaiting_approval",
        "output": {"steps": [STEP]},
    }
    assert done.response_metadata.items() >= about.items()
    assert [message["content"] for message in done.messages] == [done.response]
    assert done.usage[0].output_tokens > 0
    ((messages, info),) = agents.heard
    told = str(messages)
    assert "Write about tides" in told
    assert "Plan at most 5 steps" in told
    assert "Writes." in told
    assert "start" not in str(messages[0].parts[-1]), "what steers the planning is not for the model"
    assert "You are the boss." in (info.instructions or "")
    assert "human_approval" in (info.instructions or "")
    steps = info.output_tools[0].parameters_json_schema["properties"]["steps"]
    assert (steps["maxItems"], steps["items"]["properties"]["agent"]["enum"]) == (5, ["writer"])


async def test_the_plan_that_is_refined_is_shown_to_the_model() -> None:
    database = Planned(request=REQUEST | {"project": {"id": PROJECT, "name": "Tides", "plan": {"steps": [STEP]}}})
    _, agents = await plan(database)
    assert "The present plan" in str(agents.heard[0][0])
    assert '"prompt": "Do it."' in agents.heard[0][0][0].parts[-1].content  # type: ignore[union-attr, operator]


async def test_what_the_database_refuses_is_mended_once() -> None:
    database = Planned(PROBLEM, WRITTEN)
    better = {"name": "Tides", "steps": [STEP | {"id": "b"}]}
    done, agents = await plan(database, PLAN, better)
    assert [p["steps"][0]["id"] for p in database.plans()] == ["a", "b"]
    assert len(agents.heard) == 2
    told = [str(getattr(part, "content", "")) for message in agents.heard[1][0] for part in message.parts]
    assert 'In plan_json, step "a" is odd. Correct it.' in told[-1]
    assert done.response_metadata["plan_version"] == 1


async def test_a_plan_that_is_not_mended_fails_for_good() -> None:
    database = Planned(PROBLEM)
    failure = await refusal(database)
    assert (failure.code, failure.retryable, len(database.plans())) == ("plan_invalid", False, 2)
    assert 'step "a" is odd' in failure.message
    assert failure.usage, "what it cost is kept"


@pytest.mark.parametrize(
    "answer",
    [
        {"name": "T", "steps": [STEP | {"agent": "stranger"}]},
        {"name": "T", "steps": [STEP] * 10_001},
        {"name": 5, "steps": [STEP | {"schema": None}], "colour": "red"},
        {"steps": "none"},
        {},
    ],
)
async def test_every_plan_is_judged_by_the_database(answer: Any) -> None:
    database = Planned(PROBLEM, WRITTEN)
    done, agents = await plan(database, answer, PLAN)
    assert (len(agents.heard), done.response_metadata["plan_version"]) == (2, 1)
    assert database.plans() == [{"steps": answer.get("steps")}, {"steps": [STEP]}]


async def test_a_plan_that_an_earlier_attempt_wrote_is_not_made_again() -> None:
    database = Planned(request=REQUEST | {"written": WRITTEN | {"status": "running"}})
    done, agents = await plan(database)
    assert (agents.heard, database.plans()) == ([], [])
    assert "It is running." in done.response
    assert (done.usage, done.response_metadata["project_id"]) == ((), PROJECT)


@pytest.mark.parametrize("token", ["plan_changed", "plan_has_started", "project_not_found"])
async def test_a_plan_that_is_not_wanted_any_more_is_dropped(token: str) -> None:
    failure = await refusal(Planned(BackendRejected(token, "why")))
    assert (failure.code, failure.retryable) == (token, False)
    assert failure.usage


@pytest.mark.parametrize("broken", [BackendUnavailable("gone"), BackendRejected("lease_lost"), {"what": "is this"}])
async def test_what_cannot_be_written_or_read_is_tried_again(broken: Any) -> None:
    for database in (Planned(broken), Planned(request=broken)):
        failure = await refusal(database)
        assert (failure.code, failure.retryable) == ("internal_error", True)


async def test_only_context_agents_plan() -> None:
    assert (await refusal(Planned(), claimed=claim("api"))).code == "agent_type_unsupported"
    assert (await refusal(Planned(), claimed=replace(claim(), agent=None))).code == "agent_not_found"


async def test_a_long_plan_is_told_in_part() -> None:
    steps = [STEP | {"id": f"s{n}", "dependencies": ["s0"] if n else []} for n in range(150)]
    done, _ = await plan(Planned(WRITTEN | {"plan": {"steps": steps}}))
    assert "… and 50 more" in done.response
    assert "2. **A** (writer), after s0" in done.response


async def _never(_: Any) -> None:
    raise AssertionError


def brief(
    agents: int = 2, max_steps: int = 50, present: Any = None, request: str = "Write about tides, moons and boats"
) -> PlanBrief:
    rows = [{"slug": f"agent-{n}", "name": "A", "description": None, "input": None} for n in range(agents)]
    return PlanBrief(request, rows, max_steps, present, _never)


def sample(given: PlanBrief) -> Any:
    made = sample_plan(given, write_draft(given.request, {}, "Boss", ""))
    assert check_document(made, given.schema(), field="plan") == []
    return made


def test_the_offline_model_plans_by_rule() -> None:
    made = sample(brief())
    assert made == sample(brief())
    ids = [step["id"] for step in made["steps"]]
    assert (ids[0], ids[-2:]) == ("research", ["write", "approve"])
    assert {step["agent"] for step in made["steps"] if step["type"] == "agent"} == {"agent-0", "agent-1"}
    for most in range(1, 8):
        assert 1 <= len(sample(brief(max_steps=most))["steps"]) <= most
    assert [step["type"] for step in sample(brief(agents=0))["steps"]] == ["human_input"]


def test_the_offline_model_refines_by_one_step() -> None:
    first = sample(brief())
    second = sample(brief(present=first, request="Then translate it"))
    assert second["steps"][:-1] == first["steps"]
    assert second["steps"][-1]["dependencies"] == ["approve"]
    third = sample(brief(present=second))
    assert len({step["id"] for step in third["steps"]}) == len(first["steps"]) + 2
    assert sample(brief(present=first, max_steps=len(first["steps"])))["steps"] == first["steps"]


def test_the_offline_plan_has_parts_side_by_side_and_ends_as_a_deliverable() -> None:
    steps = {step["id"]: step for step in sample(brief(request="A guide to tides, moons and boats"))["steps"]}
    parts = [steps[f"part-{number}"] for number in (1, 2, 3)]
    assert [part["name"] for part in parts] == [
        "Write about A guide to tides",
        "Write about moons",
        "Write about boats",
    ]
    assert [part["dependencies"] for part in parts] == [["research"]] * 3
    assert {name: step["deliverable"] for name, step in steps.items() if "deliverable" in step} == {"write": "text"}
    for most in (1, 2, 3):
        assert [s.get("deliverable") for s in sample(brief(max_steps=most))["steps"] if s["type"] == "agent"][-1]
    last = sample(brief(present={"steps": list(steps.values())}, request="Then translate it"))["steps"][-1]
    assert (last["id"], last["deliverable"]) == ("refine-1", "text")
