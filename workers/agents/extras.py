"""What a run of a context agent is given beyond what its agent's row says, and who hears of what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_ai import CallDeferred, RunContext, Tool, ToolDefinition
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.capabilities.abstract import WrapToolExecuteHandler
from pydantic_ai.messages import ModelMessage, ToolCallPart

from workers.agents.checkpoint import Resumed


@dataclass(frozen=True, slots=True)
class OfflineCall:
    """A tool that the offline model calls."""

    call_id: str
    tool: str
    arguments: Mapping[str, Any]


OfflineSteps = Callable[[Sequence[ModelMessage]], OfflineCall | str]


class Listener(Protocol):
    """Hears of a run as it goes on; it may raise a TaskFailure, which ends the run."""

    async def responded(self, messages: Sequence[ModelMessage], used: Mapping[str, int]) -> None:
        """Take note of an answer of the model, the last of `messages`, before its tools are run."""

    async def tool_begins(self, call: ToolCallPart, arguments: Mapping[str, Any]) -> None:
        """Take note of a tool that is about to run."""

    async def tool_ended(self, call: ToolCallPart, result: Any) -> None:
        """Take note of what a tool gave."""


@dataclass(frozen=True, slots=True)
class Extras:
    """More tools, a history of its own, where an earlier attempt got to, and a listener.

    `offline_steps` is what the offline model does in place of writing a draft.
    """

    listener: Listener
    tools: Sequence[Tool[None]] = ()
    history: Sequence[ModelMessage] = ()
    reached: Resumed | None = None
    offline_steps: OfflineSteps | None = None

    def furthest(self, resumed: Resumed | None) -> Resumed | None:
        """Return what goes further: the last pause, or what the attempt after it has reached."""
        if self.reached is None or (resumed is not None and len(resumed.messages) >= len(self.reached.messages)):
            return resumed
        return self.reached

    async def responded(self, messages: Sequence[ModelMessage], used: Mapping[str, int]) -> None:
        """Tell the listener."""
        await self.listener.responded(messages, used)


class HookedTools(AbstractCapability[None]):
    """Tells a listener of each tool before and after it runs."""

    def __init__(self, extras: Extras) -> None:
        self._listener = extras.listener

    async def wrap_tool_execute(
        self,
        ctx: RunContext[None],  # noqa: ARG002 - the library's signature
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002
        args: Mapping[str, Any],
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """Run the tool; what it puts off is heard of when it is answered."""
        await self._listener.tool_begins(call, args)
        try:
            result = await handler(dict(args))
        except CallDeferred:
            raise
        except Exception as error:
            await self._listener.tool_ended(call, {"error": str(error)[:2000]})
            raise
        await self._listener.tool_ended(call, result)
        return result
