"""Agents on marketplaces, in the database: what is sent, what becomes of it, and what they count."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest

from tests.database.kit import Tenant, Worker, World, in_parallel, item, refused
from tests.database.market_kit import (
    HEADERS,
    METHODS,
    add_market,
    done,
    failed,
    job,
    listed,
    publish,
    read,
    settle,
    take,
    unpublish,
)


@pytest.fixture
def market(tenant: Tenant) -> str:
    """Give the name of a marketplace of the organization."""
    return str(add_market(tenant, headers=HEADERS)["name"])


# From asking to being listed ------------------------------------------------------------------------------------------


def test_publishing_asks_in_one_transaction_and_a_worker_does_it(tenant: Tenant, worker: Worker, market: str) -> None:
    developer = tenant.join("developer")
    asked = publish(tenant, market, developer)
    assert (asked["status"], asked["action"], asked["revision"], asked["agent_version"]) == (
        "pending",
        "publish",
        1,
        "1.0.0",
    )
    assert (asked["requested_by"], asked["organization_slug"]) == (developer.id, tenant.slug)
    lease = take(tenant, worker)
    assert (lease["task"]["id"], lease["task"]["method"]) == (asked["task_id"], "publish_agent")
    wanted = job(tenant, lease)
    assert wanted["operation"] == {"method": "POST", "path": "/agents"}
    assert (wanted["is_platform"], wanted["headers"], wanted["idempotency_key"]) == (False, HEADERS, f"{asked['id']}.1")
    assert worker.complete(lease, response="", response_metadata={"marketplace_agent_id": "m-1"}) == "ok"
    row = settle(tenant, worker, market)
    assert (row["status"], row["marketplace_agent_id"], row["action"]) == ("published", "m-1", None)
    assert row["published_at"]
    assert developer.row("select status from public.marketplace_integrations") == {"status": "published"}


def test_only_the_card_and_what_describes_the_agent_are_sent(tenant: Tenant, worker: Worker, market: str) -> None:
    tenant.owner.update(
        "agents",
        {"slug": tenant.agent},
        context="SECRET-PROMPT",
        metadata={"internal": "SECRET-NOTE"},
        llm_config={"provider": "anthropic", "model": "SECRET-MODEL"},
        io_schema={"input": {"title": "SECRET-SCHEMA"}},
    )
    publish(tenant, market)
    listing = job(tenant, take(tenant, worker))["listing"]
    assert "SECRET" not in json.dumps(listing)
    assert set(listing) == {
        "external_id",
        "slug",
        "name",
        "description",
        "version",
        "department",
        "tags",
        "capabilities",
        "card",
    }
    assert listing["card"]["name"] == listing["name"] == "Writer"
    api = tenant.add_agent(
        agent_type="api",
        llm_config=None,
        endpoint={
            "url": "https://SECRET-HOST/",
            "authentication": {"type": "bearer", "config": {"token": "${SECRET_NAME}"}},
        },
    )
    publish(tenant, market, agent_slug=api)
    params = tenant.world.admin.value(
        "select params from public.tasks where method = 'publish_agent' and params #>> '{listing,slug}' = %s", api
    )
    assert "SECRET" not in json.dumps(params)


def test_asked_twice_it_is_one_task_and_a_change_meanwhile_waits(tenant: Tenant, worker: Worker, market: str) -> None:
    rows = in_parallel([tenant.owner] * 4, lambda session: publish(tenant, market, session))
    assert len({row["task_id"] for row in rows}) == 1
    tenant.owner.update("agents", {"slug": tenant.agent}, description="Writes better.")
    with refused("PT409", "integration_pending") as refusal:
        publish(tenant, market)
    assert rows[0]["task_id"] in refusal.hint
    with refused("PT409", "integration_pending"):
        unpublish(tenant, market)
    done(tenant, worker, market, marketplace_agent_id="m-1")
    again = publish(tenant, market)
    assert (again["revision"], again["agent_version"]) == (2, "1.0.1")
    wanted = job(tenant, take(tenant, worker))
    assert (wanted["operation"], wanted["updates"]) == ({"method": "PUT", "path": "/agents/{id}"}, True)
    assert wanted["listing"]["description"] == "Writes better."


def test_one_request_after_the_end_of_the_task_need_not_wait_for_the_reaper(
    tenant: Tenant, worker: Worker, market: str
) -> None:
    publish(tenant, market)
    assert worker.complete(take(tenant, worker), response="", response_metadata={"marketplace_agent_id": "m-1"}) == "ok"
    row = unpublish(tenant, market)
    assert (row["status"], row["action"], row["marketplace_agent_id"]) == ("pending", "unpublish", "m-1")


def test_an_agent_is_taken_off_and_listed_anew(tenant: Tenant, worker: Worker, market: str) -> None:
    listed(tenant, worker, market)
    asked = unpublish(tenant, market)
    assert unpublish(tenant, market) == asked
    lease = take(tenant, worker)
    assert job(tenant, lease)["operation"] == {"method": "DELETE", "path": "/agents/{id}"}
    assert worker.complete(lease, response="") == "ok"
    row = settle(tenant, worker, market)
    assert (row["status"], row["marketplace_agent_id"], row["look_at"]) == ("unpublished", None, None)
    assert row["unpublished_at"]
    assert unpublish(tenant, market)["status"] == "unpublished"
    anew = publish(tenant, market)
    assert anew["revision"] == 3
    assert job(tenant, take(tenant, worker))["operation"]["method"] == "POST"


def test_a_refusal_is_an_error_that_says_why_and_an_unknown_outcome_keeps_its_key(
    tenant: Tenant, worker: Worker, market: str
) -> None:
    publish(tenant, market)
    row = failed(tenant, worker, market, "marketplace_unavailable")
    assert (row["status"], row["error_code"], row["error_message"]) == ("error", "marketplace_unavailable", "No.")
    assert publish(tenant, market)["revision"] == 1  # perhaps the marketplace has it: the same under the same key
    row = failed(tenant, worker, market, "marketplace_refused")
    again = publish(tenant, market)
    assert (again["revision"], again["status"], again["error_code"], again["error_message"]) == (
        2,
        "pending",
        None,
        None,
    )
    failed(tenant, worker, market, "timeout")
    tenant.owner.update("agents", {"slug": tenant.agent}, description="Another.")
    assert publish(tenant, market)["revision"] == 3  # another request under the same key would be a mistake
    row = failed(tenant, worker, market)
    assert unpublish(tenant, market)["status"] == "unpublished"  # it was never listed


def test_a_listing_that_the_marketplace_lost_is_made_anew(tenant: Tenant, worker: Worker, market: str) -> None:
    listed(tenant, worker, market)
    tenant.owner.update("agents", {"slug": tenant.agent}, description="Another.")
    publish(tenant, market)
    row = failed(tenant, worker, market, "marketplace_listing_gone")
    assert (row["status"], row["marketplace_agent_id"]) == ("error", None)
    publish(tenant, market)
    assert job(tenant, take(tenant, worker))["operation"]["method"] == "POST"


@pytest.mark.parametrize("how", ["cancelled", "deleted", "says nothing"])
def test_a_task_that_ends_in_another_way_leaves_an_error(tenant: Tenant, worker: Worker, market: str, how: str) -> None:
    asked = publish(tenant, market)
    if how == "cancelled":
        tenant.owner.call("cancel_task", task_id=asked["task_id"])
    elif how == "deleted":
        tenant.world.admin.execute("delete from public.tasks where id = %s", asked["task_id"])
    else:
        assert worker.complete(take(tenant, worker), response_metadata={"marketplace_agent_id": ""}) == "ok"
    row = settle(tenant, worker, market)
    code = {"cancelled": "cancelled", "deleted": "task_deleted", "says nothing": "result_invalid"}[how]
    assert (row["status"], row["error_code"]) == ("error", code)
    assert row["error_message"]


def test_only_the_worker_that_holds_the_task_reads_the_job(tenant: Tenant, worker: Worker, market: str) -> None:
    publish(tenant, market)
    lease = take(tenant, worker)
    assert job(tenant, {**lease, "lease_token": str(uuid.uuid4())}) is None
    assert job(tenant, lease)
    arguments = {"integration_id": lease["task"]["params"]["integration_id"], "lease_token": lease["lease_token"]}
    assert tenant.world.service.at("1 hour").call("read_marketplace_job", **arguments) is None
    with refused("42501"):
        tenant.owner.call(
            "read_marketplace_job",
            integration_id=lease["task"]["params"]["integration_id"],
            lease_token=lease["lease_token"],
        )
    worker.complete(lease, response_metadata={"marketplace_agent_id": "m-1"})
    assert job(tenant, lease) is None


def test_tasks_of_marketplaces_count_for_no_limit_and_are_hidden(world: World, worker: Worker) -> None:
    tenant = world.tenant(max_concurrent_tasks=0)
    market = str(add_market(tenant)["name"])
    publish(tenant, market)
    assert tenant.owner.rows("select from public.tasks") == []
    with refused("22023", "unknown_method"):
        tenant.task(method="publish_agent", params={})
    assert take(tenant, worker)


def test_one_marketplace_is_asked_one_thing_at_a_time(tenant: Tenant, worker: Worker, market: str) -> None:
    agents = [tenant.agent, tenant.add_agent(), tenant.add_agent()]
    for agent in agents:
        publish(tenant, market, agent_slug=agent)
    for agent in agents:
        (lease,) = worker.claim(tenant, 10, methods=METHODS)
        assert lease["task"]["params"]["listing"]["slug"] == agent
        worker.complete(lease, response_metadata={"marketplace_agent_id": agent})


# Usage ----------------------------------------------------------------------------------------------------------------


def test_usage_is_fetched_every_hour_and_kept(tenant: Tenant, worker: Worker, market: str) -> None:
    row = listed(tenant, worker, market)
    assert worker.claim(tenant, methods=METHODS) == []  # not before an hour is over
    assert row["look_at"] - row["published_at"] > timedelta(minutes=50)
    settle(tenant, worker, market)
    row = read(tenant, market)
    assert (row["status"], row["action"]) == ("published", "fetch_usage")
    first = row["task_id"]
    lease = take(tenant, worker)
    assert job(tenant, lease)["operation"] == {"method": "GET", "path": "/agents/{id}/usage"}
    assert worker.complete(lease, response_metadata={"usage": {"calls": 7}}) == "ok"
    row = settle(tenant, worker, market)
    assert (row["usage_metrics"], row["usage_error"], row["action"]) == ({"calls": 7}, None, None)
    assert row["usage_fetched_at"]
    assert row["look_at"] - row["usage_fetched_at"] > timedelta(minutes=50)
    settle(tenant, worker, market)
    row = failed(tenant, worker, market)
    assert (row["usage_metrics"], row["usage_error"]) == ({"calls": 7}, "marketplace_refused: No.")
    assert row["status"] == "published"
    assert tenant.world.admin.rows("select from public.tasks where id = %s", first) == []  # only the last task is kept


@pytest.mark.parametrize(
    "usage", ["[1]", '{"big": "' + "x" * 40_000 + '"}', '{"number": 1e400}', "[" * 70 + "]" * 70], ids=lambda u: u[:12]
)
def test_usage_that_cannot_be_kept_stops_nobody(tenant: Tenant, worker: Worker, market: str, usage: str) -> None:
    listed(tenant, worker, market)
    settle(tenant, worker, market)
    lease = take(tenant, worker)
    report = json.dumps([item(lease, response="", response_metadata={"usage": "USAGE"})]).replace('"USAGE"', usage)
    query = "select public.complete_tasks(worker_id => %s, items => %s::jsonb)"
    tenant.world.service.rows(query, worker.id, report)
    row = settle(tenant, worker, market)
    assert (row["usage_metrics"], row["status"]) == ({}, "published")
    assert row["usage_error"].startswith("result_invalid: ")


def test_no_usage_is_fetched_where_the_marketplace_has_none(tenant: Tenant, worker: Worker) -> None:
    operations = {
        "publish": {"method": "POST", "path": "/a"},
        "unpublish": {"method": "DELETE", "path": "/a/{id}"},
    }
    market = str(add_market(tenant, operations=operations)["name"])
    listed(tenant, worker, market)
    assert settle(tenant, worker, market)["action"] is None


def test_usage_is_fetched_for_another_member_when_who_asked_has_left(
    tenant: Tenant, worker: Worker, market: str
) -> None:
    developer = tenant.join("developer")
    publish(tenant, market, developer)
    done(tenant, worker, market, marketplace_agent_id="m-1")
    tenant.owner.call("remove_member", organization_slug=tenant.slug, user_id=developer.id)
    settle(tenant, worker, market)
    assert take(tenant, worker)["task"]["user_id"] == tenant.owner.id


def test_a_publication_goes_before_usage_that_is_just_fetched(tenant: Tenant, worker: Worker, market: str) -> None:
    listed(tenant, worker, market)
    settle(tenant, worker, market)
    stale = take(tenant, worker)
    publish(tenant, market)
    assert job(tenant, stale) is None
    worker.complete(stale, response_metadata={"usage": {"calls": 7}})
    row = settle(tenant, worker, market)
    assert (row["status"], row["usage_metrics"]) == ("pending", {})
