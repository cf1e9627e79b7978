"""From the front matter of a markdown file to an agent's row; every key that docs/git-agents.md has, and no other."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from workers.agents.llm_config import read_llm_config
from workers.errors import TaskFailure
from workers.git.mcp import FileProblem, mcp_servers

_MAX_CONTEXT_BYTES = 200_000
_MAX_SLUG = 63
_MAX_CALLED = 25
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{1,62}")
_VERSION = re.compile(r"(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){0,2}")
_PROVIDERS = ("anthropic", "openai", "google", "ollama")
_FAMILIES = {"claude": "anthropic", "gpt": "openai", "chatgpt": "openai", "o1": "openai", "o3": "openai"}
_FAMILIES |= {"o4": "openai", "gemini": "google", "gemma": "google"}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else [] if value is None else value


_Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Lines = Annotated[list[_Line], Field(max_length=50), BeforeValidator(_as_list)]


class _Front(BaseModel):
    """The keys there are; what is null is as good as left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    description: Annotated[str, StringConstraints(max_length=4000)] | None = None
    version: str | float | int | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    providers: Any = None
    mcpServers: Any = None  # noqa: N815 - the name in the documents
    allowedAgents: _Lines = []  # noqa: N815
    tags: _Lines = []
    examples: Annotated[list[Any], Field(max_length=50), BeforeValidator(_as_list)] = []
    contextScope: Literal["FULL", "NONE", "SPECIFIC"] = "FULL"  # noqa: N815
    maxIterations: int = Field(default=10, ge=1, le=1000)  # noqa: N815
    temperature: float | None = None
    maxTokens: int | None = None  # noqa: N815
    tools: _Lines = []
    exposed: bool = False
    systemPrompt: str | None = None  # noqa: N815


@dataclass(slots=True)
class AgentFile:
    """What a file says: `row` as apply_git_files takes it, and `warnings` about what had no effect."""

    row: dict[str, Any]
    warnings: list[dict[str, str]] = field(default_factory=list)

    def warn(self, code: str, message: str) -> None:
        """Take note of something that has no effect."""
        self.warnings.append({"path": self.row["path"], "level": "warning", "code": code, "message": message[:500]})


def is_agent(front: Mapping[str, Any]) -> bool:
    """Say whether front matter is meant to be an agent's; pages of a site have some too."""
    return "name" in front or "model" in front


def read_agent(organization: str, about: Mapping[str, Any], commit: str) -> AgentFile:
    """Return what a file of `pack_child` (path, hash, front, body) makes of an agent.

    Raises:
        FileProblem: it cannot be one.
    """
    raw = about["front"]
    front = _checked(raw)
    context = about["body"].strip() or (front.systemPrompt or "").strip()
    if not context:
        raise FileProblem("prompt_missing", "It has no prompt: write one below the front matter.")
    if len(context.encode()) > _MAX_CONTEXT_BYTES:
        raise FileProblem("prompt_too_large", f"Its prompt has more than {_MAX_CONTEXT_BYTES} bytes.")
    row = {
        "path": about["path"],
        "hash": about["hash"],
        "commit_hash": commit,
        "slug": slug_of(organization, front.name),
        "name": front.name,
        "description": front.description or front.name,
        "tags": list(dict.fromkeys(front.tags)),
        "frontmatter": raw,
        "body": about["body"],
        "context": context,
    }
    file = AgentFile(row)
    row["version"] = _version(front.version, file)
    row["llm_config"] = _llm_config(organization, front, file)
    row["metadata"] = _metadata(front, file)
    if unknown := sorted(str(key)[:100] for key in raw if key not in _Front.model_fields):
        file.warn("key_unknown", f"Nothing reads {', '.join(unknown[:10])}.")
    return file


def slug_of(organization: str, name: str) -> str:
    """Return the slug of the agent with this name: of its organization, so that those of others are not in the way."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", plain).lower()
    short = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    slug = f"{organization}-{short}"
    if short and len(slug) <= _MAX_SLUG:
        return slug
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{slug[: _MAX_SLUG - 9].rstrip('-')}-{digest}"


def _checked(raw: Mapping[str, Any]) -> _Front:
    try:
        return _Front.model_validate({key: value for key, value in raw.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise FileProblem(f"{key}_missing", f"Its front matter has no {key}.") from None
        raise FileProblem("key_invalid", f"Its {key} cannot be used: {first['msg']}.") from None


def _version(given: str | float | int | None, file: AgentFile) -> str | None:
    if given is None:
        return None
    text = str(given).removeprefix("v")
    if not _VERSION.fullmatch(text):
        file.warn("version_ignored", f"Its version {text[:50]!r} is not like 1.2.0; the next number is taken.")
        return None
    return ".".join([*text.split("."), "0", "0"][:3])


def _llm_config(organization: str, front: _Front, file: AgentFile) -> dict[str, Any]:
    provider, model = _model(front)
    tools: dict[str, Any] = {}
    if called := _called(organization, front, file):
        tools["call_agents"] = {"agents": called}
    if servers := mcp_servers(front.mcpServers):
        tools["mcp_servers"] = servers
    if "ask_person" in front.tools:
        tools["ask_person"] = {}
    if others := [name for name in front.tools if name not in {"ask_person", "call_agent"}]:
        file.warn("tool_unknown", f"There is no tool {', '.join(others[:10])}; those of mcpServers need not be listed.")
    if "call_agent" in front.tools and not front.allowedAgents:
        file.warn("allowed_agents_missing", "It may call no agent: name those it may call in allowedAgents.")
    parameters = {"temperature": front.temperature, "maxTokens": front.maxTokens}
    config = {
        "provider": provider,
        "model": model,
        "parameters": {name: value for name, value in parameters.items() if value is not None},
        "tools": tools,
        "limits": {"max_requests": front.maxIterations},
    }
    try:
        read_llm_config(config)
    except TaskFailure as failure:
        raise FileProblem("key_invalid", failure.message.replace("The agent's", "Its")) from None
    return config


def _model(front: _Front) -> tuple[str, str]:
    """Return provider and model: `openai/gpt-4o`, `openai:gpt-4o`, the first of `providers`, or by the model's name."""
    model = front.model.strip()
    for separator in "/:":
        named, found, rest = model.partition(separator)
        if found and named.lower() in _PROVIDERS and rest:
            return named.lower(), rest
    listed = _as_list(front.providers)
    for entry in listed if isinstance(listed, list | dict) else []:
        choice = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(choice, str) and choice.lower() in _PROVIDERS:
            return choice.lower(), model
    family = re.split(r"[-.:@]", model.lower(), maxsplit=1)[0]
    if family in _FAMILIES:
        return _FAMILIES[family], model
    raise FileProblem(
        "provider_unknown", f"Whose model {model[:100]!r} is cannot be told: set providers, to {', '.join(_PROVIDERS)}."
    )


def _called(organization: str, front: _Front, file: AgentFile) -> list[str]:
    """Return the agents it may call: by a name of the organization's repositories, else by slug."""
    slugs: dict[str, None] = {}
    for name in front.allowedAgents:
        if name == "*" or "://" in name:
            file.warn("allowed_agent_unusable", f"allowedAgents names agents one by one, not {name[:100]!r}.")
            continue
        slugs[slug_of(organization, name)] = None
        if _SLUG.fullmatch(name):
            slugs[name] = None
    if len(slugs) > 2 * _MAX_CALLED:
        raise FileProblem("key_invalid", f"Its allowedAgents names more than {_MAX_CALLED}.")
    return list(slugs)


def _metadata(front: _Front, file: AgentFile) -> dict[str, Any]:
    examples = [{"input": {"prompt": entry}} if isinstance(entry, str) else entry for entry in front.examples]
    if front.contextScope != "FULL":
        file.warn("context_scope_unused", "contextScope has no effect but FULL: a called agent sees its prompt alone.")
    return {"usage_examples": examples, "exposed": front.exposed, "context_scope": front.contextScope}
