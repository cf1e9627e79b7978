"""A signed-in user as plain HTTP sees one, the operator, and how a refusal must look."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]

# What would tell a tenant about the inside: traces, contexts, functions, other schemas, whole rows.
INTERNALS = ("Traceback", "CONTEXT", "PL/pgSQL", "SQL statement", "private.", "auth.", "Failing row", "lease_token")


def unique(prefix: str) -> str:
    """Return a name that no other test has."""
    return f"{prefix}-{secrets.token_hex(6)}"


@dataclass(frozen=True)
class Caller:
    """Somebody who calls PostgREST with these headers; `id` and `email` are empty for the operator and for nobody."""

    http: httpx.Client
    headers: Mapping[str, str]
    id: str = ""
    email: str = ""

    def get(self, path: str, **query: str) -> httpx.Response:
        return self.http.get(f"/rest/v1/{path}", params=query, headers=self.headers)

    def insert(self, table: str, row: Json) -> httpx.Response:
        return self.http.post(f"/rest/v1/{table}", json=row, headers=self.headers)

    def update(self, table: str, row: Json, **query: str) -> httpx.Response:
        return self.http.patch(f"/rest/v1/{table}", json=row, params=query, headers=self.headers)

    def rpc(self, function: str, /, **parameters: Any) -> httpx.Response:
        return self.http.post(f"/rest/v1/rpc/{function}", json=parameters, headers=self.headers)

    def rows(self, table: str, **query: str) -> list[Json]:
        """Return what a query finds; it must succeed."""
        answer: list[Json] = ok(self.get(table, **query))
        return answer


@dataclass(frozen=True)
class Tenant:
    """An organization, its owner, and an active context agent in it."""

    owner: Caller
    organization: str
    agent: str

    def task(self, **changes: Any) -> Json:
        """Return a task that is right but for `changes`."""
        row = {
            "organization_slug": self.organization,
            "method": "process",
            "agent_slug": self.agent,
            "prompt": "Write a post about tide pools",
        }
        return {**row, **changes}

    def insert_task(self, **changes: Any) -> Json:
        """Insert a task that must be accepted, and return it."""
        inserted: Json = ok(self.owner.insert("tasks", self.task(**changes)))[0]
        return inserted


def caller(http: httpx.Client, api_key: str, token: str | None = None, **who: str) -> Caller:
    """Return who calls with this key, and with this user's access token if there is one."""
    headers = {"apikey": api_key, "Prefer": "return=representation"}
    return Caller(http, headers | ({"Authorization": f"Bearer {token}"} if token else {}), **who)


def sign_up(http: httpx.Client, anon_key: str) -> Caller:
    """Sign a new user up through Auth."""
    account = {"email": f"{unique('user')}@example.com", "password": secrets.token_hex(12)}
    session = ok(http.post("/auth/v1/signup", json=account, headers={"apikey": anon_key}))
    return caller(http, anon_key, session["access_token"], id=session["user"]["id"], email=account["email"])


def found(owner: Caller, **agent: Any) -> Tenant:
    """Found an organization with an agent in it, which may differ from the plain one by `agent`."""
    tenant = Tenant(owner, unique("org"), unique("agent"))
    ok(owner.rpc("create_organization", slug=tenant.organization, name="An organization"))
    ok(owner.insert("agents", agent_row(tenant.agent, tenant.organization) | agent))
    return tenant


def agent_row(slug: str, organization: str) -> Json:
    """Return a plain context agent."""
    return {
        "slug": slug,
        "organization_slug": [organization],
        "name": f"The name of {slug}",
        "description": "For a test.",
        "agent_type": "context",
        "department": "marketing",
        "capabilities": [],
        "io_schema": {},
        "context": "Be brief.",
        "llm_config": {"provider": "anthropic", "model": "claude-3-5-sonnet-20241022"},
    }


def complete_next(operator: Caller, organization: str) -> None:
    """Do a worker's part for the next task of an organization: claim it, complete it with a deliverable."""
    worker = unique("worker")
    (claimed,) = ok(operator.rpc("claim_tasks", worker_id=worker, organizations=[organization]))
    item = {
        "task_id": claimed["task"]["id"],
        "attempt": claimed["attempt"],
        "lease_token": claimed["lease_token"],
        "response": "Done.",
        "deliverable": {"title": "A post", "type": "text", "format": "text", "content": "Done."},
    }
    (outcome,) = ok(operator.rpc("complete_tasks", worker_id=worker, items=[item]))
    assert outcome["outcome"] == "ok", outcome


def ok(response: httpx.Response) -> Any:
    """Return the JSON of an answer that must be a success."""
    assert response.is_success, f"{response.status_code} {response.text}"
    return response.json()


def assert_refused(response: httpx.Response, status: int, code: str, message: str) -> Json:
    """Check that an answer is this error and says nothing of the inside; return its body.

    An error of ours (its message is a token) must also say in details what is wrong and in hint what to do.
    """
    assert response.status_code == status, response.text
    body: Json = response.json()
    assert set(body) == {"code", "message", "details", "hint"}
    assert (body["code"], body["message"]) == (code, message)
    if " " not in message:
        assert_sentence(body["details"])
        assert_sentence(body["hint"])
    for internal in INTERNALS:
        assert internal not in response.text
    return body


def assert_sentence(text: object) -> None:
    """Check that a text is one that a person can read and act on."""
    assert isinstance(text, str), text
    assert len(text) > 10, text
    assert text.endswith("."), text
