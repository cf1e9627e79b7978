"""Reads the `endpoint` of an agent or a workflow of a framework: where its server is, and what is to run there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.agents.endpoint import Endpoint, misconfigured, read_endpoint
from workers.errors import TaskFailure
from workers.secrets import Secrets

Framework = Literal["langgraph", "agno", "crewai", "n8n"]

_SHARED = frozenset({"url", "headers", "authentication", "timeout"})
_NAME = Field(min_length=1, max_length=200)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # The column allows it, and a framework's API decides.
    method: Literal["POST"] = "POST"


class LangGraphSettings(_Settings):
    """`assistant_id` is an assistant's id or a graph's name; the keys are those of the graph's state."""

    assistant_id: str = _NAME
    input_key: str = Field(default="messages", min_length=1, max_length=200)
    output_key: str | None = Field(default=None, min_length=1, max_length=200)
    config: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class AgnoSettings(_Settings):
    """What runs: exactly one of an agent, a team, a workflow of the AgentOS."""

    agent_id: str | None = Field(default=None, min_length=1, max_length=200)
    team_id: str | None = Field(default=None, min_length=1, max_length=200)
    workflow_id: str | None = Field(default=None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(name is not None for name in (self.agent_id, self.team_id, self.workflow_id)) != 1:
            raise ValueError("needs exactly one of agent_id, team_id, workflow_id")
        return self

    @property
    def runs(self) -> tuple[str, str]:
        """The kind as its routes are called, and the id."""
        if self.agent_id is not None:
            return "agents", self.agent_id
        return ("teams", self.team_id) if self.team_id is not None else ("workflows", str(self.workflow_id))


class CrewAISettings(_Settings):
    """`input_key` is the crew's input that gets the prompt."""

    input_key: str = Field(default="prompt", min_length=1, max_length=200)


class N8nSettings(_Settings):
    """How the workflow's end is heard of: its webhook's answer, a signed status report, or n8n's public API.

    `api_key` is for that API; `report_seconds` is how long reports are taken, None for as long as the attempt may take.
    """

    webhook_path: str | None = Field(default=None, min_length=1, max_length=1000)
    wait_for: Literal["answer", "report", "execution"] = "answer"
    api_key: str | None = Field(default=None, min_length=1, max_length=4000, repr=False)
    report_seconds: float | None = Field(default=None, ge=1, le=604_800)

    @model_validator(mode="after")
    def _key(self) -> Self:
        if self.wait_for == "execution" and self.api_key is None:
            raise ValueError("wait_for 'execution' needs api_key")
        return self


Settings = LangGraphSettings | AgnoSettings | CrewAISettings | N8nSettings
SETTINGS: Mapping[str, type[Settings]] = {
    "langgraph": LangGraphSettings,
    "agno": AgnoSettings,
    "crewai": CrewAISettings,
    "n8n": N8nSettings,
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A checked endpoint. `server` is its framework and url as the row has it, so without secrets."""

    server: str
    endpoint: Endpoint
    settings: Settings


async def read_remote(framework: Framework, raw: object, organization: str, secrets: Secrets) -> Remote:
    """Check an endpoint, with the organization's secrets filled in.

    Raises:
        TaskFailure: agent_misconfigured, naming the field and never its value; secrets_unavailable.
    """
    if not isinstance(raw, dict):
        raise misconfigured("endpoint", "must be a JSON object")
    own = {name: value for name, value in raw.items() if name not in _SHARED}
    if isinstance(own.get("api_key"), str):
        own["api_key"] = await secrets.fill(organization, own["api_key"])
    try:
        settings = SETTINGS[framework].model_validate(own)
    except ValidationError as error:
        raise _unusable(error) from None
    shared = {name: value for name, value in raw.items() if name in _SHARED}
    endpoint = await read_endpoint(shared, organization, secrets)
    if framework != "n8n" and endpoint.url.query:
        raise misconfigured("endpoint.url", "may hold no query: name the server only")
    return Remote(f"{framework} {raw.get('url')}"[:2000], endpoint, settings)


def _unusable(error: ValidationError) -> TaskFailure:
    entry = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(["endpoint", *(str(part) for part in entry["loc"])])
    return misconfigured(place, f"cannot be used: {entry['msg']}")
