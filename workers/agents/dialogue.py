"""One run with a language model: its requests one after another, its tools between them, and what comes of it."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, ModelRetry, StructuredDict, Tool, ToolOutput
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_ai.usage import RunUsage

from workers.agents.checkpoint import Resumed, pause
from workers.agents.documents import (
    is_object_schema,
    output_invalid,
    plain_text_property,
    problems_of,
    schema_of,
    text_of,
    title_of,
)
from workers.agents.extras import Extras, HookedTools
from workers.agents.limits import Meter
from workers.agents.live import ANSWER_TOOL, MODEL_CALLED, LiveAnswer
from workers.agents.llm_config import AskPerson, LlmConfig
from workers.agents.offline import OFFLINE, estimate_tokens
from workers.agents.plan_format import PlanBrief, plan_invalid
from workers.agents.prompts import render_history, render_prompt
from workers.agents.provider_errors import broken_off, refused
from workers.agents.result import AgentResult, Reporter
from workers.agents.steps import TracedTools, llm_step, note_request, note_response
from workers.agents.usage import price_usage, usage_metadata
from workers.contract import AgentRow, ClaimedTask
from workers.errors import TaskFailure
from workers.ledger import UsageRow

_MAX_PROBLEMS_TOLD = 10


@dataclass(slots=True)
class Dialogue:
    """A run and what came of it so far; `sent` says that a provider was asked."""

    claimed: ClaimedTask
    agent: AgentRow
    config: LlmConfig
    model: Model
    tools: list[Tool[None]]
    resumed: Resumed | None
    meter: Meter
    offline: bool
    plan: PlanBrief | None = None
    extras: Extras | None = None
    sent: bool = False
    _problems: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, reporter: Reporter, started: float) -> AgentResult:
        """Make the requests and return what came of them.

        Raises:
            PauseNeeded: the model asks a person, or calls other agents.
            TaskFailure: there is no answer, or not the one that was asked for.
        """
        schema = schema_of(self.agent, "output")
        structured = schema is not None and is_object_schema(schema) and plain_text_property(schema) is None
        reporter.progress(MODEL_CALLED, f"{'Offline model' if self.offline else self.config.model} called")
        output: Any = ToolOutput(StructuredDict(schema or {}), name=ANSWER_TOOL) if structured else str
        result = await self._converse(self._runner(output, schema), LiveAnswer(reporter, structured))
        if isinstance(result.output, DeferredToolRequests):
            tool = self.config.ask_person or AskPerson()
            raise pause(result.output, result.all_messages(), tool, self.meter, self.usage_rows())
        reason = "stop" if self.offline else str(result.response.finish_reason)
        return self._result(result.output, self._llm_metadata(reason, time.monotonic() - started))

    def _runner(self, output: Any, schema: dict[str, Any] | None) -> Agent[None, Any]:
        runner: Agent[None, Any] = Agent(
            self.model,
            output_type=[output, DeferredToolRequests] if self.tools else output,
            tools=self.tools,
            # Not system_prompt: that one is left out as soon as there is a history.
            instructions=self.agent.context or None,
            # An answer that breaks the schema is asked for once more, with what is wrong with it.
            retries={"tools": 1, "output": 1},
            capabilities=self._capabilities(),
        )

        @runner.output_validator
        async def check(answer: Any) -> Any:
            """Hold an answer against `io_schema.output`; plain text stands for the only property of its schema."""
            if isinstance(answer, DeferredToolRequests):
                return answer
            if self.plan is not None:
                return await self._checked_plan(self.plan, answer)
            document = answer
            name = plain_text_property(schema) if schema is not None else None
            if name is not None and isinstance(answer, str):
                document = {name: answer}
            self._problems = problems_of(document, schema) if schema is not None else []
            if self._problems:
                told = [f"{problem['path']}: {problem['message']}" for problem in self._problems[:_MAX_PROBLEMS_TOLD]]
                raise ModelRetry("The answer breaks its schema. " + "; ".join(told))
            return answer

        return runner

    def _capabilities(self) -> list[AbstractCapability[None]] | None:
        if not self.tools:
            return None
        return [TracedTools()] if self.extras is None else [TracedTools(), HookedTools(self.extras)]

    async def _checked_plan(self, plan: PlanBrief, answer: Any) -> Any:
        """Let the database judge and keep a plan: it checks all of the format, and quicker than a schema can."""
        self._problems = []
        if (problem := await plan.write(answer)) is not None:
            self._problems = [{"path": "plan_json", "message": problem}]
            raise ModelRetry(f"The plan cannot be carried out. {problem}")
        return answer

    async def _converse(self, runner: Agent[None, Any], live: LiveAnswer) -> AgentRunResult[Any]:
        prompt: str | None = render_prompt(self.claimed.task.prompt, self.claimed.task.params)
        history, results = render_history(self.claimed.history), None
        if self.extras is not None:
            history = list(self.extras.history)
        if self.resumed is not None:
            prompt, history, results = None, self.resumed.messages, self.resumed.results
        async with runner.iter(
            prompt,
            message_history=history,
            deferred_tool_results=results,
            model_settings=lambda _context: self.meter.settings(),
            usage=copy(self.meter.total),
            usage_limits=self.meter.usage_limits(),
        ) as run:
            async for node in run:
                if not Agent.is_model_request_node(node):
                    continue
                await self._request(node, run.ctx, live)
                if self.extras is not None:
                    await self.extras.responded(run.ctx.state.message_history, self.meter.kept())
            if run.result is None:
                raise RuntimeError("the run ended without a result")
            self.meter.total = self._estimated(run.result.response) if self.offline else run.usage
            return run.result

    async def _request(self, node: Any, context: Any, live: LiveAnswer) -> None:
        """Make one request to the model, and let its answer be heard."""
        self.sent = True
        live.begin()
        before = copy(self.meter.total)
        with llm_step(*self._model_names) as record:
            note_request(record, node.request, context.state.message_history)
            async with node.stream(context) as stream:
                try:
                    async for event in stream:
                        live.hear(event)
                finally:
                    self.meter.total = stream.usage
                    used = self._estimated(stream.response) if self.offline else stream.usage
                    note_response(record, stream.response, self._price(used - before))
            live.flush()
            if not self.offline:
                self._check(stream.response)

    @property
    def _model_names(self) -> tuple[str, str]:
        return (OFFLINE, OFFLINE) if self.offline else (self.config.provider, self.config.model)

    def _price(self, used: RunUsage) -> UsageRow:
        if self.offline:
            return UsageRow(OFFLINE, OFFLINE, used.input_tokens, used.output_tokens, cost=0.0)
        return price_usage(self.config.provider, self.config.model, used)[0]

    def _check(self, response: ModelResponse) -> None:
        """Let only whole answers pass, within the limits, before their tools are run."""
        if response.finish_reason == "content_filter":
            raise refused(self.config.provider)
        if response.finish_reason is None:
            raise broken_off(self.config.provider)
        self.meter.check(response)

    def _estimated(self, response: ModelResponse) -> RunUsage:
        """Return about what a language model would have counted."""
        asked = [self.agent.context, self.claimed.task.prompt, *(turn.content for turn in self.claimed.history)]
        asked += (
            [str(told) for told in self.resumed.results.calls.values()] if self.resumed and self.resumed.results else []
        )
        written = [part.content if isinstance(part, TextPart) else str(part) for part in response.parts]
        counted = RunUsage(input_tokens=estimate_tokens(*asked), output_tokens=estimate_tokens(*written), requests=1)
        return self.meter.before + counted

    def explain(self, failure: TaskFailure) -> TaskFailure:
        """Return the failure with what is known of it only here: the limit behind it, or what broke the schema."""
        if failure.code == "output_invalid" and self.meter.is_spent:
            return self.meter.reached()
        if failure.code == "output_invalid" and self._problems and self.plan is not None:
            return plan_invalid(self._problems)
        if failure.code == "output_invalid" and self._problems:
            return output_invalid(self._problems, retryable=True)
        return failure

    def _result(self, output: Any, metadata: dict[str, Any]) -> AgentResult:
        document = None if isinstance(output, str) else dict(output)
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

    def usage_rows(self) -> list[UsageRow]:
        """Return the ledger's row for what was used since the last pause, or none when nothing was."""
        row, _ = self._priced()
        return [row] if row.input_tokens or row.output_tokens else []

    def _priced(self) -> tuple[UsageRow, list[str]]:
        used = self.meter.since
        if self.offline:
            return UsageRow(OFFLINE, OFFLINE, used.input_tokens, used.output_tokens, cost=0.0), []
        return price_usage(self.config.provider, self.config.model, used)

    def _llm_metadata(self, finish_reason: str, seconds: float) -> dict[str, Any]:
        row, warnings = self._priced()
        metadata: dict[str, Any] = {
            "provider": row.provider,
            "model": row.model,
            "usage": usage_metadata(row),
            "requests": self.meter.since.requests,
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
