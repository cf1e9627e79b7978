"""Context agents: a system prompt, the conversation so far, tools, and a language model that answers as it writes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from pydantic_ai import Tool
from pydantic_ai.exceptions import AgentRunError, UsageLimitExceeded, UserError
from pydantic_ai.models import Model

from workers.agents.ask import ask_person
from workers.agents.call_agents import call_tools
from workers.agents.checkpoint import resume
from workers.agents.dialogue import Dialogue
from workers.agents.extras import Extras
from workers.agents.limits import Meter
from workers.agents.llm_config import LlmConfig, read_llm_config
from workers.agents.offline import OfflineBrief, offline_model
from workers.agents.plan_format import PlanBrief
from workers.agents.provider_errors import broken_off, translate
from workers.agents.providers import Providers
from workers.agents.result import AgentResult, Reporter
from workers.agents.share_data import data_tools
from workers.backend import Backend
from workers.contract import AgentRow, ClaimedTask
from workers.door import Door
from workers.errors import AttemptStopped, TaskFailure
from workers.secrets import Secrets

if TYPE_CHECKING:
    from workers.agents.mcp_servers import McpServers

_PROMPT_READY = 30.0


class ContextAgents:
    """Runs agents of type `context`; with `offline_seconds` set, on the offline model instead of a provider."""

    def __init__(
        self,
        providers: Providers,
        *,
        door: Door,
        secrets: Secrets,
        database: Backend,
        offline_seconds: float | None = None,
    ) -> None:
        self._providers = providers
        self._door = door
        self._secrets = secrets
        self._database = database
        self._offline_seconds = offline_seconds

    async def run(
        self,
        claimed: ClaimedTask,
        agent: AgentRow,
        reporter: Reporter,
        plan: PlanBrief | None = None,
        extras: Extras | None = None,
    ) -> AgentResult:
        """Run one attempt: requests to the model, streamed, until it answers; after a pause, those that are left.

        With `plan`, the answer is a plan, and `plan.write` has taken it. `extras` gives it more than its agent has.

        Raises:
            PauseNeeded: the model asks a person, or calls other agents; with the usage of the requests.
            TaskFailure: with the usage of the requests, if there were any.
        """
        config = read_llm_config(agent.llm_config)
        resumed = resume(claimed, config.ask_person, reporter)
        if extras is not None:
            resumed = extras.furthest(resumed)
        meter = Meter(config, resumed.used) if resumed is not None else Meter(config)
        if resumed is not None and resumed.total is not None:
            meter.go_on(resumed.total)
        offline = self._offline_seconds is not None
        if not offline:
            meter.begin()
        model = await self._model(claimed, agent, config, plan, extras)
        async with AsyncExitStack() as stack:
            tools = [*(extras.tools if extras else ()), *await self._tools(stack, claimed, config, reporter)]
            dialogue = Dialogue(claimed, agent, config, model, tools, resumed, meter, offline, plan, extras)
            reporter.progress(_PROMPT_READY, "Prompt ready")
            return await self._answer(dialogue, reporter)

    async def _answer(self, dialogue: Dialogue, reporter: Reporter) -> AgentResult:
        try:
            return await dialogue.answer(reporter, time.monotonic())
        except asyncio.CancelledError:
            raise AttemptStopped(dialogue.usage_rows()) from None
        except TaskFailure as failure:
            raise failure.with_usage(dialogue.usage_rows()) from None
        except UsageLimitExceeded:
            raise dialogue.meter.reached().with_usage(dialogue.usage_rows()) from None
        except (AgentRunError, UserError, RecursionError, ValueError) as error:
            raise self._failure(error, dialogue) from error

    async def _tools(
        self, stack: AsyncExitStack, claimed: ClaimedTask, config: LlmConfig, reporter: Reporter
    ) -> list[Tool[None]]:
        """Return the tools that the agent's row gives it; offline only that which asks."""
        tools = [Tool[None](ask_person, max_retries=0)] if config.ask_person is not None else []
        if self._offline_seconds is not None:
            return tools
        if config.shares_data:
            tools += data_tools(claimed, self._database)
        tools += await call_tools(claimed, config.call_agents, self._database)
        if config.mcp_servers:
            mcp_servers = (await asyncio.to_thread(_load_mcp))(self._door, self._secrets, claimed, reporter)
            servers = await stack.enter_async_context(mcp_servers)
            tools += await servers.connect(config.mcp_servers)
        by_name = {tool.name: tool for tool in reversed(tools)}  # Our own go first.
        return list(reversed(by_name.values()))

    async def _model(
        self,
        claimed: ClaimedTask,
        agent: AgentRow,
        config: LlmConfig,
        plan: PlanBrief | None,
        extras: Extras | None,
    ) -> Model:
        if self._offline_seconds is None:
            return await self._providers.model(config.provider, config.model, claimed.task.organization_slug)
        brief = OfflineBrief(
            prompt=claimed.task.prompt if plan is None else plan.request,
            params=claimed.task.params if isinstance(claimed.task.params, dict) else {},
            agent_name=agent.name,
            agent_context=agent.context,
            seconds=self._offline_seconds,
            plan=plan,
            steps=extras.offline_steps if extras else None,
        )
        return offline_model(brief)

    def _failure(self, error: Exception, dialogue: Dialogue) -> Exception:
        config = dialogue.config
        failure = translate(
            error,
            provider=config.provider,
            model=config.model,
            key=self._providers.key_name(config.provider, dialogue.claimed.task.organization_slug),
        )
        if failure is not None:
            return dialogue.explain(failure).with_usage(dialogue.usage_rows())
        if isinstance(error, ValueError) and dialogue.sent:
            # The SDKs let the JSON error of a garbled answer through as it is.
            return broken_off(config.provider).with_usage(dialogue.usage_rows())
        return error


def _load_mcp() -> type[McpServers]:
    # When the first agent needs it: the SDK takes most of a second to load, as long as all else that a worker is.
    from workers.agents.mcp_servers import McpServers  # noqa: PLC0415

    return McpServers
