"""Context agents that ask people, against real HTTP servers that speak the providers' streaming wire formats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.unit.agents.context_kit import Heard, context_agents
from tests.unit.agents.test_agents_context import STRUCTURED, TOOL_STOP
from tests.unit.http_server import Reply, Seen, Server, serve, sse_reply
from tests.unit.wire import EVENTS, MODELS, stream
from workers.agents.ask import NO_ANSWER
from workers.agents.result import AgentResult
from workers.contract import AgentRow, ClaimedTask, TaskRow, Turn
from workers.errors import InputNeeded, TaskFailure
from workers.questions import Answer, InputRequest

ALL = sorted(EVENTS)
FREE = '{"question": " Who is it for? "}'
CHOICE = '{"question": "Which tone?", "choices": ["dry", "warm"]}'
ASKS: Mapping[str, Any] = {"ask_person": {}}


def answered(response: Any) -> Answer:
    return Answer("q1", "input", "Who is it for?", "answered", response, "u1", "2026-01-01T00:00:00+00:00")


EXPIRED = Answer("q1", "input", "Who is it for?", "expired")


async def run(
    provider: str,
    url: str,
    *told: Answer,
    heard: Heard | None = None,
    checkpoint: Any = None,
    offline_seconds: float | None = None,
    params: Any = None,
    **agent: Any,
) -> AgentResult:
    """Run one attempt of an agent that may ask, with what a claim says about its pauses."""
    config = {"provider": provider, "model": MODELS[provider], "tools": agent.pop("tools", ASKS)}
    row = AgentRow("a", "A", "context", "Be kind.", "active", llm_config=config, **agent)
    task = TaskRow("t1", "demo-org", "process", "Write about tide pools", 3, params=params)
    history = (Turn("user", "Earlier question"), Turn("assistant", "Earlier answer"))
    claimed = ClaimedTask(task, row, 1, "token", history=history, input=told, checkpoint=checkpoint)
    async with context_agents(provider, url, offline_seconds=offline_seconds) as agents:
        result: AgentResult = await agents.run(claimed, row, heard or Heard())
    return result


async def pause(provider: str, url: str, *told: Answer, **changes: Any) -> InputNeeded:
    """Run one attempt that must ask; what it wants kept has been through JSON, as in the database."""
    with pytest.raises(InputNeeded) as caught:
        await run(provider, url, *told, **changes)
    needed = caught.value
    needed.checkpoint = json.loads(json.dumps(needed.checkpoint))
    return needed


def script(*replies: Reply) -> Callable[[Seen], Reply]:
    """Give the replies in turn; a request too many is an error of the server."""
    left = list(replies)
    return lambda _seen: left.pop(0) if left else Reply(status=500)


def question(provider: str, arguments: str = FREE) -> Reply:
    return stream(provider, [arguments], tool="ask_person", stop=TOOL_STOP[provider])


@pytest.mark.parametrize("provider", ALL)
async def test_an_agent_asks_and_goes_on_where_it_was(provider: str) -> None:
    heard = Heard()
    with serve(script(question(provider), stream(provider, ["For ", "children."]))) as server:
        needed = await pause(provider, server.url, heard=heard)
        asked = len(server.seen)
        result = await run(provider, server.url, answered("Children of eight"), checkpoint=needed.checkpoint)
    schema = {"type": "string", "minLength": 1}
    assert needed.request == InputRequest("Who is it for?", schema=schema)
    assert [(row.input_tokens, row.output_tokens) for row in needed.usage] == [(30, 15)]
    assert (heard.text, asked, len(server.seen)) == ("", 1, 2)

    assert result.text == "For children."
    assert [(row.input_tokens, row.output_tokens) for row in result.usage] == [(30, 15)]
    sent = server.seen[1].body.decode()
    parts = ("Earlier question", "Earlier answer", "Write about tide pools", "Who is it for?", "Children of eight")
    places = [sent.index(part) for part in parts]
    assert places == sorted(places)
    assert sent.count("Write about tide pools") == 1
    assert "Be kind." in sent, "the system prompt is missing"


@pytest.mark.parametrize("provider", ALL)
async def test_a_structured_answer_comes_after_a_question_too(provider: str) -> None:
    document = stream(provider, ['{"title": "T", "content": "Body"}'], tool="answer", stop=TOOL_STOP[provider])
    heard = Heard()
    with serve(script(question(provider), document)) as server:
        needed = await pause(provider, server.url, io_schema=STRUCTURED, heard=heard)
        assert heard.text == ""
        kept: dict[str, Any] = {"checkpoint": needed.checkpoint, "io_schema": STRUCTURED}
        result = await run(provider, server.url, answered("Children"), heard=heard, **kept)
    assert (result.document, heard.text) == ({"title": "T", "content": "Body"}, "Body")


async def test_choices_and_the_options_of_the_tool_become_the_question() -> None:
    options = {"expires_in_seconds": 60, "on_expiry": "resume", "required_role": "admin"}
    with serve(script(question("anthropic", CHOICE))) as server:
        needed = await pause("anthropic", server.url, tools={"ask_person": options})
    schema = {"type": "string", "enum": ["dry", "warm"]}
    assert needed.request == InputRequest("Which tone?", "choice", schema, "admin", 60, "resume")


async def test_text_beside_a_question_is_not_the_answer() -> None:
    call = EVENTS["openai"]([FREE], tool="ask_person", stop="tool_calls")
    told = EVENTS["openai"](["Let me ask. "])[1]
    heard = Heard()
    with serve(script(sse_reply([call[0], told, *call[1:]]))) as server:
        needed = await pause("openai", server.url, heard=heard)
    assert needed.request.prompt == "Who is it for?"
    assert heard.text == "Let me ask. ", "the people who wait see it, and nothing of the tool's arguments"


async def test_when_nobody_answered_the_model_is_told_so() -> None:
    with serve(script(question("openai"), stream("openai", ["For anybody."]))) as server:
        needed = await pause("openai", server.url)
        result = await run("openai", server.url, EXPIRED, checkpoint=needed.checkpoint)
    assert result.text == "For anybody."
    assert NO_ANSWER in server.seen[1].body.decode()


async def test_two_questions_at_once_pause_twice_and_ask_the_model_once() -> None:
    calls = [{"functionCall": {"name": "ask_person", "args": json.loads(call)}} for call in (FREE, CHOICE)]
    (event,) = EVENTS["google"]([FREE], tool="ask_person")
    event[1]["candidates"][0]["content"]["parts"] = calls
    with serve(script(sse_reply([event]), stream("google", ["Done."]))) as server:
        first = await pause("google", server.url)
        second = await pause("google", server.url, answered("Children"), checkpoint=first.checkpoint)
        asked = len(server.seen)
        told = (answered("Children"), answered("warm"))
        result = await run("google", server.url, *told, checkpoint=second.checkpoint)
    assert (first.request.prompt, second.request.prompt) == ("Who is it for?", "Which tone?")
    assert (len(first.usage), len(second.usage)) == (1, 0)
    assert (asked, len(server.seen), result.text) == (1, 2, "Done.")
    sent = server.seen[1].body.decode()
    assert sent.index("Children") < sent.index("warm", sent.index("Children"))


async def test_an_agent_may_ask_again_after_an_answer() -> None:
    replies = (question("anthropic"), question("anthropic", CHOICE), stream("anthropic", ["Done."]))
    with serve(script(*replies)) as server:
        first = await pause("anthropic", server.url)
        second = await pause("anthropic", server.url, answered("Children"), checkpoint=first.checkpoint)
        told = (answered("Children"), answered("warm"))
        result = await run("anthropic", server.url, *told, checkpoint=second.checkpoint)
    assert (second.request.prompt, result.text, len(server.seen)) == ("Which tone?", "Done.", 3)
    sent = server.seen[2].body.decode()
    assert all(sent.count(part) == 1 for part in ("Who is it for?", "Children", "Which tone?"))


async def test_an_attempt_after_the_answer_may_be_made_again() -> None:
    with serve(script(question("openai"), Reply(status=503), stream("openai", ["Done."]))) as server:
        needed = await pause("openai", server.url)
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, answered("Children"), checkpoint=needed.checkpoint)
        result = await run("openai", server.url, answered("Children"), checkpoint=needed.checkpoint)
    assert (caught.value.code, caught.value.retryable, result.text) == ("provider_unavailable", True, "Done.")


@pytest.mark.parametrize("arguments", ['{"question": " "}', "{}", '{"question": "?", "choices": ["one"]}', "[]"])
async def test_a_question_that_makes_no_sense_is_no_answer(arguments: str) -> None:
    with serve(script(question("openai", arguments))) as server, pytest.raises(TaskFailure) as caught:
        await run("openai", server.url)
    assert (caught.value.code, caught.value.retryable) == ("output_invalid", True)
    assert caught.value.usage[0].output_tokens == 15


async def test_a_question_that_broke_off_is_not_asked() -> None:
    events = EVENTS["openai"]([FREE], tool="ask_person", stop="tool_calls")
    with serve(script(sse_reply(events[:2]))) as server, pytest.raises(TaskFailure) as caught:
        await run("openai", server.url)
    assert (caught.value.code, caught.value.retryable) == ("provider_unavailable", True)


# What is kept


async def kept_by(server: Server) -> Any:
    return (await pause("openai", server.url)).checkpoint


BROKEN: dict[str, Callable[[Any], Any]] = {
    "empty": lambda _kept: {},
    "of a later version": lambda kept: {**kept, "format": "context/2"},
    "with more than this version knows": lambda kept: {**kept, "plan": []},
    "with messages of another kind": lambda kept: {**kept, "messages": [{"kind": "dream"}]},
    "without questions": lambda kept: {**kept, "questions": []},
    "no object": lambda _kept: "x",
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_checkpoint_that_cannot_be_read_fails_and_begins_nothing_again(how: str) -> None:
    with serve(script(question("openai"))) as server:
        checkpoint = BROKEN[how](await kept_by(server))
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, answered("Children"), checkpoint=checkpoint)
    assert (caught.value.code, caught.value.retryable) == ("checkpoint_unreadable", True)
    assert len(server.seen) == 1


async def test_a_checkpoint_without_a_closed_question_is_unreadable_too() -> None:
    with serve(script(question("openai"))) as server:
        checkpoint = await kept_by(server)
        with pytest.raises(TaskFailure) as caught:
            await run("openai", server.url, checkpoint=checkpoint)
    assert caught.value.code == "checkpoint_unreadable"


# Who may ask


@pytest.mark.parametrize("provider", ALL)
async def test_the_tool_is_offered_only_where_the_agent_has_it(provider: str) -> None:
    with serve(lambda _seen: stream(provider, ["ok"])) as server:
        for tools in (ASKS, {}, {"ask_person": None}):
            await run(provider, server.url, tools=tools)
    assert ["ask_person" in seen.body.decode() for seen in server.seen] == [True, False, False]


async def test_an_agent_that_may_no_longer_ask_hears_the_answer_still() -> None:
    with serve(script(question("openai"), stream("openai", ["Done."]))) as server:
        needed = await pause("openai", server.url)
        result = await run("openai", server.url, answered("Children"), checkpoint=needed.checkpoint, tools={})
    assert result.text == "Done."
    assert "Children" in server.seen[1].body.decode()


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ({"ask_everybody": {}}, "llm_config.tools.ask_everybody"),
        (["ask_person"], "llm_config.tools"),
        ({"ask_person": {"expires_in_seconds": 0}}, "llm_config.tools.ask_person.expires_in_seconds"),
        ({"ask_person": {"required_role": "viewer"}}, "llm_config.tools.ask_person.required_role"),
        ({"ask_person": {"on_expiry": "wait"}}, "llm_config.tools.ask_person.on_expiry"),
        ({"ask_person": {"whom": "the boss"}}, "llm_config.tools.ask_person.whom"),
    ],
)
async def test_a_tool_that_is_unknown_or_set_wrongly_is_refused_by_name(tools: Any, field: str) -> None:
    with serve(script()) as server, pytest.raises(TaskFailure) as caught:
        await run("openai", server.url, tools=tools)
    assert caught.value.code == "agent_misconfigured"
    assert caught.value.data is not None
    assert (caught.value.data["field"], server.seen) == (field, [])


# Offline


async def offline(*told: Answer, **changes: Any) -> AgentResult:
    return await run("openai", "http://127.0.0.1:9", *told, offline_seconds=0, **changes)


@pytest.mark.parametrize("io_schema", [{}, STRUCTURED], ids=["text", "structured"])
async def test_offline_the_agent_asks_who_it_is_for_and_writes_for_them(io_schema: Any) -> None:
    needed = await pause("openai", "http://127.0.0.1:9", offline_seconds=0, io_schema=io_schema)
    assert needed.request.prompt == "Who is it for?"
    assert needed.usage[0].provider == "offline"
    kept = {"checkpoint": needed.checkpoint, "io_schema": io_schema}
    result = await offline(answered("children of eight"), **kept)
    assert "children of eight" in result.text
    assert result.llm_metadata["offline"] is True
    assert "a reader who is new to it" in (await offline(EXPIRED, **kept)).text


async def test_offline_the_agent_does_not_ask_what_it_was_told_or_may_not_ask() -> None:
    results = await asyncio.gather(offline(params={"audience": "sailors"}), offline(tools={}))
    assert ["sailors" in result.text for result in results] == [True, False]
