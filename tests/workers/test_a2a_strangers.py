"""The A2A server against strangers, broken requests, and a database that is away; no worker is needed for that."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from a2a.types import AgentCard
from google.protobuf.json_format import ParseDict

from tests.api.helpers import Caller, Tenant, agent_row, caller, found, ok, sign_up
from tests.stack import Stack
from tests.workers.a2a_kit import A2AProcess, call, code_of, free_port, result, rpc, text_message
from tests.workers.waiting import Row

AT_ONCE = {"returnImmediately": True}
CARD = "/.well-known/agent-card.json"


@dataclass
class Place:
    """Two tenants that know nothing of each other, and the server before both."""

    stack: Stack
    server: A2AProcess
    tenant: Tenant
    stranger: Tenant
    http: httpx.Client

    @property
    def base(self) -> str:
        return self.server.base(self.tenant)

    def get(self, path: str, who: Caller | None, base: str | None = None, **headers: str) -> httpx.Response:
        sent = {"A2A-Version": "1.0"} | ({"Authorization": who.headers["Authorization"]} if who else {}) | headers
        return self.http.get((base or self.base) + path, headers=sent)

    def begin(self, **fields: Any) -> Row:
        told = call(self.base, self.tenant.owner, "SendMessage", message=text_message(**fields), configuration=AT_ONCE)
        task: Row = result(told)["task"]
        return task


@pytest.fixture(scope="module")
def place(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = A2AProcess(stack, tmp_path_factory.mktemp("a2a"))
    with (
        httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as http,
        httpx.Client(timeout=30, trust_env=False) as plain,
    ):
        tenant, stranger = (found(sign_up(http, stack.anon_key)) for _ in "12")
        try:
            yield Place(stack, server, tenant, stranger, plain)
        finally:
            server.kill()
            print(f"--- a2a\n{server.log.read_text()[-6000:]}")


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30, trust_env=False) as client:
        yield client


def token(stack: Stack, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"role": "authenticated", "iat": now, "exp": now + 60} | claims, stack.jwt_secret)


def bearer(text: str) -> Caller:
    return caller(httpx.Client(), "", text)


# Who calls ------------------------------------------------------------------------------------------------------------


def test_without_a_token_nothing_is_there(place: Place) -> None:
    for path in (CARD, "/tasks", "", "/no/such/path"):
        for base in (place.base, f"{place.server.url}/a2a/no-org/no-agent", f"{place.server.url}/a2a/x"):
            answer = place.get(path, None, base)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="a2a"'), path
            assert "access token" in answer.json()["error"]["message"]
    assert rpc(place.base, None, {"jsonrpc": "2.0", "id": 1, "method": "GetTask"}).status_code == 401


def test_tokens_that_are_not_a_users_are_refused(place: Place) -> None:
    user = place.tenant.owner.id
    stack = place.stack
    forged = jwt.encode({"role": "authenticated", "sub": user, "exp": 4_000_000_000}, "x" * 40)
    unsigned = ".".join(["eyJhbGciOiJub25lIn0", forged.split(".")[1], "x"])
    expired = token(stack, sub=user, exp=1_600_000_000)
    for text, told in [
        (stack.anon_key, False),
        (stack.service_role_key, False),
        (stack.secret_key, False),
        (token(stack), False),
        (token(stack, sub="nobody"), False),
        ("a.b.c", False),
        ("x" * 20_000, False),
        (f"{expired} x", False),
        (expired, True),
        (forged, True),
        (unsigned, True),
    ]:
        answer = place.get(CARD, bearer(text))
        assert answer.status_code == 401, (text, answer.text)
        assert ("invalid_token" in answer.headers["www-authenticate"]) is told, (text, answer.headers)
    assert place.get(CARD, bearer(token(stack, sub=user))).status_code == 200


def test_a_card_says_where_and_how_the_agent_is_called(place: Place) -> None:
    answer = place.get(CARD, place.tenant.owner)
    assert (answer.status_code, answer.headers["vary"]) == (200, "Authorization")
    assert "private" in answer.headers["cache-control"]
    card = answer.json()
    parsed = ParseDict(card, AgentCard(), ignore_unknown_fields=True)
    assert {i.url for i in parsed.supported_interfaces} == {place.base}
    found_ = {(i.protocol_binding, i.protocol_version) for i in parsed.supported_interfaces}
    assert found_ == {(binding, version) for binding in ("JSONRPC", "HTTP+JSON") for version in ("1.0", "0.3")}
    assert parsed.security_schemes["bearer"].http_auth_security_scheme.scheme == "Bearer"
    assert [list(one.schemes) for one in parsed.security_requirements] == [["bearer"]]
    assert (card["url"], card["protocolVersion"]) == (place.base, "0.3")  # For clients of before 1.0.
    assert place.get("/.well-known/agent.json", place.tenant.owner).json() == card


def test_a_public_url_stands_in_the_card(place: Place, tmp_path: Path) -> None:
    server = A2AProcess(place.stack, tmp_path, A2A_PUBLIC_URL="https://agents.example.com/")
    try:
        card = place.get(CARD, place.tenant.owner, server.base(place.tenant)).json()
    finally:
        server.kill()
    where = f"https://agents.example.com/a2a/{place.tenant.organization}/{place.tenant.agent}"
    assert {interface["url"] for interface in card["supportedInterfaces"]} == {where}


# Strangers ------------------------------------------------------------------------------------------------------------


def test_agents_of_others_and_agents_that_are_not_look_the_same(place: Place) -> None:
    own, other = place.tenant, place.stranger
    addresses = [
        f"{own.organization}/{own.agent}",
        f"{own.organization}/{other.agent}",
        f"{other.organization}/{own.agent}",
        f"{own.organization}/no-such-agent",
        "no-such-org/no-such-agent",
        "a%22%7D,x/b",
        "../../healthz",
    ]
    answers = set()
    for address in addresses:
        for path in (CARD, "/tasks"):
            answer = place.get(path, other.owner, f"{place.server.url}/a2a/{address}")
            answers.add((answer.status_code, answer.text))
    (refusal,) = answers - {(404, "Not Found")}
    assert refusal[0] == 404
    told = rpc(place.base, other.owner, {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"})
    assert (told.status_code, told.text) == refusal


def test_tasks_and_contexts_of_others_do_not_exist(place: Place) -> None:
    task = place.begin()
    other, base = place.stranger.owner, place.server.base(place.stranger)
    nobody = "00000000-0000-4000-8000-000000000000"
    for method in ("GetTask", "CancelTask", "SubscribeToTask"):
        real, unknown = (call(base, other, method, id=one) for one in (task["id"], nobody))
        assert code_of(real) == code_of(unknown) == -32001
        assert str(real).replace(task["id"], nobody) == str(unknown)
    answer = call(base, other, "SendMessage", message=text_message(taskId=task["id"]))
    assert code_of(answer) == -32001
    into = call(base, other, "SendMessage", message=text_message(contextId=task["contextId"]))
    assert code_of(into) == -32602
    listed = result(call(base, other, "ListTasks", contextId=task["contextId"]))
    assert (listed["tasks"], listed["totalSize"]) == ([], 0)
    (row,) = place.tenant.owner.rows("tasks", id=f"eq.{task['id']}")
    assert row["status"] == "pending"


def test_a_task_of_another_agent_is_not_this_agents(place: Place) -> None:
    task = place.begin()
    second = secrets.token_hex(6)
    agent = {"slug": f"second-{second}", "organization_slug": [place.tenant.organization]}
    (row,) = place.tenant.owner.rows("agents", slug=f"eq.{place.tenant.agent}", select=AGENT_COLUMNS)
    ok(place.tenant.owner.insert("agents", row | agent))
    base = f"{place.server.url}/a2a/{place.tenant.organization}/second-{second}"
    assert code_of(call(base, place.tenant.owner, "GetTask", id=task["id"])) == -32001
    into = call(base, place.tenant.owner, "SendMessage", message=text_message(contextId=task["contextId"]))
    assert code_of(into) == -32602


AGENT_COLUMNS = "name,description,agent_type,department,capabilities,io_schema,context,llm_config"


def test_viewers_read_the_card_and_may_not_send(place: Place) -> None:
    with httpx.Client(base_url=place.stack.url, timeout=30, trust_env=False) as http:
        viewer = sign_up(http, place.stack.anon_key)
        invited = ok(
            place.tenant.owner.rpc(
                "create_invitation", organization_slug=place.tenant.organization, email=viewer.email, role="viewer"
            )
        )
        ok(viewer.rpc("accept_invitation", token=invited["token"]))
    assert place.get(CARD, viewer).status_code == 200
    answer = call(place.base, viewer, "SendMessage", message=text_message())
    assert (code_of(answer), "not_allowed" in str(answer)) == (-32600, True)


def test_a_private_agent_is_there_for_its_owner_alone(place: Place) -> None:
    tenant = place.tenant
    private = agent_row(f"private-{secrets.token_hex(6)}", "") | {"organization_slug": []}
    ok(tenant.owner.insert("agents", private | {"owner_user_id": tenant.owner.id}))
    base = f"{place.server.url}/a2a/{tenant.organization}/{private['slug']}"
    assert place.get(CARD, tenant.owner, base).status_code == 200
    told = call(base, tenant.owner, "SendMessage", message=text_message(), configuration=AT_ONCE)
    assert result(told)["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    for organization in (tenant.organization, place.stranger.organization):
        elsewhere = f"{place.server.url}/a2a/{organization}/{private['slug']}"
        assert place.get(CARD, place.stranger.owner, elsewhere).status_code == 404


def test_an_answer_is_the_json_that_the_question_wants(place: Place, http: httpx.Client) -> None:
    operator = caller(http, place.stack.service_role_key)
    tenant, owner = place.tenant, place.tenant.owner
    task = place.begin()
    worker = f"worker-{secrets.token_hex(4)}"
    claimed = ok(operator.rpc("claim_tasks", worker_id=worker, organizations=[tenant.organization], max_tasks=100))
    for lease in claimed:
        item = {"task_id": lease["task"]["id"], "attempt": lease["attempt"], "lease_token": lease["lease_token"]}
        request = {"prompt": "Publish it?", "request_type": "approval", "schema": {"type": "boolean"}}
        (outcome,) = ok(operator.rpc("pause_task", worker_id=worker, items=[item | {"input_request": request}]))
        assert outcome["outcome"] == "ok", outcome
    asked = result(call(place.base, owner, "GetTask", id=task["id"]))["status"]
    assert asked["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert asked["message"]["parts"][0]["text"] == "Publish it?"
    assert asked["message"]["parts"][1]["data"]["schema"] == {"type": "boolean"}
    answer = {"taskId": task["id"]}
    wrong = call(place.base, owner, "SendMessage", message=text_message("perhaps", **answer))
    assert (code_of(wrong), "response_does_not_fit" in str(wrong)) == (-32602, True)
    elsewhere = call(place.base, owner, "SendMessage", message=text_message("true", **answer, contextId="other"))
    assert code_of(elsewhere) == -32602
    right = call(place.base, owner, "SendMessage", message=text_message("true", **answer), configuration=AT_ONCE)
    assert result(right)["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    (question,) = owner.rows("input_requests", task_id=f"eq.{task['id']}")
    assert (question["status"], question["response"]) == ("answered", True)


def test_an_agent_that_is_not_active_takes_no_messages(place: Place) -> None:
    tenant = place.stranger
    ok(tenant.owner.update("agents", {"status": "inactive"}, slug=f"eq.{tenant.agent}"))
    try:
        answer = call(place.server.base(tenant), tenant.owner, "SendMessage", message=text_message())
    finally:
        ok(tenant.owner.update("agents", {"status": "active"}, slug=f"eq.{tenant.agent}"))
    assert (code_of(answer), "agent_inactive" in str(answer)) == (-32004, True)


# Broken requests ------------------------------------------------------------------------------------------------------


def envelope(method: str = "SendMessage", **params: Any) -> Row:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def with_part(part: Any) -> Row:
    return envelope(message={"messageId": "m", "role": "ROLE_USER", "parts": [part]})


BROKEN: Mapping[str, tuple[Any, int]] = {
    "no JSON": (b"{", -32700),
    "nothing": (b"", -32700),
    "not UTF-8": (b'{"jsonrpc": "\xff\xfe"}', -32700),
    "nested without end": (b"[" * 100_000, -32700),
    "nested deeply": (b"[" * 100_000 + b"]" * 100_000, -32700),
    "nested deeply in a part": (
        json.dumps(with_part({"data": "x"})).replace('"x"', "[" * 500 + "]" * 500).encode(),
        -32602,
    ),
    "a list": ([], -32600),
    "a batch": ([envelope("GetTask", id="x")], -32600),
    "a text": ("hello", -32600),
    "null": (None, -32600),
    "no version": ({"id": 1, "method": "GetTask"}, -32600),
    "unknown method": (envelope("DropTables"), -32601),
    "method of a wrong kind": ({"jsonrpc": "2.0", "id": 1, "method": ["GetTask"]}, -32600),
    "params of a wrong kind": ({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": "x"}, -32600),
    "no message": (envelope(), -32602),
    "no message id": (envelope(message={"role": "ROLE_USER", "parts": [{"text": "x"}]}), -32602),
    "no parts": (envelope(message={"messageId": "m", "role": "ROLE_USER", "parts": []}), -32602),
    "an empty part": (with_part({}), -32602),
    "a blank text": (with_part({"text": " \n"}), -32602),
    "NUL in a text": (with_part({"text": "a\0b"}), -32602),
    "half a surrogate": (
        b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"messageId":"m","role":"ROLE_USER",'
        b'"parts":[{"text":"\\ud800"}]}}}',
        -32602,
    ),
    "a file": (with_part({"raw": "aGVsbG8=", "filename": "a.txt", "mediaType": "text/plain"}), -32005),
    "a file elsewhere": (with_part({"url": "http://169.254.169.254/", "mediaType": "text/plain"}), -32005),
    "data that is no object": (with_part({"data": [1, 2]}), -32602),
    "two data parts": (
        envelope(message={"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {}}, {"data": {}}]}),
        -32602,
    ),
    "101 parts": (envelope(message={"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}] * 101}), -32602),
    "a prompt of 2 MB": (with_part({"text": "x" * 2_000_000}), -32602),
    "a task that is no uuid": (envelope("GetTask", id="' or 1=1 --"), -32001),
    "a task id that filters": (envelope("GetTask", id="x),status=eq.pending"), -32001),
    "a page token of its own": (envelope("ListTasks", pageToken="WyJ4IiwgInkiXQ=="), -32602),
    "a page too large": (envelope("ListTasks", pageSize=100_000), -32602),
    "a push address": (
        envelope(
            message=text_message(), configuration={"taskPushNotificationConfig": {"url": "https://push.example.com"}}
        ),
        -32003,
    ),
    "an extended card": (envelope("GetExtendedAgentCard"), -32004),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_request_gets_its_error_and_begins_nothing(place: Place, name: str) -> None:
    body, code = BROKEN[name]
    before = len(place.tenant.owner.rows("tasks", select="id"))
    answer = rpc(place.base, place.tenant.owner, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["error"]["code"] == code, told
    assert told["error"]["message"]
    for internal in ("Traceback", "a2a/", "PL/pgSQL", "private.", place.stack.url):
        assert internal not in answer.text
    assert len(place.tenant.owner.rows("tasks", select="id")) == before


@pytest.mark.parametrize("version", ["0.4", "2.0", "one"])
def test_other_versions_are_refused(place: Place, version: str) -> None:
    body = envelope("GetTask", id="x")
    answer = rpc(place.base, place.tenant.owner, body, **{"A2A-Version": version})
    assert answer.json()["error"]["code"] == -32009


def test_requests_over_the_limit_are_refused_before_they_are_read(place: Place) -> None:
    authorization = {"Authorization": place.tenant.owner.headers["Authorization"]}
    answer = place.http.post(place.base, content=b"x" * 3_000_000, headers=authorization)
    assert answer.status_code == 413
    chunked = place.http.post(place.base, content=(b"x" * 100_000 for _ in range(40)), headers=authorization)
    assert chunked.status_code == 413
    # The SDK would take seconds for them, and everybody else would wait.
    many = place.http.post(place.base, content=b"[" + b"1," * 1_000_000 + b"1]", headers=authorization)
    assert (many.status_code, many.json()["error"]["code"]) == (413, 413)
    rest = place.http.post(f"{place.base}/message:send", content=b"{" * 9, headers=authorization)
    assert rest.status_code == 400


def test_numbers_stay_what_they_are(place: Place) -> None:
    data = {"words": 300, "ratio": 0.5, "deep": {"list": [1, 2.5, True, None, "x"]}}
    task = result(
        call(place.base, place.tenant.owner, "SendMessage", message=data_message(data), configuration=AT_ONCE)
    )
    (row,) = place.tenant.owner.rows("tasks", id=f"eq.{task['task']['id']}")
    assert json.dumps(row["params"], sort_keys=True) == json.dumps(data, sort_keys=True)
    assert json.loads(row["prompt"]) == data  # Nothing else was said.


def data_message(data: Row) -> Row:
    return {"messageId": secrets.token_hex(8), "role": "ROLE_USER", "parts": [{"data": data}]}


# The database is away -------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_said_so_until_it_is_back(place: Place, tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    server = A2AProcess(place.stack, tmp_path, SUPABASE_URL=gone)
    try:
        health = httpx.get(f"{server.url}/healthz", trust_env=False)
        assert (health.status_code, health.json()) == (503, {"database": False})
        answer = rpc(server.base(place.tenant), place.tenant.owner, envelope("ListTasks"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert gone not in answer.text
        assert server.terminate() == 0
    finally:
        server.kill()
