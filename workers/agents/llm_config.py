"""Reads the `llm_config` of a context agent: which provider, which model, how it is set, which tools it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_ai.settings import ModelSettings

from workers.errors import TaskFailure
from workers.questions import OnExpiry, RequiredRole
from workers.settings import Provider


class _Parameters(BaseModel):
    """The documented parameters; an unknown one is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    temperature: float | None = Field(default=None, ge=0, le=2)
    maxTokens: int | None = Field(default=None, ge=1)  # noqa: N815 - the name in the documents
    topP: float | None = Field(default=None, ge=0, le=1)  # noqa: N815


class AskPerson(BaseModel):
    """How `ask_person` asks: `expires_in_seconds` and `on_expiry` as in `InputRequest`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    expires_in_seconds: float | None = Field(default=None, ge=1, le=7_776_000)
    on_expiry: OnExpiry = "fail"
    required_role: RequiredRole = "member"


class _Tools(BaseModel):
    """The tools there are; a null is as good as none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ask_person: AskPerson | None = None


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    provider: Literal["anthropic", "openai", "google", "ollama"]
    model: str = Field(min_length=1, max_length=200)
    parameters: _Parameters = _Parameters()
    tools: _Tools = _Tools()


@dataclass(frozen=True, slots=True)
class LlmConfig:
    """A checked `llm_config`; `ask_person` is None for an agent that may not ask."""

    provider: Provider
    model: str
    settings: ModelSettings
    ask_person: AskPerson | None = None


def read_llm_config(raw: object) -> LlmConfig:
    """Check and return an agent's `llm_config`.

    Raises:
        TaskFailure: agent_misconfigured, naming each field that is wrong or unknown.
    """
    try:
        config = _Config.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors(include_input=False, include_url=False)]
        first = problems[0]
        raise TaskFailure(
            "agent_misconfigured",
            f"The agent's {first['path']} cannot be used: {first['message']}.",
            data={"field": first["path"], "problems": problems},
        ) from None
    return LlmConfig(config.provider, config.model, _model_settings(config.parameters), config.tools.ask_person)


def _model_settings(parameters: _Parameters) -> ModelSettings:
    settings = ModelSettings()
    if parameters.temperature is not None:
        settings["temperature"] = parameters.temperature
    if parameters.maxTokens is not None:
        settings["max_tokens"] = parameters.maxTokens
    if parameters.topP is not None:
        settings["top_p"] = parameters.topP
    return settings


def _problem(entry: Mapping[str, Any]) -> dict[str, str]:
    place = ".".join(["llm_config", *(str(part) for part in cast("tuple[object, ...]", entry["loc"]))])
    return {"path": place, "message": str(entry["msg"])}
