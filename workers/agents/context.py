"""Context agents: a system prompt, the conversation so far, and a language model that answers as it writes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, StructuredDict, ToolOutput
from pydantic_ai.exceptions import AgentRunError, UserError
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.usage import RunUsage

from workers.agents.ask import Resumed, ask_person, pause, resume
from workers.agents.documents import (
    check_output,
    is_object_schema,
    plain_text_property,
    schema_of,
    text_of,
    title_of,
)
from workers.agents.live import ANSWER_TOOL, MODEL_CALLED, LiveAnswer
from workers.agents.llm_config import LlmConfig, read_llm_config
from workers.agents.offline import OFFLINE, OfflineBrief, estimate_tokens, offline_model
from workers.agents.prompts import render_history, render_prompt
from workers.agents.provider_errors import broken_off, refused, translate
from workers.agents.providers import Providers
from workers.agents.result import AgentResult, Reporter
from workers.agents.usage import price_usage, usage_metadata
from workers.contract import AgentRow, ClaimedTask
from workers.errors import TaskFailure
from workers.ledger import UsageRow

_PROMPT_READY = 30.0


class ContextAgents:
    """Runs agents of type `context`; with `offline_seconds` set, on the offline model instead of a provider."""

    def __init__(self, providers: Providers, *, offline_seconds: float | None = None) -> None:
        self._providers = providers
        self._offline_seconds = offline_seconds

    async def run(self, claimed: ClaimedTask, agent: AgentRow, reporter: Reporter) -> AgentResult:
        """Run one attempt: one request to the model, streamed; after a question to a person, the next one.

        Raises:
            InputNeeded: the model asks a person; with the usage of the request.
            TaskFailure: with the usage of the request, if there was one.
        """
        config = read_llm_config(agent.llm_config)
        resumed = resume(claimed, config.ask_person)
        model = await self._model(claimed, agent, config)
        call = _Call(claimed, agent, config, model, resumed, self._offline_seconds is not None)
        reporter.progress(_PROMPT_READY, "Prompt ready")
        started = time.monotonic()
        try:
            return await call.answer(reporter, started)
        except TaskFailure as failure:
            raise failure.with_usage(call.usage_rows()) from None
        except (AgentRunError, UserError, RecursionError, ValueError) as error:
            raise self._failure(error, call) from error

    async def _model(self, claimed: ClaimedTask, agent: AgentRow, config: LlmConfig) -> Model:
        if self._offline_seconds is None:
            return await self._providers.model(config.provider, config.model, claimed.task.organization_slug)
        brief = OfflineBrief(
            prompt=claimed.task.prompt,
            params=claimed.task.params if isinstance(claimed.task.params, dict) else {},
            agent_name=agent.name,
            agent_context=agent.context,
            seconds=self._offline_seconds,
        )
        return offline_model(brief)

    def _failure(self, error: Exception, call: _Call) -> Exception:
        config = call.config
        failure = translate(
            error,
            provider=config.provider,
            model=config.model,
            key=self._providers.key_name(config.provider, call.claimed.task.organization_slug),
        )
        if failure is not None:
            return failure.with_usage(call.usage_rows())
        if isinstance(error, ValueError) and call.sent:
            # The SDKs let the JSON error of a garbled answer through as it is.
            return broken_off(config.provider).with_usage(call.usage_rows())
        return error


@dataclass(slots=True)
class _Call:
    """One request to a model and what came of it so far."""

    claimed: ClaimedTask
    agent: AgentRow
    config: LlmConfig
    model: Model
    resumed: Resumed | None
    offline: bool
    usage: RunUsage = field(default_factory=RunUsage)
    sent: bool = False

    async def answer(self, reporter: Reporter, started: float) -> AgentResult:
        """Make the request and return what came of it.

        Raises:
            InputNeeded: the model asks a person.
            TaskFailure: there is no answer, or not the one that was asked for.
        """
        schema = schema_of(self.agent, "output")
        structured = schema is not None and is_object_schema(schema) and plain_text_property(schema) is None
        reporter.progress(MODEL_CALLED, f"{'Offline model' if self.offline else self.config.model} called")
        runner = self._runner(ToolOutput(StructuredDict(schema or {}), name=ANSWER_TOOL) if structured else str)
        result = await self._stream(runner, LiveAnswer(reporter, structured))
        reason = "stop" if self.offline else result.response.finish_reason
        if reason == "content_filter":
            raise refused(self.config.provider)
        if reason is None:
            raise TaskFailure(
                "provider_unavailable", f"The answer of {self.config.provider} broke off.", retryable=True
            )
        if isinstance(result.output, DeferredToolRequests) and self.config.ask_person is not None:
            raise pause(result.output, result.all_messages(), self.config.ask_person, self.usage_rows())
        metadata = self._llm_metadata(reason, time.monotonic() - started)
        return self._result(result.output, schema, metadata)

    def _runner(self, output: Any) -> Agent[None, Any]:
        asks = self.config.ask_person is not None
        return Agent(
            self.model,
            output_type=[output, DeferredToolRequests] if asks else output,
            tools=[ask_person] if asks else [],
            # Not system_prompt: that one is left out as soon as there is a history.
            instructions=self.agent.context or None,
            retries=0,
        )

    async def _stream(self, runner: Agent[None, Any], live: LiveAnswer) -> AgentRunResult[Any]:
        prompt: str | None = render_prompt(self.claimed.task.prompt, self.claimed.task.params)
        history, results = render_history(self.claimed.history), None
        if self.resumed is not None:
            prompt, history, results = None, self.resumed.messages, self.resumed.results
        async with runner.iter(
            prompt, message_history=history, deferred_tool_results=results, model_settings=self.config.settings
        ) as run:
            async for node in run:
                if not Agent.is_model_request_node(node):
                    continue
                self.sent = True
                async with node.stream(run.ctx) as stream:
                    try:
                        async for event in stream:
                            live.hear(event)
                    finally:
                        self.usage = stream.usage
            if run.result is None:
                raise RuntimeError("the run ended without a result")
            self.usage = self._estimated(run.result.response) if self.offline else run.usage
            live.flush()
            return run.result

    def _estimated(self, response: ModelResponse) -> RunUsage:
        """Return about what a language model would have counted."""
        asked = [self.agent.context, self.claimed.task.prompt, *(turn.content for turn in self.claimed.history)]
        asked += [str(told) for told in self.resumed.results.calls.values()] if self.resumed else []
        written = [part.content if isinstance(part, TextPart) else str(part) for part in response.parts]
        return RunUsage(input_tokens=estimate_tokens(*asked), output_tokens=estimate_tokens(*written), requests=1)

    def _result(self, output: Any, schema: dict[str, Any] | None, metadata: dict[str, Any]) -> AgentResult:
        document = None if isinstance(output, str) else dict(output)
        if schema is not None:
            check_output(self._checked(output, schema), schema, retryable=True)
        text = output if isinstance(output, str) else text_of(document)
        if not text.strip():
            raise TaskFailure("output_invalid", "The model answered with no text.", retryable=True)
        return AgentResult(
            text=text,
            document=document,
            title=title_of(document),
            llm_metadata=metadata,
            usage=self.usage_rows(),
        )

    def _checked(self, output: Any, schema: dict[str, Any]) -> Any:
        """Return what the schema is to be checked against; plain text stands for its only property."""
        name = plain_text_property(schema)
        return {name: output} if name is not None and isinstance(output, str) else output

    def usage_rows(self) -> list[UsageRow]:
        """Return the ledger's row, or none when nothing was used."""
        row, _ = self._priced()
        return [row] if row.input_tokens or row.output_tokens else []

    def _priced(self) -> tuple[UsageRow, list[str]]:
        if self.offline:
            return UsageRow(OFFLINE, OFFLINE, self.usage.input_tokens, self.usage.output_tokens, cost=0.0), []
        return price_usage(self.config.provider, self.config.model, self.usage)

    def _llm_metadata(self, finish_reason: str, seconds: float) -> dict[str, Any]:
        row, warnings = self._priced()
        metadata: dict[str, Any] = {
            "provider": row.provider,
            "model": row.model,
            "usage": usage_metadata(row),
            "duration_ms": round(seconds * 1000),
            "finish_reason": finish_reason,
        }
        if self.offline:
            metadata["offline"] = True
            warnings.append("Written offline, without a language model; the tokens are an estimate.")
        if finish_reason == "length":
            warnings.append("The model stopped at its limit of tokens: the text may be cut off.")
        if warnings:
            metadata["warnings"] = warnings
        return metadata
