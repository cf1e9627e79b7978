"""What A2A asks of an agent, done with the tables as any client would do it."""

# ruff: noqa: ARG002 - the parameters are the SDK's.

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NoReturn

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import (
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    UnsupportedOperationError,
)
from structlog.typing import FilteringBoundLogger

from workers.a2a.caller import Caller, caller_of
from workers.a2a.database import Row
from workers.a2a.failures import busy, told_in_a2a
from workers.a2a.follow import Follower, Followers, Leaving
from workers.a2a.inbox import Inbox
from workers.a2a.rows import ARTIFACT, FINAL, STATES, open_question, task_of
from workers.a2a.settings import A2ASettings
from workers.a2a.stream import Event, Telling, telling_of

_LEAVING = "The server is restarting; subscribe to the task again, nothing of it is lost."


class AgentHandler(RequestHandler):
    """All agents of all organizations; which one is meant, and by whom, stands in the call's context."""

    def __init__(self, inbox: Inbox, followers: Followers, settings: A2ASettings, log: FilteringBoundLogger) -> None:
        self._inbox = inbox
        self._followers = followers
        self._settings = settings
        self._log = log

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task:
        """Begin a task or answer its question; wait until it ends or asks, unless told not to."""
        with told_in_a2a(self._log):
            caller = caller_of(context)
            wants = params.configuration
            if wants.return_immediately:
                row, _ = await self._take(caller, params)
            else:
                # The seat before anything is written, so that who gets none has begun nothing.
                with self._followers.seat(caller.identity):
                    row, after = await self._take(caller, params)
                    if row["status"] not in FINAL:
                        await self._settled(caller, row["id"], after)
                        row = await self._inbox.task(caller, row["id"])
            return task_of(row, wants.history_length if wants.HasField("history_length") else None)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Begin a task or answer its question, and tell what happens until it ends or asks."""
        caller = caller_of(context)
        with told_in_a2a(self._log), self._followers.seat(caller.identity):
            row, after = await self._take(caller, params)
            yield task_of(row)
            if row["status"] in FINAL:
                return
            telling = telling_of(row)
            telling.status = row["status"]
            async for event in self._told(caller, telling, after):
                yield event

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Tell of a task that runs: what it is and has said so far, then what happens."""
        caller = caller_of(context)
        with told_in_a2a(self._log), self._followers.seat(caller.identity):
            row = await self._inbox.task(caller, params.id)
            telling = telling_of(row)
            events = await self._inbox.events(caller, row["id"])
            text = telling.absorb(events)
            # It may have ended since its row was read, or have been retried since its events were.
            if not FINAL.isdisjoint({row["status"], telling.status}):
                raise UnsupportedOperationError(
                    f"The task is {telling.status}: nothing more will happen.",
                    data={"reason": "task_finished", "hint": "Read it with tasks/get."},
                )
            task = task_of(row, artifacts=False)
            task.status.state = STATES[telling.status]
            if text:
                task.artifacts.add(artifact_id=ARTIFACT).parts.add(text=text)
            yield task
            async for event in self._told(caller, telling, events[-1]["sequence"] if events else 0):
                yield event

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task:
        """Return a task as it is now."""
        with told_in_a2a(self._log):
            row = await self._inbox.task(caller_of(context), params.id)
            return task_of(row, params.history_length if params.HasField("history_length") else None)

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Return the caller's own tasks of the agent, newest first."""
        with told_in_a2a(self._log):
            rows, total, size, token = await self._inbox.tasks(caller_of(context), params)
            length = params.history_length if params.HasField("history_length") else 0
            tasks = [task_of(row, length, artifacts=params.include_artifacts) for row in rows]
            return ListTasksResponse(tasks=tasks, next_page_token=token, page_size=size, total_size=total)

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task:
        """Cancel a task at once; one that is cancelled stays so."""
        with told_in_a2a(self._log):
            caller = caller_of(context)
            row = await self._inbox.task(caller, params.id)
            if row["status"] in FINAL - {"cancelled"} or not await self._inbox.cancel(caller, params.id):
                raise TaskNotCancelableError(
                    "The task is over: there is nothing to cancel.", data={"reason": "task_finished"}
                )
            return task_of(await self._inbox.task(caller, params.id))

    async def _take(self, caller: Caller, params: SendMessageRequest) -> tuple[Row, int]:
        """Do what a message asks; return its task and the sequence after which what follows from it happens."""
        if params.configuration.HasField("task_push_notification_config"):
            _no_push()
        if params.message.task_id:
            return await self._inbox.answer(caller, params.message)
        return await self._inbox.begin(caller, params.message), 0

    async def _told(self, caller: Caller, telling: Telling, after: int) -> AsyncGenerator[Event, None]:
        """Yield what happens to a task until it ends or begins to wait for a person."""
        ends = asyncio.get_running_loop().time() + self._settings.stream_seconds
        try:
            with self._followers.follow(caller.identity, telling.task_id, after) as follower:
                while True:
                    rows = await follower.next(ends - asyncio.get_running_loop().time())
                    for event in telling.told(rows):
                        yield event
                    moved = any(row["type"] == "status" for row in rows)
                    if not moved or telling.status not in FINAL | {"paused"}:
                        continue
                    row = await self._inbox.task(caller, telling.task_id)
                    if telling.status != "paused" or open_question(row) is not None:
                        for event in telling.ending(row):
                            yield event
                        return
        except TimeoutError:
            raise busy("stream_too_long", "This stream has lasted long enough; subscribe to the task again.") from None
        except Leaving:
            raise busy("server_leaving", _LEAVING) from None

    async def _settled(self, caller: Caller, task_id: str, after: int) -> None:
        """Wait until a task ends or asks, but not for ever: then the client gets it as it is, and asks again."""
        try:
            with self._followers.follow(caller.identity, task_id, after) as follower:
                async with asyncio.timeout(self._settings.blocking_seconds):
                    await _end_or_question(follower)
        except (TimeoutError, Leaving):
            return

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """Refuse: the one card there is says everything, and only members read it."""
        raise UnsupportedOperationError("There is no extended card: the card says everything.")

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Refuse."""
        _no_push()

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Refuse."""
        _no_push()

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """Refuse."""
        _no_push()

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Refuse."""
        _no_push()


async def _end_or_question(follower: Follower) -> None:
    while True:
        moves = [row["data"].get("to") for row in await follower.next(float("inf")) if row["type"] == "status"]
        if moves and moves[-1] in FINAL | {"paused"}:
            return


def _no_push() -> NoReturn:
    raise PushNotificationNotSupportedError(
        "Nothing is pushed.",
        data={"reason": "push_not_supported", "hint": "Stream or poll; webhooks of an organization tell servers."},
    )
