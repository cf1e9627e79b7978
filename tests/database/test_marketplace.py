"""Agents on marketplaces, in the database: who asks, what is sent, what becomes of it, and what nobody may."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.kit import Row, Session, Tenant, Worker, World, in_parallel, item, new_name, refused, when_it_waited
from tests.database.pauses import reap

METHODS = ["publish_agent", "unpublish_agent", "fetch_marketplace_usage"]
HEADERS = {"Authorization": "Bearer ${MARKET_TOKEN}"}


def add_market(tenant: Tenant, session: Session | None = None, **columns: Any) -> Row:
    """Add a marketplace of the organization, as its owner unless said otherwise."""
    row = {"organization_slug": tenant.slug, "name": new_name("m"), "base_url": "https://market.example/v1", **columns}
    return (session or tenant.owner).insert("marketplaces", **row)


@pytest.fixture
def market(tenant: Tenant) -> str:
    """Give the name of a marketplace of the organization."""
    return str(add_market(tenant, headers=HEADERS)["name"])


def publish(tenant: Tenant, market: str, session: Session | None = None, **arguments: Any) -> Row:
    asked = {"agent_slug": tenant.agent, "marketplace_name": market, **arguments}
    row: Row = (session or tenant.owner).call("publish_agent", **asked)
    return row


def unpublish(tenant: Tenant, market: str, session: Session | None = None) -> Row:
    asked = {"agent_slug": tenant.agent, "marketplace_name": market}
    row: Row = (session or tenant.owner).call("unpublish_agent", **asked)
    return row


def read(tenant: Tenant, market: str) -> Row:
    query = "select * from public.marketplace_integrations where agent_slug = %s and marketplace_name = %s"
    return tenant.world.admin.row(query, tenant.agent, market)


def take(tenant: Tenant, worker: Worker) -> Row:
    """Claim the task of the integration."""
    return worker.claim_one(tenant, methods=METHODS)


def job(tenant: Tenant, lease: Row) -> Any:
    """Read what is to be done, as the worker that holds the task."""
    integration = lease["task"]["params"]["integration_id"]
    return tenant.world.service.call(
        "read_marketplace_job", integration_id=integration, lease_token=lease["lease_token"]
    )


def settle(tenant: Tenant, worker: Worker, market: str) -> Row:
    """Let the reaper look at the integration."""
    tenant.world.admin.execute(
        "update public.marketplace_integrations set look_at = now() - interval '1 day' where agent_slug = %s"
        " and look_at is not null",
        tenant.agent,
    )
    reap(worker)
    return read(tenant, market)


def done(tenant: Tenant, worker: Worker, market: str, **metadata: Any) -> Row:
    """Do what is asked, with success."""
    assert worker.complete(take(tenant, worker), response="", response_metadata=metadata) == "ok"
    return settle(tenant, worker, market)


def failed(tenant: Tenant, worker: Worker, market: str, code: str = "marketplace_refused", **more: Any) -> Row:
    assert worker.fail(take(tenant, worker), error_code=code, error_message="No.", **more) == "ok"
    return settle(tenant, worker, market)


def listed(tenant: Tenant, worker: Worker, market: str) -> Row:
    """Publish the agent, under the id "m-1"."""
    publish(tenant, market)
    return done(tenant, worker, market, marketplace_agent_id="m-1")


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


# Who may what ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_others_only_see_where_an_agent_is_published(tenant: Tenant, market: str, role: str) -> None:
    reader = tenant.join(role)
    for act in (publish, unpublish):
        with refused("42501", "not_allowed"):
            act(tenant, market, reader)
    publish(tenant, market)
    assert len(reader.rows("select * from public.marketplace_integrations")) == 1
    with refused("42501"):
        reader.insert("marketplace_integrations", agent_slug=tenant.agent, marketplace_name="x")
    with refused("42501"):
        tenant.owner.update("marketplace_integrations", {"agent_slug": tenant.agent}, marketplace_agent_id="victim")


def test_a_stranger_gets_the_answer_of_an_unknown_agent(world: World, tenant: Tenant, market: str) -> None:
    publish(tenant, market)
    eve = world.tenant().owner
    assert eve.rows("select from public.marketplace_integrations") == []
    assert eve.rows("select from public.marketplaces where organization_slug is not null") == []
    for act in (publish, unpublish):
        with refused("PT404", "agent_not_found") as foreign:
            act(tenant, market, eve)
        with refused("PT404", "agent_not_found") as unknown:
            eve.call(f"{act.__name__}_agent", agent_slug="no-such-agent", marketplace_name=market)
        assert foreign.detail.replace(tenant.agent, "no-such-agent") == unknown.detail


def test_another_organizations_marketplace_is_none(world: World, tenant: Tenant, market: str) -> None:
    eve = world.tenant()
    with refused("PT404", "marketplace_not_found"):
        publish(eve, market)
    with refused("PT404", "organization_not_found"):
        publish(eve, market, organization_slug=tenant.slug)
    with refused("42501"):
        add_market(tenant, eve.owner)
    for change in (
        "update public.marketplaces set base_url = 'https://evil.example' where name = %s",
        "delete from public.marketplaces where name = %s",
    ):
        assert eve.owner.execute(change, market) == 0
        assert eve.owner.execute(change, "hyphrki") == 0


def test_a_developer_names_no_marketplace_and_an_admin_does(tenant: Tenant) -> None:
    with refused("42501"):
        add_market(tenant, tenant.join("developer"))
    assert add_market(tenant, tenant.join("admin"))
    with refused("42501"):
        tenant.owner.insert("marketplaces", name=new_name("m"), base_url="https://evil.example")


def test_the_platforms_marketplace_stands_for_all_and_an_organizations_own_goes_before_it(
    tenant: Tenant, worker: Worker
) -> None:
    tenant.owner.call("publish_agent", agent_slug=tenant.agent)
    lease = take(tenant, worker)
    wanted = job(tenant, lease)
    assert (wanted["is_platform"], wanted["base_url"]) == (True, "${MARKETPLACE_HYPHRKI_URL}")
    worker.complete(lease, response_metadata={"marketplace_agent_id": "m-1"})
    settle(tenant, worker, "hyphrki")
    # An id that one marketplace gave is never used at another, where it may be somebody else's.
    add_market(tenant, name="hyphrki")
    with refused("PT409", "agent_published"):
        tenant.owner.call("publish_agent", agent_slug=tenant.agent)
    unpublish(tenant, "hyphrki")
    lease = take(tenant, worker)
    assert job(tenant, lease)["is_platform"] is True
    worker.complete(lease)
    settle(tenant, worker, "hyphrki")
    publish(tenant, "hyphrki")
    wanted = job(tenant, take(tenant, worker))
    assert (wanted["is_platform"], wanted["base_url"]) == (False, "https://market.example/v1")


def test_a_private_agent_is_its_owners_and_goes_to_the_platforms_marketplaces_only(
    tenant: Tenant, worker: Worker, market: str
) -> None:
    maker = tenant.join("member")
    maker.update("users", {"id": maker.id}, organization_slug=tenant.slug)
    mine = tenant.add_agent(organization_slug=[], owner_user_id=maker.id)
    with refused("PT404", "marketplace_not_found"):
        publish(tenant, market, maker, agent_slug=mine)  # it would use the organization's secrets
    with refused("PT404", "agent_not_found"):
        publish(tenant, "hyphrki", agent_slug=mine)
    row = publish(tenant, "hyphrki", maker, agent_slug=mine)
    assert (row["organization_slug"], row["requested_by"]) == (None, maker.id)
    assert job(tenant, take(tenant, worker))["is_platform"] is True
    tenant.world.service.update("users", {"id": maker.id}, status="suspended")
    with refused("PT404", "agent_not_found"):
        publish(tenant, "hyphrki", maker, agent_slug=mine)


def test_of_several_organizations_one_must_be_known(world: World, tenant: Tenant, market: str) -> None:
    other = world.tenant()
    both = other.join("developer", tenant.join("developer"))
    shared = tenant.add_agent(organization_slug=[tenant.slug, other.slug])
    with refused("42501", "not_allowed"):
        publish(tenant, market, agent_slug=shared)  # the owner of one of the two
    world.service.update("users", {"id": both.id}, organization_slug=None)
    with refused("22023", "organization_missing"):
        publish(tenant, market, both, agent_slug=shared)
    row = publish(tenant, market, both, agent_slug=shared, organization_slug=tenant.slug)
    assert row["organization_slug"] == tenant.slug


def test_what_is_not_there_or_not_active_is_refused(tenant: Tenant, market: str) -> None:
    with refused("PT404", "marketplace_not_found"):
        publish(tenant, "nowhere")
    with refused("PT404", "integration_not_found"):
        unpublish(tenant, market)
    tenant.owner.update("agents", {"slug": tenant.agent}, description="x" * 300_000)
    with refused("PT413", "listing_too_large"):
        publish(tenant, market)
    tenant.owner.update("agents", {"slug": tenant.agent}, description="Writes.", status="draft")
    with refused("PT409", "agent_inactive"):
        publish(tenant, market)
    assert tenant.world.admin.rows("select from public.tasks where organization_slug = %s", tenant.slug) == []


# Deleting -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tenant: Tenant, worker: Worker, market: str) -> str:
    """Give the name of the marketplace on which the agent is published."""
    listed(tenant, worker, market)
    return market


@pytest.mark.parametrize(
    "statement",
    [
        "delete from public.agents where organization_slug = array[%s]",
        "delete from public.organizations where slug = %s",
        "delete from public.marketplaces where organization_slug = %s",
    ],
)
def test_who_deletes_what_is_listed_unpublishes_it_first(
    tenant: Tenant, worker: Worker, published: str, statement: str
) -> None:
    with refused("PT409", "agent_published") as refusal:
        tenant.owner.execute(statement, tenant.slug)
    assert "unpublish_agent" in refusal.hint
    unpublish(tenant, published)
    with refused("PT409", "agent_published"):
        tenant.owner.execute(statement, tenant.slug)  # not before it is done
    done(tenant, worker, published)
    assert tenant.owner.execute(statement, tenant.slug) == 1


def test_an_agent_does_not_leave_the_organization_for_which_it_is_listed(
    world: World, tenant: Tenant, worker: Worker, published: str
) -> None:
    other = world.tenant()
    both = other.join("developer", tenant.join("developer"))
    both.update("agents", {"slug": tenant.agent}, organization_slug=[tenant.slug, other.slug])
    with refused("PT409", "agent_published"):
        both.update("agents", {"slug": tenant.agent}, organization_slug=[other.slug])
    unpublish(tenant, published, both)
    done(tenant, worker, published)
    both.update("agents", {"slug": tenant.agent}, organization_slug=[other.slug])
    assert both.rows("select from public.marketplace_integrations") == []


def test_what_a_server_deletes_is_gone_and_its_listing_stands_in_the_audit(tenant: Tenant, published: str) -> None:
    integration = str(read(tenant, published)["id"])
    tenant.world.service.execute("delete from public.agents where slug = %s", tenant.agent)
    changes = tenant.world.admin.value(
        "select changes from public.audit_logs where row_key = %s and action = 'delete'", integration
    )
    assert changes["marketplace_agent_id"][0] == "m-1"


def test_a_publication_and_the_deletion_of_its_agent_come_one_after_the_other(tenant: Tenant, market: str) -> None:
    def remove(session: Session) -> None:
        session.connection.execute("delete from public.agents where slug = %s", [tenant.agent])

    answer = when_it_waited(tenant.owner, remove, tenant.owner, lambda session: publish(tenant, market, session))
    assert isinstance(answer, psycopg.Error)
    assert answer.diag.message_primary == "agent_not_found"


# What cannot be -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "to"),
    [("new", "published"), ("published", "error"), ("unpublished", "published"), ("unpublished", "error")],
)
def test_illegal_moves_are_refused_for_every_writer(
    tenant: Tenant, worker: Worker, market: str, state: str, to: str
) -> None:
    service = tenant.world.service
    values: Row = {"status": to, "marketplace_agent_id": "m", "error_code": "x"}
    if state == "new":
        place = tenant.world.admin.value("select id from public.marketplaces where name = %s", market)
        with refused("PT409", "illegal_move"):
            service.insert("marketplace_integrations", agent_slug=tenant.agent, marketplace_id=place, **values)
        return
    listed(tenant, worker, market)
    if state == "unpublished":
        service.update("marketplace_integrations", {"agent_slug": tenant.agent}, status="unpublished")
    with refused("PT409", "illegal_move"):
        service.update("marketplace_integrations", {"agent_slug": tenant.agent}, **values)


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"status": "gone"}, None),
        ({"marketplace_agent_id": None}, "published_has_id_and_published_at"),
        ({"marketplace_agent_id": "x" * 256}, "names_are_short"),
        ({"usage_metrics": Jsonb([])}, "usage_metrics_is_an_object"),
        ({"usage_metrics": {"x": "y" * 40_000}}, "usage_metrics_are_small"),
    ],
    ids=str,
)
def test_an_impossible_integration_is_refused(
    tenant: Tenant, worker: Worker, market: str, columns: Row, constraint: str | None
) -> None:
    listed(tenant, worker, market)
    with pytest.raises(psycopg.Error) as caught:
        tenant.world.service.update("marketplace_integrations", {"agent_slug": tenant.agent}, **columns)
    assert caught.value.diag.constraint_name == constraint


GET = {"method": "GET", "path": "/a"}


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"name": "Upper"}, "name_is_lower_case_words"),
        ({"base_url": "ftp://market.example"}, "base_url_is_http_or_a_secret"),
        ({"base_url": "https://user:word@market.example"}, "base_url_is_http_or_a_secret"),
        ({"base_url": "https://${HOST}.example"}, "base_url_is_http_or_a_secret"),
        ({"headers": {"x": 1}}, "headers_are_texts"),
        ({"operations": {"publish": GET}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": GET, "more": GET}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "method": "TRACE"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "a"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "//evil/"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "/a/../b"}}}, "operations_name_method_and_path"),
        ({"operations": {"publish": GET, "unpublish": {**GET, "path": "/${KEY}"}}}, "operations_name_method_and_path"),
        ({"fields": {"request": {"title": "context"}}}, "fields_are_known"),
        ({"fields": {"id": ""}}, "fields_are_known"),
        ({"fields": {"price": "x"}}, "fields_are_known"),
    ],
    ids=str,
)
def test_an_impossible_marketplace_is_refused(scene: World, columns: Row, constraint: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add_market(scene.tenant(), **columns)
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(
    "columns", [{"headers": {"Authorization": "Bearer abc"}}, {"base_url": "https://m.example/${A}"}]
)
def test_a_client_names_credentials_and_writes_none(tenant: Tenant, columns: Row) -> None:
    if "headers" in columns:
        with refused("22023", "credential_is_literal"):
            add_market(tenant, **columns)
        market = add_market(tenant)
        with refused("22023", "credential_is_literal"):
            tenant.owner.update("marketplaces", {"id": market["id"]}, **columns)
    else:
        assert add_market(tenant, **columns)


def test_an_organization_has_at_most_twenty_marketplaces(tenant: Tenant) -> None:
    for _ in range(20):
        add_market(tenant)
    with refused("PT429", "over_limit"):
        add_market(tenant)
