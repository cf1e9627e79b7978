"""Who may report on a task from outside: the endpoint that was called, signed, once, while the task runs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, refused

TTL = 600


@dataclass
class Endpoint:
    """What an endpoint was told, and how it reports."""

    world: World
    webhook: Row

    def body(self, status: str = "completed", **more: Any) -> str:
        result = {"result": {"content": "done"}} if status == "completed" and "result" not in more else {}
        return json.dumps({"webhook_id": self.webhook["id"], "status": status, **result, **more})

    def headers(self, body: str, *, report: str = "", at: float = 0, secret: str = "") -> Row:
        """Sign as any library of Standard Webhooks does."""
        report, seconds = report or str(uuid.uuid4()), int(time.time() + at)
        key = base64.b64decode((secret or self.webhook["secret"]).removeprefix("whsec_"))
        mac = hmac.new(key, f"{report}.{seconds}.{body}".encode(), hashlib.sha256).digest()
        return {
            "webhook-id": report,
            "webhook-timestamp": str(seconds),
            "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        }

    def send(self, body: str, headers: Mapping[str, str], session: Session | None = None) -> Any:
        with (session or self.world.anon).transaction() as connection:
            connection.execute("select set_config('request.headers', %s, true)", (json.dumps(headers),))
            row = connection.execute("select public.report_task_status(%s::json) as answer", (body,)).fetchone()
        assert row is not None
        return row["answer"]

    def report(self, status: str = "completed", **more: Any) -> Any:
        body = self.body(status, **more)
        return self.send(body, self.headers(body))


def open_webhook(worker: Worker, lease: Row, ttl: int = TTL) -> Row:
    arguments = {key: item(lease)[key] for key in ("task_id", "attempt", "lease_token")}
    answer: Row = worker.session.call("open_status_webhook", **arguments, ttl_seconds=ttl)
    return answer


def read(worker: Worker, *webhooks: Row) -> list[Row]:
    rows = worker.session.row("select public.read_status_webhooks(%s::uuid[]) as rows", [w["id"] for w in webhooks])
    answer: list[Row] = rows["rows"]
    return answer


@pytest.fixture
def lease(tenant: Tenant, worker: Worker) -> Row:
    tenant.task()
    return worker.claim_one(tenant)


@pytest.fixture
def endpoint(world: World, worker: Worker, lease: Row) -> Endpoint:
    return Endpoint(world, open_webhook(worker, lease))


def test_a_job_is_opened_reported_on_and_read(endpoint: Endpoint, worker: Worker) -> None:
    webhook = endpoint.webhook
    assert (webhook["under_way"], webhook["secret"][:6], 0 < webhook["expires_in"] <= TTL) == (False, "whsec_", True)
    assert read(worker, webhook) == [{"id": webhook["id"], "outcome": None}]
    assert endpoint.report("progress", progress=40, message="Reading") == {"accepted": True}
    endpoint.report("progress", progress=30)
    assert read(worker, webhook) == [{"id": webhook["id"], "progress": 40, "message": "Reading", "outcome": None}]
    endpoint.report(result=[1, None])
    assert read(worker, webhook)[0]["outcome"] == {"status": "completed", "result": [1, None]}


def test_a_failure_says_why(endpoint: Endpoint, worker: Worker) -> None:
    endpoint.report("failed", message="No paper", retryable=True)
    outcome = {"status": "failed", "message": "No paper", "retryable": True}
    assert read(worker, endpoint.webhook)[0]["outcome"] == outcome


def test_the_signature_is_that_of_standard_webhooks(endpoint: Endpoint) -> None:
    """The body counts byte by byte: blanks, escapes and the order of keys are part of it."""
    body = '{ "status":"completed",\n "result" : "\\u00fc ü",  "webhook_id":"%s"}' % endpoint.webhook["id"]  # noqa: UP031
    headers = endpoint.headers(body)
    Webhook(endpoint.webhook["secret"]).verify(body, headers)
    with refused("PT401", "report_not_accepted"):
        endpoint.send(json.dumps(json.loads(body)), headers)
    assert endpoint.send(body, {**headers, "webhook-signature": f"v1,bm90 {headers['webhook-signature']}"})


def test_all_strangers_are_refused_alike(endpoint: Endpoint, world: World) -> None:
    body = endpoint.body()
    right = endpoint.headers(body)
    other = Endpoint(world, {**endpoint.webhook, "id": str(uuid.uuid4())})
    attempts: list[tuple[str, Mapping[str, str]]] = [
        (body, {}),
        (body, {**right, "webhook-signature": ""}),
        (body, {**right, "webhook-signature": right["webhook-signature"][3:]}),
        (body, {**right, "webhook-signature": "v1," + "A" * 43 + "="}),
        (body, {**right, "webhook-id": "another"}),
        (body, {**right, "webhook-id": ""}),
        (body, {**right, "webhook-timestamp": str(int(right["webhook-timestamp"]) + 1)}),
        (body, {**right, "webhook-timestamp": "now"}),
        (body, endpoint.headers(body, at=-301)),
        (body, endpoint.headers(body, at=301)),
        (body, endpoint.headers(body, secret="whsec_" + "A" * 44)),
        (endpoint.body(result="forged"), right),
        (other.body(), other.headers(other.body())),
        ("{}", endpoint.headers("{}")),
        ("null", endpoint.headers("null")),
        ("[1]", endpoint.headers("[1]")),
        ('{"webhook_id": "x"}', endpoint.headers('{"webhook_id": "x"}')),
    ]
    said = set()
    for text, headers in attempts:
        with refused("PT401", "report_not_accepted") as refusal:
            endpoint.send(text, headers)
        said.add((refusal.detail, refusal.hint))
    assert len(said) == 1
    assert endpoint.send(body, right) == {"accepted": True}


def test_a_report_is_taken_once(endpoint: Endpoint) -> None:
    body = endpoint.body("progress", progress=1)
    headers = endpoint.headers(body)
    endpoint.send(body, headers)
    with refused("PT409", "report_repeated"):
        endpoint.send(body, headers)
    # Later its time is too old, so it need not be remembered for ever.
    with refused("PT401", "report_not_accepted"):
        endpoint.send(body, headers, endpoint.world.anon.at("11 minutes"))


def test_two_reports_at_once_are_one(endpoint: Endpoint, worker: Worker) -> None:
    body = endpoint.body()
    headers = endpoint.headers(body)
    answers = in_parallel([endpoint.world.anon] * 3, lambda session: endpoint.send(body, headers, session))
    assert answers.count({"accepted": True}) == 1
    assert {getattr(a, "sqlstate", None) for a in answers if not isinstance(a, dict)} == {"PT409"}
    different = [endpoint.headers(body) for _ in range(2)]
    for one in different:
        with refused("PT409", "status_webhook_closed"):
            endpoint.send(body, one)
    assert read(worker, endpoint.webhook)[0]["outcome"]["status"] == "completed"


def test_an_expired_webhook_takes_nothing(endpoint: Endpoint) -> None:
    body = endpoint.body()
    headers = endpoint.headers(body, at=TTL + 10)
    with refused("PT409", "status_webhook_closed"):
        endpoint.send(body, headers, endpoint.world.anon.at(f"{TTL + 10} seconds"))


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "delete"])
def test_nothing_is_reported_on_a_task_that_is_over(
    end: str, endpoint: Endpoint, tenant: Tenant, worker: Worker, lease: Row
) -> None:
    task_id = lease["task"]["id"]
    if end == "cancel":
        tenant.owner.call("cancel_task", task_id=task_id)
    elif end == "delete":
        tenant.world.admin.execute("delete from public.tasks where id = %s", task_id)
    else:
        assert (worker.complete(lease) if end == "complete" else worker.fail(lease)) == "ok"
    with refused(*(("PT401", "report_not_accepted") if end == "delete" else ("PT409", "status_webhook_closed"))):
        endpoint.report()


def test_a_webhook_reports_on_its_own_task_only(tenant: Tenant, worker: Worker, endpoint: Endpoint) -> None:
    tenant.task()
    other = Endpoint(endpoint.world, open_webhook(worker, worker.claim_one(tenant)))
    body = other.body()
    with refused("PT401", "report_not_accepted"):
        other.send(body, other.headers(body, secret=endpoint.webhook["secret"]))
    endpoint.report()
    assert read(worker, other.webhook) == [{"id": other.webhook["id"], "outcome": None}]


def test_after_a_failed_attempt_the_next_one_calls_anew(
    endpoint: Endpoint, tenant: Tenant, worker: Worker, lease: Row
) -> None:
    read(worker, endpoint.webhook)
    worker.fail(lease, retryable=True)
    with refused("PT409", "status_webhook_closed"):
        endpoint.report()
    later = Worker(worker.session.at("1 hour"), worker.id)
    second = open_webhook(later, later.claim_one(tenant))
    assert second["under_way"] is False
    assert second["id"] != endpoint.webhook["id"]
    with refused("PT401", "report_not_accepted"):
        endpoint.report()


@pytest.mark.parametrize("how", ["lost", "released"])
def test_what_a_lost_worker_began_goes_on_under_the_same_webhook(
    how: str, endpoint: Endpoint, tenant: Tenant, worker: Worker, lease: Row
) -> None:
    read(worker, endpoint.webhook)
    if how == "lost":
        admin = endpoint.world.admin
        admin.execute("update private.maintenance set last_run_at = '-infinity' where name = 'reap_tasks'")
        late = Worker(worker.session.at("2 minutes"), worker.id)
        late.exchange(max_tasks=0)
    else:
        late = worker
        worker.report("release_tasks", item(lease))
    assert tenant.read(lease["task"]["id"])["status"] == "pending"
    endpoint.report("progress", progress=70)  # Nobody holds the task; the job goes on all the same.
    next_lease = late.claim_one(tenant)
    endpoint.report("progress", progress=75)
    again = open_webhook(late, next_lease)
    assert (again["id"], again["secret"], again["under_way"]) == (
        endpoint.webhook["id"],
        endpoint.webhook["secret"],
        True,
    )
    endpoint.report()
    assert read(worker, again)[0]["outcome"]["status"] == "completed"
    with refused("PT409", "lease_lost"):
        open_webhook(worker, lease)


def test_a_job_that_nobody_is_known_to_have_taken_on_is_begun_again_under_the_same_webhook(
    endpoint: Endpoint, tenant: Tenant, worker: Worker, lease: Row
) -> None:
    worker.report("release_tasks", item(lease))
    again = open_webhook(worker, worker.claim_one(tenant))
    assert (again["id"], again["under_way"]) == (endpoint.webhook["id"], False)


def test_opening_twice_gives_the_same(endpoint: Endpoint, worker: Worker, lease: Row) -> None:
    again = open_webhook(worker, lease)
    assert {**again, "expires_in": 0} == {**endpoint.webhook, "expires_in": 0}


def test_an_expired_job_is_called_anew(endpoint: Endpoint, tenant: Tenant, worker: Worker, lease: Row) -> None:
    read(worker, endpoint.webhook)
    worker.report("release_tasks", item(lease))
    late = Worker(worker.session.at(f"{TTL + 1} seconds"), worker.id)
    again = open_webhook(late, late.claim_one(tenant))
    assert (again["under_way"], again["id"] != endpoint.webhook["id"]) == (False, True)


@pytest.mark.parametrize(
    "report",
    [
        {"status": "done"},
        {"status": 5},
        {"status": "progress", "progress": 101},
        {"status": "progress", "progress": "5"},
        {"status": "progress", "message": {}},
        {"status": "failed", "retryable": "yes"},
        {"status": "completed"},
        {"status": "completed", "result": {"n": 10**400}},
    ],
)
def test_a_report_that_cannot_be_read_says_so(endpoint: Endpoint, report: Row) -> None:
    body = json.dumps({"webhook_id": endpoint.webhook["id"], **report})
    with refused("22023", "report_invalid"):
        endpoint.send(body, endpoint.headers(body))


def test_reports_are_bounded_in_size_and_number(endpoint: Endpoint, world: World) -> None:
    body = endpoint.body(result="x" * 10_000_000)
    with refused("PT413", "report_too_large"):
        endpoint.send(body, endpoint.headers(body))
    world.admin.execute(
        "insert into private.status_reports select %s::uuid, n::text, now() from generate_series(1, 1200) n",
        endpoint.webhook["id"],
    )
    with refused("PT429", "too_many_reports"):
        endpoint.report()


def test_answers_to_workers_are_bounded(world: World, tenant: Tenant, worker: Worker) -> None:
    tenant.task()
    tenant.task()
    endpoints = [Endpoint(world, open_webhook(worker, lease)) for lease in worker.claim(tenant, 2)]
    for endpoint in endpoints:
        endpoint.report(result="x" * 9_000_000)
    rows = read(worker, *(e.webhook for e in endpoints))
    assert sorted("outcome" in row for row in rows) == [False, True]
    waiting = [e.webhook for e in endpoints if not any(r["id"] == e.webhook["id"] and "outcome" in r for r in rows)]
    assert len(read(worker, *waiting)[0]["outcome"]["result"]) == 9_000_000


@pytest.mark.parametrize("ttl", [0, 604_801])
def test_the_time_to_live_is_bounded(ttl: int, worker: Worker, lease: Row) -> None:
    with refused("22023", "ttl_out_of_range"):
        open_webhook(worker, lease, ttl)


def test_only_the_holder_of_the_lease_opens_a_webhook(worker: Worker, lease: Row, tenant: Tenant) -> None:
    with refused("PT409", "lease_lost"):
        open_webhook(worker, {**lease, "lease_token": str(uuid.uuid4())})
    with refused("PT409", "lease_lost"):
        open_webhook(worker, {**lease, "attempt": 2})
    tenant.owner.call("cancel_task", task_id=lease["task"]["id"])
    with refused("PT409", "lease_lost"):
        open_webhook(worker, lease)


def test_hmac_is_that_of_the_standard_library(world: World) -> None:
    for key, message in ((b"k" * 32, b""), (b"\x00\xff" * 32, b"message"), (b"x", "ü".encode() * 500)):
        ours = world.admin.value("select private.hmac_sha256(%s, %s)", key, message)
        assert bytes(ours) == hmac.new(key, message, hashlib.sha256).digest()
