"""Who may announce a push to a repository: its git host, signed, once, and not too often."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, refused
from tests.database.test_git_sync import add, syncs


@pytest.fixture
def repository(tenant: Tenant) -> Row:
    return add(tenant)


class Host:
    """A git host that tells of pushes to a repository."""

    def __init__(self, tenant: Tenant, repository: Row) -> None:
        self.world = tenant.world
        self.url = repository["git_url"]
        self.secret = str(tenant.owner.call("renew_push_secret", repository_id=repository["id"])["secret"])

    def body(self, ref: str | None = "refs/heads/main", **more: Any) -> str:
        push = {"ref": ref, "after": uuid.uuid4().hex, "repository": {"clone_url": self.url + ".git"}}
        return json.dumps({**push, **more})

    def signed(self, body: str, secret: str = "") -> Row:
        digest = hmac.new((secret or self.secret).encode(), body.encode(), hashlib.sha256).hexdigest()
        return {"x-hub-signature-256": f"sha256={digest}"}

    def send(self, body: str, headers: Mapping[str, str] | None = None, session: Session | None = None) -> Row:
        headers = self.signed(body) if headers is None else headers
        with (session or self.world.anon).transaction() as connection:
            connection.execute("select set_config('request.headers', %s, true)", (json.dumps(headers),))
            row = connection.execute("select public.receive_git_push(%s::json) as answer", (body,)).fetchone()
        assert row is not None
        answer: Row = row["answer"]
        return answer


@pytest.fixture
def host(tenant: Tenant, repository: Row) -> Host:
    return Host(tenant, repository)


QUEUED, IGNORED = {"accepted": True, "queued": True}, {"accepted": True, "queued": False}


def test_a_signed_push_queues_a_sync_for_who_added_the_repository(tenant: Tenant, host: Host) -> None:
    assert host.send(host.body()) == QUEUED
    (task,) = syncs(tenant)
    assert (str(task["user_id"]), task["metadata"]) == (tenant.owner.id, {"cause": "push"})
    assert host.send(host.body()) == QUEUED
    assert len(syncs(tenant)) == 1


def test_hosts_sign_in_their_own_ways(tenant: Tenant, host: Host) -> None:
    body = host.body()
    old = {"x-hub-signature": host.signed(body)["x-hub-signature-256"]}
    assert host.send(body, old) == QUEUED
    project = {"git_http_url": host.url + ".git", "web_url": host.url}
    gitlab = json.dumps({"object_kind": "push", "ref": "refs/heads/main", "project": project})
    assert host.send(gitlab, {"x-gitlab-token": host.secret}) == QUEUED
    bitbucket = {
        "push": {"changes": [{"new": {"name": "main"}}]},
        "repository": {"links": {"html": {"href": host.url}}},
    }
    assert host.send(json.dumps(bitbucket)) == QUEUED
    assert len(syncs(tenant)) == 1


def test_bytes_count_as_they_came(host: Host) -> None:
    body = '{ "ref" :"refs/heads/main",\n "x":"\\u00fc ü",  "repository":{"html_url":"%s/"}}' % host.url  # noqa: UP031
    headers = host.signed(body)
    with refused("PT401", "push_not_accepted"):
        host.send(json.dumps(json.loads(body)), headers)
    assert host.send(body, headers) == QUEUED


def test_all_strangers_are_refused_alike(world: World, tenant: Tenant, host: Host) -> None:
    body, right = host.body(), {}
    right = host.signed(body)
    other = world.tenant()
    foreign = Host(other, add(other, git_url=host.url))
    bad: list[tuple[str, Row]] = [
        (body, {}),
        (body, {"x-hub-signature-256": ""}),
        (body, {"x-hub-signature-256": right["x-hub-signature-256"][7:]}),
        (body, {"x-hub-signature-256": right["x-hub-signature-256"][:-1] + "g"}),
        (body, host.signed(body, "0" * 64)),
        (body, {"x-gitlab-token": ""}),
        (body, {"x-gitlab-token": host.secret[:-1]}),
        (body, {**right, "x-gitlab-token": "none"}),
        (host.body(), right),
        (json.dumps({"ref": "refs/heads/main"}), host.signed(json.dumps({"ref": "refs/heads/main"}))),
        ("[]", host.signed("[]")),
        ("null", host.signed("null")),
    ]
    details = set()
    for sent, headers in bad:
        with refused("PT401", "push_not_accepted") as refusal:
            host.send(sent, headers)
        details.add(refusal.detail)
    assert len(details) == 1
    assert syncs(tenant) == syncs(other) == []
    assert foreign.send(foreign.body()) == QUEUED
    assert (len(syncs(tenant)), len(syncs(other))) == (0, 1)


def test_a_push_that_is_sent_again_does_nothing(tenant: Tenant, worker: Worker, host: Host) -> None:
    body = host.body()
    assert host.send(body) == QUEUED
    assert worker.complete(worker.claim_one(tenant)) == "ok"
    assert host.send(body) == IGNORED
    assert len(syncs(tenant)) == 1


def test_other_branches_and_pings_queue_nothing(tenant: Tenant, host: Host) -> None:
    for body in (host.body("refs/heads/next"), host.body("refs/tags/main"), host.body(None), host.body("main")):
        assert host.send(body) == IGNORED
    assert syncs(tenant) == []


def test_a_new_secret_ends_the_old_one_and_nobody_reads_either(tenant: Tenant, repository: Row, host: Host) -> None:
    body = host.body()
    old = host.signed(body)
    admin = tenant.join("admin")
    new = admin.call("renew_push_secret", repository_id=repository["id"])["secret"]
    with refused("PT401", "push_not_accepted"):
        host.send(body, old)
    assert host.send(body, host.signed(body, new)) == QUEUED
    with refused("PT404", "repository_not_found"):
        tenant.join("developer").call("renew_push_secret", repository_id=repository["id"])
    for session in (tenant.owner, tenant.world.service, tenant.world.anon):
        with refused("42501"):
            session.rows("select * from private.push_secrets")


def test_a_flood_and_a_flood_in_one_are_stopped(tenant: Tenant, host: Host) -> None:
    large = host.body(padding="x" * 2_000_000)
    with refused("PT413", "push_too_large"):
        host.send(large)
    for _ in range(120):
        host.send(host.body("refs/heads/next"))
    with refused("PT429", "too_many_pushes"):
        host.send(host.body())
    assert host.send(host.body(), session=tenant.world.anon.at("11 minutes")) == QUEUED


def test_a_push_finds_somebody_for_whom_it_is_synced(tenant: Tenant, repository: Row, host: Host) -> None:
    admin = tenant.join("admin")
    tenant.world.admin.update("agent_repositories", {"id": repository["id"]}, created_by=None)
    assert host.send(host.body()) == QUEUED
    assert str(syncs(tenant)[0]["user_id"]) == tenant.owner.id
    tenant.world.admin.execute(
        "update public.agent_repositories set created_by = %s where id = %s", admin.id, repository["id"]
    )
    tenant.owner.call("cancel_task", task_id=syncs(tenant)[0]["id"])
    assert host.send(host.body()) == QUEUED
    assert str(syncs(tenant)[-1]["user_id"]) == admin.id


def test_ten_pushes_at_once_make_one_sync(tenant: Tenant, host: Host) -> None:
    answers = in_parallel([tenant.world.anon] * 10, lambda session: host.send(host.body(), session=session))
    assert answers == [QUEUED] * 10
    assert len(syncs(tenant)) == 1


def test_nobody_but_a_host_says_a_push(tenant: Tenant, host: Host) -> None:
    body = host.body()
    for session in (tenant.owner, tenant.world.service):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            host.send(body, session=session)


def test_nobody_keeps_others_out_by_adding_their_address_often(world: World, host: Host) -> None:
    crowd = world.tenant()
    rows = [{"git_url": host.url, "name": f"n{n}"} for n in range(101)]
    for row in rows:
        add(crowd, **row)
    world.admin.execute(
        "insert into private.push_secrets (repository_id, secret, created_at)"
        " select r.id, repeat('a', 64), now() - interval '1 day' from public.agent_repositories r"
        " where r.organization_slug = %s",
        crowd.slug,
    )
    assert host.send(host.body()) == QUEUED
    # A large push is tried with few secrets, since a stranger could send it too.
    late = Host(crowd, {**rows[0], "id": crowd.owner.value("select id from public.agent_repositories limit 1")})
    world.admin.execute("update private.push_secrets set created_at = now() where secret = %s", late.secret)
    world.admin.execute(
        "delete from private.push_secrets s using public.agent_repositories r"
        " where r.id = s.repository_id and r.organization_slug = %s and s.secret <> %s and right(r.name, 1) <> '1'",
        *(crowd.slug, late.secret),
    )
    assert host.send(host.body(padding="x" * 1_900_000)) == QUEUED
    with refused("PT401", "push_not_accepted"):
        late.send(late.body(padding="x" * 1_900_000))
    assert late.send(late.body())["accepted"]
