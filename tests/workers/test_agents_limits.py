"""Limits and parameters of context agents, against real HTTP servers that speak the providers' wire formats."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack
from tests.unit.agents.context_kit import llm_config
from tests.unit.agents.test_agents_context import STRUCTURED, TOO_LONG, TOOL_STOP, ask, failure
from tests.unit.http_server import Seen, Server, serve, sse_reply
from tests.unit.wire import EVENTS, MODELS, stream
from tests.workers.conftest import laboratory
from workers.errors import TaskFailure

ALL = sorted(EVENTS)


def test_an_attempt_whose_time_is_up_keeps_what_it_used(stack: Stack, tmp_path: Path) -> None:
    slow = sse_reply(EVENTS["anthropic"](["Hello "] * 200), chunk_delay=0.1)
    replies = [stream("anthropic", ["Hello"]), slow]
    with (
        laboratory(stack, f"limits-{uuid.uuid4().hex[:12]}", tmp_path) as lab,
        serve(lambda _seen: replies.pop(0)) as server,
    ):
        lab.start_worker(ANTHROPIC_API_KEY="sk-test", ANTHROPIC_BASE_URL=server.url)
        agent = lab.add_agent(llm_config=llm_config("anthropic"))
        lab.await_task(lab.add_task(agent), seconds=60)  # The first use imports the SDK.
        task_id = lab.add_task(agent, timeout_seconds=3, max_attempts=1)
        task = lab.await_task(task_id, "timeout", 60)
        (bill,), (run,) = lab.usage(task_id), lab.runs(task_id)
    assert (task["error_code"], run["status"], bill["run_id"]) == ("timeout", "timeout", run["id"])
    assert (bill["input_tokens"], bill["cached_tokens"]) == (30, 5)
    assert bill["cost"] == run["total_cost"] > 0
    assert bill["price_version"].startswith("genai-prices/")


async def stopped(provider: str, limits: Any, **changes: Any) -> tuple[TaskFailure, Server]:
    """Run one attempt that its limits must stop; return how it ended and what the server saw."""
    pieces = changes.pop("pieces", ["Hello"])
    wire = changes.pop("wire", {})

    failed, server = await failure(
        provider,
        lambda _seen: stream(provider, pieces, **wire),
        llm_config=llm_config(provider, limits=limits),
        **changes,
    )
    assert (failed.code, failed.retryable) == ("limit_reached", False)
    assert failed.data is not None
    return failed, server


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("limits", "used"),
    [({"max_input_tokens": 20}, 30), ({"max_output_tokens": 10}, 15), ({"max_total_tokens": 40}, 45)],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_run_that_used_too_many_tokens_is_stopped_and_what_it_used_is_kept(
    provider: str, limits: dict[str, int], used: int
) -> None:
    failed, server = await stopped(provider, limits)
    ((name, limit),) = limits.items()
    assert failed.data == {"field": f"llm_config.limits.{name}", "limit": limit, "used": used}
    # Anthropic says at the beginning of a stream what came in: it is stopped before it writes.
    written = 1 if (provider, name) == ("anthropic", "max_input_tokens") else 15
    assert [(row.input_tokens, row.output_tokens, row.cached_tokens) for row in failed.usage] == [(30, written, 5)]
    assert len(server.seen) == 1


@pytest.mark.parametrize("provider", ALL)
async def test_no_more_is_asked_for_than_may_be_written(provider: str) -> None:
    def room(seen: Seen) -> Any:
        body = seen.json.get("generationConfig", seen.json)
        names = ("max_tokens", "max_completion_tokens", "maxOutputTokens")
        return next(body[name] for name in names if name in body)

    config = llm_config(provider, limits={"max_output_tokens": 40}, parameters={"maxTokens": 100})
    with serve(lambda _seen: stream(provider, ["ok"])) as server:
        await ask(provider, server.url, llm_config=config)
        await ask(provider, server.url, llm_config={**config, "parameters": {"max_tokens": 7}})
    assert [room(seen) for seen in server.seen] == [40, 7]


@pytest.mark.parametrize("provider", ALL)
async def test_an_answer_that_was_cut_off_by_the_limit_is_no_answer(provider: str) -> None:
    wire = {"stop": TOO_LONG[provider]}
    failed, _ = await stopped(provider, {"max_output_tokens": 15}, wire=wire)
    assert failed.usage[0].output_tokens == 15
    tool = {"tool": "answer", **wire}
    pieces = ['{"title": "T"}'] if provider == "google" else ['{"title": "T']
    failed, _ = await stopped(provider, {"max_output_tokens": 15}, wire=tool, pieces=pieces, io_schema=STRUCTURED)
    assert failed.usage[0].output_tokens == 15


@pytest.mark.parametrize("provider", ["anthropic", "google", "openai"])
async def test_a_run_that_costs_too_much_is_stopped(provider: str) -> None:
    failed, _ = await stopped(provider, {"max_cost": 0.000001})
    assert failed.usage[0].cost is not None
    assert failed.usage[0].cost > 0.000001
    assert failed.usage[0].price_version is not None
    with serve(lambda _seen: stream(provider, ["ok"])) as server:
        config = llm_config(provider, limits={"max_cost": 1})
        assert (await ask(provider, server.url, llm_config=config)).text == "ok"


async def test_a_cost_that_cannot_be_known_is_no_limit_to_rely_on() -> None:
    config = {**llm_config("openai", limits={"max_cost": 1}), "model": "my-own-model"}
    failed, server = await failure("openai", lambda _seen: stream("openai", ["ok"]), llm_config=config)
    assert failed.code == "agent_misconfigured"
    assert failed.data is not None
    assert failed.data["field"] == "llm_config.limits.max_cost"
    assert server.seen == []


@pytest.mark.parametrize("provider", ALL)
async def test_an_answer_is_mended_only_within_the_limits(provider: str) -> None:
    wire = {"tool": "answer", "stop": TOOL_STOP[provider]}
    failed, server = await stopped(
        provider, {"max_requests": 1}, wire=wire, pieces=['{"title": 5}'], io_schema=STRUCTURED
    )
    assert (len(server.seen), failed.usage[0].output_tokens) == (1, 15)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"limits": {"max_requests": 0}}, "limits.max_requests"),
        ({"limits": {"max_cost": "much"}}, "limits.max_cost"),
        ({"limits": {"max_tokens": 5}}, "limits.max_tokens"),
        ({"parameters": {"stop": ""}}, "parameters.stop.constrained-str"),
        ({"parameters": {"seed": -1}}, "parameters.seed"),
        ({"parameters": {"topK": 4}}, "parameters.topK"),
        ({"parameters": {"presencePenalty": 3}}, "parameters.presencePenalty"),
    ],
)
async def test_what_is_set_wrongly_or_not_of_this_provider_is_refused_by_name(more: Any, field: str) -> None:
    failed, server = await failure(
        "openai", lambda _seen: stream("openai", ["ok"]), llm_config=llm_config("openai", **more)
    )
    assert failed.code == "agent_misconfigured"
    assert failed.data is not None
    assert failed.data["field"] == f"llm_config.{field}"
    assert server.seen == []


WRITTEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "anthropic": ({"topK": 4}, {"top_k": 4, "stop_sequences": ["END"]}),
    "openai": (
        {"seed": 7, "presencePenalty": 0.5, "frequency_penalty": -0.5},
        {"seed": 7, "presence_penalty": 0.5, "frequency_penalty": -0.5, "stop": ["END"]},
    ),
    "ollama": ({"seed": 7}, {"seed": 7, "stop": ["END"]}),
    "google": (
        {"seed": 7, "top_k": 4, "presence_penalty": 0.5},
        {"seed": 7, "topK": 4, "presencePenalty": 0.5, "stopSequences": ["END"]},
    ),
}


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("stop", ["END", ["END"]], ids=["one", "a list"])
async def test_the_other_parameters_reach_the_provider_too(provider: str, stop: Any) -> None:
    given, expected = WRITTEN[provider]
    config = llm_config(provider, parameters={**given, "stop": stop, "temperature": 0})
    with serve(lambda _seen: stream(provider, ["ok"])) as server:
        await ask(provider, server.url, llm_config=config)
    body = server.seen[0].json
    sent = body["generationConfig"] if provider == "google" else body
    assert expected.items() <= sent.items()
    assert sent["temperature"] == 0
    assert MODELS[provider] in server.seen[0].path + str(body.get("model"))
