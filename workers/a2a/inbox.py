"""The reads and writes behind A2A's methods, each as the caller: tasks, conversations, questions."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import Any

from a2a.types import ListTasksRequest, Message, TaskState
from a2a.utils.errors import UnsupportedOperationError
from google.protobuf.json_format import MessageToDict

from workers.a2a.caller import Caller
from workers.a2a.database import Database, Refusal, Row
from workers.a2a.failures import invalid, task_not_found
from workers.a2a.parts import Asked, is_uuid, message_key, new_context_id, read_parts
from workers.a2a.rows import FINAL, ONE_TASK, STATES, TASKS_WITHOUT_RESULTS

_PAGE, _LARGEST_PAGE = 50, 100
_EVENTS_AT_ONCE = 1000


class Inbox:
    """What a caller has of one agent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def task(self, caller: Caller, task_id: str) -> Row:
        """Return a task of the agent.

        Raises:
            TaskNotFoundError: there is none for this caller.
        """
        if not is_uuid(task_id):
            raise task_not_found(task_id)
        rows = await self._database.rows(caller.identity, "tasks", {**ONE_TASK, **_of(caller), "id": f"eq.{task_id}"})
        if not rows:
            raise task_not_found(task_id)
        return rows[0]

    async def begin(self, caller: Caller, message: Message) -> Row:
        """Insert the task that a message asks for, in its conversation; the same message again finds the same task.

        Raises:
            InvalidParamsError: the message cannot be used, or its id was used for another one.
        """
        if not message.message_id:
            raise invalid("message.messageId", "is missing.", "Give each message an id of its own.")
        asked = read_parts(message)
        prompt, params = asked.prompt(), asked.params()
        context_id = await self._context(caller, message)
        about: Row = {"message_id": message.message_id[:1000]}
        if message.HasField("metadata"):
            about["metadata"] = MessageToDict(message.metadata)
        task = {
            "organization_slug": caller.organization,
            "agent_slug": caller.agent,
            "agent_conversation_id": context_id,
            "method": "process",
            "prompt": prompt,
            "params": params,
            "metadata": {"a2a": about},
            "idempotency_key": message_key(caller, message),
        }
        (row,) = await self._call(caller, "enqueue_tasks", {"tasks": [task]})
        if (row["prompt"], row["params"], row["agent_conversation_id"]) != (prompt, params, context_id):
            raise invalid("message.messageId", "was used for another message.", "Give each message an id of its own.")
        return await self.task(caller, row["id"])

    async def answer(self, caller: Caller, message: Message) -> tuple[Row, int]:
        """Answer the question that a task waits for; return the task and its last sequence before that.

        Raises:
            TaskNotFoundError: there is none for this caller.
            UnsupportedOperationError: the task waits for no answer.
            InvalidParamsError: the answer does not fit the question.
        """
        asked = read_parts(message)
        row = await self.task(caller, message.task_id)
        if message.context_id not in {"", row["agent_conversation_id"] or row["id"]}:
            raise invalid("message.contextId", "is not that of the task.", "Leave contextId out, or send the task's.")
        question = row["input_requests"][-1] if row["input_requests"] else None
        if row["status"] in FINAL or question is None:
            raise UnsupportedOperationError(
                f"The task is {row['status']} and waits for no answer.",
                data={"reason": "no_open_question", "hint": "Send a message without taskId, in the same contextId."},
            )
        last = await self._database.rows(
            caller.identity,
            "task_events",
            {"select": "sequence", "task_id": f"eq.{row['id']}", "order": "sequence.desc", "limit": "1"},
        )
        await self._respond(caller, question["id"], asked)
        return await self.task(caller, row["id"]), last[0]["sequence"] if last else 0

    async def cancel(self, caller: Caller, task_id: str) -> bool:
        """Cancel a task; return False when it ended before."""
        try:
            await self._call(caller, "cancel_task", {"task_id": task_id})
        except Refusal as refusal:
            if refusal.token == "task_finished":  # noqa: S105
                return False
            raise
        return True

    async def events(self, caller: Caller, task_id: str) -> list[Row]:
        """Return the events so far that say what a task's state is and what it has streamed."""
        found: list[Row] = []
        while True:
            after = found[-1]["sequence"] if found else 0
            query = {
                "select": "sequence,type,data",
                "task_id": f"eq.{task_id}",
                "sequence": f"gt.{after}",
                "type": "in.(status,partial)",
                "order": "sequence",
                "limit": str(_EVENTS_AT_ONCE),
            }
            rows = await self._database.rows(caller.identity, "task_events", query)
            found += rows
            if len(rows) < _EVENTS_AT_ONCE:
                return found

    async def tasks(self, caller: Caller, wanted: ListTasksRequest) -> tuple[list[Row], int, int, str]:
        """Return a page of the caller's own tasks, newest first: the rows, the total, the page size, the next token.

        Raises:
            InvalidParamsError: a filter cannot be used.
        """
        size = wanted.page_size if wanted.HasField("page_size") else _PAGE
        if not 1 <= size <= _LARGEST_PAGE:
            raise invalid("pageSize", f"is {size}.", f"Send 1 to {_LARGEST_PAGE}.")
        # The user is named, so that the index of a user's tasks is walked.
        asked = {**_of(caller), "user_id": f"eq.{caller.user_id}", **_filters(wanted)}
        page = {**asked, **(ONE_TASK if wanted.include_artifacts else TASKS_WITHOUT_RESULTS)}
        page |= {"order": "created_at.desc,id.desc", "limit": str(size + 1)}
        if wanted.page_token:
            created, task_id = _place(wanted.page_token)
            page["or"] = f'(created_at.lt."{created}",and(created_at.eq."{created}",id.lt.{task_id}))'
        rows, total = await asyncio.gather(
            self._database.rows(caller.identity, "tasks", page),
            self._database.count(caller.identity, "tasks", asked),
        )
        more = len(rows) > size
        rows = rows[:size]
        return rows, total, size, _token(rows[-1]) if more else ""

    async def _context(self, caller: Caller, message: Message) -> str:
        """Return the conversation of a message: the one it names, or one of its own that is made now."""
        if not message.context_id:
            context_id = new_context_id(caller, message)
            row = {"id": context_id, "organization_slug": caller.organization, "agent_slug": caller.agent}
            # Both follow from the agent; the columns are required, their values are not looked at.
            row |= {"agent_name": caller.agent, "agent_type": "context"}
            await self._database.insert_once(caller.identity, "agent_conversations", row, "id")
            return context_id
        if is_uuid(message.context_id):
            query = {"select": "id", "id": f"eq.{message.context_id}", **_of(caller)}
            if await self._database.rows(caller.identity, "agent_conversations", query):
                return message.context_id.lower()
        raise invalid(
            "message.contextId",
            "is no context that you have with this agent.",
            "Leave it out to begin one; the task that you get back names it.",
        )

    async def _respond(self, caller: Caller, request_id: str, asked: Asked) -> None:
        """Answer a question; a text that does not fit it is tried as the JSON that it may be."""
        response: Any = asked.text if asked.data is None else asked.data
        call = {"input_request_id": request_id, "response": response}
        try:
            await self._call(caller, "respond_to_input_request", call)
        except Refusal as refusal:
            if refusal.token != "response_does_not_fit" or asked.data is not None:  # noqa: S105
                raise
            try:
                parsed = json.loads(asked.text)
            except (ValueError, RecursionError):
                raise refusal from None
            await self._call(caller, "respond_to_input_request", {**call, "response": parsed})

    async def _call(self, caller: Caller, function: str, arguments: Row) -> Any:
        try:
            return await self._database.call(caller.identity, function, arguments)
        except ValueError as error:
            raise invalid(
                "message.parts", "holds what is no JSON (NaN or Infinity).", "Send finite numbers."
            ) from error


def _of(caller: Caller) -> dict[str, str]:
    return {"agent_slug": f"eq.{caller.agent}", "organization_slug": f"eq.{caller.organization}"}


def _filters(wanted: ListTasksRequest) -> dict[str, str]:
    filters = {}
    if wanted.context_id:
        # No row has this id: nothing is found, as with any other context that is not the caller's.
        known = wanted.context_id if is_uuid(wanted.context_id) else "00000000-0000-0000-0000-000000000000"
        filters["agent_conversation_id"] = f"eq.{known}"
    if wanted.status != TaskState.TASK_STATE_UNSPECIFIED:
        statuses = [status for status, state in STATES.items() if state == wanted.status] or ["none"]
        filters["status"] = f"in.({','.join(statuses)})"
    if wanted.HasField("status_timestamp_after"):
        filters["updated_at"] = f"gte.{wanted.status_timestamp_after.ToJsonString()}"
    return filters


def _token(row: Row) -> str:
    return base64.urlsafe_b64encode(json.dumps([row["created_at"], row["id"]]).encode()).decode()


def _place(token: str) -> tuple[str, str]:
    try:
        created, task_id = json.loads(base64.urlsafe_b64decode(token))
        if is_uuid(task_id) and set(created) <= set("0123456789-:.+T"):
            return created, task_id
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error):
        pass
    raise invalid("pageToken", "is not one that was given out.", "Send nextPageToken of the page before as it was.")
