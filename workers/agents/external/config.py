"""Reads the `endpoint` of an external agent: where its agent card is, and what the connection is to be like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.agents.endpoint import Endpoint, misconfigured, read_endpoint
from workers.contract import ClaimedTask
from workers.secrets import Secrets

Binding = Literal["JSONRPC", "HTTP+JSON"]
Version = Literal["1.0", "0.3"]

_WELL_KNOWN = "/.well-known/agent-card.json"
# Where servers older than 0.3.0 keep it.
_WELL_KNOWN_BEFORE = "/.well-known/agent.json"
_SHARED = frozenset({"url", "headers", "authentication", "timeout"})


class _Own(BaseModel):
    """What only endpoints of external agents have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    protocol: Literal["a2a"] = "a2a"
    # A2A has one; the column allows it, so it may be there.
    method: Literal["POST"] = "POST"
    version: Version | None = None
    binding: Binding | None = None
    skill: str | None = Field(default=None, min_length=1, max_length=200)
    hosts: list[str] = Field(default=[], max_length=20)


@dataclass(frozen=True, slots=True)
class Remote:
    """A checked endpoint. `server` is its url as the agent's row has it, so without secrets.

    `skill` must stand in the card; `version` and `binding` narrow what is chosen from it; `hosts` may get the
    credentials besides the host of the url.
    """

    server: str
    endpoint: Endpoint
    skill: str | None = None
    version: Version | None = None
    binding: Binding | None = None
    hosts: frozenset[str] = frozenset()

    @property
    def card_urls(self) -> tuple[str, ...]:
        """Where the card is looked for, in this order: at the url itself if it names a JSON document."""
        url = self.endpoint.url
        path = url.path.rstrip("/")
        if path.endswith(".json"):
            return (str(url),)
        return tuple(str(url.copy_with(path=path + end)) for end in (_WELL_KNOWN, _WELL_KNOWN_BEFORE))

    def may_have_credentials(self, url: httpx.URL) -> bool:
        """Whether requests to `url`, which a card named, may carry the endpoint's headers."""
        own = self.endpoint.url
        if own.scheme == "https" and url.scheme != "https":
            return False
        return url.host == own.host or url.host in self.hosts


async def read_remote(raw: object, claimed: ClaimedTask, secrets: Secrets) -> Remote:
    """Check an agent's `endpoint`, with the organization's secrets filled in.

    Raises:
        TaskFailure: agent_misconfigured, naming the field and never its value.
    """
    if not isinstance(raw, dict):
        raise misconfigured("endpoint", "must be a JSON object")
    shared = {name: value for name, value in raw.items() if name in _SHARED}
    try:
        own = _Own.model_validate({name: value for name, value in raw.items() if name not in _SHARED})
    except ValidationError as error:
        entry = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(["endpoint", *(str(part) for part in entry["loc"])])
        raise misconfigured(place, f"cannot be used: {entry['msg']}") from None
    return Remote(
        server=str(raw.get("url"))[:2000],
        endpoint=await read_endpoint(shared, claimed.task.organization_slug, secrets),
        skill=own.skill,
        version=own.version,
        binding=own.binding,
        hosts=frozenset(host.lower() for host in own.hosts),
    )
