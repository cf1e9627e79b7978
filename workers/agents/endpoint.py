"""Reads the `endpoint` of an api agent: where to send a request and how it authenticates itself."""

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

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_PRINTABLE = re.compile(r"^[\x20-\x7e\t]*$")
_HOST = re.compile(rb"^[0-9A-Za-z._:-]+$")
# Headers that the HTTP client writes itself.
_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_NOT_YET = ("request_transform", "response_transform", "status_webhook")


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


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(min_length=1, max_length=4000)
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    authentication: Annotated[_BearerAuth | _ApiKeyAuth | _BasicAuth, Field(discriminator="type")] | None = None
    timeout: float = Field(default=30.0, gt=0, le=3600)
    request_transform: None = None
    response_transform: None = None
    status_webhook: None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked endpoint; `headers` hold the credentials, so they are never shown. `timeout` is in seconds."""

    url: httpx.URL
    method: str
    timeout: float
    headers: Mapping[str, str] = field(repr=False)


def read_endpoint(raw: object) -> Endpoint:
    """Check and return an agent's `endpoint`.

    Raises:
        TaskFailure: agent_misconfigured, naming the field and never its value.
    """
    _refuse_placeholders(raw)
    _refuse_what_comes_later(raw)
    try:
        endpoint = _Endpoint.model_validate(raw)
    except ValidationError as error:
        entry = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(["endpoint", *(str(part) for part in entry["loc"])])
        raise _misconfigured(place, f"cannot be used: {entry['msg']}") from None
    headers = {**endpoint.headers, **_credentials(endpoint)}
    for name, value in headers.items():
        _check_header(name, value)
    return Endpoint(_url(endpoint.url), endpoint.method, endpoint.timeout, headers)


def _refuse_placeholders(raw: object) -> None:
    # They stand for an organization's secrets. The worker's own environment holds the operator's, so it is not asked.
    try:
        found = _PLACEHOLDER.search(json.dumps(raw))
    except (ValueError, RecursionError):
        raise _misconfigured("endpoint", "is nested too deeply") from None
    if found is not None:
        raise _misconfigured(
            "endpoint", f"refers to the secret {found.group()[:80]}: organization secrets are not available yet"
        )


def _refuse_what_comes_later(raw: object) -> None:
    for name in _NOT_YET:
        if isinstance(raw, dict) and raw.get(name) is not None:
            raise _misconfigured(f"endpoint.{name}", "is not supported by this version yet: remove it")


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
        raise _misconfigured("endpoint.headers", f"may not set the header {name[:60]!r}")
    if not _PRINTABLE.match(value):
        raise _misconfigured("endpoint.headers", f"holds characters that HTTP forbids in the value of {name[:60]!r}")


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise _misconfigured("endpoint.url", "is not a URL") from None
    if url.scheme not in {"http", "https"} or not _HOST.match(url.raw_host):
        raise _misconfigured("endpoint.url", "must begin with http:// or https:// and name a host")
    if url.userinfo:
        raise _misconfigured("endpoint.url", "may not hold credentials: use endpoint.authentication")
    return url


def _misconfigured(place: str, problem: str) -> TaskFailure:
    data: dict[str, Any] = {"field": place}
    return TaskFailure("agent_misconfigured", f"The agent's {place} {problem}.", data=data)
