"""Our agents as A2A: the SDK's clients of both versions, the real server, real workers, PostgREST and Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from a2a.client.errors import A2AClientError
from a2a.types import (
    CancelTaskRequest,
    ListTasksRequest,
    Part,
    StreamResponse,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import A2AError, UnsupportedOperationError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value

from tests.api.helpers import Tenant, found, ok, sign_up
from tests.api.helpers import caller as caller_with
from tests.stack import Stack
from tests.workers.a2a_kit import (
    COMPLETED,
    A2AProcess,
    Hand,
    Heard,
    Relay,
    call,
    client,
    code_of,
    get,
    hear,
    message,
    result,
    rpc,
    send,
    text_message,
)
from tests.workers.conftest import WorkerProcess
from tests.workers.waiting import Row, wait_for

DRAFT_SECONDS = 0.7
VERSIONS = [("1.0", "JSONRPC"), ("0.3", "JSONRPC"), ("1.0", "HTTP+JSON"), ("0.3", "HTTP+JSON")]


@dataclass
class Place:
    """An organization whose tasks a worker does and one whose tasks wait, and the server before both."""

    server: A2AProcess
    busy: Tenant
    idle: Tenant
    stack: Stack

    @property
    def base(self) -> str:
        return self.server.base(self.busy)

    @property
    def idle_base(self) -> str:
        return self.server.base(self.idle)


@pytest.fixture(scope="module")
def place(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("a2a")
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as http:
        busy = found(sign_up(http, stack.anon_key), tags=["blog"], capabilities=["writing"])
        idle = found(sign_up(http, stack.anon_key))
        asking = {"provider": "anthropic", "model": "claude-sonnet-4-5", "tools": {"ask_person": dict[str, str]()}}
        ok(busy.owner.update("agents", {"llm_config": asking}, slug=f"eq.{busy.agent}"))
        environment = {"LLM_OFFLINE": "1", "LLM_OFFLINE_DELAY": str(DRAFT_SECONDS)}
        options = ["--organization", busy.organization, "--concurrency", "25"]
        worker = WorkerProcess(stack, folder, options, environment)
        server = A2AProcess(stack, folder)
        try:
            yield Place(server, busy, idle, stack)
        finally:
            worker.kill()
            server.kill()
            print(f"--- a2a\n{server.log.read_text()[-4000:]}\n--- worker\n{worker.log.read_text()[-4000:]}")


@pytest.fixture
def own(stack: Stack) -> Iterator[Tenant]:
    """Give a tenant of the test's own, whose tasks no worker takes."""
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as http:
        yield found(sign_up(http, stack.anon_key))


@pytest.fixture
def hand(stack: Stack, own: Tenant) -> Hand:
    return Hand(caller_with(own.owner.http, stack.service_role_key), own.organization)


def row_of(tenant: Tenant, task_id: str) -> Row:
    (row,) = tenant.owner.rows("tasks", id=f"eq.{task_id}")
    return row


def for_sailors() -> Part:
    """Input that keeps the offline model from asking who it writes for."""
    return Part(data=ParseDict({"audience": "sailors"}, Value()))


# The SDK's clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "binding"), VERSIONS)
async def test_a_client_streams_a_task_to_its_end(place: Place, version: str, binding: str) -> None:
    async with client(place.base, place.busy.owner, version=version, binding=binding) as caller:
        heard = await send(caller, message("Write about tide pools", for_sailors()))
        # A worker may be quicker than the first answer.
        assert heard.states[0] in {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}
        assert TaskState.TASK_STATE_WORKING in heard.states
        assert (heard.state, heard.finished) == (COMPLETED, True)
        row = row_of(place.busy, heard.task_id)
        assert heard.text == row["response"]
        assert heard.chunks > 2  # Streamed, and then told that it is whole.
        assert (row["prompt"], row["params"]) == ("Write about tide pools", {"audience": "sailors"})
        assert (row["status"], row["organization_slug"]) == ("completed", place.busy.organization)
        task = await get(caller, heard.task_id)
    assert task.artifacts[0].parts[0].text == row["response"]
    assert task.context_id == row["agent_conversation_id"]
    assert [part.text for part in task.history[0].parts if part.text] == ["Write about tide pools"]


@pytest.mark.parametrize(("version", "binding"), VERSIONS)
async def test_a_client_that_does_not_stream_waits_or_polls(place: Place, version: str, binding: str) -> None:
    settings: Row = {"version": version, "binding": binding, "streaming": False}
    async with client(place.base, place.busy.owner, **settings) as caller:
        waited = await send(caller, message("Write about tide pools", for_sailors()))
        assert waited.state == COMPLETED
        assert waited.text == row_of(place.busy, waited.task_id)["response"]
    async with client(place.base, place.busy.owner, polling=True, **settings) as caller:
        began = await send(caller, message("Write about tide pools", for_sailors()))
        assert began.state in {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}
        ends = time.monotonic() + 20
        while (task := await get(caller, began.task_id)).status.state != COMPLETED:
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)
    assert task.artifacts


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_a_question_is_input_required_and_a_message_answers_it(place: Place, version: str) -> None:
    async with client(place.base, place.busy.owner, version=version) as caller:
        asked = await send(caller, message("Write about tide pools"))
        assert asked.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert asked.said, "the question is told"
        task = await get(caller, asked.task_id)
        assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        answered = await send(caller, message("Children of eight", task_id=task.id, context_id=task.context_id))
        assert (answered.task_id, answered.state) == (asked.task_id, COMPLETED)
        told = [part.text for entry in (await get(caller, task.id)).history for part in entry.parts if part.text]
    assert told == ["Write about tide pools", asked.said[-1], "Children of eight"]
    (request,) = place.busy.owner.rows("input_requests", task_id=f"eq.{task.id}")
    assert (request["status"], request["response"]) == ("answered", "Children of eight")
    late = call(place.base, place.busy.owner, "SendMessage", message=text_message("Late", taskId=task.id))
    assert code_of(late) == -32004


async def test_a_context_is_a_conversation(place: Place) -> None:
    async with client(place.base, place.busy.owner, streaming=False) as caller:
        first = await send(caller, message("Write about tide pools", for_sailors()))
        assert first.task is not None
        context = first.task.context_id
        second = await send(caller, message("Now about dunes", for_sailors(), context_id=context))
        assert second.task is not None
        assert second.task.context_id == context
        listed = await caller.list_tasks(ListTasksRequest(context_id=context))
    assert [task.id for task in listed.tasks] == [second.task_id, first.task_id]
    said = place.busy.owner.rows("messages", conversation_id=f"eq.{context}", order="created_at")
    assert [row["sender_type"] for row in said] == ["user", "agent", "user", "agent"]


async def test_a_running_task_is_cancelled_and_says_so_to_its_stream(place: Place) -> None:
    async with client(place.idle_base, place.idle.owner) as caller:
        heard = Heard()
        async for answer in caller.send_message(message()):
            heard.take(answer)
            if len(heard.states) == 1:
                cancelled = await caller.cancel_task(CancelTaskRequest(id=heard.task_id))
                assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        assert heard.state == TaskState.TASK_STATE_CANCELED
        again = await caller.cancel_task(CancelTaskRequest(id=heard.task_id))
        assert again.status.state == TaskState.TASK_STATE_CANCELED
    assert row_of(place.idle, heard.task_id)["status"] == "cancelled"


async def test_pages_of_tasks_hold_each_once_newest_first(place: Place) -> None:
    tenant = place.idle
    sent = [
        result(call(place.idle_base, tenant.owner, "SendMessage", message=text_message(), configuration=AT_ONCE))
        for _ in range(5)
    ]
    ids = [answer["task"]["id"] for answer in sent]
    async with client(place.idle_base, tenant.owner) as caller:
        seen: list[str] = []
        token = ""
        for _ in range(50):
            page = await caller.list_tasks(
                ListTasksRequest(page_size=2, page_token=token, status=TaskState.TASK_STATE_SUBMITTED)
            )
            seen += [task.id for task in page.tasks]
            token = page.next_page_token
            if not token:
                break
    assert seen[:5] == ids[::-1]
    assert len(seen) == len(set(seen)) == page.total_size


AT_ONCE = {"returnImmediately": True}


def test_the_same_message_again_is_the_same_task(place: Place) -> None:
    told = text_message("Once")
    send_it = {"message": told, "configuration": AT_ONCE}
    first, second = (result(call(place.idle_base, place.idle.owner, "SendMessage", **send_it))["task"] for _ in "12")
    assert (first["id"], first["contextId"]) == (second["id"], second["contextId"])
    other = call(place.idle_base, place.idle.owner, "SendMessage", message={**told, "parts": [{"text": "Other"}]})
    assert code_of(other) == -32602
    assert len(place.idle.owner.rows("tasks", prompt="eq.Once")) == 1


# Restarts and many at once --------------------------------------------------------------------------------------------


async def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 20
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)


async def heard_so_far(heard: Heard, text: str) -> None:
    """Return when a client has heard this text."""
    await until(lambda: heard.text == text)


async def take_all(heard: Heard, answers: AsyncIterator[StreamResponse]) -> None:
    async for answer in answers:
        heard.take(answer)


async def test_a_stream_that_is_cut_goes_on_with_a_server_that_was_started_anew(
    place: Place, own: Tenant, hand: Hand, tmp_path: Path
) -> None:
    server = A2AProcess(place.stack, tmp_path)
    heard, rest = Heard(), Heard()
    async with client(server.base(own), own.owner) as caller:
        stream = asyncio.create_task(take_all(heard, caller.send_message(message())))
        await until(hand.claim)
        hand.say("One ")
        await heard_so_far(heard, "One ")
        server.kill()
        with pytest.raises(A2AClientError):
            await stream
        hand.say("two ")
        await asyncio.to_thread(server.start)
        request = SubscribeToTaskRequest(id=heard.task_id)
        again = asyncio.create_task(take_all(rest, caller.subscribe(request)))
        await heard_so_far(rest, "One two ")
        hand.say("three.")
        await heard_so_far(rest, "One two three.")
        hand.complete("One two three.")
        await again
    assert (rest.state, rest.finished, rest.text) == (COMPLETED, True, "One two three.")
    assert await asyncio.to_thread(server.terminate) == 0


async def test_a_stream_sits_out_a_database_that_is_away_and_requests_are_told(
    place: Place, own: Tenant, hand: Hand, tmp_path: Path
) -> None:
    relay = Relay(place.stack.url)
    async with relay.serve() as url:
        server = await asyncio.to_thread(A2AProcess, place.stack, tmp_path, SUPABASE_URL=url)
        base = server.base(own)
        heard = Heard()
        async with client(base, own.owner) as caller:
            stream = asyncio.create_task(take_all(heard, caller.send_message(message())))
            await until(hand.claim)
            hand.say("One ")
            await heard_so_far(heard, "One ")
            relay.go_away()
            hand.say("two.")
            told = await asyncio.to_thread(rpc, base, own.owner, {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"})
            assert (told.status_code, told.headers["retry-after"]) == (503, "5")
            assert heard.text == "One "
            relay.come_back()
            await heard_so_far(heard, "One two.")
            hand.complete("One two.")
            await stream
        assert heard.state == COMPLETED
        assert await asyncio.to_thread(server.terminate) == 0


async def test_a_new_attempt_begins_its_text_anew(place: Place, own: Tenant, hand: Hand) -> None:
    heard = Heard()
    async with client(place.server.base(own), own.owner) as caller:
        stream = asyncio.create_task(take_all(heard, caller.send_message(message())))
        await until(hand.claim)
        hand.say("Wrong")
        await heard_so_far(heard, "Wrong")
        hand.fail(retryable=True)
        await until(hand.claim)
        hand.say("Right, ")
        await heard_so_far(heard, "Right, ")
        hand.complete("Right, but otherwise.")
        await stream
        assert (heard.state, heard.text) == (COMPLETED, "Right, but otherwise.")
        with pytest.raises(UnsupportedOperationError):
            await hear(caller.subscribe(SubscribeToTaskRequest(id=heard.task_id)))


async def test_a_task_that_fails_says_why(place: Place, own: Tenant, hand: Hand) -> None:
    async with client(place.server.base(own), own.owner, streaming=False) as caller:
        waiting = asyncio.create_task(send(caller, message()))
        await until(hand.claim)
        hand.fail(retryable=False)
        failed = await waiting
    assert failed.task is not None
    assert failed.state == TaskState.TASK_STATE_FAILED
    assert failed.task.status.message.parts[0].text == "It broke."
    assert failed.task.metadata["errorCode"] == "endpoint_error"


async def test_twenty_streams_at_once_each_hear_their_own(place: Place) -> None:
    async with client(place.base, place.busy.owner) as caller:
        requests = [message(f"Write about pool number {number}", for_sailors()) for number in range(20)]
        heard = await asyncio.gather(*(send(caller, request) for request in requests))
    assert len({one.task_id for one in heard}) == 20
    assert {one.state for one in heard} == {COMPLETED}
    rows = {row["id"]: row for row in place.busy.owner.rows("tasks", order="created_at.desc", limit="20")}
    for request, one in zip(requests, heard, strict=True):
        assert rows[one.task_id]["prompt"] == request.message.parts[0].text
        assert one.text == rows[one.task_id]["response"]


async def test_a_user_has_so_many_streams_and_sigterm_ends_them_with_a_word(
    place: Place, own: Tenant, tmp_path: Path
) -> None:
    server = A2AProcess(place.stack, tmp_path, A2A_MAX_STREAMS_PER_USER="2")
    base = server.base(own)
    heard = Heard()
    async with client(base, own.owner) as streaming, client(base, own.owner, streaming=False) as waiting:
        stream = asyncio.create_task(take_all(heard, streaming.send_message(message())))
        answer = asyncio.create_task(send(waiting, message("To wait for")))
        await until(lambda: heard.task is not None and own.owner.rows("tasks", prompt="eq.To wait for"))
        refused = await asyncio.to_thread(call, base, own.owner, "SendMessage", message=text_message("Too many"))
        assert (code_of(refused), "too_many_streams" in str(refused)) == (-32603, True)
        assert own.owner.rows("tasks", prompt="eq.Too many") == []
        began = time.monotonic()
        assert await asyncio.to_thread(server.terminate) == 0
        assert time.monotonic() - began < 8
        # The one that waits gets the task as it is, the stream a word to come back, or its end.
        assert (await answer).state == TaskState.TASK_STATE_SUBMITTED
        with pytest.raises(A2AError):
            await stream
    wait_for(lambda: '"stopped"' in server.log.read_text(), 2, "it logs its end")
