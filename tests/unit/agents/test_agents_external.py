"""External agents against real servers of the A2A SDK: both versions, both bindings, with streams and without.

Over 400 lines, because each of these is told by the same scenes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from a2a.server.tasks import InMemoryTaskStore
from google.protobuf.json_format import MessageToDict

from tests.a2a_server import Binding, Remote, remote_agent
from tests.unit.agents.external_kit import SECRET, answered, bench, traced
from tests.unit.helpers import until
from workers.agents.external import talk
from workers.contract import Turn

KINDS = [
    (version, binding, streaming)
    for version in ("1.0", "0.3")
    for binding in ("JSONRPC", "HTTP+JSON")
    for streaming in (True, False)
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(str(part) for part in kind))
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    version, binding, streaming = request.param
    with remote_agent(version=version, binding=binding, streaming=streaming) as remote:
        yield remote


@pytest.fixture(scope="module")
def newest() -> Iterator[Remote]:
    with remote_agent() as remote:
        yield remote


async def test_a_task_is_sent_as_one_message_and_its_artifact_is_the_result(remote: Remote) -> None:
    remote.script.seen.clear()
    one = bench(remote, "echo of the sea")
    result = await one.run()
    assert (result.text, result.title) == ("# Echo\n\necho of the sea", "The echo")
    assert one.heard.text == result.text
    told = result.response_metadata["a2a"]
    assert (told["version"], told["binding"], told["state"]) == (remote.version, remote.binding, "completed")
    assert told["artifacts"][0]["metadata"] == {"score": 3}
    (message,) = remote.script.seen
    assert (message.message_id, [part.text for part in message.parts]) == ("t1.1", ["echo of the sea"])
    assert one.shelf.link == {
        "message_id": "t1.1",
        "remote_task_id": told["task_id"],
        "context_id": told["context_id"],
    }


async def test_a_message_as_the_answer_is_the_result(remote: Remote) -> None:
    result = await bench(remote, "message please").run()
    assert (result.text, result.response_metadata["a2a"]["state"]) == ("Said at once", "message")


async def test_a_stream_is_passed_on_and_a_server_without_one_is_polled(remote: Remote) -> None:
    remote.script.go_on.clear()
    one = bench(remote, "stream and wait")
    running = asyncio.create_task(one.run())
    await until(lambda: one.heard.text.endswith("word4 "))
    remote.script.go_on.set()
    result = await running
    assert result.text == one.heard.text == "".join(f"word{number} " for number in range(10))


async def test_data_is_the_document_and_is_checked(remote: Remote) -> None:
    one = bench(remote, "data please")
    one.output = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    result = await one.run()
    assert result.document == {"title": "T", "count": 3, "half": 0.5}
    assert isinstance(result.document["count"], int)
    one.shelf.link = None
    one.output = {"type": "object", "required": ["price"]}
    failure = await one.fails()
    assert (failure.code, failure.retryable, one.shelf.link) == ("output_invalid", False, None)


async def test_a_question_pauses_and_the_answer_goes_to_the_same_remote_task(remote: Remote) -> None:
    remote.script.seen.clear()
    one = bench(remote, "ask me")
    needed = await one.asks()
    assert needed.request.prompt == "Which colour?"
    assert needed.checkpoint is not None
    assert needed.checkpoint["task_id"] == one.shelf.link["remote_task_id"]  # type: ignore[index]
    again = await one.asks(checkpoint=needed.checkpoint, answer=answered("again"))
    assert again.request.prompt == "And in which size?"
    result = await one.run(checkpoint=again.checkpoint, answer=answered({"size": 4}, 2))
    assert result.text.startswith("You said [{'size': 4")
    assert [message.message_id for message in remote.script.seen] == ["t1.1", "t1.q1", "t1.q2"]
    assert {message.task_id for message in remote.script.seen[1:]} == {needed.checkpoint["task_id"]}


async def test_messages_questions_and_answers_are_steps_of_the_trace(newest: Remote) -> None:
    one = bench(newest, "ask me")
    with traced() as steps:
        needed = await one.asks()
        await one.run(checkpoint=needed.checkpoint, answer=answered("blue"))
    assert [(s.type, s.name, s.status) for s in steps] == [
        ("http_request", "SendMessage", "completed"),
        ("input_request", "ask_person", "completed"),
        ("input_request", "ask_person", "completed"),
        ("http_request", "SendMessage", "completed"),
    ]
    asked, question, answer, said = steps
    assert asked.output == {"state": "input-required", "text": "Which colour?"}
    assert (question.input, answer.output) == ({"question": "Which colour?"}, "blue")
    assert said.output == {"state": "completed", "text": "You said blue"}


async def test_an_authorization_pauses_too(remote: Remote) -> None:
    one = bench(remote, "auth please")
    needed = await one.asks()
    assert needed.request.prompt.endswith("Visit https://login.example")
    assert needed.request.metadata == {"a2a": {"state": "auth-required"}}
    result = await one.run(checkpoint=needed.checkpoint, answer=answered("done"))
    assert result.text == "You said done"


@pytest.mark.parametrize(
    ("prompt", "code", "rejected", "said"),
    [
        ("reject it", "remote_rejected", True, "Not my kind of work"),
        ("fail now", "remote_failed", False, "Broke: key [redacted] xxx"),
        ("stop it", "remote_cancelled", False, "Closing time"),
        ("empty please", "endpoint_response_invalid", False, "nothing"),
    ],
)
async def test_how_a_remote_task_ends_without_a_result(
    remote: Remote, prompt: str, code: str, rejected: bool, said: str
) -> None:
    one = bench(remote, prompt)
    failure = await one.fails()
    assert (failure.code, failure.rejected, failure.retryable) == (code, rejected, False)
    assert said in failure.message
    assert len(failure.message) < 1200
    assert one.shelf.link is None


async def test_an_attempt_goes_on_with_the_remote_task_of_the_one_that_was_lost(remote: Remote) -> None:
    remote.script.seen.clear()
    remote.script.cancelled.clear()
    remote.script.go_on.clear()
    one = bench(remote, "stream and wait")
    lost = asyncio.create_task(one.run())
    await until(lambda: one.heard.text.endswith("word4 ") and one.shelf.link is not None)
    lost.cancel("lost")
    with pytest.raises(asyncio.CancelledError):
        await lost
    with traced() as steps:
        following = asyncio.create_task(one.run(attempt=2))
        await until(lambda: ("log", "Goes on with the remote task") in one.heard.events)
        remote.script.go_on.set()
        assert (await following).text.endswith("word9 ")
    assert [(s.type, s.name, s.output["state"]) for s in steps] == [("http_request", "GetTask", "completed")]
    assert (len(remote.script.seen), remote.script.cancelled) == (1, [])


async def _stop(remote: Remote, reason: str, attempt: int) -> list[str]:
    """Stop an attempt whose remote task runs; return which remote tasks were cancelled, without the task's own id."""
    remote.script.cancelled.clear()
    remote.script.go_on.clear()
    one = bench(remote, "wait for it")
    running = asyncio.create_task(one.run(attempt))
    await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
    running.cancel(reason)
    with pytest.raises(asyncio.CancelledError):
        await running
    remote.script.go_on.set()
    assert one.shelf.link is not None
    return ["ours" if task == one.shelf.link["remote_task_id"] else task for task in remote.script.cancelled]


async def test_cancelling_our_task_cancels_the_remote_one(remote: Remote) -> None:
    assert await _stop(remote, "cancelled", 1) == ["ours"]


@pytest.mark.parametrize(
    ("reason", "attempt", "told"), [("timeout", 3, ["ours"]), ("timeout", 1, []), ("lost", 1, []), ("released", 1, [])]
)
async def test_the_server_is_told_to_stop_only_when_nobody_will_go_on(
    newest: Remote, reason: str, attempt: int, told: list[str]
) -> None:
    assert await _stop(newest, reason, attempt) == told


async def test_a_server_that_does_not_stop_holds_nobody_up(newest: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "_CANCEL_SECONDS", 0.1)
    newest.script.go_on.clear()
    newest.script.cancel_seconds = 5.0
    one = bench(newest, "wait for it")
    running = asyncio.create_task(one.run())
    await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
    running.cancel("cancelled")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 2)
    newest.script.cancel_seconds = 0.0
    newest.script.go_on.set()


@pytest.mark.parametrize("cut_after", [1, 4, 8])
async def test_a_stream_that_breaks_is_followed_up_by_polling(newest: Remote, cut_after: int) -> None:
    newest.script.seen.clear()
    newest.script.go_on.set()
    newest.cut_after = cut_after
    one = bench(newest, "stream it")
    try:
        result = await one.run()
    finally:
        newest.cut_after = None
    assert result.text == one.heard.text == "".join(f"word{number} " for number in range(10))
    assert ("log", "The stream broke off; the remote task is polled") in one.heard.events
    assert len(newest.script.seen) == 1


async def test_a_stream_that_breaks_before_it_began_is_not_sent_again(newest: Remote) -> None:
    newest.cut_after = 0
    try:
        failure = await bench(newest, "echo").fails()
    finally:
        newest.cut_after = None
    assert (failure.code, failure.retryable) == ("endpoint_response_invalid", False)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_server_that_is_killed_and_comes_back_is_found_again(streaming: bool) -> None:
    with remote_agent(streaming=streaming) as remote:
        one = bench(remote, "wait for it")
        running = asyncio.create_task(one.run())
        await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
        await asyncio.to_thread(remote.stop)
        await asyncio.sleep(0.1)
        await remote.finish_tasks("After all")
        await asyncio.to_thread(remote.start)
        assert (await running).text == "After all"
        assert len(remote.script.seen) == 1


async def test_a_task_that_the_server_forgot_is_sent_anew_by_the_next_attempt() -> None:
    with remote_agent() as remote:
        one = bench(remote, "wait for it")
        running = asyncio.create_task(one.fails())
        await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
        await asyncio.to_thread(remote.stop)
        remote.store = InMemoryTaskStore()
        await asyncio.to_thread(remote.start)
        failure = await running
        assert (failure.code, failure.retryable, one.shelf.link) == ("remote_task_lost", True, None)
        remote.script.go_on.set()
        assert (await one.run(attempt=2)).text == "Waited"
        assert [message.message_id for message in remote.script.seen] == ["t1.1", "t1.2"]


async def test_an_answer_that_was_taken_is_not_sent_again(newest: Remote) -> None:
    newest.script.seen.clear()
    one = bench(newest, "ask me")
    needed = await one.asks()
    arguments: dict[str, Any] = {"checkpoint": needed.checkpoint, "answer": answered("blue")}
    assert (await one.run(**arguments)).text == (await one.run(attempt=2, **arguments)).text == "You said blue"
    # The worker died before it could keep that the answer was taken.
    assert one.shelf.link is not None
    one.shelf.link["message_id"] = "t1.1"
    assert (await one.run(attempt=3, **arguments)).text == "You said blue"
    assert len(newest.script.seen) == 2


async def test_a_conversation_goes_on_in_its_context_and_its_history_goes_along_without_one(newest: Remote) -> None:
    newest.script.seen.clear()
    one = bench(newest, "echo more", context_id="c-7")
    one.history = (Turn("user", "Before"),)
    result = await one.run()
    assert result.response_metadata["a2a"]["context_id"] == "c-7"
    other = bench(newest, "echo more", skill="write")
    other.history, other.params = (Turn("user", "Before"),), {"tone": "dry"}
    await other.run()
    first, second = newest.script.seen
    assert (first.context_id, "history" in first.metadata) == ("c-7", False)
    assert MessageToDict(second.metadata)["history"] == [{"role": "user", "content": "Before"}]
    assert MessageToDict(second.metadata)["skillId"] == "write"
    assert [part.WhichOneof("content") for part in second.parts] == ["text", "data"]
    assert MessageToDict(second.parts[1].data) == {"tone": "dry"}


async def test_params_go_as_metadata_to_a_server_that_takes_only_text() -> None:
    with remote_agent(version="0.3") as remote:
        one = bench(remote, "echo it")
        one.params = {"tone": "dry"}
        await one.run()
        (message,) = remote.script.seen
        assert MessageToDict(message.metadata)["params"] == {"tone": "dry"}
        assert len(message.parts) == 1


async def test_files_are_attached_by_url_or_small_and_scripts_are_not_links(newest: Remote) -> None:
    result = await bench(newest, "mixed please").run()
    assert result.text == 'One\n\n```json\n{\n  "n": 1\n}\n```\n\nTwo'
    assert result.document == {"n": 1}
    link, script, tiny, big = result.file_attachments
    assert link == {"name": "a.png", "media_type": "image/png", "url": "https://files.example/a.png"}
    assert "javascript" not in str(script)
    assert script["omitted"]
    assert (tiny["content"], tiny["size"]) == ("dGlueQ==", 4)
    assert "content" not in big
    assert big["omitted"]


async def test_what_only_the_status_says_is_the_result(newest: Remote) -> None:
    assert (await bench(newest, "said it").run()).text == "Only the status says it"


async def test_credentials_of_the_organization_open_the_card_and_the_agent(newest: Remote) -> None:
    newest.token = SECRET
    newest.requests.clear()
    try:
        authentication = {"type": "bearer", "config": {"token": "${TOKEN}"}}
        assert (await bench(newest, "echo x", authentication=authentication).run()).text
        refused = await bench(newest, "echo x").fails()
        authentication["config"] = {"token": "wrong"}
        assert (await bench(newest, "echo x", authentication=authentication).fails()).code == "endpoint_auth_failed"
    finally:
        newest.token = None
    assert (refused.code, refused.retryable) == ("endpoint_auth_failed", False)
    assert newest.requests[1][1]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (401, "endpoint_auth_failed", False),
        (403, "endpoint_auth_failed", False),
        (302, "endpoint_error", False),
        (400, "endpoint_error", False),
        (429, "endpoint_error", True),
        (500, "endpoint_error", False),
        (502, "endpoint_error", False),
        (503, "endpoint_error", True),
    ],
)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_send_is_retried_only_where_nothing_can_have_happened(
    status: int, code: str, retryable: bool, binding: Binding, servers: dict[Binding, Remote]
) -> None:
    remote = servers[binding]
    remote.statuses = [status]
    failure = await bench(remote, "echo x").fails()
    assert (failure.code, failure.retryable, remote.statuses) == (code, retryable, [])


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Binding, Remote]]:
    with remote_agent() as first, remote_agent(binding="HTTP+JSON") as second:
        yield {"JSONRPC": first, "HTTP+JSON": second}


async def test_a_poll_that_fails_in_passing_is_repeated() -> None:
    with remote_agent(streaming=False) as remote:
        one = bench(remote, "wait for it")
        running = asyncio.create_task(one.run())
        await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
        remote.statuses = [500, 503, 502, 429]
        await until(lambda: not remote.statuses)
        remote.script.go_on.set()
        assert (await running).text == "Waited"


async def test_the_next_attempt_waits_for_a_server_that_is_just_coming_back() -> None:
    with remote_agent() as remote:
        one = bench(remote, "echo x")
        assert (await one.run()).text
        remote.statuses = [503, 502]
        assert (await one.run(attempt=2)).text == "# Echo\n\necho x"
        assert len(remote.script.seen) == 1


async def test_a_server_that_is_away_for_good_ends_the_attempt_and_keeps_the_remote_task() -> None:
    with remote_agent(streaming=False) as remote:
        one = bench(remote, "wait for it")
        running = asyncio.create_task(one.fails())
        await until(lambda: one.shelf.link is not None and one.shelf.link["remote_task_id"] is not None)
        await asyncio.to_thread(remote.stop)
        failure = await running
        assert (failure.code, failure.retryable) == ("endpoint_unreachable", True)
        assert one.shelf.link is not None
        remote.start()


async def test_a_server_that_cannot_be_reached_may_be_tried_again() -> None:
    with remote_agent() as remote:
        pass
    failure = await bench(remote, "echo x").fails()
    assert (failure.code, failure.retryable) == ("endpoint_unreachable", True)


async def test_a_server_that_takes_too_long_to_take_the_message_is_not_asked_twice() -> None:
    with remote_agent(streaming=False) as remote:
        gate = threading.Event()
        remote.gate = gate
        failure = await bench(remote, "echo x", timeout=0.3).fails()
        gate.set()
        assert (failure.code, failure.retryable) == ("timeout", False)
