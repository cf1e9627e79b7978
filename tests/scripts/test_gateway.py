"""The gateway and Auth behind it, by HTTP: keys, roles, sign-up, CORS, failures, large bodies."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from tests.scripts.scratch import Scratch

NOTES = "/rest/v1/notes"
MEGABYTE = 1024 * 1024


def sign_up(client: httpx.Client, key: str) -> tuple[str, dict[str, Any]]:
    email = f"{uuid4()}@example.com"
    body = {"email": email, "password": "a long password", "data": {"name": "Zoë"}}
    answer = client.post("/auth/v1/signup", headers={"apikey": key}, json=body)
    assert answer.status_code == 200, answer.text
    return email, answer.json()


@pytest.mark.parametrize("path", [NOTES, "/rest/v1/rpc/x", "/auth/v1/user", "/auth/v1/signup"])
def test_without_a_key_a_request_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.json()["message"] == "No API key found in request"
    assert "apikey" in answer.json()["hint"]


@pytest.mark.parametrize("key", ["sb_publishable_wrong", "x.y.z", "anon"])
def test_a_wrong_key_is_refused(client: httpx.Client, key: str) -> None:
    answer = client.get(NOTES, headers={"apikey": key})
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")


def test_a_token_signed_with_our_secret_is_no_key(client: httpx.Client, keys: dict[str, str]) -> None:
    token = jwt.encode({"role": "service_role"}, keys["JWT_SECRET"], algorithm="HS256")
    assert client.get(NOTES, headers={"apikey": token}).status_code == 401


@pytest.mark.parametrize("name", ["SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY"])
def test_both_service_keys_see_every_row_however_they_are_sent(
    client: httpx.Client, keys: dict[str, str], name: str
) -> None:
    ways: list[dict[str, Any]] = [
        {"headers": {"apikey": keys[name]}},
        {"headers": {"apikey": keys[name], "Authorization": f"Bearer {keys[name]}"}},
        {"headers": {"Authorization": f"Bearer {keys[name]}"}},
        {"params": {"apikey": keys[name]}},
    ]
    for way in ways:
        answer = client.get(NOTES, **way)
        assert (answer.status_code, "seeded" in answer.text) == (200, True), way


@pytest.mark.parametrize("name", ["SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY"])
def test_anonymous_keys_see_nothing(client: httpx.Client, keys: dict[str, str], name: str) -> None:
    answer = client.get(NOTES, headers={"apikey": keys[name], "Authorization": f"Bearer {keys[name]}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "42501")


@pytest.mark.parametrize("name", ["SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY"])
def test_a_user_signs_up_in_refreshes_and_sees_only_their_rows(
    client: httpx.Client, keys: dict[str, str], name: str
) -> None:
    key = {"apikey": keys[name]}
    email, session = sign_up(client, keys[name])
    claims = jwt.decode(session["access_token"], keys["JWT_SECRET"], algorithms=["HS256"], audience="authenticated")
    assert (claims["role"], claims["exp"] - claims["iat"]) == ("authenticated", 3600)

    password = {"email": email, "password": "a long password"}
    session = client.post("/auth/v1/token?grant_type=password", headers=key, json=password).json()
    refresh = {"refresh_token": session["refresh_token"]}
    session = client.post("/auth/v1/token?grant_type=refresh_token", headers=key, json=refresh).json()
    bearer = key | {"Authorization": f"Bearer {session['access_token']}"}
    user = client.get("/auth/v1/user", headers=bearer).json()
    assert (user["email"], user["user_metadata"]["name"]) == (email, "Zoë")

    assert client.post(NOTES, headers=bearer, json={"body": "mine"}).status_code == 201
    rows = client.get(NOTES, headers=bearer, params={"select": "body,user_id", "order": "body"}).json()
    # The first is the trigger's on auth.users, which has read the name out of raw_user_meta_data.
    assert rows == [{"body": "Zoë", "user_id": claims["sub"]}, {"body": "mine", "user_id": claims["sub"]}]


def test_a_wrong_password_is_refused(client: httpx.Client, keys: dict[str, str]) -> None:
    email, _ = sign_up(client, keys["SUPABASE_ANON_KEY"])
    body = {"email": email, "password": "another password"}
    path = "/auth/v1/token?grant_type=password"
    answer = client.post(path, headers={"apikey": keys["SUPABASE_ANON_KEY"]}, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "invalid_credentials")


def test_a_users_metadata_is_an_object_in_the_database(client: httpx.Client, keys: dict[str, str]) -> None:
    email, _ = sign_up(client, keys["SUPABASE_ANON_KEY"])
    with psycopg.connect(keys["DATABASE_URL"]) as connection:
        query = "select raw_user_meta_data, raw_app_meta_data from auth.users where email = %s"
        row = connection.execute(query, [email]).fetchone()
    assert row is not None
    assert (row[0]["name"], row[1]["provider"]) == ("Zoë", "email")


def test_the_admin_api_says_that_it_is_missing(client: httpx.Client, keys: dict[str, str]) -> None:
    answer = client.get("/auth/v1/admin/users", headers={"apikey": keys["SUPABASE_SECRET_KEY"]})
    assert (answer.status_code, answer.json()["error_code"]) == (501, "not_implemented")


def test_a_browser_of_any_origin_is_welcome(client: httpx.Client, keys: dict[str, str]) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "apikey, authorization, x-client-info",
    }
    preflight = client.options(NOTES, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
    key = {"apikey": keys["SUPABASE_SECRET_KEY"], "Origin": "https://app.example", "Prefer": "count=exact"}
    answer = client.get(NOTES, headers=key)
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    assert "Content-Range" in answer.headers["access-control-expose-headers"]
    assert answer.headers["content-range"].partition("/")[2].isdecimal()
    assert client.get(NOTES, headers={"Origin": "x"}).headers["access-control-allow-origin"] == "*"


def test_a_large_body_goes_there_and_back(client: httpx.Client, keys: dict[str, str]) -> None:
    headers = {"apikey": keys["SUPABASE_SECRET_KEY"], "Prefer": "return=representation"}
    body = "x" * (10 * MEGABYTE)
    answer = client.post(f"{NOTES}?select=id,body", headers=headers, json={"body": body})
    assert answer.status_code == 201
    row = answer.json()[0]
    assert row["body"] == body
    with psycopg.connect(keys["DATABASE_URL"]) as connection:
        connection.execute("delete from notes where id = %s", [row["id"]])


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * MEGABYTE


def test_a_body_over_the_limit_is_refused_with_or_without_a_length(client: httpx.Client, keys: dict[str, str]) -> None:
    headers = {"apikey": keys["SUPABASE_SECRET_KEY"]}
    for content in (b" " * (51 * MEGABYTE), pieces(51)):
        answer = client.post(NOTES, headers=headers, content=content)
        assert (answer.status_code, answer.json()["message"]) == (413, "Request body too large")
    assert client.get(NOTES, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/rest/v1", "/rest/v2/notes", "/storage/v1/object", "//rest/v1/notes"])
def test_another_path_is_unknown(client: httpx.Client, keys: dict[str, str], path: str) -> None:
    answer = client.get(httpx.URL(f"{keys['SUPABASE_URL']}{path}"), headers={"apikey": keys["SUPABASE_SECRET_KEY"]})
    assert answer.status_code == 404
    assert "/rest/v1/" in answer.json()["hint"]


def test_a_service_that_is_down_is_a_503_until_up_is_repeated(
    client: httpx.Client, keys: dict[str, str], scratch: Scratch
) -> None:
    key = {"apikey": keys["SUPABASE_SECRET_KEY"]}
    assert client.get("/health").json() == {"rest": "ok", "auth": "ok"}
    for service, path in (("postgrest", NOTES), ("auth", "/auth/v1/settings")):
        process = scratch.processes()[service]
        process.kill()
        process.wait()
        answer = client.get(path, headers=key)
        assert answer.status_code == 503
        assert "./scripts/stack up" in answer.json()["hint"]
    health = client.get("/health")
    assert (health.status_code, health.json()) == (503, {"rest": "down", "auth": "down"})
    scratch.run("up")
    assert client.get(NOTES, headers=key).status_code == 200
    assert client.get("/auth/v1/settings", headers=key).status_code == 200
