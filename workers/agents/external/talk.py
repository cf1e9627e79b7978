"""One attempt's talk with a server: send the task or find it again, then follow it until it is over or asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from a2a.types import SendMessageRequest, StreamResponse
from google.protobuf.json_format import MessageToDict

from workers.agents.external.config import Binding, Version
from workers.agents.external.links import Link, Links
from workers.agents.external.messages import answer_message, task_message
from workers.agents.external.remote import INTERRUPTED, RemoteTask, state_name
from workers.agents.external.wire import Wire
from workers.backoff import Backoff
from workers.contract import ClaimedTask
from workers.errors import TaskFailure
from workers.trace import step

# How often in a row a poll may fail by something that passes, and how often a task may be in a state that nobody knows,
# or in the one that was answered.
_MAX_TROUBLES = 8
_MAX_STRANGE = 12
_CANCEL_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How to talk to a server: by which interface, `streaming` if it can; `poll` makes the waits between looks."""

    server: str
    binding: Binding
    version: Version
    streaming: bool
    skill: str | None
    takes_json: bool
    poll: Callable[[], Backoff]


class Talk:
    """One attempt's part of the conversation; `link` is what it will be found again by."""

    def __init__(self, claimed: ClaimedTask, wire: Wire, links: Links, remote: RemoteTask, terms: Terms) -> None:
        self._claimed = claimed
        self._wire = wire
        self._links = links
        self._remote = remote
        self._terms = terms
        self._kept: Link | None = None

    async def run(self, link: Link) -> None:
        """Bring the task to where it is over or waits for somebody.

        Raises:
            TaskFailure: it could not be brought there.
        """
        if link.remote_task_id is None:
            message = task_message(self._claimed, link, skill=self._terms.skill, takes_json=self._terms.takes_json)
            await self._say(link, SendMessageRequest(message=message))
            return
        self._kept = link
        self._remote.id = link.remote_task_id
        await self._look()
        reply = answer_message(self._claimed, link)
        if reply is not None and self._remote.state in INTERRUPTED:
            self._remote.answered()
            await self._say(replace(link, message_id=reply.message_id), SendMessageRequest(message=reply))
            return
        self._remote.log("Goes on with the remote task", {"remote_task_id": link.remote_task_id})
        with step("http_request", "GetTask", {"remote_task_id": link.remote_task_id}) as record:
            if not self._remote.settled and self._terms.streaming:
                await self._listen(self._wire.subscribe(link.remote_task_id), link)
                await self._confirm()
            await self._poll()
            record.output = self._remote.shown()

    @property
    def last_message_id(self) -> str:
        """The id of the last message that the server has taken."""
        return self._kept.message_id if self._kept is not None else ""

    async def cancel(self) -> None:
        """Tell the server to stop, as far as it can be told within a few seconds."""
        if self._remote.id is None or self._remote.message is not None:
            return
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._wire.cancel(self._remote.id)
        except (TaskFailure, TimeoutError):
            # It is over already, cannot be stopped, or is away: nobody here waits for it any more.
            return

    async def _say(self, link: Link, request: SendMessageRequest) -> None:
        with step("http_request", "SendMessage", MessageToDict(request.message)) as record:
            await self._listen(self._wire.send(request), link, first=True)
            record.metadata = {"remote_task_id": self._remote.id}
            await self._poll()
            record.output = self._remote.shown()

    async def _listen(self, events: AsyncGenerator[StreamResponse, None], link: Link, *, first: bool = False) -> None:
        """Take in a stream; when it breaks after the server has named the task, polling takes over."""
        named = not first
        try:
            async with aclosing(events) as stream:
                async for event in stream:
                    self._remote.take(event)
                    named = True
                    await self._keep(link)
                    if self._remote.settled:
                        return
        except TaskFailure as failure:
            if not named or self._remote.id is None or failure.code in {"response_too_large", "internal_error"}:
                raise
            self._remote.log("The stream broke off; the remote task is polled", {"error_code": failure.code})
        if self._remote.id is None:
            raise TaskFailure("endpoint_response_invalid", "The external agent answered with nothing.")

    async def _confirm(self) -> None:
        """Take the server's own copy of what a stream added to: pieces that came between look and stream came twice."""
        if self._remote.settled and self._remote.message is None:
            try:
                self._remote.snapshot(await self._wire.get(str(self._remote.id)))
            except TaskFailure:  # It is not kept there, or the server is away: what was heard counts.
                return

    async def _keep(self, link: Link) -> None:
        known = replace(link, remote_task_id=self._remote.id, context_id=self._remote.context_id)
        if known != self._kept and (known.remote_task_id is not None or known.context_id is not None):
            await self._links.keep(self._claimed, known)
            self._kept = known

    async def _poll(self) -> None:
        waits = self._terms.poll()
        unknown = stale = 0
        while not self._remote.settled:
            await asyncio.sleep(waits.next())
            await self._look()
            unknown = unknown + 1 if state_name(self._remote.state) == "unknown" else 0
            stale = stale + 1 if self._remote.stale else 0
            if unknown >= _MAX_STRANGE:
                raise TaskFailure(
                    "endpoint_response_invalid", "The external agent's task stays in a state that A2A does not know."
                )
            if stale >= _MAX_STRANGE:
                self._remote.answered(False)

    async def _look(self) -> None:
        """Take in the task as it is now; what passes by itself is waited for."""
        waits = self._terms.poll()
        for tries in range(1, _MAX_TROUBLES + 1):
            try:
                self._remote.snapshot(await self._wire.get(str(self._remote.id)))
                return
            except TaskFailure as failure:
                if not failure.retryable or failure.code == "remote_task_lost" or tries == _MAX_TROUBLES:
                    raise
                await asyncio.sleep(max(waits.next(), min(failure.retry_after or 0.0, 60.0)))
