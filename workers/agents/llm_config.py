"""Reads the `llm_config` of a context agent: which provider and model, how it is set, its tools, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_ai.settings import ModelSettings

from workers.errors import TaskFailure
from workers.questions import OnExpiry, RequiredRole
from workers.settings import Provider

_Slug = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]

# What a provider has no such parameter for, so that it is refused rather than ignored.
_UNSUPPORTED: Mapping[Provider, frozenset[str]] = {
    "anthropic": frozenset({"seed", "presencePenalty", "frequencyPenalty"}),
    "openai": frozenset({"topK"}),
    "google": frozenset(),
    "ollama": frozenset({"topK"}),
}


class _Strict(BaseModel):
    """Something unknown is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Parameters(_Strict):
    """The documented parameters; those of the documents' spelling may also be written in snake_case."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    maxTokens: int | None = Field(default=None, ge=1, validation_alias=AliasChoices("maxTokens", "max_tokens"))  # noqa: N815 - the name in the documents
    topP: float | None = Field(default=None, ge=0, le=1, validation_alias=AliasChoices("topP", "top_p"))  # noqa: N815
    topK: int | None = Field(default=None, ge=1, validation_alias=AliasChoices("topK", "top_k"))  # noqa: N815
    stop: _Stop | list[_Stop] | None = Field(default=None, max_length=200)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    presencePenalty: _Penalty | None = Field(  # noqa: N815
        default=None, validation_alias=AliasChoices("presencePenalty", "presence_penalty")
    )
    frequencyPenalty: _Penalty | None = Field(  # noqa: N815
        default=None, validation_alias=AliasChoices("frequencyPenalty", "frequency_penalty")
    )


class AskPerson(_Strict):
    """How `ask_person` asks: `expires_in_seconds` and `on_expiry` as in `InputRequest`."""

    expires_in_seconds: float | None = Field(default=None, ge=1, le=7_776_000)
    on_expiry: OnExpiry = "fail"
    required_role: RequiredRole = "member"


class CallAgents(_Strict):
    """Which agents the agent may call, and how many may stand above a called one."""

    agents: list[_Slug] = Field(min_length=1, max_length=50)
    max_depth: int = Field(default=5, ge=1, le=5)


class McpServer(_Strict):
    """An MCP server, by streamable HTTP; `tools` are those that are used, None for all; `timeout` is in seconds."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    url: str = Field(pattern=r"^(https?://|\$\{)", max_length=2000)
    headers: dict[str, str] = Field(default={}, max_length=50)
    tools: list[_Slug] | None = None
    timeout: float = Field(default=30.0, ge=1, le=600)


class ShareData(_Strict):
    """The agent may leave data for later steps, and read what others left; there is nothing to set."""


class _Tools(_Strict):
    """The tools there are; a null is as good as none."""

    ask_person: AskPerson | None = None
    call_agents: CallAgents | None = None
    mcp_servers: list[McpServer] | None = Field(default=None, max_length=10)
    share_data: ShareData | None = None


class Limits(_Strict):
    """What one run may use, pauses and the requests after them included; `max_cost` is in US dollars.

    Requests and calls of tools have an end in any case, so that no model goes round in circles.
    """

    max_requests: int = Field(default=50, ge=1, le=1000)
    max_tool_calls: int = Field(default=100, ge=0, le=1000)
    max_input_tokens: int | None = Field(default=None, ge=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    max_total_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)


class _Config(_Strict):
    provider: Literal["anthropic", "openai", "google", "ollama"]
    # Google's stands in the path of the URL: # or % would make another call of the one that the key is lent for.
    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", max_length=200)
    parameters: _Parameters = _Parameters()
    tools: _Tools = _Tools()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class LlmConfig:
    """A checked `llm_config`; `ask_person` and `call_agents` are None for an agent that may not."""

    provider: Provider
    model: str
    settings: ModelSettings
    limits: Limits = field(default_factory=Limits)
    ask_person: AskPerson | None = None
    call_agents: CallAgents | None = None
    mcp_servers: tuple[McpServer, ...] = ()
    shares_data: bool = False


def read_llm_config(raw: object) -> LlmConfig:
    """Check and return an agent's `llm_config`.

    Raises:
        TaskFailure: agent_misconfigured, naming each field that is wrong, unknown, or not of this provider.
    """
    try:
        config = _Config.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors(include_input=False, include_url=False)]
        raise misconfigured(problems[0]["path"], problems[0]["message"], problems) from None
    unsupported = sorted(_UNSUPPORTED[config.provider] & config.parameters.model_dump(exclude_none=True).keys())
    if unsupported:
        raise misconfigured(f"llm_config.parameters.{unsupported[0]}", f"{config.provider} has no such parameter")
    servers = tuple(config.tools.mcp_servers or ())
    if len({server.name for server in servers}) < len(servers):
        raise misconfigured("llm_config.tools.mcp_servers", "two servers have the same name")
    return LlmConfig(
        config.provider,
        config.model,
        _model_settings(config.parameters),
        config.limits,
        config.tools.ask_person,
        config.tools.call_agents,
        servers,
        config.tools.share_data is not None,
    )


def misconfigured(field: str, problem: str, problems: list[dict[str, str]] | None = None) -> TaskFailure:
    """Return the failure for a field of the agent that cannot be used."""
    listed = problems if problems is not None else [{"path": field, "message": problem}]
    return TaskFailure(
        "agent_misconfigured",
        f"The agent's {field} cannot be used: {problem}.",
        data={"field": field, "problems": listed},
    )


def _model_settings(parameters: _Parameters) -> ModelSettings:
    given: dict[str, Any] = {
        "temperature": parameters.temperature,
        "max_tokens": parameters.maxTokens,
        "top_p": parameters.topP,
        "top_k": parameters.topK,
        "stop_sequences": [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop,
        "seed": parameters.seed,
        "presence_penalty": parameters.presencePenalty,
        "frequency_penalty": parameters.frequencyPenalty,
    }
    return cast("ModelSettings", {name: value for name, value in given.items() if value is not None})


def _problem(entry: Mapping[str, Any]) -> dict[str, str]:
    place = ".".join(["llm_config", *(str(part) for part in cast("tuple[object, ...]", entry["loc"]))])
    return {"path": place, "message": str(entry["msg"])}
