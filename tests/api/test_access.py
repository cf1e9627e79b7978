"""Keys and tokens: who is let in, and who sees nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import jwt
import pytest

from tests.api.helpers import Caller, Tenant, assert_refused, caller
from tests.api.test_schema_surface import TABLES, USER_FUNCTIONS, VIEWS, WORKER_FUNCTIONS
from tests.stack import Stack

HOUR = 3600
OTHER_SECRET = "another secret of at least 32 bytes"


def sign(secret: str, user_id: str, *, role: str = "authenticated", seconds: int = HOUR) -> str:
    """Return an access token as Auth makes them, valid for `seconds` from now."""
    claims = {"sub": user_id, "role": role, "aud": "authenticated", "exp": int(time.time()) + seconds}
    return jwt.encode(claims, secret, algorithm="HS256")


def test_a_token_signed_with_the_stacks_secret_is_that_user(stack: Stack, http: httpx.Client, tenant: Tenant) -> None:
    same_user = caller(http, stack.anon_key, sign(stack.jwt_secret, tenant.owner.id))
    assert [row["id"] for row in same_user.rows("users")] == [tenant.owner.id]


BAD_TOKENS: dict[str, Callable[[Stack, str], str]] = {
    "expired": lambda stack, user: sign(stack.jwt_secret, user, seconds=-HOUR),
    "wrong secret": lambda _, user: sign(OTHER_SECRET, user),
    "wrong secret, service_role": lambda _, user: sign(OTHER_SECRET, user, role="service_role"),
    "unsigned": lambda _, user: jwt.encode({"sub": user, "role": "authenticated"}, "", algorithm="none"),
    "not a token": lambda *_: "nonsense",
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_is_refused(kind: str, stack: Stack, http: httpx.Client, tenant: Tenant, operator: Caller) -> None:
    intruder = caller(http, stack.anon_key, BAD_TOKENS[kind](stack, tenant.owner.id))
    for answer in (intruder.get("users"), intruder.insert("tasks", tenant.task())):
        assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301"), answer.text
        assert (answer.json()["message"] == "JWT expired") == (kind == "expired")
    assert operator.rows("tasks", organization_slug=f"eq.{tenant.organization}") == []


@pytest.mark.parametrize(
    ("headers", "message"),
    [({}, "No API key found in request"), ({"apikey": "sb_publishable_wrong"}, "Invalid API key")],
)
def test_without_a_valid_api_key_nothing_is_served(headers: dict[str, str], message: str, http: httpx.Client) -> None:
    for path in ("/rest/v1/tasks", "/rest/v1/rpc/cancel_task", "/auth/v1/signup"):
        answer = http.post(path, json={}, headers=headers)
        assert answer.status_code == 401, path
        assert answer.json()["message"] == message


def test_a_users_token_without_an_api_key_is_refused(tenant: Tenant, http: httpx.Client) -> None:
    answer = http.get("/rest/v1/tasks", headers={"Authorization": tenant.owner.headers["Authorization"]})
    assert (answer.status_code, answer.json()["message"]) == (401, "No API key found in request")


def test_the_anon_key_alone_sees_no_table_and_calls_no_function(stack: Stack, http: httpx.Client) -> None:
    nobody = caller(http, stack.anon_key)
    for table in TABLES:
        message = f"permission denied for {'view' if table in VIEWS else 'table'} {table}"
        assert_refused(nobody.get(table), 401, "42501", message)
        counted = http.head(f"/rest/v1/{table}", headers={**nobody.headers, "Prefer": "count=exact"})
        assert counted.status_code == 401
        assert "content-range" not in counted.headers
    for function, arguments in {**USER_FUNCTIONS, **WORKER_FUNCTIONS}.items():
        message = f"permission denied for function {function}"
        assert_refused(nobody.rpc(function, **arguments), 401, "42501", message)


def test_a_user_calls_no_function_of_workers(tenant: Tenant) -> None:
    for function, arguments in WORKER_FUNCTIONS.items():
        message = f"permission denied for function {function}"
        assert_refused(tenant.owner.rpc(function, **arguments), 403, "42501", message)


def test_a_user_whose_account_is_suspended_sees_nothing_at_once(tenant: Tenant, operator: Caller) -> None:
    assert tenant.owner.rows("organizations") != []
    assert operator.update("users", {"status": "suspended"}, id=f"eq.{tenant.owner.id}").is_success
    assert tenant.owner.rows("organizations") == []
    assert tenant.owner.rows("agents") == []
    assert_refused(tenant.owner.insert("tasks", tenant.task()), 403, "42501", "not_allowed")
    refused = tenant.owner.rpc("create_organization", slug=f"org-{uuid4().hex}", name="Another")
    assert_refused(refused, 403, "42501", "not_signed_in")
