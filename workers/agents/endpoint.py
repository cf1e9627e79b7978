"""Reads the `endpoint` of an api agent: where to send a request, how it authenticates itself, what it makes of it all.

`${NAME}` stands for a secret of the organization, in url, headers and authentication. In a url it stands after the
host, or is the beginning of the whole, e.g. `${N8N_URL}/webhook/x`: what follows never changes the host.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import TaskFailure
from workers.secrets import SecretSource

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_PLACEHOLDER_IN_HOST = re.compile(r"[^/?#]*//[^/?#]*\$\{|[^/?#]*\$\{")
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_PRINTABLE = re.compile(r"^[\x20-\x7e\t]*\Z")
_HOST = re.compile(rb"^[0-9A-Za-z._:-]+\Z")
# Headers that the HTTP client writes itself.
_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_FILLED = ("url", "headers", "authentication")
_OF_SEVERAL_TYPES = ("request_transform", "response_transform", "status_webhook")


class _Bearer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    token: str = Field(min_length=1)
    header: str = "Authorization"


class _ApiKey(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=1, alias="token")
    header: str = "X-API-Key"


class _ApiKeyByKey(_ApiKey):
    key: str = Field(min_length=1)


class _Basic(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    username: str
    password: str


class _BearerAuth(BaseModel):
    type: Literal["bearer"]
    config: _Bearer


class _ApiKeyAuth(BaseModel):
    type: Literal["api-key"]
    config: _ApiKey | _ApiKeyByKey


class _BasicAuth(BaseModel):
    type: Literal["basic"]
    config: _Basic


class _StatusWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ttl_seconds: float = Field(ge=1, le=604_800)


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(min_length=1, max_length=4000)
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    authentication: Annotated[_BearerAuth | _ApiKeyAuth | _BasicAuth, Field(discriminator="type")] | None = None
    timeout: float = Field(default=30.0, gt=0, le=3600)
    request_transform: str | dict[str, Any] | None = None
    response_transform: str | None = None
    status_webhook: bool | _StatusWebhook | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint; url and headers hold secrets, so they are never shown.

    `timeout` is in seconds. `reports` says whether it may report later, `reports_within` for how many seconds, None for
    as long as the attempt may take.
    """

    url: httpx.URL = field(repr=False)
    method: str
    timeout: float
    headers: Mapping[str, str] = field(repr=False)
    request_transform: Any = None
    response_transform: str | None = None
    reports: bool = False
    reports_within: float | None = None


async def read_endpoint(raw: object, organization: str, secrets: SecretSource) -> Endpoint:
    """Check an agent's `endpoint`, put the organization's secrets in, and check what came of it.

    Raises:
        TaskFailure: agent_misconfigured, naming the field and never its value.
    """
    filled = await _fill(raw, organization, secrets)
    try:
        endpoint = _Endpoint.model_validate(filled)
    except ValidationError as error:
        entry = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = entry["loc"][:1] if entry["loc"] and entry["loc"][0] in _OF_SEVERAL_TYPES else entry["loc"]
        place = ".".join(["endpoint", *(str(part) for part in where)])
        raise misconfigured(place, f"cannot be used: {entry['msg']}") from None
    headers = {**endpoint.headers, **_credentials(endpoint)}
    for name, value in headers.items():
        _check_header(name, value)
    webhook = endpoint.status_webhook
    if webhook and endpoint.method == "GET" and endpoint.request_transform is None:
        raise misconfigured(
            "endpoint.status_webhook", "cannot be sent by GET: set another method, or request_transform"
        )
    return Endpoint(
        url=_url(endpoint.url),
        method=endpoint.method,
        timeout=endpoint.timeout,
        headers=headers,
        request_transform=endpoint.request_transform,
        response_transform=endpoint.response_transform,
        reports=bool(webhook),
        reports_within=webhook.ttl_seconds if isinstance(webhook, _StatusWebhook) else None,
    )


async def _fill(raw: object, organization: str, secrets: SecretSource) -> object:
    """Return the endpoint with secrets in place of `${NAME}`, where they may stand."""
    if not isinstance(raw, dict):
        return raw
    part = {name: raw[name] for name in _FILLED if name in raw}
    try:
        if "${" not in json.dumps(part):
            return raw
    except (ValueError, RecursionError):
        raise misconfigured("endpoint", "is nested too deeply") from None
    filled = await secrets.fill(organization, part)
    if isinstance(raw.get("url"), str):
        await _check_host_is_fixed(raw["url"], filled["url"], organization, secrets)
    return {**raw, **filled}


async def _check_host_is_fixed(url: str, filled: str, organization: str, secrets: SecretSource) -> None:
    """Refuse a secret that decides about the host in any way but by being the beginning of the url."""
    first = _PLACEHOLDER.match(url)
    rest = url[first.end() :] if first else url
    if (not first and _PLACEHOLDER_IN_HOST.match(url)) or (first and rest and rest[0] not in "/?#"):
        raise misconfigured("endpoint.url", "may hold ${NAME} after the host, or as its beginning before a /")
    base = await secrets.fill(organization, first.group()) if first else _PLACEHOLDER.sub("x", url)
    expected, found = _url(base), _url(filled)
    if (expected.scheme, expected.host, expected.port) != (found.scheme, found.host, found.port):
        raise misconfigured("endpoint.url", "has another host once its secrets are put in")


def _credentials(endpoint: _Endpoint) -> dict[str, str]:
    match endpoint.authentication:
        case None:
            return {}
        case _BearerAuth(config=bearer):
            return {bearer.header: f"Bearer {bearer.token}"}
        case _ApiKeyAuth(config=api_key):
            return {api_key.header: api_key.key}
        case _BasicAuth(config=basic):
            pair = f"{basic.username}:{basic.password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _check_header(name: str, value: str) -> None:
    if not _TOKEN.match(name) or name.lower() in _RESERVED:
        raise misconfigured("endpoint.headers", f"may not set the header {name[:60]!r}")
    if not _PRINTABLE.match(value):
        raise misconfigured("endpoint.headers", f"holds characters that HTTP forbids in the value of {name[:60]!r}")


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise misconfigured("endpoint.url", "is not a URL") from None
    if url.scheme not in {"http", "https"} or not _HOST.match(url.raw_host):
        raise misconfigured("endpoint.url", "must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise misconfigured("endpoint.url", "may not hold credentials: use endpoint.authentication")
    return url


def misconfigured(place: str, problem: str) -> TaskFailure:
    """Return the failure that names a field of the agent."""
    data: dict[str, Any] = {"field": place}
    return TaskFailure("agent_misconfigured", f"The agent's {place} {problem}.", data=data)
