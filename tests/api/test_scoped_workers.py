"""The token of an organization's own worker, as PostgREST takes it: good, forged, changed, expired."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from tests.api.helpers import Caller, Json, Tenant, assert_refused, caller, found, ok, sign_up
from tests.api.test_schema_surface import surface
from tests.database.test_catalogue import SCOPED_RPCS
from tests.stack import Stack
from workers.token_command import sign

Sign = Callable[..., str]


@pytest.fixture
def row(operator: Caller, tenant: Tenant) -> Json:
    """A registered token of the tenant's."""
    made: Json = ok(operator.rpc("create_worker_token", organization_slug=tenant.organization, name="a worker"))
    return made


@pytest.fixture
def worker(stack: Stack, http: httpx.Client, row: Json) -> Caller:
    """The tenant's own worker, with a good token."""
    return caller(http, stack.anon_key, sign(row, stack.jwt_secret))


@pytest.fixture
def forged(stack: Stack, http: httpx.Client, row: Json) -> Callable[..., Caller]:
    """Gives a caller whose claims differ from the good ones, signed as asked."""

    def forge(secret: str = stack.jwt_secret, algorithm: str = "HS256", **claims: Any) -> Caller:
        good = jwt.decode(sign(row, stack.jwt_secret), options={"verify_signature": False})
        return caller(http, stack.anon_key, jwt.encode({**good, **claims}, secret, algorithm=algorithm))

    return forge


def claim(worker: Caller) -> httpx.Response:
    return worker.rpc("scoped_claim_tasks", worker_id="w", max_tasks=5)


def test_a_worker_is_shown_its_functions_and_no_table(worker: Caller) -> None:
    assert surface(worker) == (set(), set(SCOPED_RPCS))


def test_a_good_token_claims_and_completes_the_organizations_tasks(tenant: Tenant, worker: Caller) -> None:
    task = tenant.insert_task()
    (lease,) = ok(claim(worker))
    assert lease["task"]["id"] == task["id"]
    item = {key: lease[key] for key in ("attempt", "lease_token")} | {"task_id": task["id"], "response": "done"}
    outcomes = ok(worker.rpc("scoped_complete_tasks", worker_id="w", items=[item]))
    assert [outcome["outcome"] for outcome in outcomes] == ["ok"]
    (seen,) = tenant.owner.rows("tasks", id=f"eq.{task['id']}")
    assert (seen["status"], seen["worker_id"]) == ("completed", f"{tenant.organization}:w")


def test_a_claim_for_another_organization_is_refused_though_it_is_signed(
    stranger: Tenant, forged: Callable[..., Caller]
) -> None:
    stranger.insert_task()
    assert_refused(claim(forged(organization_slug=stranger.organization)), 401, "PT401", "worker_token_refused")


@pytest.mark.parametrize("claims", [{"jti": str(uuid.uuid4())}, {"jti": None}, {"organization_slug": ["a"]}])
def test_a_token_that_nobody_registered_is_refused_though_it_is_signed(
    forged: Callable[..., Caller], claims: Json
) -> None:
    assert_refused(claim(forged(**claims)), 401, "PT401", "worker_token_refused")


def test_a_token_that_is_not_signed_with_the_projects_secret_is_refused(
    stack: Stack, http: httpx.Client, row: Json, forged: Callable[..., Caller]
) -> None:
    good = sign(row, stack.jwt_secret)
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    changed = json.loads(base64.urlsafe_b64decode(body + "==")) | {"role": "service_role"}
    other_body = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    bad = [
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{other_body}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}",
        "x",
    ]
    answers = [claim(caller(http, stack.anon_key, token)) for token in bad]
    answers.append(claim(forged(secret="another secret of thirty-two letters")))
    answers.append(claim(forged(algorithm="HS512")))
    assert [answer.status_code for answer in answers[:-1]] == [401] * len(answers[:-1])
    # PostgREST takes every HMAC of its secret; who can make one holds the secret anyway.
    assert answers[-1].status_code in {200, 401}


def test_an_expired_token_is_refused_by_postgrest_and_by_the_database(forged: Callable[..., Caller]) -> None:
    answer = claim(forged(exp=int(time.time()) - 3600))
    assert answer.status_code == 401
    assert "expired" in answer.json()["message"].lower()


def test_a_signature_with_a_later_end_does_not_prolong_a_token(
    operator: Caller, row: Json, forged: Callable[..., Caller]
) -> None:
    ok(operator.update("worker_tokens", {"expires_at": "2020-01-01T00:00:00Z"}, id=f"eq.{row['id']}"))
    late = forged(exp=int(time.time()) + 100_000)
    assert_refused(claim(late), 401, "PT401", "worker_token_refused")


def test_a_members_token_with_the_claim_is_still_a_members(stack: Stack, http: httpx.Client, tenant: Tenant) -> None:
    member = sign_up(http, stack.anon_key)
    token: Json = {"role": "authenticated", "sub": member.id, "organization_slug": tenant.organization}
    token |= {"exp": int(time.time()) + 100}
    pretender = caller(http, stack.anon_key, jwt.encode(token, stack.jwt_secret, algorithm="HS256"))
    assert pretender.rows("tasks", organization_slug=f"eq.{tenant.organization}") == []
    assert claim(pretender).status_code in {403, 404}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("exchange_work", {"worker_id": "w", "request_id": str(uuid.uuid4())}),
        ("claim_tasks", {"worker_id": "w"}),
        ("pause_queue", {"organization_slug": "x"}),
        ("set_max_share", {"share": 0.5}),
        ("cancel_tasks", {"organization_slug": "x", "status": "pending"}),
        ("read_organization_secrets", {"organization_slug": "x", "names": []}),
        ("claim_schedules", {"worker_id": "w"}),
        ("create_worker_token", {"organization_slug": "x", "name": "w"}),
        ("revoke_worker_token", {"token_id": str(uuid.uuid4())}),
        ("report_task_status", {}),
        ("worker_scope", {}),
        ("scoped_take_items", {"worker_id": "w", "kind": "completed", "items": [], "lease_seconds": 30}),
    ],
)
def test_functions_of_others_are_refused(worker: Caller, function: str, arguments: Json) -> None:
    answer = worker.rpc(function, **arguments)
    assert answer.status_code in {401, 403, 404}, answer.text
    assert answer.json()["code"] in {"42501", "PGRST202"}


@pytest.mark.parametrize(
    "table", ["tasks", "organizations", "agents", "organization_secrets", "workers", "worker_tokens"]
)
def test_tables_are_not_a_workers(worker: Caller, table: str) -> None:
    for answer in (worker.get(table), worker.insert(table, {}), worker.http.delete(f"/rest/v1/{table}?id=not.is.null")):
        assert answer.status_code in {401, 403}, answer.text
    assert_refused(worker.get(table), 403, "42501", f"permission denied for table {table}")


def test_an_admin_revokes_a_token_and_its_worker_hears_of_it(tenant: Tenant, row: Json, worker: Caller) -> None:
    ok(claim(worker))
    (listed,) = tenant.owner.rows("worker_tokens")
    assert listed["id"] == row["id"]
    assert listed["last_used_at"] is not None
    ok(tenant.owner.rpc("revoke_worker_token", token_id=row["id"]))
    assert_refused(claim(worker), 401, "PT401", "worker_token_refused")


def test_nobody_else_sees_or_revokes_it(new_user: Callable[[], Caller], row: Json, worker: Caller) -> None:
    other = found(new_user()).owner
    assert other.rows("worker_tokens") == []
    assert_refused(other.rpc("revoke_worker_token", token_id=row["id"]), 404, "PT404", "worker_token_not_found")
    ok(claim(worker))
