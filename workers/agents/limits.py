"""Holds a run to its `llm_config.limits`: counts what it uses, pauses included, and ends it when that is too much."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage, UsageLimits

from workers.agents.live import ANSWER_TOOL
from workers.agents.llm_config import Limits, LlmConfig, misconfigured
from workers.agents.usage import has_price, price_usage
from workers.errors import TaskFailure

_KEPT = ("requests", "tool_calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


@dataclass(slots=True)
class Meter:
    """What a run has used: `before` its last pause, and `total` with what came after it.

    Tokens and requests are held to their limits by pydantic-ai, while an answer streams; calls of tools and the cost
    after each answer.
    """

    config: LlmConfig
    before: RunUsage = field(default_factory=RunUsage)
    total: RunUsage = field(init=False)
    tool_calls: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = copy(self.before)
        self.tool_calls = self.before.tool_calls

    def go_on(self, total: RunUsage) -> None:
        """Begin with what the run has used in all, of which `before` is in the ledger already."""
        self.total = copy(total)
        self.tool_calls = total.tool_calls

    @property
    def since(self) -> RunUsage:
        """What this attempt used since it began or went on; the rest is in the ledger already."""
        return self.total - self.before

    def begin(self) -> None:
        """Refuse a limit that cannot be kept, and a run that has used up its limits.

        Raises:
            TaskFailure: agent_misconfigured, limit_reached.
        """
        if self._limits.max_cost is not None and not has_price(self.config.provider, self.config.model):
            raise misconfigured(
                "llm_config.limits.max_cost", f"no price is known for {self.config.provider} {self.config.model}"
            )
        self._check_cost()

    def usage_limits(self) -> UsageLimits:
        """Return the limits that pydantic-ai keeps."""
        return UsageLimits(
            request_limit=self._limits.max_requests,
            input_tokens_limit=self._limits.max_input_tokens,
            output_tokens_limit=self._limits.max_output_tokens,
            total_tokens_limit=self._limits.max_total_tokens,
        )

    def settings(self) -> ModelSettings:
        """Return the model's settings, asking for no more tokens than may still be written."""
        left = self._tokens_left()
        asked = self.config.settings.get("max_tokens")
        if left is None or (asked is not None and asked <= left):
            return self.config.settings
        return {**self.config.settings, "max_tokens": max(1, left)}

    def check(self, response: ModelResponse) -> None:
        """Check what a whole answer of the model has used, and what it asks for.

        Raises:
            TaskFailure: limit_reached.
        """
        self._check_cost()
        if response.finish_reason == "length" and self.is_spent:
            raise self.reached()
        # The library counts only those that it ran itself, and after it did.
        asked = [part for part in response.parts if isinstance(part, ToolCallPart) and part.tool_name != ANSWER_TOOL]
        self.tool_calls += len(asked)
        if self.tool_calls > self._limits.max_tool_calls:
            raise _failure("max_tool_calls", self._limits.max_tool_calls, self.tool_calls)

    @property
    def is_spent(self) -> bool:
        """Whether no more tokens may be written."""
        return self._tokens_left() == 0

    def reached(self) -> TaskFailure:
        """Return the failure for the limit of tokens or requests that was reached."""
        used = {
            "max_input_tokens": self.total.input_tokens,
            "max_output_tokens": self.total.output_tokens,
            "max_total_tokens": self.total.input_tokens + self.total.output_tokens,
        }
        for name, value in used.items():
            limit = getattr(self._limits, name)
            if limit is not None and value >= limit:
                return _failure(name, limit, value)
        return _failure("max_requests", self._limits.max_requests, self.total.requests)

    def kept(self) -> dict[str, int]:
        """Return what a checkpoint keeps of the usage."""
        return {name: getattr(self.total, name) for name in _KEPT} | {"tool_calls": self.tool_calls}

    @property
    def _limits(self) -> Limits:
        return self.config.limits

    def _tokens_left(self) -> int | None:
        """Return how many tokens may still be written; None for no limit."""
        limits = self._limits
        left = []
        if limits.max_output_tokens is not None:
            left.append(limits.max_output_tokens - self.total.output_tokens)
        if limits.max_total_tokens is not None:
            left.append(limits.max_total_tokens - self.total.input_tokens - self.total.output_tokens)
        return max(0, min(left)) if left else None

    def _check_cost(self) -> None:
        limit = self._limits.max_cost
        if limit is None:
            return
        cost = price_usage(self.config.provider, self.config.model, self.total)[0].cost or 0.0
        if cost > limit:
            raise _failure("max_cost", limit, round(cost, 6))


def usage_of(kept: Mapping[str, int]) -> RunUsage:
    """Return what a checkpoint says a run had used."""
    used = RunUsage()
    for name in _KEPT:
        setattr(used, name, kept.get(name, 0))
    return used


def _failure(name: str, limit: float, used: float) -> TaskFailure:
    return TaskFailure(
        "limit_reached",
        f"The agent's llm_config.limits.{name} stopped the run: {used:g} of {limit:g}. Raise it, or ask for less.",
        data={"field": f"llm_config.limits.{name}", "limit": limit, "used": used},
    )
